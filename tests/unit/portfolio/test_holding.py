"""3.1: the day's loss against holding the targets, and moves of net asset value that no mark explains."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import FlowKind
from schemas.orders import FlowClassified, FlowObserved
from schemas.rebalance import PortfolioHalted
from streams.domain.portfolio import reasons
from streams.domain.portfolio.holding import HOUR_MS, loss_day_quote, measured, with_flow
from streams.domain.portfolio.state import Benchmark, PortfolioState
from streams.domain.portfolio.valuation import Valuation, value
from tests.unit.portfolio.story import (
    PRICES,
    START_MS,
    Story,
    at_rest,
    created,
    limits,
    on_target,
    only,
    orders,
    policy,
    sells,
    targets,
)

TARGETS = {"BTC": Decimal("0.5"), "ETH": Decimal("0.3"), "USDT": Decimal("0.2")}
MARKS = {"BTC": Decimal(50_000), "ETH": Decimal(2_500)}
HELD = {"BTC": Decimal(1), "ETH": Decimal(12), "USDT": Decimal(20_000)}


def valued(held: dict[str, Decimal] | None = None, **marks: int) -> Valuation:
    seen = value(
        HELD if held is None else held, MARKS | {asset: Decimal(mark) for asset, mark in marks.items()}, TARGETS, "USDT"
    )
    assert seen is not None
    return seen


def begun(held: dict[str, Decimal] | None = None) -> PortfolioState:
    """A portfolio whose measure begins at START with these holdings."""
    return measured(replace(at_rest().portfolio(), benchmark=None), valued(held), START_MS)


def halts(said: list[Any]) -> list[str]:
    return [message.cause for message in said if isinstance(message, PortfolioHalted)]


def test_3_1_price_moves_alone_lose_nothing_on_target() -> None:
    assert loss_day_quote(begun(), valued(BTC=40_000, ETH=3_000), START_MS + 1) == 0


def test_3_1_an_asset_that_was_held_and_gets_a_target_is_no_gain() -> None:
    """Units that nobody managed were worth nothing here; what they are worth now must not hide what is lost later."""
    story = with_others()
    order = orders(story.control(targets(BTC="0.45", ETH="0.27", SOL="0.05")))[0]
    story.admitted(order)
    story.intended(order)

    said = story.filled(order, price=order.price_mid_quote / 2)

    assert halts(said) == [reasons.LOSS_DAY]


def test_3_1_an_asset_that_came_in_by_itself_and_gets_a_target_is_no_loss() -> None:
    story = with_others()
    flow = {"account": "alpha-main", "epoch": 1, "at_ms": story.now_ms, "portfolio": "alpha", "flow_id": "deposit/1"}
    amount = {"asset": "SOL", "amount": Decimal(1_000)}
    story.execution(FlowObserved(**flow, **amount, venue_time_ms=story.now_ms))
    story.execution(FlowClassified(**flow, **amount, flow_kind=FlowKind.EXTERNAL, control_id="test"))

    said = story.control(targets(BTC="0.45", ETH="0.27", SOL="0.05"))

    assert halts([*said, *story.mark(after_ms=20_000)]) == []
    assert sum(hour.loss_quote for hour in story.portfolio().shortfalls) == 0


def with_others() -> Story:
    """A portfolio on its targets whose account holds units of an asset without any, too."""
    story = Story()
    for event in (created(), targets(), policy(), limits(loss_day_max=Decimal("0.001"))):
        story.control(event)
    for symbol in (*PRICES, "SOL/USDT"):
        story.rules(symbol)
    story.opened("alpha-main", "alpha", on_target() | {"SOL": Decimal(1_000)})
    story.mark(PRICES | {"SOL/USDT": Decimal(10)})
    return story


def test_3_1_time_off_the_target_costs_what_the_target_would_have_won() -> None:
    """All in cash while the target rose by a tenth of half the portfolio."""
    cash = {"BTC": Decimal(0), "ETH": Decimal(0), "USDT": Decimal(106_000)}
    state = begun(cash)
    assert loss_day_quote(state, valued(cash, BTC=55_000), START_MS + 1) == 5_300
    assert loss_day_quote(state, valued(cash, BTC=45_000), START_MS + 1) == -5_300


def test_3_1_a_loss_is_the_same_in_whatever_order_a_checkpoint_has_its_assets() -> None:
    """Sums are rounded; a fold that goes on from a checkpoint, whose keys are sorted, must say the very same."""
    weights = {"A": "0.760022931226984428", "B": "0.702065578579950697", "C": "0.840941161714913926"}
    began = {"A": "92014.2114", "B": "88099.0039", "C": "95152.8078"}
    flowed = {"A": "79025.23870552", "B": "802186.70716781", "C": "281258.26989207"}
    units = {"A": "729978.1928488", "B": "790049.6733809", "C": "599672.15939217"}
    marks = {"A": "613.0129", "B": "41198.3602", "C": "84144.3399"}

    def ordered(texts: dict[str, str], names: Sequence[str]) -> dict[str, Decimal]:
        return {name: Decimal(texts[name]) for name in names}

    losses = set()
    for names in permutations(weights):
        measure = (ordered(weights, names), ordered(began, names), ordered(flowed, names))
        state = replace(at_rest().portfolio(), benchmark=Benchmark(START_MS, Decimal(915_779_470_503), *measure), shortfalls=())
        fills = Valuation(Decimal(1), ordered(units, names), ordered(marks, names), {}, {})
        losses.add(loss_day_quote(state, fills, START_MS))
    assert len(losses) == 1


def test_3_1_fees_and_bad_fills_are_lost() -> None:
    assert loss_day_quote(begun(), valued(HELD | {"USDT": Decimal(19_900)}), START_MS + 1) == 100


def test_3_1_what_came_in_by_itself_is_no_gain_and_what_went_out_no_loss() -> None:
    state = begun()
    flowed = with_flow(with_flow(state.benchmark, "USDT", Decimal(-7_000)), "BTC", Decimal("0.5"))
    state = replace(state, benchmark=flowed)
    held = HELD | {"USDT": Decimal(13_000), "BTC": Decimal("1.5")}
    assert loss_day_quote(state, valued(held, BTC=60_000), START_MS + 1) == 0
    assert with_flow(None, "USDT", Decimal(1)) is None


def test_3_1_hours_that_ended_count_for_a_day_and_then_no_more() -> None:
    state = begun()
    hour = START_MS // HOUR_MS * HOUR_MS
    worse = valued(HELD | {"USDT": Decimal(19_900)})
    state = measured(state, worse, hour + HOUR_MS)
    assert [entry.loss_quote for entry in state.shortfalls] == [100]
    assert measured(state, worse, hour + HOUR_MS + 1) is state
    assert loss_day_quote(state, worse, hour + 2 * HOUR_MS) == 100
    for number in range(2, 40):
        state = measured(state, worse, hour + number * HOUR_MS)
        assert len(state.shortfalls) <= 25
    assert loss_day_quote(state, worse, hour + 40 * HOUR_MS) == 0


def test_3_1_targets_that_change_begin_a_new_measure_and_keep_what_can_be_valued() -> None:
    story = at_rest()
    before = story.portfolio().benchmark
    assert before is not None
    story.control(targets(BTC="0.6", ETH="0.2"))
    after = story.portfolio()
    assert after.benchmark is not None
    assert after.benchmark.weights["BTC"] == Decimal("0.6")
    assert [entry.loss_quote for entry in after.shortfalls] == [0]
    story.control(targets(BTC="0.6"))
    story.control(targets(ETH="0.5"))  # what BTC did in between has no mark any more
    assert len(story.portfolio().shortfalls) == 1


def test_3_1_a_day_that_lost_more_than_allowed_against_holding_halts_without_any_fill() -> None:
    """A portfolio that is kept from trading while its target runs away."""
    story = at_rest()
    story.control(limits(loss_day_max=Decimal("0.001"), order_notional_max=Decimal("0.00001")))
    story.control(targets(BTC="0.8", ETH="0.1"))
    said = [m for price in (51_000, 52_000, 52_500) for m in story.mark({"BTC/USDT": Decimal(price)}, after_ms=10_000)]
    halted = only(PortfolioHalted, said)
    assert halted.cause == reasons.LOSS_DAY
    story.resume(halted.halt_id)
    assert not story.portfolio().shortfalls
    assert not halts(story.mark({"BTC/USDT": Decimal(52_501)}, after_ms=10_000))


def test_3_1_a_price_that_is_stale_or_crossed_measures_nothing() -> None:
    story = at_rest()
    story.control(limits(loss_day_max=Decimal("0.001"), order_notional_max=Decimal("0.00001")))
    story.control(targets(BTC="0.8", ETH="0.1"))
    story.now_ms += 10_000
    crossed = story.give(story.batch({"binance:BTC/USDT": (Decimal(60_001), Decimal(60_000))}))
    assert not halts(crossed)
    assert halts(story.mark({"BTC/USDT": Decimal(60_000)}, after_ms=10_000)) == [reasons.LOSS_DAY]


def test_3_1_a_deposit_halts_nothing_and_is_no_gain() -> None:
    story = at_rest()
    story.control(limits(loss_day_max=Decimal("0.001")))
    for number, amount in enumerate(("-50000", "60000")):
        event = {"account": "alpha-main", "epoch": 1, "at_ms": story.now_ms, "portfolio": "alpha", "flow_id": f"flow/{number}"}
        flow = FlowObserved.model_validate(event | {"asset": "USDT", "amount": amount, "venue_time_ms": story.now_ms})
        assert not halts(story.execution(flow))
        assert not halts(story.mark(PRICES, after_ms=10_000))
    benchmark = story.portfolio().benchmark
    assert benchmark is not None
    assert benchmark.flows == {"USDT": Decimal(10_000)}


@pytest.mark.parametrize(("price", "expected"), [(20_000, True), (100_000, True), (59_900, False)])
def test_3_1_fills_that_move_the_value_by_more_than_marks_explain_halt(price: int, expected: bool) -> None:
    """For better or worse: a fill far off every mark is no fill to go on with."""
    story = at_rest()
    story.control(limits(loss_day_max=Decimal(1)))
    order = sells(story.mark({"BTC/USDT": Decimal(60_000)}))[0]
    story.admitted(order)
    story.intended(order)
    assert (halts(story.filled(order, price=Decimal(price))) == [reasons.NAV_MOVE]) is expected


@given(st.lists(st.tuples(st.integers(30_000, 80_000), st.integers(1_000, 5_000)), min_size=1, max_size=30))
def test_3_1_on_target_at_each_hour_no_path_of_prices_loses_anything(path: list[tuple[int, int]]) -> None:
    """Rebalanced for nothing at the end of each hour, a portfolio is its own measure, to the last places."""
    state, held = begun(), HELD
    for hour, (btc, eth) in enumerate(path, start=1):
        now = valued(held, BTC=btc, ETH=eth)
        assert abs(loss_day_quote(state, now, START_MS + hour * HOUR_MS)) < Decimal("1e-12")
        held = {asset: now.nav_quote * weight / now.marks[asset] for asset, weight in TARGETS.items()}
        state = measured(state, valued(held, BTC=btc, ETH=eth), START_MS + hour * HOUR_MS)
