"""A journal that is fed, workers that are killed, and a judge that compares every output with the pure fold."""

import asyncio
import contextlib
import os
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.gateways.faust.checkpoint import Checkpoint, find_checkpoint
from streams.ports.log import Record
from tests.crash.fold.reference import ID_HEADER, ReferenceFold, event_value
from tests.crash.fold.worker import Plan

# Small segments, so that the log cleaner has work within seconds; in production they are 64 MiB and a minute.
CHANGELOG_CONFIG = {
    "cleanup.policy": "compact",
    "segment.bytes": "1048576",
    "segment.ms": "2000",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "2000",
    "delete.retention.ms": "600000",
}
OUTPUT_PARTITIONS = 3


class Worker:
    """One worker process; its words are kept, its log goes to a file."""

    def __init__(self, plan: Plan, log: Path) -> None:
        self.plan = plan
        self._log = log
        self.words: list[list[str]] = []
        self.process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._said = asyncio.Condition()

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.crash.fold.worker",
                self.plan.to_json(),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._said:
                self.words.append(line.decode().split())
                self._said.notify_all()
        await self.process.wait()
        async with self._said:
            self._said.notify_all()

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.returncode is not None

    def count(self, word: str) -> int:
        return sum(1 for words in self.words if words[0] == word)

    def durable(self, partition: int) -> int:
        """The newest checkpoint that this worker found or wrote, -1 for none."""
        said = (words for words in self.words if words[0] in ("CHECKPOINT", "RECOVERED") and words[1] == str(partition))
        return max((int(words[2]) for words in said), default=-1)

    async def until(self, condition: Callable[[], bool], seconds: float = 90.0) -> None:
        """Wait until the worker's words make the condition true; fail with its log's end otherwise."""
        try:
            async with asyncio.timeout(seconds), self._said:
                while not condition():
                    assert not self.ended, f"the worker ended with {self.returncode}\n{self.log_tail()}"
                    await self._said.wait()
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s\n{self.words[-20:]}\n{self.log_tail()}") from None

    async def end(self, seconds: float = 90.0) -> int:
        """Wait until the process has ended and return its exit code."""
        assert self.process is not None
        assert self._reader is not None
        async with asyncio.timeout(seconds):
            await self.process.wait()
            await self._reader
        return self.returncode

    @property
    def returncode(self) -> int:
        assert self.process is not None
        assert self.process.returncode is not None
        return self.process.returncode

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def log_lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_lines()[-lines:])


@dataclass(slots=True)
class Verdict:
    """What the judge found: differences from the pure fold, and how many outputs came more than once."""

    outputs: int
    repeats: int
    differences: list[str]


@dataclass(slots=True)
class Rig:
    """One application with its topics on a broker."""

    bootstrap: str
    partitions: int
    directory: Path
    padding_bytes: int = 0
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}.")
    fed: Counter[int] = field(default_factory=Counter)
    workers: list[Worker] = field(default_factory=list)

    async def create_topics(self, changelog_config: dict[str, str] | None = None, with_changelog: bool = True) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            config = changelog_config or dict(CHANGELOG_CONFIG)
            changelog = [NewTopic(self.changelog, self.partitions, 1, topic_configs=config)] if with_changelog else []
            await admin.create_topics(
                [
                    NewTopic(self.prefix + "journal", self.partitions, 1),
                    NewTopic(self.prefix + "outputs", OUTPUT_PARTITIONS, 1),
                    *changelog,
                ]
            )
        finally:
            await admin.close()

    @property
    def changelog(self) -> str:
        return self.prefix + "fold-checkpoints-changelog"

    def plan(self, **changes: object) -> Plan:
        base = Plan(self.bootstrap, self.prefix, self.partitions, padding_bytes=self.padding_bytes)
        return replace(base, **changes)  # type: ignore[arg-type]

    async def start_worker(self, **changes: object) -> Worker:
        worker = Worker(self.plan(**changes), self.directory / f"{self.prefix}worker.log")
        self.workers.append(worker)
        await worker.start()
        return worker

    @contextlib.asynccontextmanager
    async def feeding(self, per_second: float) -> AsyncIterator[None]:
        """Feed all partitions at that rate together while the block runs."""
        task = asyncio.create_task(self._feed(per_second))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _feed(self, per_second: float) -> None:
        producer = await self._producer()
        started, count = time.monotonic(), 0
        try:
            while True:
                due = int((time.monotonic() - started) * per_second)
                while count < due:
                    await self._feed_one(producer, count % self.partitions)
                    count += 1
                await asyncio.sleep(0.01)
        finally:
            await producer.stop()

    async def feed(self, count: int, partition: int = 0) -> None:
        producer = await self._producer()
        try:
            for _ in range(count):
                await self._feed_one(producer, partition)
        finally:
            await producer.stop()

    async def _producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all",
            enable_idempotence=True,
            max_batch_size=900_000,
            request_timeout_ms=300_000,
        )
        await producer.start()
        return producer

    async def _feed_one(self, producer: AIOKafkaProducer, partition: int) -> None:
        await producer.send(self.prefix + "journal", event_value(self.fed[partition]), partition=partition)
        self.fed[partition] += 1

    async def checkpoint(self, partition: int) -> Checkpoint | None:
        records: dict[bytes, bytes | None] = {}
        for record in await self.read(self.changelog, partition):
            assert record.key is not None
            records[record.key] = record.value
        return find_checkpoint(records, partition).checkpoint

    async def drained(self, worker: Worker, seconds: float = 180.0) -> None:
        """Wait until this worker has checkpoints that cover every fed record."""
        await worker.until(lambda: all(worker.durable(place) >= count for place, count in self.fed.items()), seconds)

    async def finish(self, **plan: object) -> Worker:
        """One more worker folds what is left, then leaves in order."""
        worker = await self.start_worker(**plan)
        await self.drained(worker)
        worker.signal(signal.SIGTERM)
        assert await worker.end() == 0, worker.log_tail()
        return worker

    async def committed(self) -> dict[int, int]:
        """The group's committed offset of each journal partition that has one."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(self.prefix + "fold")
        finally:
            await admin.close()
        return {
            place.partition: found.offset
            for place, found in offsets.items()
            if place.topic == self.prefix + "journal" and found.offset >= 0
        }

    async def lose_changelog(self) -> None:
        await self._remake(NewTopic(self.changelog, self.partitions, 1, topic_configs=CHANGELOG_CONFIG))

    async def remake_journal(self) -> None:
        await self._remake(NewTopic(self.prefix + "journal", self.partitions, 1))

    async def _remake(self, topic: NewTopic) -> None:
        """Delete a topic and create it anew, empty."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()

        async def gone() -> bool:
            return topic.name not in await admin.list_topics()

        try:
            await admin.delete_topics([topic.name])
            await eventually(gone, 30)
            await admin.create_topics([topic])
        finally:
            await admin.close()

    async def read(self, topic: str, partition: int) -> list[Record]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            place = TopicPartition(topic, partition)
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            await consumer.seek_to_beginning(place)
            records: list[Record] = []
            while await consumer.position(place) < end:
                for raw in (await consumer.getmany(place, timeout_ms=1000)).get(place, []):
                    records.append(Record(topic, partition, raw.offset, raw.key, raw.value, tuple(raw.headers), raw.timestamp))
            return records
        finally:
            await consumer.stop()

    async def holes(self) -> int:
        """How many changelog records the log cleaner has removed so far."""
        removed = 0
        for partition in range(self.partitions):
            offsets = [record.offset for record in await self.read(self.changelog, partition)]
            removed += offsets[-1] + 1 - len(offsets) if offsets else 0
        return removed

    async def judge(self) -> Verdict:
        """Fold the journal without any shell and compare, by id and to the byte."""
        recorded: dict[tuple[int, str], bytes] = {}
        copies = 0
        differences: list[str] = []
        for place in range(OUTPUT_PARTITIONS):
            for record in await self.read(self.prefix + "outputs", place):
                name, content = _identity(record)
                copies += 1
                if recorded.setdefault(name, content) != content:
                    differences.append(f"{name} was written with two contents")
        wanted: dict[tuple[int, str], bytes] = {}
        for partition in range(self.partitions):
            fold = ReferenceFold("outputs", None, self.padding_bytes)
            for number in range(self.fed[partition]):
                for output in fold.step(Record("journal", partition, number, None, event_value(number))):
                    wanted[partition, str(output.headers[0][1], "ascii")] = output.key + b"\n" + output.value
        differences += [f"{name} is missing" for name in wanted.keys() - recorded.keys()]
        differences += [f"{name} was never decided" for name in recorded.keys() - wanted.keys()]
        differences += [f"{name} differs" for name in wanted.keys() & recorded.keys() if wanted[name] != recorded[name]]
        return Verdict(len(wanted), copies - len(recorded), sorted(differences))

    async def close(self) -> None:
        """End every worker that still lives, paused ones too."""
        for worker in self.workers:
            if worker.process is not None and not worker.ended:
                worker.signal(signal.SIGKILL)
                await worker.end()


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Ask again and again until it is so; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.1)


def _identity(record: Record) -> tuple[tuple[int, str], bytes]:
    cause, output_id = record.header("trimtab-cause"), record.header(ID_HEADER)
    assert cause is not None
    assert output_id is not None
    partition = int(cause.decode().split(":")[1])
    return (partition, output_id.decode()), (record.key or b"") + b"\n" + (record.value or b"")
