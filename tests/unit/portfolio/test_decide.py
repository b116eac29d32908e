"""Given past messages, when one arrives, then these messages: deciding, funding, planning again."""

from decimal import Decimal

from schemas.orders import OrderType, PlaceOrder, TimeInForce
from schemas.rebalance import PortfolioObserved, Reason, RebalanceDecided, RebalanceHeldBack
from streams.domain.ids import command_id, signal_id
from tests.unit.portfolio.story import (
    INCARNATION,
    PRICES,
    START_MS,
    Story,
    at_rest,
    buys,
    created,
    key,
    limits,
    on_target,
    only,
    orders,
    policy,
    reason_now,
    sells,
    state_of,
    targets,
    two_accounts,
)

BTC_UP = {"BTC/USDT": Decimal(51_500)}


def test_a_portfolio_on_its_targets_says_only_how_it_stands():
    story = at_rest()

    said = [message for _ in range(30) for message in story.mark(PRICES)]

    assert len(said) == 3
    assert {message.reason for message in said if isinstance(message, PortfolioObserved)} == {Reason.WITHIN_BAND}


def test_a_drift_beyond_the_threshold_sells_down_to_the_inner_edge():
    story = at_rest()

    said = story.mark(BTC_UP)

    decided = only(RebalanceDecided, said)
    assert (decided.reason, decided.trigger_asset, decided.decision_number, decided.round) == (Reason.DRIFT, "BTC", 1, 0)
    assert decided.nav_quote == 101_500
    order = only(PlaceOrder, said)
    wanted = (decided.assets["BTC"].drift - Decimal("0.0021")) * decided.nav_quote / 51_500
    assert 0 <= wanted - order.quantity_base < Decimal("0.00001")
    assert (order.order_type, order.time_in_force) == (OrderType.LIMIT, TimeInForce.IOC)
    assert order.price_limit_quote == Decimal("51397")
    assert order.price_mid_quote == 51_500
    assert (order.admit_by_ms, order.expires_at_ms) == (story.now_ms + 10_000, story.now_ms + 3_600_000)
    assert (order.oldest_received_at_ms, order.input_age_ms_max) == (story.now_ms, 60_000)


def test_ids_come_from_the_decision_and_its_ordinal():
    story = at_rest()

    said = story.mark({"BTC/USDT": Decimal(48_000), "ETH/USDT": Decimal(2_400)})

    signal = signal_id("test", "alpha", INCARNATION, 1)
    assert only(RebalanceDecided, said).signal_id == signal
    assert [order.command_id for order in orders(said)] == [command_id(signal, n) for n in range(len(orders(said)))]
    assert [order.ordinal for order in orders(said)] == list(range(len(orders(said))))


def test_a_drift_below_the_threshold_waits():
    story = at_rest()

    assert not orders(story.mark({"BTC/USDT": Decimal(50_800)}))  # drift 0.00395


def test_buys_wait_for_the_fill_of_a_sell_and_are_decided_anew():
    story = at_rest()
    decided = story.mark(BTC_UP)
    assert [leg.symbol for leg in only(RebalanceDecided, decided).legs] == ["BTC/USDT", "ETH/USDT"]
    assert only(RebalanceDecided, decided).legs[1].command_id is None
    sell = sells(decided)[0]
    story.admitted(sell)
    story.intended(sell)
    assert not story.accepted(sell)

    released = story.filled(sell)

    signal = only(RebalanceDecided, released)
    assert (signal.reason, signal.decision_number, signal.round) == (Reason.SELL_FILLED, 2, 0)
    assert [order.symbol for order in buys(released)] == ["ETH/USDT"]
    assert buys(released)[0].quantity_base == only(RebalanceDecided, decided).legs[1].quantity_base


def test_after_a_plan_every_asset_is_inside_the_threshold_and_nothing_more_is_sent():
    story = at_rest()

    story.work_off(story.mark(BTC_UP))

    views = only(PortfolioObserved, story.mark(after_ms=10_000)).assets
    assert max(abs(view.drift) for view in views.values()) < Decimal("0.0042")
    assert not story.portfolio().orders
    assert not orders([m for _ in range(5) for m in story.mark()])


def test_one_plan_in_work_nothing_is_sent_twice():
    story = at_rest()
    story.mark(BTC_UP)

    said = [message for price in (51_510, 51_505, 51_500) for message in story.mark({"BTC/USDT": Decimal(price)})]

    assert not orders(said)
    assert reason_now(story) is Reason.IN_WORK


def test_a_trigger_beyond_what_is_in_work_is_held_back_once():
    story = at_rest()
    story.mark(BTC_UP)

    said = [message for price in (52_500, 52_600, 52_700) for message in story.mark({"BTC/USDT": Decimal(price)})]

    assert only(RebalanceHeldBack, said).reason is Reason.IN_WORK


def test_a_residual_is_planned_anew_from_holdings_in_the_next_round():
    story = at_rest()
    first = sells(story.mark({"BTC/USDT": Decimal(53_000)}))[0]

    said = story.executed(first, Decimal("0.1"))

    again = [m for m in said if isinstance(m, RebalanceDecided) and m.reason is Reason.DRIFT]
    assert len(again) == 0  # the sell's fill released the buys, which are still in work
    buy = buys(said)[0]
    said = story.executed(buy)
    decided = only(RebalanceDecided, said)
    assert (decided.reason, decided.round) == (Reason.DRIFT, 1)
    assert sells(said)[0].round == 1
    assert sells(said)[0].quantity_base < first.quantity_base


def test_an_order_that_was_not_admitted_ends_and_is_decided_anew_after_a_pause():
    story = at_rest()
    order = sells(story.mark(BTC_UP))[0]

    assert not orders(story.not_admitted(order))
    assert not orders(story.mark(after_ms=500))
    said = story.mark(after_ms=600)

    assert only(RebalanceDecided, said).decision_number == 2
    assert sells(said)[0].quantity_base == order.quantity_base


def test_plans_that_fill_nothing_are_tried_at_growing_distances():
    story = at_rest()
    said = story.mark(BTC_UP)
    waits = []
    for _ in range(9):
        order = orders(said)[0]
        story.executed(order, Decimal(0))
        begun = story.now_ms
        said = story.mark(after_ms=1_000)
        while not orders(said):
            said = story.mark(after_ms=1_000)
        waits.append(story.now_ms - begun)
    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]


def test_an_overweight_quote_buys_the_most_underweight_asset():
    story = Story()
    for event in (created(), targets(BTC="0.5", ETH="0.3"), policy(), limits()):
        story.control(event)
    for symbol in PRICES:
        story.rules(symbol)
    story.opened("alpha-main", "alpha", {"BTC": Decimal("0.992"), "ETH": Decimal("11.98"), "USDT": Decimal(20_450)})

    said = story.mark(PRICES)

    decided = only(RebalanceDecided, said)
    assert decided.trigger_asset == "USDT"
    assert [order.symbol for order in orders(said)] == ["BTC/USDT"]


def test_a_leg_below_the_venues_minimum_is_a_debt_and_the_rest_is_netted_again():
    story = at_rest()
    story.rules("ETH/USDT", notional_min_quote=Decimal(500))

    said = story.mark(BTC_UP)

    decided = only(RebalanceDecided, said)
    assert [(debt.asset, debt.cause) for debt in decided.debts] == [("ETH", "MINIMUM")]
    assert [leg.symbol for leg in decided.legs] == ["BTC/USDT"]


def test_a_plan_of_which_nothing_is_left_is_held_back():
    story = at_rest()
    for symbol in PRICES:
        story.rules(symbol, notional_min_quote=Decimal(5_000))

    held = only(RebalanceHeldBack, story.mark(BTC_UP))

    assert (held.reason, held.detail) == (Reason.BELOW_MINIMUM, "BTC MINIMUM, ETH MINIMUM")
    assert not story.mark(BTC_UP)


def test_the_drift_that_is_published_sums_to_zero_and_is_the_one_compared():
    story = at_rest()

    views = only(RebalanceDecided, story.mark({"BTC/USDT": Decimal("51234.57")})).assets

    assert sum(view.drift for view in views.values()) == 0
    assert sum(view.weight for view in views.values()) == 1


def test_time_in_band_is_the_share_of_journal_time_within_the_band():
    story = at_rest(band=Decimal("0.004"), threshold=Decimal("0.004"))
    story.stop("portfolio:alpha")
    story.mark({"BTC/USDT": Decimal(51_500)}, after_ms=7_000)  # out of band from here
    story.mark({"BTC/USDT": Decimal(50_000)}, after_ms=2_000)  # and back

    seen = only(PortfolioObserved, story.mark(after_ms=10_000))

    assert (seen.time_total_ms, seen.time_in_band_ms) == (19_000, 17_000)
    assert story.portfolio().observed_at_ms == story.now_ms > START_MS


def test_a_drift_between_a_narrow_band_and_the_threshold_is_outside_and_not_traded():
    story = at_rest(band=Decimal("0.003"))

    assert not orders(story.mark({"BTC/USDT": Decimal(50_800)}, after_ms=9_000))  # drift 0.00395
    assert not orders(story.mark({"BTC/USDT": Decimal(50_100)}, after_ms=500))

    assert state_of(story).time_in_band_ms == state_of(story).time_total_ms - 500


def test_two_accounts_sell_where_the_asset_is_held_and_buy_where_the_money_is():
    whole = {asset: str(amount) for asset, amount in on_target().items()}
    rest = str(Decimal(whole["BTC"]) - Decimal("0.005"))
    story = two_accounts({"BTC": "0.005", "ETH": whole["ETH"], "USDT": "1000"}, {"BTC": rest, "USDT": "19000"})

    said = story.mark(PRICES | {"BTC/USDT": Decimal(53_000)})

    decided = only(RebalanceDecided, said)
    assert [(leg.account, leg.side.value) for leg in decided.legs] == [("alpha-side", "sell"), ("alpha-side", "buy")]
    assert story.portfolio().waiting


def test_an_asset_without_a_target_is_neither_valued_nor_traded():
    story = Story()
    for event in (created(), targets(), policy(), limits()):
        story.control(event)
    for symbol in PRICES:
        story.rules(symbol)
    story.opened("alpha-main", "alpha", on_target() | {"BNB": Decimal(100)})
    story.mark(PRICES)

    assert state_of(story).nav_quote == 100_000
    assert set(state_of(story).assets) == {"BTC", "ETH", "USDT"}


def test_prices_come_from_the_venue_of_the_first_account():
    story = at_rest()

    assert key("BTC/USDT") in story.shard.watches["alpha"].keys
