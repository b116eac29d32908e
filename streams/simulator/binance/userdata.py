"""The WebSocket API, as far as it carries user data: signed subscription, then the account's events.

Events follow the journal, in its order: an executionReport for each accepted order, fill, cancel and expiry, then the
balances that they touched. Faults (see `faults`) leave single events out, repeat them, or silence a subscription.
"""

from collections.abc import Callable, Sequence

from aiohttp import web

from streams.matching.funds import Balance
from streams.matching.journal import Entry
from streams.simulator.binance import codec, errors
from streams.simulator.binance.codec import Document
from streams.simulator.binance.errors import RefusedRequest
from streams.simulator.binance.signer import verify_frame
from streams.simulator.binance.sockets import Socket
from streams.simulator.faults import Fault
from streams.simulator.venue import Venue


class UserData:
    """All connections to the WebSocket API of one venue."""

    def __init__(self, venue: Venue):
        self._venue = venue
        self._sockets: set[Socket] = set()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One connection; it may subscribe once for each of several accounts."""
        socket = Socket()
        subscriptions: dict[int, Callable[[], None]] = {}
        self._sockets.add(socket)
        try:
            return await socket.serve(request, lambda frame: self._command(socket, frame, subscriptions))
        finally:
            self._sockets.discard(socket)
            for stop in subscriptions.values():
                stop()

    def disconnect(self) -> None:
        """End all connections."""
        for socket in self._sockets:
            socket.end()

    def announce_shutdown(self) -> None:
        """Tell all clients that the venue is about to stop, then end their connections."""
        for socket in self._sockets:
            socket.put({"event": {"e": "serverShutdown", "E": self._venue.clock.now_ms()}})
        self.disconnect()

    def _command(self, socket: Socket, frame: Document, subscriptions: dict[int, Callable[[], None]]) -> None:
        params = frame.get("params")
        try:
            result = self._answer(socket, frame.get("method"), params if isinstance(params, dict) else {}, subscriptions)
        except RefusedRequest as refused:
            answer = refused.answer
            socket.put({"id": frame.get("id"), "status": answer.http_status, "error": answer.document()})
        else:
            socket.put({"id": frame.get("id"), "status": 200, "result": result})

    def _answer(
        self, socket: Socket, method: object, params: Document, subscriptions: dict[int, Callable[[], None]]
    ) -> Document:
        if method == "ping":
            return {}
        if method == "time":
            return {"serverTime": self._venue.clock.now_ms()}
        if method == "userDataStream.subscribe.signature":
            return self._subscribe(socket, params, subscriptions)
        if method == "userDataStream.unsubscribe":
            for stop in subscriptions.values():
                stop()
            subscriptions.clear()
            return {}
        raise RefusedRequest(errors.NO_SUCH_METHOD)

    def _subscribe(self, socket: Socket, params: Document, subscriptions: dict[int, Callable[[], None]]) -> Document:
        key = verify_frame(self._venue.settings.keys, params, self._venue.clock.now_ms()).key
        if not key.may_read:
            raise RefusedRequest(errors.NO_RIGHT)
        number = max(subscriptions, default=-1) + 1

        silent = False

        def read(entries: Sequence[Entry]) -> None:
            nonlocal silent
            for event in self._events(key.account, entries):
                rule = None if silent else self._venue.faults.choose("stream")
                fault = rule.fault if rule is not None else None
                silent = silent or fault is Fault.STREAM_SILENT
                for _ in range(0 if silent or fault is Fault.STREAM_MISSING else 2 if fault is Fault.STREAM_TWICE else 1):
                    socket.put({"subscriptionId": number, "event": event})

        subscriptions[number] = self._venue.read_account(key.account, read)
        return {"subscriptionId": number}

    def _events(self, account: str, entries: Sequence[Entry]) -> list[Document]:
        market, now_ms = self._venue.market, self._venue.clock.now_ms()
        events: list[Document] = []
        touched: dict[str, Balance] = {}
        for entry in entries:
            if entry.kind == "balance_set":
                assets = [str(entry.body["asset"])]
                events.append(codec.balance_update(entry, now_ms))
            else:
                rules = market.rules[str(entry.body["symbol"])]
                assets = [rules.base_asset, rules.quote_asset, str(entry.body.get("fee_asset", rules.base_asset))]
                order = market.register.by_id(account, rules.symbol, int(entry.body["order_id"]))
                if order and not (entry.kind == "order_closed" and entry.body["status"] == "FILLED"):
                    events.append(codec.execution_report(order, entry, now_ms))
            touched |= {asset: market.funds.balance(account, asset) for asset in assets}
        return [*events, codec.account_position(touched, now_ms)]
