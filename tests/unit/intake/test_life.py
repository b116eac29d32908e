"""The life of one shard in one process, on a log and a lease store in memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from streams.agents.sequencer.agent import Sequencer
from streams.agents.sequencer.config import SequencerConfig
from streams.agents.sequencer.shard import ShardSequencer
from streams.domain.errors import InvariantError, UnreachableError
from streams.gateways.signing import AnyAuthor
from streams.ports.log import Output, PositionLostError, Record
from streams.topics import PORTFOLIO_JOURNAL
from tests.unit.intake.fakes import HandClock, MemoryLeases, MemoryLog
from tests.unit.intake.journals import B, positions, started

CONFIG = SequencerConfig(shards=1, retry_ms=1, lease_ttl_ms=50, failures_max=3)


class Reader:
    """The port LogReader on a source that stays silent, or fails once."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def assign(self, positions: Mapping[tuple[str, int], int]) -> None:
        return None

    async def poll(self, timeout_ms: int, records_max: int = 2000) -> Sequence[Record]:
        await asyncio.sleep(0.001)
        if self._error is not None:
            raise self._error
        return []

    async def close(self) -> None:
        return None


class House:
    """One shard, with what it stands on."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.leases = MemoryLeases(self.clock)
        self.log = MemoryLog()
        self.reader = Reader()
        self.opening: Exception | None = None
        self.openings = 0
        self.hang = False

    async def open_log(self) -> MemoryLog:
        self.openings += 1
        if self.hang:
            await asyncio.Event().wait()
        if self.opening is not None:
            raise self.opening
        return self.log

    async def open_reader(self) -> Reader:
        return self.reader

    def shard(self) -> ShardSequencer:
        return ShardSequencer(0, CONFIG, self.open_log, self.open_reader, self.leases, self.clock, AnyAuthor(), "me")

    def kinds(self) -> list[str]:
        return [type(message).__name__ for message in self.log.messages()]


@asynccontextmanager
async def alive(shard: ShardSequencer | Sequencer) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(shard.run())
    try:
        yield task
    finally:
        shard.stop()
        async with asyncio.timeout(5):
            await asyncio.gather(task, return_exceptions=True)


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the fakes have no events
            await asyncio.sleep(0.001)


async def test_it_takes_over_writes_and_leaves_in_order():
    house = House()
    async with alive(house.shard()) as task:
        await until(lambda: "Positions" in house.kinds())
    assert task.exception() is None
    assert house.kinds() == ["WriterStarted", "Positions", "MarketBatch", "Positions"]
    assert house.leases.rows["journal:0"][:2] == ("", 1)


async def test_its_epoch_is_above_row_and_journal():
    house = House()
    house.leases.rows["journal:0"] = ("", 7, 0)
    house.log.put_journal(started(9, B))
    house.log.put_journal(positions(9, B, {}).model_copy(update={"expected_offset": 1, "sequenced_at_ms": 0}))
    async with alive(house.shard()):
        await until(lambda: len(house.kinds()) > 3)
    assert house.leases.rows["journal:0"][1] == 10


async def test_a_stop_does_not_wait_for_a_broker_that_is_away():
    house = House()
    house.hang = True
    async with alive(house.shard()) as task:
        await until(lambda: house.openings == 1)
    assert task.exception() is None
    assert house.kinds() == []


async def test_it_stands_by_while_another_holds_the_lease_or_the_database_is_away():
    house = House()
    house.leases.rows["journal:0"] = ("them", 1, house.clock.boot + 1_000_000)
    async with alive(house.shard()):
        await until(lambda: house.leases.asked > 3)
        house.leases.reachable = False
        await until(lambda: house.leases.asked > 6)
    assert house.openings == 0


async def test_failures_in_a_row_end_it_after_a_bound():
    house = House()
    house.opening = UnreachableError("no broker")
    with pytest.raises(UnreachableError, match="3 failures in a row"):
        await house.shard().run()
    assert house.openings == 3


async def test_after_a_lost_position_it_starts_anew_with_a_new_epoch():
    house = House()
    house.reader = Reader(PositionLostError("market.tickers.v1", 0, 1, 5, 9))
    async with alive(house.shard()):
        await until(lambda: house.kinds().count("WriterStarted") >= 2)
    epochs = [message.epoch for message in house.log.messages()]
    assert epochs == sorted(epochs)
    assert len(set(epochs)) >= 2


class OvertakenLog(MemoryLog):
    """Another owner's start lands just before the first one that is appended here."""

    async def append(self, output: Output) -> int:
        if not self.messages():
            self.put_journal(started(99, B))
        return await super().append(output)


async def test_a_faster_owner_is_left_alone():
    house = House()
    house.log = OvertakenLog()
    async with alive(house.shard()):
        await until(lambda: house.openings >= 2)
    assert [message.epoch for message in house.log.messages()][:3] == [99, 1, 100]
    assert house.kinds()[:3] == ["WriterStarted"] * 3


async def test_one_shard_that_cannot_go_on_ends_the_process():
    house = House()
    house.log.put(Output(PORTFOLIO_JOURNAL, b"0", b"{", (("ce_type", b"trimtab.journal.positions.v1"),), 0))
    sequencer = Sequencer(SequencerConfig(shards=2), house.open_log, house.open_reader, house.leases, house.clock, AnyAuthor())
    with pytest.raises(InvariantError, match="unreadable"):
        await sequencer.run()


async def test_all_shards_stop_together():
    house = House()
    sequencer = Sequencer(SequencerConfig(shards=2), house.open_log, house.open_reader, house.leases, house.clock, AnyAuthor())
    async with alive(sequencer) as task:
        await until(lambda: len(house.leases.rows) == 2)
    assert task.exception() is None
    assert {row[0] for row in house.leases.rows.values()} == {""}
