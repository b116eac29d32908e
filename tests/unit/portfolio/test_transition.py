"""3.1, policy 28: first funding, new targets and large flows trade outside the turnover that halts, within their own budget."""

from dataclasses import replace
from decimal import Decimal

import pytest

from schemas.codec import encode
from schemas.envelope import Message
from schemas.ledger import OrderState
from schemas.orders import PlaceOrder, Side
from schemas.rebalance import PortfolioHalted, PortfolioObserved, Reason, RebalanceDecided, TransitionCause
from streams.domain.portfolio import reasons
from streams.domain.portfolio.limits import HOUR_MS, turnover_room_quote
from streams.domain.portfolio.state import OpenOrder, Traded, Transition
from streams.domain.portfolio.transition import BUDGET, with_fill
from tests.unit.portfolio.story import (
    PRICES,
    START_MS,
    Story,
    at_rest,
    buys,
    created,
    limits,
    only,
    orders,
    policy,
    reason_now,
    sells,
    state_of,
    targets,
)
from tests.unit.portfolio.test_flows import classified, moved

MINUTE_MS = 60_000
CENT = Decimal("0.01")
STRICT = {"turnover_5min_max": Decimal("0.03"), "turnover_day_max": Decimal("0.3")}
"""Policy 27: three points in five minutes, thirty a day."""
PATIENT = STRICT | {"transition_order_max": CENT, "transition_hour_max": 10 * CENT}
SWAP = targets(BTC="0.3", ETH="0.5")
"""Twenty points from BTC to ETH: forty points of turnover."""


def worked(story: Story, rise: str = "1", every_ms: int = 5 * MINUTE_MS) -> list[Message]:
    """Half a day at most, each order filled at once at its mid, until nothing is to be done; `rise` is that of each step."""
    prices, said = dict(PRICES), []
    for _ in range(12 * HOUR_MS // every_ms):
        prices = {symbol: round(price * Decimal(rise), 2) for symbol, price in prices.items()}
        new = story.mark(prices, after_ms=every_ms)
        said += [*new, *story.work_off(new, rounds_max=100)]
        if reason_now(story) in (Reason.WITHIN_BAND, Reason.HALTED):
            return said
    return said


def halts(said: list[Message]) -> list[str]:
    return [message.cause for message in said if isinstance(message, PortfolioHalted)]


def notional(order: PlaceOrder) -> Decimal:
    return order.quantity_base * order.price_mid_quote


def funded(**allowed: Decimal) -> Story:
    """A portfolio of cash alone, not looked at yet."""
    story = Story()
    for event in (created(), policy(mark_age_ms_max=10 * MINUTE_MS), targets(), limits(**allowed)):
        story.control(event)
    for symbol in PRICES:
        story.rules(symbol)
    story.opened("alpha-main", "alpha", {"USDT": Decimal(100_000)})
    return story


def test_3_1_new_targets_on_a_falling_day_halt_nothing_and_are_reached_within_their_budget() -> None:
    story = at_rest(mark_age_ms_max=10 * MINUTE_MS)
    story.control(limits(**PATIENT))
    said = [*story.control(SWAP)]
    said += [*story.work_off(said, rounds_max=100), *worked(story, "0.998", MINUTE_MS)]
    assert halts(said) == []
    assert reason_now(story) is Reason.WITHIN_BAND
    decided = [message for message in said if isinstance(message, RebalanceDecided)]
    first, last = decided[0].transition, decided[-1].transition
    assert first is not None
    assert last is not None
    assert (first.cause, first.budget_quote, first.spent_quote) == (TransitionCause.TARGETS, Decimal(42_000), 0)
    assert Decimal(30_000) < last.spent_quote < last.budget_quote == 42_000
    assert story.portfolio().transition is None
    assert sum(entry.notional_quote for entry in story.portfolio().traded) < 3_000


def test_3_1_as_ordinary_turnover_the_same_move_would_stand_at_the_days_limit() -> None:
    """What was traded is more than thirty points of what is left after hours of falling: nothing more is planned."""
    story = at_rest()
    story.control(limits(**STRICT))
    said = [*story.control(SWAP)]
    said += [*story.work_off(said, rounds_max=100), *worked(story, "0.998", MINUTE_MS)]
    assert halts(said) == []
    assert reason_now(story) is Reason.LIMIT


def test_3_1_a_transition_trades_a_tenth_in_an_hour_in_orders_of_a_hundredth() -> None:
    story = funded(**PATIENT)
    said = worked(story)
    assert reason_now(story) is Reason.WITHIN_BAND
    placed = orders(said)
    assert {order.side for order in placed} == {Side.BUY}
    assert all(notional(order) <= Decimal(1_000) for order in placed)
    for order in placed:
        hour = [o for o in placed if order.decided_at_ms - HOUR_MS < o.decided_at_ms <= order.decided_at_ms]
        assert sum(notional(o) for o in hour) <= Decimal(10_000)
    assert START_MS + 7 * HOUR_MS < placed[-1].decided_at_ms < START_MS + 10 * HOUR_MS
    observed = [m for m in said if isinstance(m, PortfolioObserved) and m.transition is not None]
    assert {m.transition.cause for m in observed if m.transition} == {TransitionCause.FIRST_FUNDING}
    assert Reason.LIMIT in {m.reason for m in observed}


def test_3_1_what_the_targets_win_before_a_first_funding_has_arrived_is_not_lost() -> None:
    """Prices rise by a tenth while it buys: more than the day's loss of two points, were the targets held from the start."""
    patient, strict = funded(**PATIENT), funded(**STRICT)
    assert halts(worked(patient, "1.001")) == []
    assert halts(worked(strict, "1.001")) == [reasons.LOSS_DAY]


def test_3_1_a_deposit_larger_than_the_band_is_a_transition_that_sells_nothing() -> None:
    story = at_rest(mark_age_ms_max=10 * MINUTE_MS)
    story.control(limits(**PATIENT))
    moved(story, "deposit/1", "USDT", "20000")
    said = [*classified(story, "deposit/1", "USDT", "20000")]
    transition = only(RebalanceDecided, said).transition
    assert transition is not None
    assert transition.cause is TransitionCause.FLOW
    assert round(transition.budget_quote, 9) == BUDGET * 16_000
    said += [*story.work_off(said, rounds_max=100), *worked(story)]
    assert not sells(said)
    assert Decimal(14_000) < sum(notional(order) for order in buys(said)) < Decimal(17_000)
    assert story.portfolio().transition is None


def test_3_1_a_deposit_smaller_than_the_band_or_than_one_order_is_ordinary() -> None:
    story = at_rest(band=Decimal("0.3"))
    story.control(limits(**PATIENT))
    moved(story, "deposit/1", "USDT", "20000")
    assert only(RebalanceDecided, classified(story, "deposit/1", "USDT", "20000")).transition is None
    story = at_rest(mark_age_ms_max=10 * MINUTE_MS)
    story.control(limits(**PATIENT))
    assert only(RebalanceDecided, story.control(targets(BTC="0.495"))).transition is not None
    story = at_rest(mark_age_ms_max=10 * MINUTE_MS)
    story.control(limits(**PATIENT))
    assert only(RebalanceDecided, story.control(targets(BTC="0.4955", ETH="0.3"))).transition is None


def test_3_1_the_same_targets_said_again_begin_nothing() -> None:
    story = at_rest(mark_age_ms_max=10 * MINUTE_MS)
    story.control(limits(**PATIENT))
    story.control(targets())
    assert only(RebalanceDecided, story.mark({"BTC/USDT": Decimal(51_500)})).transition is None


def test_3_1_new_targets_in_a_transition_begin_another_whose_hour_goes_on() -> None:
    story = at_rest(mark_age_ms_max=10 * MINUTE_MS)
    story.control(limits(**PATIENT))
    story.work_off(story.control(SWAP), rounds_max=100)
    assert reason_now(story) is Reason.LIMIT
    assert not orders(story.control(targets(BTC="0.2", ETH="0.6")))
    transition = state_of(story).transition
    assert transition is not None
    assert transition.spent_quote == 0
    assert transition.budget_quote > 45_000
    assert reason_now(story) is Reason.LIMIT


def test_3_1_the_hour_of_transitions_goes_on_when_one_has_arrived() -> None:
    """Targets that change again and again are reached no faster than those that stay."""
    story = at_rest(mark_age_ms_max=10 * MINUTE_MS)
    story.control(limits(**PATIENT))
    said: list[Message] = []
    for weight in ("0.48", "0.5", "0.48", "0.5"):
        new = story.control(targets(BTC=weight, ETH="0.3"))
        said += [*new, *story.work_off(new, rounds_max=100)]
        for _ in range(3):
            new = story.mark(after_ms=MINUTE_MS)
            said += [*new, *story.work_off(new, rounds_max=100)]
    first = story.control(targets(BTC="0.4", ETH="0.3"))
    said += [*first, *story.work_off(first, rounds_max=100)]

    moving = [m for m in said if isinstance(m, RebalanceDecided) and m.transition is not None]
    placed = [order for order in orders(said) if order.signal_id in {signal.signal_id for signal in moving}]
    assert len({signal.transition.since_ms for signal in moving if signal.transition}) == 5
    assert placed[-1].decided_at_ms - placed[0].decided_at_ms < HOUR_MS
    assert Decimal(9_000) < sum(notional(order) for order in placed) <= Decimal(10_000)


def test_3_1_a_used_up_budget_ends_the_transition_and_ordinary_limits_finish_it() -> None:
    story = at_rest(mark_age_ms_max=10 * MINUTE_MS)
    story.control(limits(**PATIENT))
    story.work_off(story.control(SWAP), rounds_max=100)
    running = story.portfolio().transition
    assert running is not None
    spent = replace(running, spent_quote=running.budget_quote - 500)
    story.shard.portfolios["alpha"] = replace(story.portfolio(), transition=spent)
    decided = only(RebalanceDecided, story.mark())
    assert decided.transition is None
    assert Decimal(2_800) < sum(leg.quantity_base * leg.price_mid_quote for leg in decided.legs) <= Decimal(2_850)


@pytest.mark.parametrize(("spent", "ordinary"), [("0", "0"), ("700", "0"), ("1000", "300"), ("1300", "600")])
def test_3_1_what_is_filled_beyond_the_budget_is_ordinary_turnover(spent: str, ordinary: str) -> None:
    story = at_rest()
    order = orders(story.mark({"BTC/USDT": Decimal(51_500)}))[0]
    running = Transition(TransitionCause.FLOW, START_MS, Decimal(1_300), Decimal(spent))
    mine = OpenOrder(order, None, START_MS, Decimal(0), in_transition=True)
    state = replace(story.portfolio(), transition=running, orders={order.command_id: mine})
    after, rest = with_fill(state, order.command_id, START_MS, Decimal(600))
    assert rest == Decimal(ordinary)
    assert after.transition is not None
    assert after.transition.spent_quote == min(Decimal(spent) + 600, Decimal(1_300))


def test_3_1_an_order_of_unknown_outcome_that_outlives_its_transition_is_no_ordinary_turnover() -> None:
    """It blocks its symbol alone: the transition may arrive, or use its budget up, before the order is found with its fill."""
    story = at_rest()
    order = orders(story.mark({"BTC/USDT": Decimal(51_500)}))[0]
    mine = OpenOrder(order, OrderState.UNKNOWN, START_MS, Decimal(0), in_transition=True)
    state = replace(story.portfolio(), transition=None, orders={order.command_id: mine})
    after, rest = with_fill(state, order.command_id, START_MS, Decimal(600))
    assert rest == 0
    assert [entry.notional_quote for entry in after.transitioned] == [Decimal(600)]


def test_3_1_an_order_from_before_a_transition_is_ordinary_turnover() -> None:
    story = at_rest()
    order = orders(story.mark({"BTC/USDT": Decimal(51_500)}))[0]
    state = replace(story.portfolio(), transition=Transition(TransitionCause.FLOW, START_MS, Decimal(1_300)))
    assert with_fill(state, order.command_id, START_MS, Decimal(600)) == (state, Decimal(600))
    assert with_fill(state, None, START_MS, Decimal(600)) == (state, Decimal(600))


def test_3_1_a_transition_may_trade_what_its_hour_and_its_budget_leave() -> None:
    state, allowed = at_rest().portfolio(), limits(**PATIENT)
    traded = (Traded(START_MS, Decimal(4_000), Decimal(0)),)
    for budget, left in (("20000", "6000"), ("5000", "1000"), ("4000", "0")):
        running = Transition(TransitionCause.FLOW, START_MS, Decimal(budget), Decimal(4_000), traded)
        moving = replace(state, transition=running)
        assert turnover_room_quote(moving, allowed, START_MS, Decimal(100_000)) == Decimal(left)
        assert turnover_room_quote(moving, allowed, START_MS, Decimal(30_000)) == 0


def test_3_1_the_accounts_own_limits_hold_a_transition_back_and_halt_nothing() -> None:
    """The executor counts in quote units and knows nothing of transitions: what it refuses is asked for again, ever later."""
    story = at_rest(mark_age_ms_max=10 * MINUTE_MS)
    story.control(limits(**PATIENT))
    asked, said = orders(story.control(SWAP)), []
    for _ in range(20):
        for order in asked:
            said += story.not_admitted(order, "limit:turnover_day_max_quote")
        new = story.mark(after_ms=30_000)
        asked, said = orders(new), said + new
    assert halts(said) == []
    assert story.portfolio().transition is not None
    assert len(orders(said)) < 40


def test_3_1_a_transition_is_folded_to_the_same_bytes_from_anywhere() -> None:
    story = at_rest()
    story.control(limits(**PATIENT))
    story.work_off(story.control(SWAP), rounds_max=100)
    for _ in range(70):
        story.work_off(story.mark(after_ms=MINUTE_MS), rounds_max=100)
    assert story.portfolio().transition is not None
    once = story.replayed()
    assert [encode(message) for message in once[0]] == [encode(message) for message in story.said]
    assert story.replayed(load_every=1, screened=False) == once
