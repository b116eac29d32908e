"""The table of the policy's steps: amounts, netting, sizing, caps, funding."""

from decimal import Decimal
from typing import Any

import pytest

from schemas.control import StopKind
from schemas.orders import PlaceOrder, Side
from schemas.rebalance import Reason, RebalanceDecided, RebalanceHeldBack
from schemas.venue import TradingStatus
from streams.domain.portfolio.plan import inner_edge, netted, orderable_base, price_cap
from streams.domain.portfolio.screen import Moves, Watch, bounds, is_quiet
from streams.domain.portfolio.threshold import triggered
from streams.domain.portfolio.valuation import Valuation
from tests.unit.portfolio.story import (
    PRICES,
    only,
    orders,
    sells,
    targets,
    two_accounts,
    venue_rules,
)


def d(text: str) -> Decimal:
    return Decimal(text)


@pytest.mark.parametrize(
    ("drift", "edge", "aimed"),
    [("0.005", "0.0021", "0.0021"), ("-0.005", "0.0021", "-0.0021"), ("0.001", "0.0021", "0.001"), ("-0.005", "0", "0")],
)
def test_a_triggered_asset_is_brought_to_the_edge_on_its_own_side(drift: str, edge: str, aimed: str):
    assert inner_edge(d(drift), d(edge)) == d(aimed)


@pytest.mark.parametrize(
    ("before", "limit", "fixed", "after"),
    [
        # within its limit the quote stays
        ({"A": "0.003", "B": "-0.001"}, "0.0042", (), {"A": "0.003", "B": "-0.001"}),
        # quote too low: the most overweight is sold
        ({"A": "0.004", "B": "0.002"}, "0.0042", (), {"A": "0.0022", "B": "0.002"}),
        # levelling: both end at the same height
        ({"A": "0.004", "B": "0.0035"}, "0.0042", (), {"A": "0.0021", "B": "0.0021"}),
        # quote too high: the most underweight is bought
        ({"A": "-0.004", "B": "-0.001", "C": "0"}, "0.0021", (), {"A": "-0.0011", "B": "-0.001", "C": "0"}),
        # only assets on the other side of the quote move
        ({"A": "0.006", "B": "-0.0005"}, "0.0042", (), {"A": "0.0047", "B": "-0.0005"}),
        # a fixed asset stays; what the others cannot carry stays with the quote
        ({"A": "0.004", "B": "0.003"}, "0.0042", ("A",), {"A": "0.004", "B": "0.0002"}),
        ({"A": "0.006", "B": "0.001"}, "0.0042", ("A",), {"A": "0.006", "B": "0"}),
        ({"A": "0.006"}, "0.0042", ("A",), {"A": "0.006"}),
    ],
)
def test_netting_brings_the_quote_within_its_limit(
    before: dict[str, str], limit: str, fixed: tuple[str, ...], after: dict[str, str]
):
    drifts = {asset: d(drift) for asset, drift in before.items()}

    assert netted(drifts, d(limit), fixed) == {asset: d(drift) for asset, drift in after.items()}


@pytest.mark.parametrize(
    ("quantity", "price", "changes", "orderable"),
    [
        ("0.123456789", "50000", {}, "0.12345"),
        ("0.00009", "50000", {}, "0"),  # 4.5 below the minimal notional of 5
        ("0.0001", "50000", {}, "0.0001"),
        ("0.00099", "50000", {"quantity_min_base": d("0.001")}, "0"),
        ("20000", "1", {}, "9000"),
        ("3", "50000", {"notional_max_quote": d("100000")}, "2"),
        ("7.9", "10", {"quantity_step_base": d("2.5")}, "7.5"),
    ],
)
def test_a_quantity_is_rounded_down_to_what_the_venue_takes(quantity: str, price: str, changes: dict[str, Any], orderable: str):
    assert orderable_base(venue_rules("BTC/USDT", **changes), d(quantity), d(price)) == d(orderable)


@pytest.mark.parametrize(
    ("side", "mid", "tick", "cap"),
    [
        (Side.BUY, "50000", "0.01", "50100"),
        (Side.SELL, "50000", "0.01", "49900"),
        (Side.BUY, "33333.33", "0.5", "33399.5"),
        (Side.SELL, "33333.33", "0.5", "33267"),
        (Side.BUY, "0.4", "1", "1"),  # never below one tick
        (Side.SELL, "0.4", "1", "1"),
    ],
)
def test_the_cap_lies_on_the_tick_inside_the_policys_distance(side: Side, mid: str, tick: str, cap: str):
    rules = venue_rules("BTC/USDT", price_tick_quote=d(tick))

    assert price_cap(side, d(mid), d("0.002"), rules) == d(cap)


def seen(**drifts: str) -> Valuation:
    figures = {asset: d(drift) for asset, drift in drifts.items()}
    return Valuation(d("1"), {}, {}, {}, figures)


@pytest.mark.parametrize(
    ("fills", "pending", "expected"),
    [
        ({"A": "0.0042", "Q": "-0.0042"}, {"A": "0.0042", "Q": "-0.0042"}, ("A", "Q")),  # at the threshold counts
        ({"A": "0.0041", "Q": "-0.0041"}, {"A": "0.005", "Q": "-0.005"}, ()),  # needs the fills' drift
        ({"A": "0.005", "Q": "-0.005"}, {"A": "0.0021", "Q": "-0.0021"}, ()),  # and the pending one
        ({"A": "0.005", "Q": "-0.005"}, {"A": "-0.005", "Q": "0.005"}, ()),  # on the same side
        ({"A": "0.005", "B": "-0.006", "Q": "0.001"}, {"A": "0.005", "B": "-0.006", "Q": "0.001"}, ("B", "A")),
        ({"A": "0", "Q": "0"}, {"A": "0", "Q": "0"}, ()),
    ],
)
def test_a_trigger_needs_fills_and_pending_beyond_the_threshold_on_one_side(
    fills: dict[str, str], pending: dict[str, str], expected: tuple[str, ...]
):
    assert triggered(seen(**fills), (seen(**pending),), d("0.0042")) == expected


def test_a_blocked_asset_never_triggers_and_every_outcome_must_agree():
    far, near = seen(A="0.006", Q="-0.006"), seen(A="0.001", Q="-0.001")

    assert triggered(far, (far,), d("0.0042"), {"A"}) == ("Q",)
    assert triggered(far, (far, near), d("0.0042")) == ()
    assert triggered(seen(A="0", Q="0"), (seen(A="0", Q="0"),), d("0")) == ()


def test_a_watch_ends_at_its_time_at_its_bounds_and_when_a_quote_is_crossed():
    watch = Watch(1_000, frozenset({"x:A/Q", "y:A/Q"}), (("x:A/Q", d("9"), d("11")),))

    assert is_quiet(watch, Moves({"x:A/Q": d("10"), "x:B/Q": d("99")}, frozenset()), 999)
    assert not is_quiet(watch, Moves({}, frozenset()), 1_000)
    assert not is_quiet(watch, Moves({"x:A/Q": d("9")}, frozenset()), 0)
    assert not is_quiet(watch, Moves({"x:A/Q": d("11")}, frozenset()), 0)
    assert not is_quiet(watch, Moves({}, frozenset({"y:A/Q"})), 0)
    assert is_quiet(watch, Moves({}, frozenset({"y:B/Q"})), 0)


@pytest.mark.parametrize(
    "figures",
    [
        [(d("-0.1"), d("0")), (d("1.1"), d("0"))],  # a negative holding
        [(d("0.5"), d("0.0042")), (d("0.5"), d("-0.0042"))],  # at the limit already
        [(d("0"), d("0.005")), (d("1"), d("-0.001"))],  # without weight, but beyond
        [(d("0"), d("0"))],
    ],
)
def test_nothing_is_proven_where_a_bound_would_be_a_guess(figures: list[tuple[Decimal, Decimal]]):
    assert bounds({"x:A/Q": d("10")}, figures, d("0.0042")) is None


def test_a_buy_goes_to_the_account_with_most_money_and_is_scaled_to_it():
    story = two_accounts({"BTC": "0.4", "ETH": "12", "USDT": "21000"}, {"USDT": "29000"})
    story.control(targets(BTC="0.7", ETH="0.3"))

    said = story.mark(PRICES)

    order = only(PlaceOrder, said)
    assert (order.account, order.side, order.symbol) == ("alpha-side", Side.BUY, "BTC/USDT")
    assert order.price_limit_quote is not None
    spent = order.quantity_base * order.price_limit_quote * d("1.001")
    assert 29_000 - 100 - 1 < spent <= 29_000 - 100


def test_a_buy_that_its_account_cannot_pay_is_a_debt_that_says_where_the_money_is():
    story = two_accounts({"BTC": "0.8", "ETH": "12", "USDT": "14950"}, {"USDT": "15050"})
    story.rules("BTC/USDT", notional_min_quote=d("15000"))
    story.control(targets(BTC="0.7", ETH="0.3"))

    held = only(RebalanceHeldBack, story.mark(PRICES))

    assert (held.reason, held.detail) == (Reason.BELOW_MINIMUM, "BTC FUNDS_ELSEWHERE")


def test_a_buy_that_no_account_can_pay_is_a_debt():
    story = two_accounts({"BTC": "1", "ETH": "11.8", "USDT": "82"}, {"USDT": "0"})
    story.control(targets(BTC="0.6", ETH="0.4"))
    story.rules("BTC/USDT", status=TradingStatus.MAINTENANCE)

    held = only(RebalanceHeldBack, story.mark(PRICES))

    assert held.detail == "BTC VENUE_CLOSED, ETH FUNDS"


def test_an_asset_that_only_a_stopped_account_holds_is_a_debt():
    story = two_accounts({"ETH": "16"}, {"BTC": "1", "USDT": "20000"})
    story.stop("account:alpha-main")

    said = story.mark(PRICES)

    decided = only(RebalanceDecided, said)
    assert [(debt.asset, debt.cause) for debt in decided.debts] == [("ETH", "FUNDS_ELSEWHERE")]
    assert {(order.account, order.symbol) for order in orders(said)} == {("alpha-side", "BTC/USDT")}


def test_an_asset_is_sold_on_every_account_that_holds_it_the_largest_holding_first():
    story = two_accounts({"BTC": "0.5", "ETH": "12"}, {"BTC": "0.7", "USDT": "20000"})
    story.control(targets(BTC="0.1", ETH="0.3"))

    said = story.mark(PRICES)

    assert [(order.account, order.symbol) for order in sells(said)] == [
        ("alpha-side", "BTC/USDT"),
        ("alpha-main", "BTC/USDT"),
    ]
    assert sells(said)[0].quantity_base == d("0.7")


def test_waiting_buys_of_a_stopped_account_go_on_waiting_while_another_account_works():
    story = two_accounts({"BTC": "0.6", "ETH": "2"}, {"BTC": "0.6", "ETH": "2", "USDT": "20000"})
    story.control(targets(BTC="0.1", ETH="0.7"))
    said = story.mark(PRICES)
    assert {order.account for order in sells(said)} == {"alpha-main", "alpha-side"}
    held = {leg.account for leg in story.portfolio().waiting}
    first = next(order for order in sells(said) if order.account in held)
    story.stop(f"account:{first.account}", kind=StopKind.FREEZE)
    story.admitted(first)
    story.intended(first)

    assert not orders(story.filled(first))

    assert {leg.account for leg in story.portfolio().waiting} == held


def test_a_buy_is_split_only_into_parts_that_the_venue_takes():
    story = two_accounts({"BTC": "1.2", "ETH": "8", "USDT": "78"}, {"USDT": "0"})
    said = story.mark(PRICES)
    sell = sells(said)[0]
    waiting = story.portfolio().waiting[0]
    story.admitted(sell)
    story.intended(sell)

    tiny = story.filled(sell, d("0.0001"))
    some = story.filled(sell, d("0.05"))

    assert not orders(tiny)  # 5 quote units less fee: below the minimum
    bought = only(PlaceOrder, some)
    assert d("2400") < bought.quantity_base * d("2500") < d("2510")
    assert story.portfolio().waiting[0].quantity_base == waiting.quantity_base - bought.quantity_base
