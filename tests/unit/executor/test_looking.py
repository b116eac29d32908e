"""What the executor asks of a venue when it compares an account with its books."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from schemas.orders import FlowObserved, Liquidity, Side
from streams.agents.executor import looking
from streams.domain.orders.books import Books, Ended
from streams.domain.orders.outcome import FlowView, OrderView, Standing, TradeView
from streams.domain.orders.stimuli import Looked, LookUp, SnapshotRead
from tests.unit.orders.desk import WALL_MS, cancel, desk, place, trade, view

NOW_MS = 1_700_000_000_000


class Asked:
    """A venue that has nothing to show, and remembers from when on it was asked."""

    def __init__(self) -> None:
        self.trades_since_ms: list[int] = []

    async def time_ms(self) -> int:
        return NOW_MS

    async def flows(self, since_ms: int) -> Sequence[FlowView]:
        return ()

    async def totals(self) -> dict[str, Decimal]:
        return {}

    async def open_orders(self, symbol: str) -> Sequence[OrderView]:
        return ()

    async def trades(self, symbol: str, since_ms: int, venue_order_id: str | None = None) -> Sequence[TradeView]:
        self.trades_since_ms.append(since_ms)
        return ()


class ByHand(Asked):
    """Somebody traded by hand, under an order number that one of ours has on another symbol, and another one on both."""

    async def trades(self, symbol: str, since_ms: int, venue_order_id: str | None = None) -> Sequence[TradeView]:
        amount = Decimal(1)
        rest = ("BTC", Decimal(0), Liquidity.TAKER, NOW_MS)
        return [TradeView(number, number, symbol, Side.BUY, amount, amount, amount, *rest) for number in ("77", "78")]

    async def order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderView:
        client = f"web-{symbol[:3]}-{venue_order_id}"
        return OrderView(venue_order_id, client, symbol, Side.BUY, Decimal(1), Decimal(1), Standing.FILLED, NOW_MS)


async def test_3_4_given_orders_of_equal_numbers_on_two_symbols_then_each_is_asked_for() -> None:
    ours = Ended("c" * 32, "main", "BTC/USDT", 1, "a" * 26, venue_order_id="77")
    books = Books("alice", opened=True, opened_at_ms=NOW_MS, ended={"a" * 26: ours})
    taken = await looking.snapshot(ByHand(), ("BTC/USDT", "ETH/USDT"), None, books)  # type: ignore[arg-type]  as above
    assert taken.strangers == {
        ("BTC/USDT", "78"): "web-BTC-78",
        ("ETH/USDT", "77"): "web-ETH-77",
        ("ETH/USDT", "78"): "web-ETH-78",
    }


@pytest.mark.parametrize(
    ("reconciled_ms", "opened_ms", "since_ms"),
    [
        (NOW_MS - 500_000, NOW_MS - 9 * looking.DAY_MS, NOW_MS - 500_000 - looking.AGAIN_MS),
        (0, NOW_MS - 2 * looking.DAY_MS, NOW_MS - 2 * looking.DAY_MS),
        (0, NOW_MS - 9 * looking.DAY_MS, NOW_MS - looking.FLOWS_BACK_MS),
    ],
)
async def test_1_3_given_books_that_were_never_compared_then_trades_are_read_from_their_opening_on(
    reconciled_ms: int, opened_ms: int, since_ms: int
) -> None:
    """Found by the simulation: a fill shown late, then two days without an executor, and it was never booked."""
    venue = Asked()
    books = Books("alice", opened=True, opened_at_ms=opened_ms, reconciled_ms=reconciled_ms)
    await looking.snapshot(venue, ("BTC/USDT",), None, books)  # type: ignore[arg-type]  it asks nothing else
    assert venue.trades_since_ms == [since_ms]


class Crowded(Asked):
    """A venue at which somebody trades by hand, many orders a minute, and which does not show our own."""

    def __init__(self, by_hand: int) -> None:
        super().__init__()
        self.by_hand = by_hand
        self.orders_asked: list[str] = []

    async def order(self, symbol: str, client_order_id: str) -> OrderView | None:
        return None

    async def trades(self, symbol: str, since_ms: int, venue_order_id: str | None = None) -> Sequence[TradeView]:
        return [trade(f"{number}", venue_order_id=f"{100 + number}") for number in range(self.by_hand)]

    async def order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderView | None:
        self.orders_asked.append(venue_order_id)
        return view("by-hand", venue_order_id=venue_order_id)


async def test_1_2_given_more_orders_by_hand_than_one_look_asks_for_then_absence_is_proven_all_the_same() -> None:
    """Found once: each look asked for the same ten, and the order stayed UNKNOWN for as long as their trades were shown."""
    venue = Crowded(25)
    table = desk()
    command, _ = table.unknown()
    (wanted,) = table.asked(LookUp)
    table.wait(5000)
    for _ in range(6):
        found = await looking.look(venue, wanted)  # type: ignore[arg-type]  it asks nothing else
        assert found is not None
        table.put(Looked, command_id=command, attempt=1, look=replace(found, venue_time_ms=table.wall_ms))
        if "absent" in table.story(command):
            break
        table.wait_until_due()
        (wanted,) = table.asked(LookUp)
    assert "absent" in table.story(command)
    assert len(venue.orders_asked) == 25


async def test_1_3_a_trade_that_cannot_be_judged_yet_is_read_again_until_it_is() -> None:
    """Found once: a trade by hand beside an order that was unknown for over a minute was never looked at again: no flow told of
    it, and the totals that differed halted the account."""
    table = desk(Books("alice", epoch=3, opened=True, opened_at_ms=WALL_MS - 10))
    command, _ = table.unknown()
    venue = Trader()
    rounds = looking.Rounds(venue, ("BTC/USDT",), 5000, 30_000)  # type: ignore[arg-type]  it asks nothing else
    for minute in range(5):
        venue.now_ms = WALL_MS + 60_000 * minute
        seen, _ = await rounds.next(table.state.books)
        assert seen is not None
        table.put(SnapshotRead, snapshot=seen, asked_boot_ms=table.boot_ms)
    assert not table.said(FlowObserved)
    assert table.state.books.reconciled_ms == WALL_MS + 5  # the trade's time: up to there all were compared
    table.look(command, order=view(table.intended(command), "0", Standing.EXPIRED, venue_order_id="90"))
    seen, _ = await rounds.next(table.state.books)
    assert seen is not None
    table.put(SnapshotRead, snapshot=seen, asked_boot_ms=table.boot_ms)
    assert {flow.flow_id for flow in table.said(FlowObserved)} == {"trade/BTC/USDT/1/BTC", "trade/BTC/USDT/1/USDT"}
    await rounds.next(table.state.books)
    assert venue.trades_since_ms[-1] == venue.now_ms - looking.AGAIN_MS


async def test_1_3_an_open_cancel_keeps_no_trade_from_being_judged() -> None:
    table = desk(Books("alice", epoch=3, opened=True, opened_at_ms=WALL_MS - 10))
    target, client = table.sent(place(time_in_force="gtc"))
    table.accept(target, view(client, venue_order_id="90"))
    table.command(cancel(target))
    seen = await looking.snapshot(Trader(), ("BTC/USDT",), 0, table.state.books)  # type: ignore[arg-type]  as above
    assert seen.strangers == {("BTC/USDT", "100"): "by-hand"}


class Trader(Crowded):
    """One trade by hand, which the venue shows whenever it is asked for its time."""

    def __init__(self) -> None:
        super().__init__(1)
        self.now_ms = WALL_MS

    async def time_ms(self) -> int:
        return self.now_ms

    async def trades(self, symbol: str, since_ms: int, venue_order_id: str | None = None) -> Sequence[TradeView]:
        self.trades_since_ms.append(since_ms)
        return [shown for shown in (trade("1", venue_order_id="100"),) if shown.venue_time_ms >= since_ms]
