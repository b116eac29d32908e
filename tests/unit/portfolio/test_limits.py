"""Limits and costs: a plan is cut to what is allowed, and trades are summed in bounded buckets."""

from decimal import Decimal

from schemas.orders import Side
from schemas.rebalance import PortfolioHalted, Reason, RebalanceDecided, RebalanceHeldBack
from streams.domain.portfolio import reasons, tca
from streams.domain.portfolio.limits import DAY_MS, FIVE_MINUTES_MS, counted_anew, with_trade
from streams.domain.portfolio.state import Traded
from tests.unit.portfolio.story import START_MS, at_rest, limits, only, orders, sells

BTC_UP = {"BTC/USDT": Decimal(51_500)}


def test_a_leg_is_capped_at_the_largest_order_and_the_rest_follows_in_the_next_round():
    story = at_rest()
    story.control(limits(order_notional_max=Decimal("0.002")))

    said = story.mark(BTC_UP)

    order = sells(said)[0]
    assert Decimal("0.00199") * 101_500 < order.quantity_base * 51_500 <= Decimal("0.002") * 101_500
    again = story.work_off(said)
    assert [m.round for m in again if isinstance(m, RebalanceDecided) and m.reason is Reason.DRIFT][:1] == [1]


def test_a_buy_that_waited_while_its_price_rose_is_no_larger_than_the_largest_order():
    """It was planned at the price of then; the sell that funds it may take as long as it likes."""
    story = at_rest()
    story.control(limits(order_notional_max=Decimal("0.002")))
    (sell,) = orders(story.mark(BTC_UP))
    story.admitted(sell)
    story.intended(sell)
    story.accepted(sell)
    story.mark({"ETH/USDT": Decimal(5_000)})

    (buy,) = orders(story.filled(sell))

    assert buy.price_limit_quote is not None
    assert buy.quantity_base * buy.price_limit_quote <= Decimal("0.002") * 131_500


def test_a_buy_that_waited_is_cut_to_the_turnover_that_is_left_by_then():
    story = at_rest()
    (sell,) = orders(story.mark(BTC_UP))
    story.admitted(sell)
    story.intended(sell)
    story.accepted(sell)
    story.control(limits(turnover_5min_max=Decimal("0.0065")))

    (buy,) = orders(story.filled(sell))

    assert buy.quantity_base * buy.price_mid_quote <= Decimal("0.0065") * 101_500 - sell.quantity_base * sell.price_mid_quote


def test_what_an_order_of_unknown_outcome_may_trade_is_not_planned_a_second_time():
    story = at_rest()
    story.control(limits(turnover_5min_max=Decimal("0.01")))
    unknown = sells(story.mark({"BTC/USDT": Decimal(51_300)}))[0]
    story.unknown(unknown)

    said = story.mark({"ETH/USDT": Decimal(2_700)})

    notional = sum(order.quantity_base * order.price_mid_quote for order in orders([unknown, *said]))
    assert notional <= Decimal("0.01") * 103_700
    assert len(orders(said)) == 1


def test_a_plan_is_scaled_to_the_turnover_that_is_left():
    story = at_rest()
    story.control(limits(turnover_5min_max=Decimal("0.004")))

    decided = only(RebalanceDecided, story.mark(BTC_UP))

    notional = sum(leg.quantity_base * max(leg.price_mid_quote, leg.price_cap_quote) for leg in decided.legs)
    assert Decimal("0.0037") * 101_500 < notional <= Decimal("0.0038") * 101_500
    assert len(decided.legs) == 2


def test_a_plan_that_uses_its_turnover_up_halts_nothing_when_fees_and_prices_make_the_portfolio_worth_less():
    story = at_rest()
    story.control(limits(turnover_5min_max=Decimal("0.004")))

    said = story.work_off(story.mark({"BTC/USDT": Decimal(52_500)}))
    said += story.mark({"BTC/USDT": Decimal(51_000)}, after_ms=10_000)

    assert Decimal("0.0037") * 102_500 < sum(entry.notional_quote for entry in story.portfolio().traded)
    assert not [m for m in said if isinstance(m, PortfolioHalted)]


def test_without_turnover_left_the_plan_is_held_back_until_the_window_moves_on():
    story = at_rest()
    story.control(limits(turnover_5min_max=Decimal("0.004")))

    said = [*story.work_off(story.mark(BTC_UP)), *story.mark({"BTC/USDT": Decimal(52_500)})]

    held = [message for message in said if isinstance(message, RebalanceHeldBack)]
    assert [message.reason for message in held] == [Reason.IN_WORK, Reason.LIMIT]
    assert held[-1].detail == "BTC LIMIT"
    said, waited_ms = [], 0
    while not orders(said):
        said, waited_ms = story.mark(after_ms=10_000), waited_ms + 10_000
    assert FIVE_MINUTES_MS <= waited_ms <= FIVE_MINUTES_MS + 20_000


def test_an_order_limit_below_the_venues_minimum_holds_back():
    story = at_rest()
    story.control(limits(order_notional_max=Decimal("0.00001")))

    assert only(RebalanceHeldBack, story.mark(BTC_UP)).reason is Reason.LIMIT


def test_trades_of_a_day_stay_in_few_buckets_and_none_is_forgotten_too_early():
    traded: tuple[Traded, ...] = ()
    times = range(START_MS, START_MS + 2 * DAY_MS, 397_000)
    for at_ms in times:
        traded = with_trade(traded, at_ms, Decimal(1), Decimal("0.1"))
    now_ms = times[-1]

    assert len(traded) < 200
    assert sum(entry.notional_quote for entry in traded) >= DAY_MS // 397_000
    assert min(entry.bucket_ms for entry in traded) > now_ms - DAY_MS - 1_200_000


def test_shortfall_is_what_was_paid_beyond_the_mid_at_decision_and_fees():
    buy = tca.Fill(Side.BUY, Decimal(100), Decimal(2), Decimal("200.4"), Decimal("0.2"))
    sell = tca.Fill(Side.SELL, Decimal(100), Decimal(1), Decimal("99.9"), Decimal("0.1"))

    assert tca.cost_quote(buy) == Decimal("0.6")
    assert tca.cost_quote(sell) == Decimal("0.2")
    assert tca.shortfall_bp([buy, sell]) == Decimal("26.666666666666666667")
    assert tca.shortfall_bp([]) is None


def test_shortfall_of_an_instant_fill_at_the_mid_without_fee_is_zero():
    assert tca.shortfall_bp([tca.Fill(Side.BUY, Decimal(100), Decimal(2), Decimal(200), Decimal(0))]) == 0


def test_a_fee_is_valued_in_quote_where_it_has_a_price():
    assert tca.fee_in_quote("USDT", Decimal(3), "BTC", "USDT", Decimal(50_000)) == 3
    assert tca.fee_in_quote("BTC", Decimal("0.001"), "BTC", "USDT", Decimal(50_000)) == 50
    assert tca.fee_in_quote("BNB", Decimal(1), "BTC", "USDT", Decimal(50_000)) == 0


def test_what_is_counted_anew_is_what_the_lifted_halts_were_for():
    old, new = START_MS - FIVE_MINUTES_MS - 60_000, START_MS - 60_000
    traded = (Traded(old, Decimal(7), Decimal(1)), Traded(new, Decimal(5), Decimal(0)))

    assert counted_anew(traded, (), START_MS) == traded
    assert counted_anew(traded, (reasons.LOSS_DAY,), START_MS) == traded
    assert counted_anew(traded, (reasons.TURNOVER_5MIN,), START_MS) == traded[:1]
    assert counted_anew(traded, (reasons.TURNOVER_DAY,), START_MS) == (Traded(old, Decimal(0), Decimal(1)),)
    assert counted_anew(traded, (reasons.NAV_MOVE,), START_MS) == (Traded(old, Decimal(7), Decimal(0)), traded[1])
