"""A venue of its own for each test, and unmodified ccxt clients that talk to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import ccxt.pro
import pytest

from streams.simulator.server import Server
from streams.simulator.settings import SimulatorSettings

SETTINGS = {
    "accounts": {
        "alice": {"balances": {"BTC": "2", "ETH": "20", "USDT": "200000"}},
        "bob": {"balances": {"USDT": "1000", "BNB": "1"}, "fee_mode": "quote"},
    },
    "keys": {
        "sim-alice": {"account": "alice", "secret": "sim-alice-secret"},
        "sim-alice-reader": {"account": "alice", "secret": "sim-reader-secret", "may_trade": False},
        "sim-bob": {"account": "bob", "secret": "sim-bob-secret", "may_withdraw": True},
    },
}
BINANCE_SPOT_ERRORS = ccxt.pro.binance().describe()["exceptions"]["spot"]["exact"]


def client_config(port: int, api_key: str, secret: str) -> dict[str, Any]:
    """What makes ccxt talk to a venue on this machine and to nobody else."""
    rest, sockets = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
    return {
        "apiKey": api_key,
        "secret": secret,
        "enableRateLimit": False,
        "timeout": 5_000,
        "exceptions": {"exact": BINANCE_SPOT_ERRORS},
        "urls": {
            "api": {
                "public": f"{rest}/api/v3",
                "private": f"{rest}/api/v3",
                "sapi": f"{rest}/sapi/v1",
                "ws": {"spot": f"{sockets}/stream/ws", "ws-api": {"spot": f"{sockets}/ws-api/v3"}},
            }
        },
        "options": {
            "fetchMarkets": {"types": ["spot"]},
            "fetchMargins": False,
            "fetchCurrencies": False,
            "defaultType": "spot",
            "recvWindow": 2_000,
            "fetchOpenOrders": {"warnWithoutSymbol": False},
        },
    }


@dataclass
class Rig:
    """A running venue with its control port and its clients."""

    server: Server
    http: aiohttp.ClientSession
    clients: list[Any] = field(default_factory=list)

    def client(self, api_key: str = "sim-alice", **changes: Any) -> Any:
        """A ccxt.pro client for one of the keys."""
        secret = SETTINGS["keys"].get(api_key, {"secret": "sim-unknown"})["secret"]
        client = ccxt.pro.binance(client_config(self.server.port, api_key, secret) | changes)
        self.clients.append(client)
        return client

    async def control(self, path: str, document: Any = None) -> dict[str, Any]:
        """POST to the control port, which must agree."""
        url = f"http://127.0.0.1:{self.server.control_port}/control/{path}"
        async with self.http.post(url, json=document) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of the journal's entries of one kind, the truth behind every answer."""
        return [entry.body for entry in self.server.venue.market.journal.since(1) if entry.kind == kind]


@pytest.fixture
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """A venue; `@pytest.mark.parametrize("rig", [{...}], indirect=True)` changes its settings."""
    settings = SimulatorSettings.model_validate(SETTINGS | getattr(request, "param", {}))
    async with Server(settings) as server, aiohttp.ClientSession() as http:
        rig = Rig(server, http)
        yield rig
        for client in rig.clients:
            await client.close()


async def until(holds: Callable[[], Any], deadline_s: float = 10.0) -> None:
    """Wait for a condition, at most until the deadline."""
    async with asyncio.timeout(deadline_s):
        while not holds():  # noqa: ASYNC110  a condition of another task's making, with a deadline
            await asyncio.sleep(0.01)
