"""3.3: what an operator takes off the book without Kafka and database: every order is tried, and every answer told."""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streams import settings
from streams.cli import offline
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.domain.orders.outcome import OrderView, Standing, VenueReply
from streams.domain.orders.stimuli import CancelRequest
from streams.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def order(number: int, symbol: str = "BTC/USDT", **changes: Any) -> OrderView:
    fields: dict[str, Any] = {"venue_order_id": str(number), "client_order_id": f"{chr(96 + number) * 26}", "symbol": symbol}
    fields |= {
        "side": "buy",
        "quantity_base": Decimal(1),
        "filled_base": Decimal(0),
        "standing": Standing.OPEN,
        "venue_time_ms": 0,
    }
    return OrderView(**(fields | changes))


class Venue:
    """An account whose book is `orders`; `trouble` maps a call (and its order or symbol) to the error it ends with."""

    dialect = "binance"

    def __init__(self, orders: Sequence[OrderView], trouble: dict[str, Exception] | None = None) -> None:
        self.orders = {item.client_order_id: item for item in orders}
        self.trouble = trouble or {}
        self.asked: list[str] = []

    def _meet(self, *words: str) -> None:
        for word in words:
            if (error := self.trouble.get(word)) is not None:
                raise error

    async def open(self, symbols: Sequence[str]) -> None:
        self._meet("open")

    async def time_ms(self) -> int:
        return 0

    def synchronize(self, venue_time_ms: int, boot_ms: int) -> None:
        pass

    async def open_orders(self, symbol: str) -> Sequence[OrderView]:
        self._meet(f"open orders {symbol}")
        return [item for item in self.orders.values() if item.symbol == symbol and not item.standing.ended]

    async def cancel(self, request: CancelRequest, permit: Callable[[], None]) -> VenueReply:
        self.asked.append(request.venue_order_id)
        self._meet(f"cancel {request.venue_order_id}")
        if f"refused {request.venue_order_id}" in self.trouble:
            return VenueReply(http_status=400, code="-2011", text="Unknown order sent.")
        canceled = order(int(request.venue_order_id), request.symbol, standing=Standing.CANCELED)
        self.orders[request.client_order_id] = canceled
        return VenueReply(http_status=200)

    async def order(self, symbol: str, client_order_id: str) -> OrderView | None:
        self._meet(f"order {self.orders[client_order_id].venue_order_id}")
        return self.orders[client_order_id]

    async def close(self) -> None:
        pass


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TRIMTAB_CONFIG", str(ROOT / "trimtab.toml"))
    return settings.load()


def canceled(checked: Settings, venues: dict[str, Venue]) -> tuple[bool, list[tuple[str, str, str]]]:
    """Cancel everything on these books: whether all is off them, and what was told."""
    told: list[tuple[str, str, str]] = []
    wanted = {account: tuple(venue.orders.values()) for account, venue in venues.items()}

    def tell(answer: offline.Answer) -> None:
        told.append((answer.account, answer.client_order_id[0], answer.words))

    connect: Any = lambda _, account: venues[account]  # noqa: E731
    return asyncio.run(offline.cancel(checked, wanted, tell, connect)), sorted(told)


def test_3_3_what_is_off_the_book_is_told_with_what_was_filled(checked: Settings) -> None:
    venues = {"alpha": Venue([order(1)]), "beta": Venue([order(2), order(3)])}
    assert canceled(checked, venues) == (
        True,
        [("alpha", "a", "canceled, 0 filled"), ("beta", "b", "canceled, 0 filled"), ("beta", "c", "canceled, 0 filled")],
    )


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"cancel 1": UnreachableError("no route")}, "not canceled: no route"),
        ({"cancel 1": KeyError("info")}, "not canceled: 'info'"),
        ({"refused 1": RefusedError("")}, "open, 0 filled; its cancel was answered: Unknown order sent."),
        ({"order 1": UnknownOutcomeError("cut off")}, "its cancel was answered: 200; it cannot be looked at: cut off"),
    ],
)
def test_3_3_one_orders_trouble_keeps_no_other_order_on_the_book(
    checked: Settings, trouble: dict[str, Exception], words: str
) -> None:
    venues = {"alpha": Venue([order(1), order(2)], trouble), "beta": Venue([order(3)])}
    whole, told = canceled(checked, venues)
    assert not whole
    assert told == [("alpha", "a", words), ("alpha", "b", "canceled, 0 filled"), ("beta", "c", "canceled, 0 filled")]
    assert venues["alpha"].asked == ["1", "2"]


def test_3_3_one_accounts_trouble_keeps_no_other_accounts_orders_on_the_book(checked: Settings) -> None:
    venues = {"alpha": Venue([order(1)], {"open": UnreachableError("no route")}), "beta": Venue([order(2)])}
    assert canceled(checked, venues) == (
        False,
        [("alpha", "a", "not canceled: no route"), ("beta", "b", "canceled, 0 filled")],
    )


def test_3_3_what_one_symbol_does_not_tell_hides_no_order_of_another(checked: Settings) -> None:
    venue = Venue([order(1), order(2, "ETH/USDT")], {"open orders BTC/USDT": UnknownOutcomeError("cut off")})
    connect: Any = lambda *_: venue  # noqa: E731
    seen = asyncio.run(offline.standing(checked, "account:alpha", connect))["alpha"]
    assert (seen.orders, seen.untold, seen.clear) == ((order(2, "ETH/USDT"),), ("cut off",), False)
