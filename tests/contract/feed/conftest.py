"""A real feed over real sockets and requests, against a venue that we own and a log in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from streams.agents.feed.agent import Feed
from streams.agents.feed.config import FeedConfig
from streams.gateways.clock import SystemClock
from streams.gateways.venue.client import Credentials
from streams.gateways.venue.profile import VenueProfile
from streams.gateways.venue.reads import CcxtReads
from streams.gateways.venue.streams import CcxtStreams
from tests.contract.feed.fake_venue import FakeVenue, depth, exchange_info
from tests.unit.feed.fakes import MemoryLog

KEY = Credentials("the-api-key-0123456789", "the-secret-0123456789")

QUICK = FeedConfig(
    "sim",
    ("BTC/USDT", "ETH/USDT"),
    probe_every_ms=50,
    probe_timeout_ms=300,
    books_every_ms=50,
    stall_after_ms=300,
    fallback_after_ms=900,
    fallback_every_ms=100,
    polls_per_second_max=50,
    status_check_ms=100,
)


@dataclass
class Running:
    """A feed at work."""

    feed: Feed
    log: MemoryLog
    task: "asyncio.Task[None]"


Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    fake = FakeVenue(
        replies={
            "/api/v3/exchangeInfo": exchange_info(),
            "/api/v3/time": {"serverTime": 1_700_000_000_000},
            "/api/v3/depth": depth(1),
            "/sapi/v1/system/status": {"status": 0, "msg": "normal"},
            "/sapi/v1/account/apiRestrictions": {
                "enableReading": True,
                "enableSpotAndMarginTrading": False,
                "enableWithdrawals": False,
            },
            "/api/v3/account": {
                "commissionRates": {"maker": "0.00100000", "taker": "0.00120000"},
                "updateTime": 1_700_000_000_000,
                "balances": [
                    {"asset": "BTC", "free": "0.50000000", "locked": "0.25000000"},
                    {"asset": "ETH", "free": "0.00000000", "locked": "0.00000000"},
                ],
            },
        }
    )
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
def start(venue: FakeVenue) -> Start:
    @asynccontextmanager
    async def started(config: FeedConfig = QUICK, **streams: Any) -> AsyncIterator[Running]:
        clock = SystemClock()
        keys = dict.fromkeys(config.accounts, KEY)
        reads = CcxtReads(VenueProfile("sim", "binance", venue.urls, timeout_ms=1000), keys, clock)
        log = MemoryLog()
        feed = Feed(config, reads, CcxtStreams(reads, **streams), log, clock)
        task = asyncio.create_task(feed.run())
        try:
            yield Running(feed, log, task)
        finally:
            feed.stop()
            await task

    return started
