"""Journal and register: what is kept, what is forgotten, and how it is found."""

from decimal import Decimal

import pytest

from streams.matching.journal import Journal
from streams.matching.market import Market
from tests.unit.matching.given import RULES, accepted, request


def small_venue() -> Market:
    market = Market([RULES], orders_kept_max=2, entries_kept_max=4)
    market.open_account("alice")
    market.set_balance("alice", "BTC", Decimal(100), now_ms=1)
    market.set_balance("alice", "USDT", Decimal(100_000), now_ms=1)
    return market


def test_a_journal_reads_back_from_any_sequence():
    journal = Journal()
    assert journal.since(1) == []
    for number in range(5):
        journal.append(number, "note", number=number)
    assert [entry.sequence for entry in journal.since(0)] == [1, 2, 3, 4, 5]
    assert [entry.sequence for entry in journal.since(4)] == [4, 5]
    assert [entry.sequence for entry in journal.since(2, limit=2)] == [2, 3]
    assert journal.since(6) == []
    assert journal.since(5)[0].line() == b'{"sequence":5,"at_ms":4,"kind":"note","number":4}\n'


def test_entries_that_are_no_longer_kept_are_never_silently_missing():
    journal = Journal(kept_max=2)
    for number in range(5):
        journal.append(number, "note")
    assert [entry.sequence for entry in journal.since(4)] == [4, 5]
    with pytest.raises(LookupError, match="before 4"):
        journal.since(3)


def test_open_orders_are_kept_and_the_oldest_closed_ones_forgotten():
    market = small_venue()
    resting = accepted(market, request("alice", "buy", "1", "90", client_order_id="resting"))
    for number in range(4):
        order = accepted(market, request("alice", "buy", "1", "95", client_order_id=f"c{number}"))
        market.cancel(order, "cancel", 3)
    register = market.register
    assert register.open("alice", None) == [resting]
    assert register.open("alice", "BTCUSDT") == [resting]
    assert register.open("alice", "ETHUSDT") == []
    assert [order.client_order_id for order in register.all("alice", "BTCUSDT", 10)] == ["resting", "c2", "c3"]
    assert register.by_client_id("alice", "BTCUSDT", "c0") is None
    assert register.by_id("alice", "BTCUSDT", 2) is None
    assert register.by_id("bob", "BTCUSDT", resting.order_id) is None


def test_forgetting_an_order_leaves_a_newer_one_under_its_client_id():
    market = small_venue()
    for _ in range(3):
        order = accepted(market, request("alice", "buy", "1", "95", client_order_id="again"))
        market.cancel(order, "cancel", 3)
    assert market.register.by_client_id("alice", "BTCUSDT", "again") is order


def test_fills_are_found_by_trade_id_and_by_time_and_bounded():
    market = small_venue()
    for number in range(1, 8):
        market.quote("BTCUSDT", [], [(Decimal(100), Decimal(1))], now_ms=number * 10)
        accepted(market, request("alice", "buy", "1", client_order_id=f"b{number}"), now_ms=number * 10)
    fills = market.register.fills

    def ids(**where) -> list[int]:
        return [fill.trade_id for fill in fills("alice", "BTCUSDT", 2, **where)]

    assert ids() == [6, 7]
    assert ids(trade_id_from=5) == [5, 6]
    assert ids(at_ms_from=65) == [7]
    assert ids(at_ms_from=10) == [4, 5]  # the three oldest are forgotten
    assert fills("alice", "ETHUSDT", 5) == []
