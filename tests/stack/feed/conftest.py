"""A real feed between a simulated venue in its own process and a real broker."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from schemas.codec import decode
from schemas.envelope import Envelope
from streams.agents.feed.agent import Feed
from streams.agents.feed.config import FeedConfig
from streams.gateways.clock import SystemClock
from streams.gateways.kafka import KafkaLog
from streams.gateways.kafka_admin import Floors, create_topics
from streams.gateways.venue.client import Credentials
from streams.gateways.venue.profile import VenueProfile
from streams.gateways.venue.reads import CcxtReads
from streams.gateways.venue.streams import CcxtStreams
from streams.ports.log import KafkaConnection, Record
from streams.topics import topics_of

READER = Credentials("sim-reader", "sim-reader-secret")
SETTINGS = {
    "accounts": {"main": {"balances": {"USDT": "10000", "BTC": "0.25"}}},
    "keys": {
        "sim-reader": {"account": "main", "secret": "sim-reader-secret", "may_trade": False},
        "sim-withdraw": {"account": "main", "secret": "sim-withdraw-secret", "may_withdraw": True},
    },
    "tape": {"speed": 20},
}
CONFIG = FeedConfig("sim", ("BTC/USDT", "ETH/USDT"), ("main",), probe_every_ms=200, balances_every_ms=500, books_every_ms=200)


@dataclass(frozen=True)
class SimulatedVenue:
    """A venue in a process of its own."""

    port: int
    control_port: int

    @property
    def urls(self) -> dict[str, str]:
        host = f"127.0.0.1:{self.port}"
        return {"rest": f"http://{host}", "stream": f"ws://{host}/stream/ws", "ws_api": f"ws://{host}/ws-api/v3"}

    async def control(self, path: str) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{self.control_port}/control/{path}") as reply,
        ):
            assert reply.status == 200
            return await reply.json()


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[SimulatedVenue]:
    settings = tmp_path / "venue.json"
    settings.write_text(json.dumps(SETTINGS))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "streams.simulator",
        "--config",
        str(settings),
        "--die-with-parent",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ports = json.loads(await process.stdout.readline())
        venue = SimulatedVenue(ports["port"], ports["control_port"])
        await venue.control("start")
        yield venue
    finally:
        process.terminate()
        await process.wait()


@dataclass
class Installation:
    """A feed's topics on a broker, and ways to read them."""

    log: KafkaLog
    clock: SystemClock

    async def records(self, topic: str) -> list[Record]:
        found: list[Record] = []
        for partition in range(await self.log.partitions(topic)):
            begin, end = await self.log.begin_offset(topic, partition), await self.log.end_offset(topic, partition)
            found += await self.log.read(topic, partition, begin, end)
        return found

    async def said(self, topic: str) -> list[Any]:
        return [decode(Envelope.read(record.headers).type, record.value) for record in await self.records(topic)]

    async def until(self, topic: str, condition: Callable[[list[Any]], Any], what: str, seconds: float = 30) -> list[Any]:
        """Wait until what a topic says fulfils a condition; the deadline only guards against hanging."""
        try:
            async with asyncio.timeout(seconds):
                while not condition(said := await self.said(topic)):  # noqa: ASYNC110  a topic is polled
                    await asyncio.sleep(0.1)
                return said
        except TimeoutError:
            raise AssertionError(f"never came true: {what}") from None

    def make_feed(self, urls: dict[str, str], key: Credentials = READER, config: FeedConfig = CONFIG) -> Feed:
        reads = CcxtReads(VenueProfile("sim", "binance", urls), dict.fromkeys(config.accounts, key), self.clock)
        return Feed(config, reads, CcxtStreams(reads), self.log, self.clock)

    @asynccontextmanager
    async def feed(self, urls: dict[str, str], config: FeedConfig = CONFIG) -> AsyncIterator[Feed]:
        """A feed at work; it is stopped at the end, and must not have ended by itself."""
        feed = self.make_feed(urls, config=config)
        task = asyncio.create_task(feed.run())
        try:
            yield feed
            assert not task.done(), "the feed ended by itself"
        finally:
            feed.stop()
            await task


Install = Callable[[str], AbstractAsyncContextManager[Installation]]


@pytest.fixture
def install(topic_prefix: str) -> Install:
    @asynccontextmanager
    async def installed(bootstrap: str) -> AsyncIterator[Installation]:
        connection = KafkaConnection(bootstrap, topic_prefix=topic_prefix)
        await create_topics(connection, topics_of("feed", 2), Floors(1, 1))
        log = KafkaLog(connection)
        await log.start()
        try:
            yield Installation(log, SystemClock())
        finally:
            await log.close()

    return installed
