"""The port VenueStreams over ccxt.pro: its sockets and redialling, our guard around every frame.

ccxt's own handler dies silently on a frame it cannot parse: its receive loop is never scheduled again and every watcher hangs
for minutes. So each frame passes through our tap first. Quotes and book changes end there, as raw text; only replies to our
subscriptions reach ccxt; whatever nobody understands is handed on with its bytes, and the connection lives on. A watcher
therefore never returns: it waits until its socket fails, and the loop around it dials again.

Whether a stream is alive is not known here: pongs prove nothing. Whoever takes the frames keeps the data clock and calls
`reset`.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from streams.domain.errors import TrimtabError
from streams.domain.intake.book import DepthBook
from streams.gateways.venue import binance as dialect
from streams.gateways.venue.reads import CcxtReads
from streams.gateways.venue.sockets import SOCKET_LIFE_S, Sockets
from streams.ports.venue import Frame, FrameSink

log = logging.getLogger("trimtab.venue")

SNAPSHOT_LEVELS = 100
SNAPSHOT_PAUSE_S = 0.25
SNAPSHOT_RETRY_S = 1.0


class CcxtStreams:
    """Quotes and book changes of the symbols that `reads` has opened.

    At most `streams_per_socket` on one connection, and no connection for longer than `socket_life_s`: the venue cuts at 24
    hours, and we choose the moment.
    """

    def __init__(
        self, reads: CcxtReads, streams_per_socket: int = dialect.STREAMS_PER_SOCKET, socket_life_s: float = SOCKET_LIFE_S
    ) -> None:
        self._reads = reads
        self._streams_per_socket = streams_per_socket
        self._socket_life_s = socket_life_s
        self._client = reads.client
        self._clock = reads.clock
        self._sink: FrameSink | None = None
        self._symbols: dict[str, str] = {}
        self._books: dict[str, DepthBook] = {}
        self._books_heard: dict[str, tuple[int, int | None]] = {}
        self._stale_books: asyncio.Queue[str] = asyncio.Queue()
        self._queued_books: set[str] = set()
        self._sockets = Sockets(reads.client, reads.clock, f"venue {reads.profile.name}: market")
        self._quote_urls: list[str] = []
        self._book_urls: list[str] = []

    async def run(self, sink: FrameSink) -> None:
        """See the port."""
        self._sink = sink
        self._symbols = {market_id: symbol for symbol, market_id in self._reads.market_ids.items()}
        self._client.frame_tap = self._tap
        ids = list(self._symbols)
        size = self._streams_per_socket
        chunks = [ids[start : start + size] for start in range(0, len(ids), size)]
        base = self._client.urls["api"]["ws"]["spot"]
        async with asyncio.TaskGroup() as group:
            for number, chunk in enumerate(chunks):
                self._quote_urls.append(f"{base}/{number}")
                group.create_task(self._stay(self._quote_urls[-1], [dialect.quote_stream(each) for each in chunk], _nothing))
                self._book_urls.append(f"{base}/{len(chunks) + number}")
                empty = self._emptier([self._symbols[each] for each in chunk])
                group.create_task(self._stay(self._book_urls[-1], [dialect.book_stream(each) for each in chunk], empty))
            group.create_task(self._fill_books())

    def books(self, levels: int) -> Sequence[Frame]:
        """See the port."""
        frames: list[Frame] = []
        for symbol, book in self._books.items():
            if book.sequence is None:
                continue
            bids, asks = ([{"price_quote": price, "quantity_base": size} for price, size in side] for side in book.best(levels))
            received_at_ms, venue_time_ms = self._books_heard[symbol]
            fields = {"bids": bids, "asks": asks, "venue_sequence": book.sequence, "venue_time_ms": venue_time_ms}
            frames.append(Frame(symbol, fields, received_at_ms, b""))
        return frames

    def socket_age_ms(self) -> int | None:
        """See the port."""
        sockets = [self._client.clients.get(url) for url in self._quote_urls]
        if not sockets or any(each is None or each.closed() for each in sockets):
            return None
        return max(0, self._clock.wall_ms() - max(each.connectionEstablished for each in sockets))

    def reset(self, books: bool, why: str) -> None:
        """See the port."""
        for url in self._book_urls if books else self._quote_urls:
            self._sockets.hang_up(url, why)

    async def _stay(self, url: str, streams: Sequence[str], connected_anew: Callable[[], None]) -> None:
        async def watch(number: int) -> None:
            connected_anew()
            async with asyncio.timeout(self._socket_life_s):
                request = dialect.subscription(number, streams)
                await self._client.watch_multiple(url, list(streams), request, list(streams), {"id": str(number)})

        await self._sockets.stay(url, watch)

    @property
    def _name(self) -> str:
        return self._reads.profile.name

    def _tap(self, socket: Any, ccxt_handler: Callable[[Any], None]) -> None:
        def handle(data: str | bytes) -> None:
            raw = data if isinstance(data, bytes) else data.encode()
            try:
                self._take(socket, raw, lambda: ccxt_handler(data))
            except Exception as error:  # noqa: BLE001  whatever a frame does to its reader, the connection lives on
                self._refuse(raw, f"{type(error).__name__}: {error}"[:300])

        socket.handle_text_or_binary_message = handle

    def _take(self, socket: Any, raw: bytes, ccxt_handler: Callable[[], None]) -> None:
        message = orjson.loads(raw)
        if not isinstance(message, Mapping):
            raise ValueError(f"a frame is an object, not a {type(message).__name__}")
        event = dialect.event_of(message)
        if dialect.is_quote(event):
            self._need_sink().quote(Frame(self._symbol(event), dialect.quote_fields(event), self._clock.wall_ms(), raw))
        elif dialect.is_book_change(event):
            self._change_book(self._symbol(event), event)
        elif dialect.is_farewell(event):
            self._sockets.hang_up(socket.url, "the venue announced its stop")
        elif dialect.is_reply(message):
            ccxt_handler()
        else:
            raise ValueError("not a frame of this dialect")

    def _symbol(self, event: Mapping[str, Any]) -> str:
        symbol = self._symbols.get(str(event.get("s")))
        if symbol is None:
            raise ValueError(f"symbol {str(event.get('s'))[:40]!r} is not subscribed")
        return symbol

    def _need_sink(self) -> FrameSink:
        assert self._sink is not None
        return self._sink

    def _refuse(self, raw: bytes, reason: str) -> None:
        self._need_sink().refused(raw, reason)

    def _change_book(self, symbol: str, event: Mapping[str, Any]) -> None:
        book = self._books.setdefault(symbol, DepthBook())
        time_ms = event.get("E")
        self._books_heard[symbol] = (self._clock.wall_ms(), time_ms if isinstance(time_ms, int) else None)
        if not book.change(event.get("U"), event.get("u"), event.get("b") or (), event.get("a") or ()):
            self._want_snapshot(symbol)

    def _want_snapshot(self, symbol: str) -> None:
        if symbol not in self._queued_books:
            self._queued_books.add(symbol)
            self._stale_books.put_nowait(symbol)

    def _emptier(self, symbols: Sequence[str]) -> Callable[[], None]:
        def empty() -> None:
            for symbol in symbols:
                self._books.setdefault(symbol, DepthBook()).clear()

        return empty

    async def _fill_books(self) -> None:
        """One snapshot after the other, with pauses: books that cannot be put in sequence must not eat the request budget."""
        while True:
            symbol = await self._stale_books.get()
            self._queued_books.discard(symbol)
            try:
                depth = await self._reads.depth(symbol, SNAPSHOT_LEVELS)
                bids, asks = depth.get("bids"), depth.get("asks")
                done = self._books[symbol].snapshot(depth.get("lastUpdateId"), bids or (), asks or ())
            except (TrimtabError, ValueError) as error:
                log.warning("venue %s: no book snapshot of %s (%s)", self._name, symbol, error)
                done = False
            if not done:
                self._want_snapshot(symbol)
            await asyncio.sleep(SNAPSHOT_PAUSE_S if done else SNAPSHOT_RETRY_S)


def _nothing() -> None:
    """Quotes stand alone: a new connection has nothing to forget."""
