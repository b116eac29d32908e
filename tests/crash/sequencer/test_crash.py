"""4 sequencer: owners die, are paused and wake; database and broker go away; the journal still counts every offset once.

Two sequencers run for two shards while prices, ledger entries, repeats and garbage keep coming. In order: the owner is
killed; the next owner is stopped between its check and its send until another has taken over, and wakes; the database is
away; the broker is away. Then a recount that shares no code with the sequencer judges both journals.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psycopg
import pytest

from schemas import journal
from streams.agents.sequencer.tail import read_tail
from streams.gateways.postgres import migrations
from streams.local.broker import Broker
from streams.local.child import Child
from streams.local.database import Database
from streams.ports.log import Record
from streams.topics import MARKET_TICKERS, PORTFOLIO_JOURNAL, dead_letter
from tests.crash.sequencer.sources import SYMBOLS, Sources
from tests.crash.sequencer.worker import Plan
from tests.stack.sequencer.installation import Installation, portfolio

log = logging.getLogger("crash.sequencer")

LONG = os.environ.get("CRASH_LONG") == "1"
AWAY_S = 20.0 if LONG else 3.0
QUIET_S = 5.0 if LONG else 1.0
TTL_MS = 5_000
SHARDS = 2


class Rig:
    """The servers, the sources and the sequencer processes of one run."""

    def __init__(self, broker: Broker, database: Database, prefix: str, directory: Path) -> None:
        self.broker = broker
        self.database = database
        self.installation = Installation(broker.bootstrap, prefix, SHARDS)
        self.sources = Sources(self.installation, seed=4)
        self._prefix = prefix
        self._directory = directory

    def worker(self, name: str) -> Child:
        plan = Plan(
            bootstrap=self.broker.bootstrap,
            prefix=self._prefix,
            lease_dsn=self.database.url,
            shards=SHARDS,
            name=name,
            pause=str(self._directory / f"{name}.pause"),
            lease_ttl_ms=TTL_MS,
        )
        argv = [sys.executable, "-m", "tests.crash.sequencer.worker", plan.to_json()]
        return Child(name, argv, log=self._directory / f"{name}.log", cwd=Path(__file__).parents[3])

    def pause(self, name: str) -> None:
        """Ask a worker to stop itself between check and send."""
        (self._directory / f"{name}.pause").touch()

    async def epochs(self) -> list[int]:
        return [(await self._tail(shard)).epoch for shard in range(SHARDS)]

    async def all_begun(self) -> bool:
        """Whether every journal says where its sources stand."""
        return all([(await self._tail(shard)).positions for shard in range(SHARDS)])

    async def journal_ends(self) -> list[int]:
        return [await self.installation.log.end_offset(PORTFOLIO_JOURNAL, shard) for shard in range(SHARDS)]

    async def taken_over(self, epochs: list[int]) -> bool:
        """Whether every shard has a newer owner than at `epochs`, which has begun to write."""
        for shard, epoch in enumerate(epochs):
            if not [message for message in await self._recent(shard) if message.epoch > epoch and _flows(message)]:
                return False
        return True

    async def flows(self, seconds: float = 60.0) -> None:
        """Wait until both journals have grown by accepted market batches."""
        before = await self.journal_ends()
        await until(lambda: self._grown(before), seconds)

    async def _grown(self, before: list[int]) -> bool:
        return all(now > was + 5 for was, now in zip(before, await self.journal_ends(), strict=True))

    async def _recent(self, shard: int) -> list[journal.JournalRecord]:
        return [message for _, message in (await self.installation.journal(shard))[-400:]]

    async def _tail(self, shard: int):
        return await read_tail(self.installation.log, shard, await self.installation.log.end_offset(PORTFOLIO_JOURNAL, shard))


def _flows(message: journal.JournalRecord) -> bool:
    return isinstance(message, journal.MarketBatch) and bool(message.ranges)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  a condition on other processes has no event
            await asyncio.sleep(0.1)


@pytest.fixture
async def rig(own_broker: Broker, own_database: Database, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Rig]:
    with psycopg.connect(own_database.url) as connection:
        connection.execute(migrations()[0].text.encode())
    rig = Rig(own_broker, own_database, topic_prefix, tmp_path)
    await rig.installation.open()
    await rig.installation.control(*portfolio("one", 0, "first", SYMBOLS[:3]), *portfolio("two", 1, "second", SYMBOLS[1:]))
    yield rig
    await rig.installation.close()


@pytest.mark.timeout(600)
async def test_4_sequencer_counts_every_offset_once_through_kill_pause_and_outages(rig: Rig):
    workers = [rig.worker("a"), rig.worker("b")]
    a, b = workers
    await asyncio.to_thread(a.start)
    # Market sources are read from their end: from here on every offset is to be counted.
    await until(rig.all_begun)
    producing = asyncio.create_task(rig.sources.run())
    try:
        await rig.flows()
        await _b_takes_over_from_a_killed(rig, a, b)
        log.info("the owner was killed, another took over")
        paused = await _a_takes_over_from_b_paused(rig, a, b)
        log.info("the owner was paused and woke, another had taken over")
        await _the_database_goes_away_and_comes_back(rig)
        log.info("the database was away")
        await _the_broker_goes_away_and_comes_back(rig)
        log.info("the broker was away")
        producing.cancel()
        await asyncio.gather(producing, return_exceptions=True)
        await rig.sources.settle()
        for shard in range(SHARDS):
            await until(lambda shard=shard: rig.installation.all_counted(shard))
        log.info("every offset is counted")
        statuses = [await asyncio.to_thread(worker.stop, 20) for worker in workers]
    finally:
        producing.cancel()
        for worker in workers:
            await asyncio.to_thread(worker.kill)
    assert statuses == [0, 0], f"{a.tail()}\n{b.tail()}"
    await _judge(rig, paused)


async def _b_takes_over_from_a_killed(rig: Rig, a: Child, b: Child) -> None:
    await asyncio.to_thread(b.start)
    await rig.flows()
    before = await rig.epochs()
    await asyncio.to_thread(a.kill)
    await until(lambda: rig.taken_over(before))
    await asyncio.to_thread(a.start)
    await asyncio.sleep(QUIET_S)


async def _a_takes_over_from_b_paused(rig: Rig, a: Child, b: Child) -> set[int]:
    """Returns the epochs under which b was writing when it was stopped."""
    before = await rig.epochs()
    rig.pause("b")
    await until(lambda: _stopped(b))
    await until(lambda: rig.taken_over(before))
    b.signal(signal.SIGCONT)
    await until(lambda: _written_late(rig, before))
    await rig.flows()
    assert a.running
    assert b.running
    return set(before)


async def _stopped(worker: Child) -> bool:
    """Whether the kernel holds the process stopped."""
    status = await asyncio.to_thread(Path(f"/proc/{worker.pid}/stat").read_text)
    return status.rpartition(")")[2].split()[0] == "T"


async def _written_late(rig: Rig, before: list[int]) -> bool:
    """Whether a record of the paused epoch lies after a newer WriterStarted, in any shard."""
    for shard, epoch in enumerate(before):
        newer = False
        for _, message in await rig.installation.journal(shard):
            newer = newer or message.epoch > epoch
            if newer and message.epoch == epoch:
                return True
    return False


async def _the_database_goes_away_and_comes_back(rig: Rig) -> None:
    before = await rig.epochs()
    await asyncio.to_thread(rig.database.kill)
    await asyncio.sleep(AWAY_S)
    await rig.flows(10)
    await asyncio.to_thread(rig.database.restart)
    await asyncio.sleep(TTL_MS / 1000 * 1.5)
    assert await rig.epochs() == before, "a healthy owner lost its shard because the database was away"


async def _the_broker_goes_away_and_comes_back(rig: Rig) -> None:
    await asyncio.to_thread(rig.broker.kill)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(rig.broker.restart)
    log.info("the broker is back")
    await rig.flows()


async def _judge(rig: Rig, paused: set[int]) -> None:
    sources = await rig.installation.sources()
    found = [await rig.installation.counted(shard, sources) for shard in range(SHARDS)]
    ends = await rig.installation.ends()
    garbage = rig.sources.written["garbage"]
    for shard, account in enumerate(("first", "second")):
        one = found[shard]
        assert one.problems == []
        assert one.positions == ends
        assert sum(one.totals.values()) == sum(ends.values())
        assert one.totals["journalled"] == one.checked["quotes"] + one.checked["inputs"]
        assert one.totals["dead_lettered"] == garbage
        assert one.ledger == {account: list(range(1, rig.sources.booked[account] + 1))}
        assert min(one.totals[part] for part in ("conflated", "stale", "repeated", "not_needed")) > 0, one.totals
    late = {value["epoch"] for one in found for _, _, value in one.ignored}
    assert late & paused, "the paused owner wrote nothing late: the pause missed its place"
    await _judge_dead_letters(rig, sources, garbage)


async def _judge_dead_letters(rig: Rig, sources: dict[str, dict[int, Record]], garbage: int) -> None:
    places = set()
    for letter in await rig.installation.records(dead_letter(MARKET_TICKERS, "sequencer"), 0):
        names = ("trimtab-journal", "__connect.errors.partition", "__connect.errors.offset")
        journal_name, partition, offset = ((letter.header(name) or b"").decode() for name in names)
        assert letter.value == sources[f"{MARKET_TICKERS}:{partition}"][int(offset)].value
        places.add((journal_name, partition, offset))
    assert len(places) == garbage * SHARDS > 0
