"""A log, a lease store and a clock in memory, under the test's control."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from schemas import journal
from streams.agents.sequencer.tail import read_journal
from streams.agents.sequencer.writer import journal_output
from streams.ports.database import Lease, LeaseUnreachableError
from streams.ports.log import Output, PositionLostError, Record
from streams.topics import PORTFOLIO_JOURNAL


class HandClock:
    """Moves only when told to."""

    def __init__(self, wall_ms: int = 1_700_000_000_000, boot_ms: int = 1_000_000) -> None:
        self.wall, self.boot = wall_ms, boot_ms

    def wall_ms(self) -> int:
        return self.wall

    def boot_ms(self) -> int:
        return self.boot

    def pass_ms(self, milliseconds: int) -> None:
        self.wall += milliseconds
        self.boot += milliseconds


class MemoryLog:
    """The port Log. Appends wait for `acknowledge` when `held`; `begin` cuts a partition as retention does."""

    def __init__(self) -> None:
        self.partition: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.begin: dict[tuple[str, int], int] = {}
        self.counts: dict[str, int] = defaultdict(lambda: 1)
        self.held = False
        self.waiting: list[tuple[asyncio.Future[int], int]] = []
        self.age_ms = 0
        self.reads: list[tuple[int, int]] = []

    def append_nowait(self, output: Output) -> "asyncio.Future[int]":
        offset = self.put(output)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self.held:
            self.waiting.append((done, offset))
        else:
            done.set_result(offset)
        return done

    def put(self, output: Output) -> int:
        """Append at once, as anybody may."""
        place = (output.topic, output.partition or 0)
        records = self.partition[place]
        offset = len(records)
        records.append(
            Record(
                output.topic, output.partition or 0, offset, output.key, output.value, output.headers, output.timestamp_ms or 0
            )
        )
        return offset

    def put_journal(self, message: journal.JournalRecord, shard: int = 0) -> int:
        return self.put(journal_output(shard, message, len(self.partition[PORTFOLIO_JOURNAL, shard])))

    def acknowledge(self, offset: int | None = None) -> None:
        """Let the oldest waiting append know its offset, or the one given."""
        done, where = self.waiting.pop(0)
        done.set_result(where if offset is None else offset)

    async def append(self, output: Output) -> int:
        return await self.append_nowait(output)

    def unacked_age_ms(self) -> int:
        return self.age_ms

    async def partitions(self, topic: str) -> int:
        return self.counts[topic]

    async def end_offset(self, topic: str, partition: int) -> int:
        return len(self.partition[topic, partition])

    async def begin_offset(self, topic: str, partition: int) -> int:
        return self.begin.get((topic, partition), 0)

    async def read(self, topic: str, partition: int, offset_from: int, offset_to: int) -> Sequence[Record]:
        records, begin = self.partition[topic, partition], self.begin.get((topic, partition), 0)
        if not begin <= offset_from <= offset_to <= len(records):
            raise PositionLostError(topic, partition, offset_from, begin, len(records))
        self.reads.append((offset_from, offset_to))
        return records[offset_from:offset_to]

    def messages(self, shard: int = 0) -> list[journal.JournalRecord]:
        return [read_journal(record) for record in self.partition[PORTFOLIO_JOURNAL, shard]]

    async def close(self) -> None:
        return None


class MemoryLeases:
    """The port LeaseStore with the database's clock in the test's hand."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.rows: dict[str, tuple[str, int, int]] = {}
        self.reachable = True
        self.asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if not self.reachable:
            raise LeaseUnreachableError("the database is away")

    async def read(self, resource: str) -> Lease | None:
        self._ask()
        row = self.rows.get(resource)
        return None if row is None else Lease(resource, row[0], row[1], row[2] - self._clock.boot)

    async def take(self, resource: str, owner: str, epoch_seen: int | None, epoch_new: int, ttl_ms: int) -> bool:
        self._ask()
        row = self.rows.get(resource)
        free = row is None if epoch_seen is None else row is not None and row[1] == epoch_seen
        if not free or (row is not None and row[0] != owner and row[2] > self._clock.boot):
            return False
        self.rows[resource] = (owner, epoch_new, self._clock.boot + ttl_ms)
        return True

    async def renew(self, resource: str, owner: str, epoch: int, ttl_ms: int) -> bool:
        self._ask()
        if self.rows.get(resource, ("", 0, 0))[:2] != (owner, epoch):
            return False
        self.rows[resource] = (owner, epoch, self._clock.boot + ttl_ms)
        return True

    async def release(self, resource: str, owner: str, epoch: int) -> None:
        self._ask()
        if self.rows.get(resource, ("", 0, 0))[:2] == (owner, epoch):
            self.rows[resource] = ("", epoch, self._clock.boot)

    async def point(self, resource: str, owner: str, epoch: int, checkpoint_offset: int) -> bool:
        self._ask()
        return self.rows.get(resource, ("", 0, 0))[:2] == (owner, epoch)
