"""3.1: no order leaves at a price that the executor itself has not seen, or that is off its own collar."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.orders import CommandExpiredUnsent, CommandNotAdmitted, OrderUnsent, Side
from streams.domain.orders.prices import SLOTS, WINDOW_MS, Price, outside, seen, unproven
from streams.domain.orders.stimuli import SendOrder
from tests.unit.orders.desk import LIMITS, WALL_MS, Desk, desk, market, place

TIGHT = LIMITS.model_copy(update={"price_collar": Decimal("0.01")})


def quote(mid: int, received_at_ms: int = WALL_MS) -> Price:
    return Price(Decimal(mid - 1), Decimal(mid + 1), received_at_ms)


def tight() -> Desk:
    table = desk()
    table.allow(limits=TIGHT)
    return table


def window(*mids: int, step_ms: int = 1000) -> Price:
    """Quotes one after the other, the last of them now."""
    price = None
    for number, mid in enumerate(mids, start=1 - len(mids)):
        price = seen(price, quote(mid, WALL_MS + number * step_ms))
    assert price is not None
    return price


def test_3_1_given_no_quote_then_an_admitted_command_waits_and_ends_unsent() -> None:
    table = tight()
    table.prices = {}
    command = table.command(place())
    assert table.story(command) == ["admitted"]
    for _ in range(31):
        table.refresh()
        table.allow(limits=TIGHT)
        table.wait(1000)
    assert table.story(command) == ["admitted", "expired-unsent"]
    assert table.said(CommandExpiredUnsent)[0].cause == "too_late: price_unknown"


def test_3_1_given_a_quote_that_comes_in_time_then_the_order_leaves() -> None:
    table = tight()
    table.prices = {}
    command = table.command(place())
    table.prices = None
    table.wait(100)
    table.read_back(command)
    assert len(table.asked(SendOrder)) == 1


@pytest.mark.parametrize("limit", ["20200", "20300"])
def test_3_1_given_a_limit_outside_the_collar_of_the_own_mid_then_it_is_not_admitted(limit: str) -> None:
    """The decision's own mid would allow it: the executor believes what it sees."""
    table = tight()
    table.command(place(price_limit_quote=limit, price_mid_quote="20150"))
    assert table.said(CommandNotAdmitted)[0].cause == "limit:price_collar"


def test_3_1_given_a_limit_inside_the_collar_or_on_the_better_side_then_it_is_admitted() -> None:
    table = tight()
    table.command(place(price_limit_quote="20189"))
    table.command(place(2, price_limit_quote="15000"))
    table.command(place(3, side="sell", price_limit_quote="30000"))
    assert not table.said(CommandNotAdmitted)
    table.command(place(4, side="sell", price_limit_quote="19790"))
    assert table.said(CommandNotAdmitted)[0].cause == "limit:price_collar"


def test_3_1_given_a_market_that_left_while_the_intent_was_written_then_nothing_is_sent() -> None:
    table = tight()
    command = table.command(place())
    table.prices = {"BTC/USDT": quote(19_000)}
    table.read_back(command)
    assert not table.asked(SendOrder)
    assert table.said(OrderUnsent)[0].cause == "limit:price_collar"
    table.wait(1000)
    assert table.said(CommandExpiredUnsent)[0].cause == "limit:price_collar"


def test_3_1_given_a_quote_that_aged_while_the_intent_was_written_then_nothing_is_sent() -> None:
    table = tight()
    command = table.command(place(input_age_ms_max=500))
    table.prices = market(WALL_MS)
    table.wait(400)
    table.prices = market(WALL_MS - 200)
    table.read_back(command)
    assert not table.asked(SendOrder)
    assert table.said(OrderUnsent)[0].cause == "price_stale"


def test_3_1_a_price_carries_orders_only_while_nothing_is_odd() -> None:
    collar = Decimal("0.01")
    assert unproven(None, WALL_MS, 1000, collar) == "price_unknown"
    assert unproven(quote(100), WALL_MS + 1000, 1000, collar) is None
    assert unproven(quote(100), WALL_MS + 1001, 1000, collar) == "price_stale"
    assert unproven(quote(100), WALL_MS - 1001, 1000, collar) == "price_stale"  # dated ahead: it would never grow old
    assert unproven(Price(Decimal(2), Decimal(2), WALL_MS), WALL_MS, 1000, collar) == "price_crossed"
    assert unproven(window(100, 100, 102), WALL_MS, 1000, collar) == "price_off_median"
    assert unproven(window(100, 100, 101), WALL_MS, 1000, collar) is None


def test_3_1_the_median_is_of_the_window_alone_and_no_crossed_quote_enters_it() -> None:
    assert window(100, 200, 300).median_quote == 200
    assert window(100, 200, 300, 300).median_quote == 300
    assert window(*([100] * 40), *([200] * 61)).median_quote == 200
    assert window(100, 100, 300, step_ms=WINDOW_MS).median_quote == 300
    crossed = seen(window(100), Price(Decimal(900), Decimal(800), WALL_MS))
    assert (crossed.median_quote, crossed.crossed) == (100, True)
    assert Price(Decimal(4), Decimal(6), WALL_MS).median_quote == 5


def test_3_1_given_an_older_quote_then_the_newer_one_stays() -> None:
    newer = window(100)
    assert seen(newer, quote(999, WALL_MS - 1)) is newer


def test_3_1_both_the_mid_and_the_median_bound_a_limit() -> None:
    falling = window(101, 101, 100)
    assert outside(Side.SELL, Decimal("99.5"), falling, Decimal("0.01"))
    assert not outside(Side.BUY, Decimal(101), falling, Decimal("0.01"))
    assert outside(Side.BUY, Decimal("101.1"), falling, Decimal("0.01"))


def test_3_1_given_no_limits_then_no_price_is_good_enough() -> None:
    table = desk()
    command = table.command(place())
    table.allow(limits=None)
    table.read_back(command)
    assert not table.asked(SendOrder)


@given(st.lists(st.tuples(st.integers(0, 3 * WINDOW_MS), st.integers(2, 1000)), min_size=1, max_size=200))
def test_3_1_whatever_comes_the_window_stays_bounded_and_the_median_lies_within_it(quotes: list[tuple[int, int]]) -> None:
    price = None
    for received_at_ms, mid in quotes:
        price = seen(price, quote(mid, received_at_ms))
        mids = [entry for _, entry in price.mids]
        assert len(mids) <= SLOTS
        assert price.median_quote in mids
        slots = [slot for slot, _ in price.mids]
        assert slots == sorted(set(slots))
        assert slots[-1] - slots[0] < SLOTS
