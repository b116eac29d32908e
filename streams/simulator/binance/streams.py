"""Market streams: bookTicker, ticker, miniTicker and depth differences, by SUBSCRIBE or by the path.

Differences obey the rule of the REST snapshot: the first id of an event is the last of the one before it plus one, so a
snapshot taken at any moment falls inside exactly one event.
"""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from streams.simulator.binance import tickers
from streams.simulator.binance.codec import Document, levels
from streams.simulator.binance.sockets import Socket
from streams.simulator.venue import Venue

STREAMS_MAX = 1_024
TICKER_PERIOD_MS = 1_000
_TOO_MANY = {"code": 0, "msg": "Too many streams on one connection."}
_UNKNOWN = {"code": 0, "msg": "Unknown property or method."}


class MarketStreams:
    """All market connections of one venue."""

    def __init__(self, venue: Venue):
        self._venue = venue
        self._subscribers: dict[str, dict[Socket, bool]] = {}
        self._sockets: set[Socket] = set()
        self._last_book: dict[str, Document] = {}
        self._ticker_due_ms = 0
        self._stop_reading = venue.read_books(self._publish)

    async def raw(self, request: web.Request) -> web.WebSocketResponse:
        """A connection whose frames are the bare events."""
        return await self._serve(request, request.match_info.get("streams", "").split("/"), wraps=False)

    async def combined(self, request: web.Request) -> web.WebSocketResponse:
        """A connection whose frames name their stream."""
        return await self._serve(request, request.query.get("streams", "").split("/"), wraps=True)

    def disconnect(self) -> None:
        """End all connections."""
        for socket in self._sockets:
            socket.end()

    def announce_shutdown(self) -> None:
        """Tell all clients that the venue is about to stop, then end their connections."""
        for socket in self._sockets:
            socket.put({"e": "serverShutdown", "E": self._venue.clock.now_ms()})
        self._stop_reading()
        self.disconnect()

    async def _serve(self, request: web.Request, names: list[str], *, wraps: bool) -> web.WebSocketResponse:
        socket = Socket()
        self._sockets.add(socket)
        for name in names[:STREAMS_MAX]:
            if "@" in name:
                self._subscribers.setdefault(name, {})[socket] = wraps
        try:
            return await socket.serve(request, lambda frame: self._command(socket, frame, wraps=wraps))
        finally:
            self._sockets.discard(socket)
            for name, sockets in list(self._subscribers.items()):
                sockets.pop(socket, None)
                if not sockets:
                    del self._subscribers[name]

    def _command(self, socket: Socket, frame: Document, *, wraps: bool) -> None:
        method, params, frame_id = frame.get("method"), frame.get("params"), frame.get("id")
        names = [name for name in params if isinstance(name, str)] if isinstance(params, list) else []
        mine = [name for name, sockets in self._subscribers.items() if socket in sockets]
        if method == "LIST_SUBSCRIPTIONS":
            socket.put({"result": mine, "id": frame_id})
        elif method == "SUBSCRIBE" and len(set(mine) | set(names)) > STREAMS_MAX:
            socket.put({"error": _TOO_MANY, "id": frame_id})
        elif method == "SUBSCRIBE":
            for name in names:
                self._subscribers.setdefault(name, {})[socket] = wraps
            socket.put({"result": None, "id": frame_id})
        elif method == "UNSUBSCRIBE":
            for name in names:
                self._subscribers.get(name, {}).pop(socket, None)
            socket.put({"result": None, "id": frame_id})
        else:
            socket.put({"error": _UNKNOWN, "id": frame_id})

    def _publish(self) -> None:
        now_ms = self._venue.clock.now_ms()
        ticker_is_due = not 0 <= self._ticker_due_ms - now_ms <= TICKER_PERIOD_MS
        if ticker_is_due:
            self._ticker_due_ms = now_ms + TICKER_PERIOD_MS
        for symbol, book in self._venue.market.books.items():
            lower, changes = symbol.lower(), book.drain_changes()
            if changes:
                event = {
                    "e": "depthUpdate",
                    "E": now_ms,
                    "s": symbol,
                    "U": changes.update_id_first,
                    "u": changes.update_id_last,
                    "b": levels(changes.bids),
                    "a": levels(changes.asks),
                }
                self._send(f"{lower}@depth@100ms", lambda event=event: event)
                self._send_book_ticker(symbol)
            if ticker_is_due:
                self._send(f"{lower}@ticker", lambda symbol=symbol: tickers.day_ticker_event(self._venue, symbol))
                self._send(f"{lower}@miniTicker", lambda symbol=symbol: tickers.mini_ticker_event(self._venue, symbol))

    def _send_book_ticker(self, symbol: str) -> None:
        """The best prices, when they or their sizes changed."""
        event = tickers.book_ticker_event(self._venue, symbol)
        unchanged = {**event, "u": 0} == self._last_book.get(symbol)
        self._last_book[symbol] = {**event, "u": 0}
        if not unchanged:
            self._send(f"{symbol.lower()}@bookTicker", lambda: event)

    def _send(self, name: str, make: Callable[[], Any]) -> None:
        sockets = self._subscribers.get(name)
        if not sockets:
            return
        event = make()
        for socket, wraps in list(sockets.items()):
            socket.put({"stream": name, "data": event} if wraps else event)
