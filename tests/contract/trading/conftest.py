"""The trading gateway against the simulated venue, and against servers of our own that lie."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from streams.gateways.clock import SystemClock
from streams.gateways.venue.client import Credentials
from streams.gateways.venue.profile import VenueProfile
from streams.gateways.venue.trading import CcxtTrading
from streams.ports.process import NO_CRASH_POINTS, CrashPoints
from streams.simulator.server import Server
from streams.simulator.settings import SimulatorSettings

SYMBOLS = ("BTC/USDT", "ETH/USDT")
SETTINGS = {
    "accounts": {"alice": {"balances": {"BTC": "2", "USDT": "200000"}}},
    "keys": {
        "sim-alice": {"account": "alice", "secret": "sim-alice-secret"},
        "sim-reader": {"account": "alice", "secret": "sim-reader-secret", "may_trade": False},
    },
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def trading(
    port: int,
    key: tuple[str, str] = ("sim-alice", "sim-alice-secret"),
    timeout_ms: int = 5000,
    points: CrashPoints = NO_CRASH_POINTS,
    subscribed_within_ms: int = 10_000,
) -> CcxtTrading:
    urls = {
        "rest": f"http://127.0.0.1:{port}",
        "stream": f"ws://127.0.0.1:{port}/stream/ws",
        "ws_api": f"ws://127.0.0.1:{port}/ws-api/v3",
    }
    profile = VenueProfile("sim", "binance", urls, timeout_ms=timeout_ms, subscribed_within_ms=subscribed_within_ms)
    return CcxtTrading(profile, Credentials(*key), SystemClock(), points=points)


@pytest.fixture
async def venue_server() -> AsyncIterator[Server]:
    async with Server(SimulatorSettings.model_validate(SETTINGS)) as server:
        yield server


@pytest.fixture
async def venue(venue_server: Server) -> AsyncIterator[CcxtTrading]:
    made = trading(venue_server.port)
    await made.open(SYMBOLS)
    yield made
    await made.close()


@asynccontextmanager
async def liar(venue_server: Server, orders: Handler) -> AsyncIterator[int]:
    """A server that passes everything on to the real one, but answers about orders by itself; its port."""
    async with aiohttp.ClientSession() as onward:

        async def handle(request: web.Request) -> web.StreamResponse:
            if request.path == "/api/v3/order":
                return await orders(request)
            url = f"http://127.0.0.1:{venue_server.port}{request.path_qs}"
            async with onward.request(request.method, url, data=await request.read(), headers=request.headers) as reply:
                return web.Response(status=reply.status, body=await reply.read(), content_type="application/json")

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()
