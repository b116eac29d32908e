"""3.1: what the core does with orders, told as given, when, then."""

import json
from decimal import Decimal

import pytest

from streams.matching.funds import BACKGROUND
from streams.matching.market import Market
from streams.matching.orders import Kind, Refusal, Refused, Side, Status, TimeInForce
from tests.unit.matching.given import RULES, accepted, owns, request, venue


def quoted(market: Market, bids: dict[str, str], asks: dict[str, str]) -> None:
    market.quote(
        "BTCUSDT",
        [(Decimal(price), Decimal(quantity)) for price, quantity in bids.items()],
        [(Decimal(price), Decimal(quantity)) for price, quantity in asks.items()],
        now_ms=2,
    )


def test_a_limit_order_that_meets_nobody_rests_and_locks_what_it_may_spend():
    market = venue()
    order = accepted(market, request("alice", "buy", "2", "100"))
    assert order.status is Status.NEW
    assert owns(market, "alice") == {"BTC": (10, 0), "USDT": (9_800, 200)}
    assert market.books["BTCUSDT"].levels(Side.BUY) == [(100, 2)]


def test_a_taker_gets_the_price_of_the_resting_order_and_its_better_price_back():
    market = venue()
    maker = accepted(market, request("bob", "sell", "1", "100"))
    taker = accepted(market, request("alice", "buy", "1", "105"))
    assert (maker.status, taker.status) == (Status.FILLED, Status.FILLED)
    assert [fill.price_quote for fill in taker.fills] == [100]
    assert owns(market, "alice") == {"BTC": (11, 0), "USDT": (9_900, 0)}
    assert owns(market, "bob") == {"BTC": (9, 0), "USDT": (10_100, 0)}


def test_better_prices_trade_first_and_at_one_price_the_older_order():
    market = venue()
    late_and_dear = accepted(market, request("bob", "sell", "1", "101"))
    first = accepted(market, request("bob", "sell", "1", "100", client_order_id="first"))
    second = accepted(market, request("bob", "sell", "1", "100", client_order_id="second"))
    taker = accepted(market, request("alice", "buy", "1.5", "101"))
    assert [(fill.price_quote, fill.quantity_base) for fill in taker.fills] == [(100, 1), (100, Decimal("0.5"))]
    assert (first.status, second.status, late_and_dear.status) == (Status.FILLED, Status.PARTIALLY_FILLED, Status.NEW)


def test_what_a_limit_order_could_not_trade_rests_at_its_price():
    market = venue()
    accepted(market, request("bob", "sell", "1", "100"))
    order = accepted(market, request("alice", "buy", "3", "100"))
    assert (order.status, order.filled_base) == (Status.PARTIALLY_FILLED, 1)
    assert market.books["BTCUSDT"].levels(Side.BUY) == [(100, 2)]
    assert owns(market, "alice") == {"BTC": (11, 0), "USDT": (9_700, 200)}


@pytest.mark.parametrize(
    ("time_in_force", "quantity", "status", "filled"),
    [
        (TimeInForce.IOC, "1", Status.FILLED, "1"),
        (TimeInForce.IOC, "3", Status.EXPIRED, "1"),
        (TimeInForce.FOK, "1", Status.FILLED, "1"),
        (TimeInForce.FOK, "3", Status.EXPIRED, "0"),
    ],
)
def test_immediate_orders_never_rest(time_in_force, quantity, status, filled):
    market = venue()
    accepted(market, request("bob", "sell", "1", "100"))
    order = accepted(market, request("alice", "buy", quantity, "100", time_in_force=time_in_force))
    assert (order.status, order.filled_base) == (status, Decimal(filled))
    assert market.books["BTCUSDT"].levels(Side.BUY) == []
    assert market.funds.balance("alice", "USDT").locked == 0


def test_a_post_only_order_rests_or_is_refused():
    market = venue()
    accepted(market, request("bob", "sell", "1", "100"))
    crossing = request("alice", "buy", "1", "100", kind=Kind.LIMIT_MAKER)
    assert market.submit(crossing, 2) == Refused(Refusal.WOULD_TAKE)
    assert accepted(market, request("alice", "buy", "1", "99.99", kind=Kind.LIMIT_MAKER)).status is Status.NEW


def test_a_market_order_walks_the_book_and_ends():
    market = venue()
    quoted(market, {"99": "1"}, {"100": "1", "101": "2", "103": "1"})
    order = accepted(market, request("alice", "buy", "3.5"))
    assert [(fill.price_quote, fill.quantity_base) for fill in order.fills] == [
        (100, 1),
        (101, 2),
        (103, Decimal("0.5")),
    ]
    assert (order.status, order.filled_quote) == (Status.FILLED, Decimal("353.5"))


def test_a_market_order_beyond_the_book_expires_with_what_it_got():
    market = venue()
    quoted(market, {"99": "1"}, {})
    order = accepted(market, request("alice", "sell", "2"))
    assert (order.status, order.filled_base) == (Status.EXPIRED, 1)
    assert owns(market, "alice") == {"BTC": (9, 0), "USDT": (10_099, 0)}


def test_a_market_order_in_an_empty_book_expires():
    market = venue()
    assert accepted(market, request("alice", "buy", "1")).status is Status.EXPIRED


def test_a_market_order_may_name_the_quote_amount_and_never_pays_more():
    market = venue()
    quoted(market, {}, {"100": "1", "101": "9"})
    order = accepted(market, request("alice", "buy", "0", quantity_quote=Decimal("150.55")))
    assert (order.quantity_base, order.filled_quote) == (Decimal("1.500"), Decimal("150.5"))


def test_what_a_market_order_costs_must_be_there_before_it_starts():
    market = venue()
    quoted(market, {}, {"1000": "1", "9500": "9"})
    assert market.submit(request("alice", "buy", "2"), 2) == Refused(Refusal.INSUFFICIENT_FUNDS)
    assert accepted(market, request("alice", "buy", "1")).status is Status.FILLED


@pytest.mark.parametrize(("side", "quantity"), [("buy", "101"), ("sell", "10.001")])
def test_an_order_beyond_the_free_funds_is_refused_and_changes_nothing(side, quantity):
    market = venue()
    sequence, before = market.journal.sequence, owns(market, "alice")
    assert market.submit(request("alice", side, quantity if side == "sell" else "100", "100.01"), 2) == Refused(
        Refusal.INSUFFICIENT_FUNDS
    )
    assert (market.journal.sequence, owns(market, "alice")) == (sequence, before)


def test_a_client_id_is_refused_only_while_its_order_is_open():
    market = venue()
    first = accepted(market, request("alice", "buy", "1", "100", client_order_id="same"))
    assert market.submit(request("alice", "buy", "1", "99", client_order_id="same"), 3) == Refused(Refusal.DUPLICATE)
    assert accepted(market, request("bob", "buy", "1", "99", client_order_id="same")).status is Status.NEW
    assert market.cancel(first, "cancel", 4) is None
    again = accepted(market, request("alice", "buy", "1", "99", client_order_id="same"))
    assert market.register.by_client_id("alice", "BTCUSDT", "same") is again


def test_a_cancel_frees_the_funds_once():
    market = venue()
    order = accepted(market, request("alice", "sell", "2", "100"))
    assert market.cancel(order, "mine", 3) is None
    assert (order.status, order.updated_at_ms) == (Status.CANCELED, 3)
    assert owns(market, "alice") == {"BTC": (10, 0), "USDT": (10_000, 0)}
    assert market.cancel(order, "mine", 4) == Refused(Refusal.UNKNOWN_ORDER)
    assert market.books["BTCUSDT"].levels(Side.SELL) == []


def test_an_unlisted_or_suspended_symbol_takes_no_orders_but_cancels_pass():
    market = venue()
    order = accepted(market, request("alice", "buy", "1", "100"))
    market.closed_symbols.add("BTCUSDT")
    assert market.submit(request("bob", "buy", "1", "100"), 3) == Refused(Refusal.MARKET_CLOSED)
    assert market.submit(request("bob", "buy", "1", "100", symbol="XRPUSDT"), 3) == Refused(Refusal.UNKNOWN_SYMBOL)
    assert market.cancel(order, "mine", 4) is None


def test_background_liquidity_that_moves_trades_with_orders_in_its_way_at_their_price():
    market = venue()
    order = accepted(market, request("alice", "sell", "2", "100"))
    quoted(market, {"101": "1.5"}, {"102": "1"})
    assert (order.filled_base, order.fills[0].price_quote, order.fills[0].is_maker) == (Decimal("1.5"), 100, True)
    assert market.books["BTCUSDT"].levels(Side.BUY) == []
    quoted(market, {"101": "1.5"}, {"102": "1"})
    assert order.status is Status.FILLED
    assert market.books["BTCUSDT"].levels(Side.BUY) == [(101, 1)]


def test_background_levels_that_stay_keep_their_place_in_time_and_others_lose_it():
    market = venue()
    quoted(market, {"100": "1", "99": "1"}, {})
    accepted(market, request("alice", "buy", "1", "100"))
    accepted(market, request("alice", "buy", "1", "99"))
    quoted(market, {"100": "1", "99": "2"}, {})
    seller = accepted(market, request("bob", "sell", "3", "99"))
    fills = [entry.body for entry in market.journal.since(1) if entry.kind == "fill"]
    assert [body["counterparty"] for body in fills if body["account"] == "bob"] == [BACKGROUND, "alice", "alice"]
    assert seller.status is Status.FILLED


def test_background_liquidity_used_up_comes_back_with_the_next_quote():
    market = venue()
    quoted(market, {}, {"100": "1"})
    accepted(market, request("alice", "buy", "1", "100"))
    assert market.books["BTCUSDT"].levels(Side.SELL) == []
    quoted(market, {}, {"100": "1"})
    assert market.books["BTCUSDT"].levels(Side.SELL) == [(100, 1)]


def test_differences_of_the_book_fit_between_snapshots():
    market = venue()
    book = market.books["BTCUSDT"]
    assert book.drain_changes() is None
    accepted(market, request("alice", "buy", "1", "100"))
    first = book.drain_changes()
    snapshot_id = book.update_id
    accepted(market, request("bob", "sell", "1", "100"))
    second = book.drain_changes()
    assert first
    assert second
    assert (first.bids, second.bids) == (((Decimal(100), Decimal(1)),), ((Decimal(100), Decimal(0)),))
    assert second.update_id_first == first.update_id_last + 1
    assert second.update_id_first <= snapshot_id + 1 <= second.update_id_last


def test_the_journal_tells_the_whole_story():
    market = venue()
    maker = accepted(market, request("bob", "sell", "1", "100"), now_ms=5)
    accepted(market, request("alice", "buy", "3", "100", time_in_force=TimeInForce.IOC), now_ms=6)
    told = [json.loads(entry.line()) for entry in market.journal.since(5)]
    assert [(entry["kind"], entry["account"], entry["at_ms"]) for entry in told] == [
        ("order_accepted", "bob", 5),
        ("order_accepted", "alice", 6),
        ("fill", "alice", 6),
        ("fill", "bob", 6),
        ("order_closed", "bob", 6),
        ("order_closed", "alice", 6),
    ]
    assert [entry["sequence"] for entry in told] == list(range(5, 11))
    assert told[2]["trade_id"] == told[3]["trade_id"]
    assert (told[3]["order_id"], told[3]["status"], told[3]["is_maker"]) == (maker.order_id, "FILLED", True)
    assert (told[5]["status"], told[5]["filled_base"], told[5]["filled_quote"]) == ("EXPIRED", "1", "100")


def test_a_balance_that_is_set_is_journalled_as_money_that_came_or_went():
    market = venue()
    market.set_balance("alice", "USDT", Decimal("9000.5"), now_ms=7)
    body = market.journal.since(market.journal.sequence)[0].body
    assert body == {"account": "alice", "asset": "USDT", "change": "-999.5", "free": "9000.5", "locked": "0"}


def test_the_venues_own_accounts_cannot_be_opened():
    with pytest.raises(ValueError, match="own account"):
        venue().open_account(BACKGROUND)


def test_an_unknown_account_is_a_programming_error():
    with pytest.raises(KeyError):
        venue().submit(request("carol", "buy", "1", "100"), 2)


def test_the_rules_of_this_venue_are_found_by_symbol():
    assert venue().rules == {"BTCUSDT": RULES}
