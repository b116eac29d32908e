"""3.4: from 100 % cash over a deposit, an unannounced withdrawal and a trade by hand, with the real books in between."""

from decimal import Decimal

from schemas.codec import encode
from schemas.control import FlowKind
from schemas.envelope import Message
from schemas.orders import FlowClassified, FlowObserved, Side
from schemas.rebalance import PortfolioHalted, Reason, RebalanceDecided, RebalanceHeldBack
from tests.unit.portfolio.story import (
    PRICES,
    Story,
    at_rest,
    buys,
    created,
    limits,
    on_target,
    only,
    orders,
    policy,
    reason_now,
    sells,
    state_of,
    targets,
)

HAND = "order/BTC/USDT/7"


def given(**totals: str) -> Story:
    """A portfolio that opens with these totals; there is no price yet."""
    story = Story()
    for event in (created(), policy(), targets(), limits()):
        story.control(event)
    story.rules("BTC/USDT")
    story.rules("ETH/USDT")
    story.opened("alpha-main", "alpha", {asset: Decimal(total) for asset, total in totals.items()})
    return story


def begun() -> Story:
    """A portfolio that opens with cash alone and has bought its targets."""
    story = given(USDT="100000")
    story.work_off(story.mark(PRICES))
    return story


def stood(story: Story, side: Side, base: str, price: str | None) -> list[Message]:
    """Somebody placed an order by hand; it stands, and is acked."""
    moved(story, HAND, "USDT" if side is Side.BUY else "BTC", "0")
    story.hand_seen("alpha-main", "alpha", "7", side, base, price)
    return classified(story, HAND, "USDT" if side is Side.BUY else "BTC", "0", FlowKind.FOREIGN)


def test_3_4_a_withdrawal_makes_no_turnover_of_what_was_traded_before() -> None:
    """Of what is left the same trades are a larger part: nothing more is planned for now, and nothing halts."""
    story = at_rest()
    story.control(limits(turnover_5min_max=Decimal("0.008")))
    story.work_off(story.mark({"BTC/USDT": Decimal(51_500)}))
    traded = sum(entry.notional_quote for entry in story.portfolio().traded)
    assert traded > 600

    said = moved(story, "withdrawal/1", "BTC", "-0.8")
    said += classified(story, "withdrawal/1", "BTC", "-0.8")
    said += [m for _ in range(30) for m in story.mark()]

    assert traded > Decimal("0.008") * 61_000
    assert not [m for m in said if isinstance(m, PortfolioHalted)]
    assert not orders(said)
    assert reason_now(story) is Reason.LIMIT


def cost_at_worst(said: list[Message]) -> Decimal:
    """What all buys spend at their caps, with the taker's fee of 10 bp."""
    return sum((order.quantity_base * (order.price_limit_quote or 0) * Decimal("1.001") for order in buys(said)), Decimal(0))


def moved(story: Story, flow_id: str, asset: str, amount: str) -> list[Message]:
    return story.execution(
        FlowObserved(
            account="alpha-main",
            epoch=1,
            at_ms=story.now_ms,
            portfolio="alpha",
            flow_id=flow_id,
            asset=asset,
            amount=Decimal(amount),
            venue_time_ms=story.now_ms,
        )
    )


def classified(story: Story, flow_id: str, asset: str, amount: str, kind: FlowKind = FlowKind.EXTERNAL) -> list[Message]:
    return story.execution(
        FlowClassified(
            account="alpha-main",
            epoch=1,
            at_ms=story.now_ms,
            portfolio="alpha",
            flow_id=flow_id,
            asset=asset,
            amount=Decimal(amount),
            flow_kind=kind,
            control_id=f"said/{flow_id}",
        )
    )


def weight(story: Story, asset: str) -> Decimal:
    return state_of(story).assets[asset].weight


def test_3_4_a_portfolio_of_cash_alone_buys_its_targets_and_stays_in_its_band() -> None:
    story = begun()
    story.mark(after_ms=10_000)
    assert reason_now(story) is Reason.WITHIN_BAND
    assert abs(weight(story, "USDT") - Decimal("0.2")) < Decimal("0.01")


def test_3_4_a_deposit_holds_until_it_is_classified_and_is_then_put_to_work() -> None:
    story = begun()
    story.mark(after_ms=10_000)
    held = only(RebalanceHeldBack, moved(story, "deposit/1", "USDT", "20000"))
    assert (held.reason, held.detail) == (Reason.UNCLASSIFIED_FLOW, "deposit/1")
    assert not orders(story.mark({"BTC/USDT": Decimal(47_000)}, after_ms=10_000))
    bought = orders(classified(story, "deposit/1", "USDT", "20000"))
    story.work_off(bought)
    story.mark(after_ms=10_000)
    assert bought
    assert reason_now(story) is Reason.WITHIN_BAND
    assert not state_of(story).detail


def test_3_4_a_withdrawal_that_nobody_announced_holds_and_nothing_is_sold_for_it_meanwhile() -> None:
    story = begun()
    story.mark(after_ms=10_000)
    said = moved(story, "withdrawal/1", "USDT", "-15000")
    assert only(RebalanceHeldBack, said).reason is Reason.UNCLASSIFIED_FLOW
    assert not orders(said)
    for _ in range(5):
        assert not orders(story.mark(after_ms=10_000))
    sold = orders(classified(story, "withdrawal/1", "USDT", "-15000"))
    assert {order.side.value for order in sold} == {"sell"}


def test_3_4_a_trade_by_hand_waits_for_all_its_flows_to_be_classified() -> None:
    story = begun()
    story.mark(after_ms=10_000)
    moved(story, "trade/BTC/USDT/9/BTC", "BTC", "0.2")
    moved(story, "trade/BTC/USDT/9/USDT", "USDT", "-10000")
    assert not orders(classified(story, "trade/BTC/USDT/9/BTC", "BTC", "0.2", FlowKind.FOREIGN))
    sold = orders(classified(story, "trade/BTC/USDT/9/USDT", "USDT", "-10000", FlowKind.FOREIGN))
    assert [order.side.value for order in sold] == ["sell"]
    story.work_off(sold)
    story.mark(after_ms=10_000)
    assert reason_now(story) is Reason.WITHIN_BAND


def test_3_4_beside_an_order_by_hand_for_40_of_the_cash_the_fold_plans_within_the_free_rest() -> None:
    story = given(USDT="100000")
    moved(story, HAND, "USDT", "0")
    story.hand_seen("alpha-main", "alpha", "7", Side.BUY, "0.8", "50000")
    held = only(RebalanceHeldBack, story.mark(PRICES))
    assert held.reason is Reason.UNCLASSIFIED_FLOW
    assert held.assets["USDT"].reserved == Decimal(40_040)

    said = classified(story, HAND, "USDT", "0", FlowKind.FOREIGN)
    decided = only(RebalanceDecided, said)
    assert decided.nav_quote == 100_000
    assert decided.assets["USDT"].reserved == Decimal(40_040)
    # 80 000 are wanted; 40 040 are bound, 100 are the buffer.
    assert Decimal(59_800) < cost_at_worst(said) <= Decimal(100_000 - 40_040 - 100)

    story.work_off(said)
    assert not orders(story.mark(after_ms=10_000))
    assert reason_now(story) is Reason.BELOW_MINIMUM
    assert story.portfolio().accounts["alpha-main"].holdings["USDT"] >= Decimal(40_040)

    bought = story.hand_gone("alpha-main", "alpha", "7")
    assert {order.side for order in orders(bought)} == {Side.BUY}
    story.work_off(bought)
    story.mark(after_ms=10_000)
    assert reason_now(story) is Reason.WITHIN_BAND
    assert state_of(story).assets["USDT"].reserved == 0


def test_3_4_what_is_left_of_an_order_by_hand_is_what_it_binds() -> None:
    story = given(USDT="100000")
    stood(story, Side.BUY, "0.8", "50000")
    story.hand_seen("alpha-main", "alpha", "7", Side.BUY, "0.2", "50000")
    assert Decimal(79_000) < cost_at_worst(story.mark(PRICES)) <= Decimal(100_000 - 10_010 - 100)


def test_3_4_an_order_by_hand_without_a_known_limit_or_fee_binds_all_the_cash() -> None:
    story = given(USDT="100000")
    stood(story, Side.BUY, "0.1", None)
    assert not orders(story.mark(PRICES))
    assert state_of(story).assets["USDT"].reserved == 100_000
    assert not orders(story.hand_seen("alpha-main", "alpha", "7", Side.BUY, "0.1", None))
    del story.shard.world.rules["binance:BTC/USDT"]
    story.hand_seen("alpha-main", "alpha", "7", Side.BUY, "0.1", "50000")
    assert state_of(story).reason is Reason.NO_RULES
    assert state_of(story).assets["USDT"].reserved == 100_000


def test_3_4_of_what_is_offered_by_hand_the_fold_sells_nothing() -> None:
    story = at_rest()
    held = on_target()["BTC"]
    stood(story, Side.SELL, str(held - Decimal("0.002")), "60000")
    said = story.mark({"BTC/USDT": Decimal(55_000)})
    assert sum(order.quantity_base for order in sells(said)) == Decimal("0.002")
    assert only(RebalanceDecided, said).assets["BTC"].reserved == held - Decimal("0.002")


def test_3_4_a_portfolio_made_anew_still_sees_what_stands_on_its_accounts() -> None:
    story = given(USDT="100000")
    stood(story, Side.BUY, "0.8", "50000")
    for event in (created(incarnation="b" * 32), policy(), targets(), limits()):
        story.control(event)
    assert cost_at_worst(story.mark(PRICES)) <= Decimal(100_000 - 40_040 - 100)


def test_3_4_the_story_of_an_order_by_hand_is_folded_to_the_same_bytes_from_anywhere() -> None:
    story = given(USDT="100000")
    story.work_off([*stood(story, Side.BUY, "0.8", "50000"), *story.mark(PRICES)])
    story.work_off(story.hand_gone("alpha-main", "alpha", "7"))
    once = story.replayed()
    assert [encode(message) for message in once[0]] == [encode(message) for message in story.said]
    assert story.replayed(load_every=1, screened=False) == once
