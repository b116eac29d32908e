"""A venue as the feed hears it and as an executor trades on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from streams.domain.orders.outcome import FlowView, OrderNews, OrderView, TradeView, VenueReply
from streams.domain.orders.stimuli import CancelRequest, OrderRequest


@dataclass(frozen=True, slots=True)
class Frame:
    """What a venue said about one symbol.

    `fields` are named as in our messages and hold the venue's own values, untouched and unchecked; `raw` are the bytes they
    came in.
    """

    symbol: str
    fields: Mapping[str, object]
    received_at_ms: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Probe:
    """One answered heartbeat: round trip, venue time minus ours (ms), request weight left (None: the venue does not say)."""

    round_trip_ms: int
    clock_offset_ms: int
    budget_left: int | None


@dataclass(frozen=True, slots=True)
class KeyRights:
    """What an API key may do, as the venue says."""

    read: bool
    trade: bool
    withdraw: bool


class FrameSink(Protocol):
    """Who takes what a venue's sockets say. Neither call waits or raises."""

    def quote(self, frame: Frame) -> None:
        """A best bid and ask arrived."""
        ...

    def refused(self, raw: bytes, reason: str) -> None:
        """A frame arrived that nobody can read."""
        ...


class VenueReads(Protocol):
    """What the feed asks one venue by requests.

    Every call raises RefusedError when the venue said no, UnreachableError when nothing was sent (during a pause that the
    venue asked for, too), UnknownOutcomeError when no usable answer came.
    """

    async def open(self, symbols: Sequence[str]) -> None:
        """Learn the markets. Raises RefusedError also for symbols that the venue does not have."""
        ...

    async def quote(self, symbol: str) -> Frame:
        """Best bid and ask with the venue's sequence."""
        ...

    async def probe(self) -> Probe:
        """One heartbeat."""
        ...

    async def rules(self) -> Mapping[str, Mapping[str, object]]:
        """For each opened symbol that the venue still has: the fields of its rules."""
        ...

    async def maintenance(self) -> bool:
        """Whether the venue says that it is closed for maintenance."""
        ...

    async def rights(self, account: str) -> KeyRights:
        """What the account's key may do."""
        ...

    async def balances(self, account: str) -> Mapping[str, object]:
        """The fields of a full balance snapshot."""
        ...

    async def close(self) -> None:
        """Close all connections, the streams' too."""
        ...


class VenueStreams(Protocol):
    """One venue's public sockets, dialled again for ever."""

    async def run(self, sink: FrameSink) -> None:
        """Subscribe, and stay subscribed until cancelled."""
        ...

    def books(self, levels: int) -> Sequence[Frame]:
        """The books that are in sequence now, cut to the best `levels`."""
        ...

    def socket_age_ms(self) -> int | None:
        """For how long the quotes' socket has been open; None when it is not."""
        ...

    def reset(self, books: bool, why: str) -> None:
        """Close the sockets of quotes, or of books; they are dialled and subscribed anew."""
        ...


class NewsSink(Protocol):
    """Who takes what a venue's stream says of an account. Neither call waits or raises."""

    def connected(self) -> None:
        """The stream is subscribed anew: what happened before it may never be told."""
        ...

    def told(self, news: OrderNews) -> None:
        """Something happened to an order of the account, perhaps not for the first time."""
        ...


class TradingVenue(Protocol):
    """One venue account as its executor uses it, with the account's trading key.

    Times are the venue's. The reads raise RefusedError when the venue said no, UnreachableError when nothing was sent,
    UnknownOutcomeError when no usable answer came; incomplete lists count as no answer. `place` and `cancel` never raise for
    what a venue does: they return facts, which the protocol judges.
    """

    dialect: str

    async def open(self, symbols: Sequence[str]) -> None:
        """Learn the markets of these symbols. Raises RefusedError also for symbols that the venue does not have."""
        ...

    async def rights(self) -> KeyRights:
        """What the key may do."""
        ...

    async def time_ms(self) -> int:
        """The venue's time, UTC ms."""
        ...

    def synchronize(self, venue_time_ms: int, boot_ms: int) -> None:
        """The venue's time at that moment of CLOCK_BOOTTIME: reads are signed by it from now on."""
        ...

    async def warm(self, connections: int) -> None:
        """Keep at least that many connections open and unused for long enough to be ready at the next request."""
        ...

    async def place(self, request: OrderRequest, permit: Callable[[], None]) -> VenueReply:
        """Send one order, once. `permit` is called when nothing is left to do but to write the bytes; whatever it raises
        keeps them from leaving (Failure.NOT_SENT)."""
        ...

    async def cancel(self, request: CancelRequest, permit: Callable[[], None]) -> VenueReply:
        """Send one cancel, once; `permit` as in `place`."""
        ...

    async def order(self, symbol: str, client_order_id: str) -> OrderView | None:
        """The order with this client id, or None when the venue shows none now (which proves nothing by itself)."""
        ...

    async def order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderView | None:
        """The order with this venue id, or None."""
        ...

    async def open_orders(self, symbol: str) -> Sequence[OrderView]:
        """All orders of the account that stand on the book of a symbol."""
        ...

    async def trades(self, symbol: str, since_ms: int, venue_order_id: str | None = None) -> Sequence[TradeView]:
        """The account's own trades in a symbol from `since_ms` on; with `venue_order_id` all trades of that order alone."""
        ...

    async def last_trades(self, symbol: str, count: int) -> Sequence[TradeView]:
        """The account's newest own trades in a symbol, `count` at most."""
        ...

    async def flows(self, since_ms: int) -> Sequence[FlowView]:
        """Deposits and withdrawals of the account from `since_ms` on (venue time), as far as they moved money."""
        ...

    async def totals(self) -> Mapping[str, Decimal]:
        """Units of each asset, free and used together."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class ListeningVenue(TradingVenue, Protocol):
    """A venue account that is also listened to. The stream is quicker than the reads; nothing depends on it."""

    async def listen(self, sink: NewsSink) -> None:
        """Hand on what the venue's stream says of the account's orders, dialled again for ever, until cancelled."""
        ...

    def hang_up(self, why: str) -> None:
        """Close the stream's connection; it is dialled and subscribed anew."""
        ...
