"""A tiny venue that we own: it speaks just enough of the dialect to say what no honest venue says."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web


@dataclass
class FakeVenue:
    """REST replies by path, and market sockets whose frames the test writes by hand."""

    replies: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    subscribed: list[str] = field(default_factory=list)
    connections: int = 0
    accepting: bool = True
    refusing: int = 0
    port: int = 0
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/stream/{tail:.*}", self._socket)
        app.router.add_route("*", "/{tail:.*}", self._rest)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for socket in self.sockets:
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def urls(self) -> dict[str, str]:
        return {
            "rest": f"http://127.0.0.1:{self.port}",
            "stream": f"ws://127.0.0.1:{self.port}/stream/ws",
            "ws_api": f"ws://127.0.0.1:{self.port}/ws-api/v3",
        }

    async def send(self, frame: Any) -> None:
        """The same frame to every open socket: text as it is, anything else as JSON."""
        text = frame if isinstance(frame, str) else json.dumps(frame)
        for socket in [socket for socket in self.sockets if not socket.closed]:
            await socket.send_str(text)

    async def drop_sockets(self) -> None:
        for socket in self.sockets:
            await socket.close()
        self.sockets.clear()

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.query)))
        reply = self.replies.get(request.path, (404, {}, "not here"))
        if callable(reply):
            reply = reply(request)
        if asyncio.iscoroutine(reply):
            reply = await reply
        if isinstance(reply, web.StreamResponse):
            return reply
        status, headers, body = reply if isinstance(reply, tuple) else (200, {}, reply)
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, headers=headers, text=text, content_type="application/json")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not self.accepting:
            return web.Response(status=503)
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        self.connections += 1
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                asked = json.loads(message.data)
                if self.refusing:
                    self.refusing -= 1
                    await socket.send_json({"error": {"code": 2, "msg": "Invalid request"}, "id": asked["id"]})
                    continue
                self.subscribed += asked.get("params", [])
                await socket.send_json({"result": None, "id": asked["id"]})
        return socket


def market(
    market_id: str, base: str, quote: str, tick: str = "0.01000000", step: str = "0.00001000", **extra: Any
) -> dict[str, Any]:
    """One symbol of the exchange information, with the filters that a real one has."""
    return {
        "symbol": market_id,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "permissions": ["SPOT"],
        "isSpotTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000.00000000", "stepSize": step},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "maxNotional": "9000000.00000000"},
        ],
    } | extra


def exchange_info(*markets: dict[str, Any]) -> dict[str, Any]:
    return {
        "timezone": "UTC",
        "serverTime": 1_700_000_000_000,
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}],
        "symbols": list(markets) or [market("BTCUSDT", "BTC", "USDT"), market("ETHUSDT", "ETH", "USDT")],
    }


def depth(sequence: int, bid: str = "100.00000000", ask: str = "100.10000000") -> dict[str, Any]:
    """A depth reply."""
    return {"lastUpdateId": sequence, "bids": [[bid, "1.50000000"]], "asks": [[ask, "2.00000000"]]}


def quote(sequence: Any, bid: Any = "100.00000000", ask: Any = "100.10000000", symbol: Any = "BTCUSDT") -> dict[str, Any]:
    """A frame of best bid and ask."""
    return {"u": sequence, "s": symbol, "b": bid, "B": "1.50000000", "a": ask, "A": "2.00000000"}


def change(first: int, last: int, bids: list[list[str]], asks: list[list[str]], symbol: str = "BTCUSDT") -> dict[str, Any]:
    """A frame of book changes."""
    return {"e": "depthUpdate", "E": 1_700_000_000_123, "s": symbol, "U": first, "u": last, "b": bids, "a": asks}
