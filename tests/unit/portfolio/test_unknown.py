"""An order whose outcome nobody knows: its symbol is blocked, its funds are reserved, the rest trades only if it must under
every outcome."""

from dataclasses import replace
from decimal import Decimal

from schemas.orders import Side
from schemas.rebalance import Reason, RebalanceDecided, RebalanceHeldBack
from streams.domain.portfolio.funds import sellable_base, spendable_quote
from streams.domain.portfolio.valuation import look
from tests.unit.portfolio.story import Story, at_rest, buys, only, orders, reason_now, sells, targets

BTC_UP = {"BTC/USDT": Decimal(51_300)}


def unknown_sell() -> Story:
    story = at_rest()
    story.unknown(sells(story.mark(BTC_UP))[0])
    return story


def test_the_symbol_of_an_unknown_order_is_blocked():
    story = unknown_sell()

    said = story.mark({"BTC/USDT": Decimal(53_000), "ETH/USDT": Decimal(2_600)})  # quote and BTC are far off, ETH is not

    assert not orders(said)
    assert only(RebalanceHeldBack, said).reason is Reason.UNKNOWN_ORDER


def test_what_only_the_blocked_asset_could_bring_back_waits():
    story = unknown_sell()

    said = story.mark({"BTC/USDT": Decimal(56_000), "ETH/USDT": Decimal(2_750)})  # the quote is far off under both outcomes

    assert not orders(said)
    assert only(RebalanceHeldBack, said).reason is Reason.UNKNOWN_ORDER


def test_an_open_order_that_would_leave_no_value_closes_the_gate():
    story = at_rest()
    order = sells(story.mark(BTC_UP))[0]
    state = story.portfolio()
    absurd = order.model_copy(update={"side": Side.BUY, "quantity_base": Decimal(10), "price_limit_quote": Decimal(10**6)})
    state.orders[order.command_id] = replace(state.orders[order.command_id], command=absurd)

    story.mark()

    assert reason_now(story) is Reason.NO_VALUE


def test_another_asset_trades_if_it_is_triggered_under_both_outcomes():
    story = unknown_sell()

    said = story.mark({"ETH/USDT": Decimal(2_600)})

    assert [order.symbol for order in orders(said)] == ["ETH/USDT"]
    decided = only(RebalanceDecided, said)
    assert decided.trigger_asset == "ETH"
    assert {leg.symbol for leg in decided.legs} == {"ETH/USDT"}


def test_an_unknown_order_that_is_found_and_filled_counts_with_its_fill():
    story = unknown_sell()
    order = sells(story.said)[0]
    before = story.portfolio().accounts["alpha-main"].holdings["BTC"]

    story.found(order)
    story.filled(order)
    story.closed(order)

    assert story.portfolio().accounts["alpha-main"].holdings["BTC"] == before - order.quantity_base
    assert not orders(story.mark())


def test_an_unknown_order_that_is_absent_and_expires_is_planned_anew():
    story = unknown_sell()
    order = sells(story.said)[0]

    assert not orders(story.absent(order))
    story.expired_unsent(order)
    said = story.mark()

    assert sells(said)[0].quantity_base == order.quantity_base
    assert only(RebalanceDecided, said).decision_number == 2


def test_an_unknown_sale_reserves_what_it_sells_and_funds_nothing():
    story = unknown_sell()
    order, state = sells(story.said)[0], story.portfolio()

    assert sellable_base(story.shard.world, state, "alpha-main", "BTC") == 1 - order.quantity_base
    sight = look(story.shard.world, state)
    assert sight is not None
    assert len(sight.outcomes) == 2
    assert spendable_quote(story.shard.world, state, "alpha-main", Decimal(100_000)) == 20_000 - 100


def test_an_open_buy_reserves_its_cap_price_and_fee():
    story = at_rest()
    first = buys(story.mark({"BTC/USDT": Decimal(48_000), "ETH/USDT": Decimal(2_400)}))[0]

    left = spendable_quote(story.shard.world, story.portfolio(), "alpha-main", Decimal(100_000))

    assert first.price_limit_quote is not None
    reserved = sum(o.quantity_base * (o.price_limit_quote or 0) * Decimal("1.001") for o in buys(story.said))
    assert left == 20_000 - 100 - reserved


def test_more_unknown_orders_than_outcomes_can_be_looked_at_close_the_gate():
    story = at_rest()
    story.unknown(sells(story.mark(BTC_UP))[0])
    state = story.portfolio()
    known = next(iter(state.orders.values()))
    for n in range(3):
        command = known.command.model_copy(update={"command_id": f"{n:032x}"})
        state.orders[command.command_id] = type(known)(command, known.state, known.since_ms, known.filled_base)

    held = only(RebalanceHeldBack, story.mark({"BTC/USDT": Decimal(60_000)}))

    assert (held.reason, held.detail) == (Reason.UNKNOWN_ORDER, "4 orders")


def test_a_blocked_asset_that_lost_its_target_does_not_stop_the_others():
    story = unknown_sell()

    said = story.control(targets(ETH="0.5", BTC="0.3"))

    assert {order.symbol for order in orders(said)} == {"ETH/USDT"}
