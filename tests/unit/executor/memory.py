"""A log, leases and a clock in memory: the same contracts as the real ones, without waiting."""

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence

from streams.ports.database import Lease, LeaseUnreachableError
from streams.ports.log import Output, PositionLostError, Record
from streams.topics import OPERATOR_CONTROL, partition_of

PARTITIONS = 4


class Broker:
    """Topics as lists; what readers wait on. Where it has a clock, that dates the control topic (LogAppendTime)."""

    def __init__(self) -> None:
        self.clock_ms: int | None = None
        self.topics: dict[tuple[str, int], list[Record]] = {}
        self.begins: dict[tuple[str, int], int] = {}
        self.away = False
        self._waiting: set[asyncio.Future[None]] = set()

    def partition(self, topic: str, partition: int) -> list[Record]:
        return self.topics.setdefault((topic, partition), [])

    def append(self, output: Output) -> int:
        partition = output.partition if output.partition is not None else partition_of(output.key, PARTITIONS)
        records = self.partition(output.topic, partition)
        appends = self.clock_ms is not None and output.topic == OPERATOR_CONTROL
        at_ms = self.clock_ms if appends else output.timestamp_ms
        records.append(Record(output.topic, partition, len(records), output.key, output.value, output.headers, at_ms or 0))
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        return len(records) - 1

    async def news(self, timeout_ms: int) -> None:
        """Until something is appended, or that much time went by."""
        appended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(appended)
        try:
            await asyncio.wait([appended], timeout=timeout_ms / 1000)
        finally:
            self._waiting.discard(appended)


class MemoryLog:
    """The port Log."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    async def append(self, output: Output) -> int:
        return self.broker.append(output)

    def append_nowait(self, output: Output) -> Awaitable[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(self.broker.append(output))
        return done

    def unacked_age_ms(self) -> int:
        return 0

    async def partitions(self, topic: str) -> int:
        return PARTITIONS

    async def end_offset(self, topic: str, partition: int) -> int:
        if self.broker.away:
            raise ConnectionError("away")
        return len(self.broker.partition(topic, partition))

    async def begin_offset(self, topic: str, partition: int) -> int:
        return self.broker.begins.get((topic, partition), 0)

    async def read(self, topic: str, partition: int, offset_from: int, offset_to: int) -> Sequence[Record]:
        begin, end = await self.begin_offset(topic, partition), await self.end_offset(topic, partition)
        if offset_from < offset_to and not begin <= offset_from <= offset_to <= end:
            raise PositionLostError(topic, partition, offset_from, begin, end)
        return self.broker.partition(topic, partition)[offset_from:offset_to]

    async def close(self) -> None:
        return None


class MemoryReader:
    """The port LogReader."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.positions: dict[tuple[str, int], int] = {}
        self.assignments = 0

    async def assign(self, positions: Mapping[tuple[str, int], int]) -> None:
        if self.broker.away:
            raise ConnectionError("away")
        for (topic, partition), offset in positions.items():
            begin, end = self.broker.begins.get((topic, partition), 0), len(self.broker.partition(topic, partition))
            if not begin <= offset <= end:
                raise PositionLostError(topic, partition, offset, begin, end)
        self.positions = dict(positions)
        self.assignments += 1

    async def poll(self, timeout_ms: int, records_max: int = 2000) -> Sequence[Record]:
        found = self._found(records_max)
        if not found:
            await self.broker.news(timeout_ms)
            found = self._found(records_max)
        await asyncio.sleep(0)
        return found

    def _found(self, records_max: int) -> list[Record]:
        found: list[Record] = []
        for (topic, partition), offset in self.positions.items():
            records = self.broker.partition(topic, partition)[offset : offset + records_max]
            self.positions[(topic, partition)] = offset + len(records)
            found += records
        return found

    async def close(self) -> None:
        return None


class MemoryLeases:
    """The port ManyLeases, judged by a clock of its own."""

    def __init__(self, clock: "TestClock") -> None:
        self.clock = clock
        self.rows: dict[str, tuple[str, int, int, int | None]] = {}
        self.away = False

    def _there(self) -> None:
        if self.away:
            raise LeaseUnreachableError("away")

    async def read(self, resource: str) -> Lease | None:
        self._there()
        if resource not in self.rows:
            return None
        owner, epoch, expires, pointer = self.rows[resource]
        return Lease(resource, owner, epoch, expires - self.clock.boot_ms(), pointer)

    async def take(self, resource: str, owner: str, epoch_seen: int | None, epoch_new: int, ttl_ms: int) -> bool:
        self._there()
        row = self.rows.get(resource)
        if (row is None) != (epoch_seen is None) or (row is not None and row[1] != epoch_seen):
            return False
        if row is not None and row[0] != owner and row[2] > self.clock.boot_ms():
            return False
        self.rows[resource] = (owner, epoch_new, self.clock.boot_ms() + ttl_ms, row[3] if row is not None else None)
        return True

    async def renew(self, resource: str, owner: str, epoch: int, ttl_ms: int) -> bool:
        self._there()
        row = self.rows.get(resource)
        if row is None or row[:2] != (owner, epoch):
            return False
        self.rows[resource] = (owner, epoch, self.clock.boot_ms() + ttl_ms, row[3])
        return True

    async def read_all(self, resources: Collection[str]) -> dict[str, Lease]:
        rows = {resource: await self.read(resource) for resource in resources}
        return {resource: row for resource, row in rows.items() if row is not None}

    async def renew_all(self, owner: str, epochs: Mapping[str, int], ttl_ms: int) -> frozenset[str]:
        return frozenset([resource for resource, epoch in epochs.items() if await self.renew(resource, owner, epoch, ttl_ms)])

    async def release(self, resource: str, owner: str, epoch: int) -> None:
        row = self.rows.get(resource)
        if row is not None and row[:2] == (owner, epoch):
            self.rows[resource] = ("", epoch, self.clock.boot_ms(), row[3])

    async def point(self, resource: str, owner: str, epoch: int, checkpoint_offset: int) -> bool:
        row = self.rows.get(resource)
        if row is None or row[:2] != (owner, epoch):
            return False
        self.rows[resource] = (*row[:3], checkpoint_offset)
        return True


class TestClock:
    """Time as the test says."""

    __test__ = False

    def __init__(self) -> None:
        self.wall, self.boot = 1_700_000_000_000, 1_000_000

    def wall_ms(self) -> int:
        return self.wall

    def boot_ms(self) -> int:
        return self.boot

    def go(self, milliseconds: int) -> None:
        self.wall += milliseconds
        self.boot += milliseconds
