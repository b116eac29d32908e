"""What the executor asks of a venue when it compares an account with its books."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from streams.agents.executor import looking
from streams.domain.orders.books import Books
from streams.domain.orders.outcome import FlowView, OrderView, TradeView

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
