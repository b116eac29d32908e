"""The shard around its portfolios: what it takes in, what it refuses, and that one failure stops one portfolio only."""

from dataclasses import replace
from decimal import Decimal

import orjson
import pytest

from schemas.account import AccountBalances, Balance
from schemas.control import FlowKind, KeyTrusted, ShardAssigned
from schemas.envelope import Message
from schemas.journal import PortfolioAdopted, PortfolioReleased, SourceGap, WriterStarted
from schemas.ledger import EntryKind
from schemas.market import Ticker
from schemas.orders import CancelOrder, FlowClassified, FlowObserved
from schemas.rebalance import PortfolioHalted, PortfolioQuarantined, PortfolioResumed, Reason
from streams.domain.errors import InvariantError
from streams.domain.portfolio import evolve, reasons, snapshot
from streams.domain.portfolio.shard import step
from streams.domain.portfolio.state import Shard, World
from tests.unit.portfolio.story import (
    INCARNATION,
    PRICES,
    START_MS,
    WRITER,
    Story,
    at_rest,
    created,
    key,
    limits,
    on_target,
    only,
    orders,
    policy,
    quoted,
    reason_now,
    state_of,
    targets,
)

BTC_UP = {"BTC/USDT": Decimal(51_500)}


def two_portfolios() -> Story:
    story = at_rest()
    for event in (created("beta"), targets("beta"), policy("beta"), limits("beta")):
        story.control(event)
    story.opened("beta-main", "beta", on_target())
    story.mark(PRICES)
    return story


def test_portfolios_of_a_shard_decide_in_the_order_of_their_names():
    story = two_portfolios()

    said = story.mark(BTC_UP)

    assert [order.portfolio for order in orders(said)] == ["alpha", "beta"]
    assert len({order.command_id for order in orders(said)}) == 2


def test_a_change_that_fails_quarantines_one_portfolio_and_leaves_its_state_as_it_was():
    story = two_portfolios()
    before = story.portfolio("beta")

    said = story.control(targets("beta", DOGE="0.5").model_copy(update={"symbols": {"DOGE": "DOGE/BTC"}}))

    signal = only(PortfolioQuarantined, said)
    assert (signal.portfolio, signal.cause) == ("beta", "ValueError")
    assert "DOGE must trade as DOGE/USDT" in signal.detail
    assert story.portfolio("beta").targets == before.targets
    assert [order.portfolio for order in orders(story.mark(BTC_UP))] == ["alpha"]
    assert state_of(story, "beta").reason is Reason.QUARANTINED
    assert not story.control(targets("beta", DOGE="0.5").model_copy(update={"symbols": {}}))


def test_a_resume_that_names_the_quarantine_lifts_it():
    story = at_rest()
    signal = only(PortfolioQuarantined, story.control(targets(DOGE="0.5").model_copy(update={"symbols": {}})))
    story.mark(BTC_UP)

    said = story.resume(signal.signal_id)

    assert only(PortfolioResumed, said).halt_ids == (signal.signal_id,)
    assert orders(said)


def test_a_failure_to_decide_keeps_what_the_ledger_booked():
    """Money that moved is a fact: a decision that fails after it must not take it out of the books."""
    story = at_rest()
    order = orders(story.mark(BTC_UP))[0]
    story.admitted(order)
    story.intended(order)
    before = story.portfolio().accounts["alpha-main"].holdings
    broken = replace(story.portfolio(), targets=targets(DOGE="0.5").model_copy(update={"symbols": {}}))
    story.shard.portfolios["alpha"] = broken

    signal = only(PortfolioQuarantined, story.filled(order))

    held = story.portfolio().accounts["alpha-main"].holdings
    assert held["BTC"] == before["BTC"] - order.quantity_base
    story.resume(signal.signal_id)
    assert story.portfolio().accounts["alpha-main"].holdings == held


def test_a_portfolio_that_missed_an_entry_of_its_books_is_not_resumed_nor_created_anew():
    """Its holdings are wrong until mended code folds the journal anew: nobody may trade on them."""
    story = at_rest()
    story.work_off(story.mark(BTC_UP))
    last = story.entries[-1]
    fill = next(entry for entry in story.entries if entry.kind is EntryKind.FILLED)
    follows = {"sequence": last.sequence + 1, "previous_hash": last.entry_hash, "event_id": "nameless"}
    nameless = fill.model_copy(update={"symbol": None, **follows})

    signal = only(PortfolioQuarantined, story.input(nameless, "orders.ledger.v1"))
    story.resume(signal.signal_id)
    story.mark({"BTC/USDT": Decimal(60_000)})

    assert story.portfolio().missed == f"alpha-main entry {nameless.sequence}"
    assert state_of(story).reason is Reason.QUARANTINED
    assert not story.control(created(incarnation="c" * 32))
    assert story.portfolio().incarnation == INCARNATION


def test_a_quarantine_cancels_what_is_open():
    story = at_rest()
    order = orders(story.mark(BTC_UP))[0]
    story.control(targets(DOGE="0.5").model_copy(update={"symbols": {}}))

    assert only(CancelOrder, story.mark()).target_command_id == order.command_id


def test_a_portfolio_is_created_once_and_only_in_its_shard():
    story = at_rest()
    before = story.portfolio()

    story.control(created())
    story.control(created("gamma", shard=1))

    assert story.portfolio() == before
    assert list(story.shard.portfolios) == ["alpha"]


def test_a_portfolio_created_anew_keeps_its_books_and_counts_its_decisions_from_one():
    story = at_rest()
    story.work_off(story.mark(BTC_UP))

    story.control(created(incarnation="c" * 32, accounts={"alpha-main": "binance", "alpha-new": "binance"}))

    state = story.portfolio()
    assert (state.incarnation, state.decision_number) == ("c" * 32, 0)
    assert state.accounts["alpha-main"].opened
    assert not state.accounts["alpha-new"].opened
    story.control(policy())
    assert reason_now(story) is Reason.WAITING_OPENING


def test_a_portfolio_created_anew_stays_as_stopped_as_it_was_and_holds_for_what_flowed():
    """Nothing lifts a halt but a resume that names it, and nobody has said yet what the money was."""
    story = at_rest()
    (order,) = orders(story.mark({"BTC/USDT": Decimal(51_300)}))
    story.unknown(order)
    halted = only(PortfolioHalted, [m for _ in range(61) for m in story.mark()])
    story.absent(order)
    story.expired_unsent(order)
    flowed(story, "deposit/1", "alpha-main")
    story.account_halted("alpha-main", "alpha", "f" * 32)

    story.control(created(incarnation="c" * 32))
    for event in (targets(), policy(), limits()):
        story.control(event)

    assert story.portfolio().halts.keys() == {halted.halt_id, "f" * 32}
    assert not orders(story.mark())
    story.resume(halted.halt_id)
    assert not orders(story.account_resumed("alpha-main", "alpha", "f" * 32))
    assert reason_now(story) is Reason.UNCLASSIFIED_FLOW


def test_a_quarantined_portfolio_created_anew_is_quarantined_still():
    story = at_rest()
    quarantined = only(PortfolioQuarantined, story.control(targets(BTC="0.5").model_copy(update={"symbols": {}})))

    story.control(created(incarnation="c" * 32))

    assert story.portfolio().quarantine == quarantined.signal_id


def test_the_same_flow_of_two_accounts_holds_until_both_are_classified():
    """Venues number by themselves: ids of two accounts may be equal."""
    story = Story()
    accounts = {"alpha-main": "binance", "alpha-side": "okx"}
    for event in (created(accounts=accounts), targets(), policy(), limits()):
        story.control(event)
    for venue in ("binance", "okx"):
        for symbol in PRICES:
            story.rules(symbol, venue)
    for account, venue in accounts.items():
        story.opened(account, "alpha", {"USDT": Decimal(50_000)}, venue)
        flowed(story, "deposit/7", account)
    classified(story, "deposit/7", "alpha-main")

    said = story.mark(PRICES)
    said += story.give(story.batch({f"okx:{symbol}": quoted(price) for symbol, price in PRICES.items()}))

    assert not orders(said)
    assert state_of(story).reason is Reason.UNCLASSIFIED_FLOW
    assert orders(classified(story, "deposit/7", "alpha-side"))


def flowed(story: Story, flow_id: str, account: str) -> list[Message]:
    """A deposit of one unit of the quote asset that nobody has classified."""
    head = {"account": account, "epoch": 1, "at_ms": story.now_ms, "portfolio": "alpha"}
    flow = {"flow_id": flow_id, "asset": "USDT", "amount": Decimal(1)}
    return story.execution(FlowObserved(**head, **flow, venue_time_ms=story.now_ms))


def classified(story: Story, flow_id: str, account: str) -> list[Message]:
    head = {"account": account, "epoch": 1, "at_ms": story.now_ms, "portfolio": "alpha"}
    flow = {"flow_id": flow_id, "asset": "USDT", "amount": Decimal(1), "flow_kind": FlowKind.EXTERNAL}
    return story.execution(FlowClassified(**head, **flow, control_id=f"test {account} {flow_id}"))


def test_a_portfolio_is_not_created_anew_over_open_orders_nor_over_anothers_account():
    story = at_rest()
    story.mark(BTC_UP)

    assert "open orders" in only(PortfolioQuarantined, story.control(created(incarnation="c" * 32))).detail
    taken = story.control(created("beta", accounts={"alpha-main": "binance"}))
    quarantined = only(PortfolioQuarantined, taken)
    assert "alpha-main belongs to alpha" in quarantined.detail
    story.resume(quarantined.signal_id)
    story.control(policy("beta"))
    assert story.portfolio("beta").accounts == {}
    assert state_of(story, "beta").reason is Reason.WAITING_OPENING
    assert story.portfolio().incarnation == INCARNATION


def test_events_of_portfolios_and_accounts_that_live_elsewhere_change_nothing():
    story = at_rest()
    before = snapshot.dump(story.shard)

    story.control(targets("elsewhere"))
    story.control(
        KeyTrusted(
            scope="all",
            at_ms=START_MS,
            who="op",
            key_id="k1",
            purpose="control",
            public_key="x",
            valid_from_ms=0,
            valid_until_ms=START_MS,
        )
    )
    story.opened("other-main", "other", {"BTC": Decimal(1)})

    assert story.shard.portfolios == snapshot.load(before).portfolios


def test_a_venues_snapshot_of_balances_does_not_change_holdings():
    story = at_rest()
    before = story.portfolio()
    balances = {"BTC": Balance(free=Decimal(7), used=Decimal(0))}

    said = story.input(
        AccountBalances(account="alpha-main", venue="binance", balances=balances, received_at_ms=story.now_ms),
        "account.balances.v1",
    )

    assert said == []
    assert story.portfolio() == before


def test_an_input_that_is_not_one_of_portfolios_stops_the_process():
    ticker = Ticker(
        venue="binance",
        symbol="BTC/USDT",
        bid_price_quote=Decimal(1),
        bid_quantity_base=Decimal(1),
        ask_price_quote=Decimal(2),
        ask_quantity_base=Decimal(1),
        received_at_ms=START_MS,
        venue_sequence=1,
    )
    with pytest.raises(InvariantError, match="Ticker"):
        at_rest().input(ticker, "market.tickers.v1")


def test_an_input_that_cannot_be_read_stops_the_process():
    story = at_rest()
    story.control(targets())
    record = story.records[-1].model_copy(update={"source_value": "{}"})

    with pytest.raises(InvariantError, match="journalled input"):
        step(story.shard, record)


def test_a_new_writers_time_and_a_gap_in_prices_are_not_news():
    story = at_rest()
    late = WriterStarted(epoch=2, writer="2" * 32, expected_offset=0, sequenced_at_ms=START_MS - 60_000)
    gap = SourceGap(
        epoch=1,
        writer=WRITER,
        expected_offset=0,
        sequenced_at_ms=story.now_ms,
        source="market.tickers.v1:0",
        gap_from=0,
        gap_to=9,
    )

    assert step(story.shard, late) == []
    assert step(story.shard, gap) == []
    assert story.shard.world.time_ms == story.now_ms


def test_a_portfolio_that_is_to_move_decides_nothing_more():
    story = at_rest()
    head = {"scope": "portfolio:alpha", "at_ms": START_MS, "who": "op", "portfolio": "alpha"}

    story.control(ShardAssigned.model_validate(head | {"shard": 1}))

    assert not orders(story.mark(BTC_UP))
    assert state_of(story).detail == "moves to shard 1"
    assert orders(story.control(ShardAssigned.model_validate(head | {"shard": 0})))


def moved(story: Story, kind: type[PortfolioReleased] | type[PortfolioAdopted], **changes):
    state = story.shard.portfolios.get("alpha")
    fields = {
        "epoch": 1,
        "writer": WRITER,
        "expected_offset": 0,
        "sequenced_at_ms": story.now_ms,
        "portfolio": "alpha",
        "state": snapshot.release(state) if state else "",
        "state_version": snapshot.STATE_VERSION,
        "ledger_sequences": {},
        "ledger_positions": {},
    }
    return kind.model_validate(fields | changes)


def test_a_portfolio_moves_with_its_whole_state_and_goes_on_deciding():
    old = at_rest()
    old.mark(BTC_UP | {"BTC/USDT": Decimal(50_100)})
    record = moved(old, PortfolioAdopted)
    new = Story(shard=1)
    new.now_ms = old.now_ms
    for symbol in PRICES:
        new.rules(symbol)
    new.mark(PRICES)

    assert step(old.shard, moved(old, PortfolioReleased)) == []
    step(new.shard, record)

    assert not old.shard.portfolios
    assert [order.decision_number for order in orders(new.mark(BTC_UP))] == [1]


def test_a_portfolio_with_open_orders_does_not_move():
    story = at_rest()
    story.mark(BTC_UP)

    with pytest.raises(InvariantError, match="open orders"):
        step(Shard(1, World("test")), moved(story, PortfolioAdopted))
    with pytest.raises(InvariantError, match="open orders"):
        step(story.shard, moved(story, PortfolioReleased))


def test_a_released_portfolio_that_is_not_here_is_no_loss():
    assert step(Shard(0, World("test")), moved(at_rest(), PortfolioReleased)) == []


@pytest.mark.parametrize(("changes", "words"), [({"state_version": "0"}, "version"), ({"state": "{}"}, "read")])
def test_a_move_that_cannot_be_read_stops_the_process(changes: dict[str, str], words: str):
    record = moved(at_rest(), PortfolioAdopted, **changes)

    with pytest.raises(InvariantError, match=words):
        step(Shard(1, World("test")), record)


def test_a_state_of_the_version_before_is_read_with_its_unclassified_flows():
    story = at_rest()
    flowed(story, "deposit/1", "alpha-main")
    plain = orjson.loads(snapshot.dump(story.shard))
    alpha = plain["portfolios"]["alpha"]
    alpha["flows_open"] = {"deposit/1": "alpha-main"}
    plain["state_version"] = "1"

    assert snapshot.load(orjson.dumps(plain)).portfolios == story.shard.portfolios
    assert snapshot.adopt(orjson.dumps(alpha).decode(), "1") == story.portfolio()
    alpha["flows_open"] = {}
    assert snapshot.adopt(orjson.dumps(alpha).decode(), "1") == replace(story.portfolio(), flows_open={})


@pytest.mark.parametrize("damage", [b"[]", b"{}", b'{"state_version":"0"}', b"null"])
def test_a_snapshot_that_cannot_be_read_is_refused(damage: bytes):
    with pytest.raises(ValueError):
        snapshot.load(damage)


def test_a_portfolio_says_only_what_it_can_say():
    story = at_rest()
    with pytest.raises(ValueError, match="PolicySet"):
        evolve.told(story.portfolio(), policy())


def test_an_invariant_that_breaks_inside_a_portfolio_stops_the_process(monkeypatch: pytest.MonkeyPatch):
    story = at_rest()

    def broken(*_: object) -> None:
        raise InvariantError("broken")

    monkeypatch.setattr(evolve, "booked", broken)
    with pytest.raises(InvariantError, match="broken"):
        story.account_halted("alpha-main", "alpha", "e" * 32)


def test_a_halt_of_the_fold_itself_survives_a_checkpoint():
    story = at_rest()
    story.unknown(orders(story.mark(BTC_UP))[0])
    said = [m for _ in range(61) for m in story.mark()]
    halted = only(PortfolioHalted, said)

    loaded = snapshot.load(snapshot.dump(story.shard))

    assert loaded.portfolios["alpha"].halts.keys() == {halted.halt_id}


def test_a_fill_of_more_digits_than_the_wire_has_leaves_a_checkpoint_that_can_be_read():
    """What a fill cost is price times quantity: its digits add up."""
    story = at_rest()
    order = orders(story.mark({"BTC/USDT": Decimal("51500.015")}))[0]
    story.admitted(order)
    story.intended(order)
    story.accepted(order)

    story.filled(order, price=Decimal("51500.01"), fee_asset="BTC", fee_amount=Decimal("0.000012345678912345"))

    assert snapshot.load(snapshot.dump(story.shard)).portfolios == story.shard.portfolios


@pytest.mark.parametrize("price", ["99999999999999999999", "1000000000000000000"])
def test_an_absurd_price_closes_its_portfolios_gate_and_leaves_a_checkpoint_that_can_be_read(price: str):
    """What a message can say of a price, a checkpoint may not be able to say of what is held at it."""
    story = at_rest()
    absurd = Decimal(price)

    story.now_ms += 1_000
    said = story.give(story.batch({key("BTC/USDT"): (absurd - 1, absurd)}))

    assert not [message for message in said if isinstance(message, PortfolioQuarantined)]
    assert not orders(said)
    assert reason_now(story) is Reason.NO_VALUE
    assert snapshot.load(snapshot.dump(story.shard)).portfolios == story.shard.portfolios


def test_a_loss_beyond_all_bounds_leaves_a_checkpoint_that_can_be_read():
    """Held in cash, while a target's price is said to have become a million million times what it was."""
    story = Story()
    for event in (created(), targets(), policy(), limits(loss_day_max=Decimal("0.5"))):
        story.control(event)
    for symbol in PRICES:
        story.rules(symbol)
    story.opened("alpha-main", "alpha", {"USDT": Decimal(10**13)})
    story.mark({"BTC/USDT": Decimal("0.001"), "ETH/USDT": Decimal(2_500)})

    said = story.mark({"BTC/USDT": Decimal(10**9)}, after_ms=20_000)
    story.control(targets(BTC="0.4", ETH="0.3"))

    assert only(PortfolioHalted, said).cause == reasons.LOSS_DAY
    assert story.portfolio().shortfalls
    assert snapshot.load(snapshot.dump(story.shard)).portfolios == story.shard.portfolios
