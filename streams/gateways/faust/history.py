"""What the topics already hold, read with plain clients and no consumer group, before a fold may start.

Outputs carry the position of the record that caused them. Together with the checkpoint that tells whether a shard was
left drained (no recorded output has a cause at or past `next_offset`), which is when other code may take it over.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.domain.errors import RefusedError
from streams.gateways.kafka_access import client_args
from streams.gateways.kafka_admin import Floors, check_topics
from streams.ports.folds import CAUSE_HEADER, FoldSpec
from streams.ports.log import KafkaConnection, Record
from streams.topics import CHANGELOG_CONFIG, FOR_EVER, Topic, changelog

logger = logging.getLogger(__name__)

# How far the clocks of producers may disagree when the timestamp of a cause is used to find its outputs.
CLOCK_MARGIN_MS = 10 * 60_000
# Every broker answer has this long; a restart is the retry.
ANSWER_SECONDS = 30.0


class TopicRefusedError(RefusedError):
    """A topic that the fold stands on is missing or made differently; the message names topic, found and wanted."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The offsets that a partition holds: begin <= offset < end."""

    begin: int
    end: int


def cause_of(record: Record) -> bytes:
    """The value of the cause header on every output of `record`."""
    return f"{record.topic}:{record.partition}:{record.offset}".encode()


def parse_cause(value: bytes) -> tuple[str, int, int] | None:
    """(topic, partition, offset) of a cause header, or None when it is not ours."""
    parts = value.decode("utf-8", "replace").rsplit(":", 2)
    if len(parts) != 3 or not parts[1].isdigit() or not parts[2].isdigit():
        return None
    return parts[0], int(parts[1]), int(parts[2])


class History:
    """Reads of recorded topics, named without prefix. Every call opens its own client: nothing lingers beside the fold."""

    def __init__(self, kafka: KafkaConnection) -> None:
        self._kafka = kafka
        self._prefix = kafka.topic_prefix

    async def check_topics(self, spec: FoldSpec) -> None:
        """Raise TopicRefusedError unless source, changelog and outputs exist as the fold needs them.

        The changelog must be compacted and as wide as the source; settings that only make cleaning slower are a warning.
        Waits for the broker with patience.
        """
        wanted = Topic(
            changelog(spec.application), "checkpoint", "", spec.partitions, FOR_EVER, (), (), "compact", CHANGELOG_CONFIG
        )
        problems = await check_topics(self._kafka, [wanted], Floors(replication=1, min_insync=1))
        for problem in problems:
            if problem.fatal:
                raise TopicRefusedError(str(problem))
            logger.warning("%s", problem)
        async with self._reader() as reader:
            for topic in (spec.source_topic, *spec.output_topics):
                count = len(await _partitions(reader, self._prefix + topic))
                if count == 0:
                    raise TopicRefusedError(f"topic {self._prefix}{topic} is missing; run `trimtab topics create`")
                if topic == spec.source_topic and count != spec.partitions:
                    raise TopicRefusedError(f"topic {topic}: partition count is {count}, wanted {spec.partitions}")

    async def extent(self, topic: str, partition: int) -> Extent:
        """The offsets that the partition holds now."""
        async with self._reader() as reader:
            return await _extent(reader, TopicPartition(self._prefix + topic, partition))

    async def read(self, topic: str, partition: int, begin: int, end: int) -> AsyncIterator[Record]:
        """The records with begin <= offset < end that still exist, in order."""
        async with self._reader() as reader:
            async for record in _read(reader, TopicPartition(self._prefix + topic, partition), begin, end):
                yield replace(record, topic=topic)

    async def last_cause(self, spec: FoldSpec, partition: int, since_offset: int) -> int | None:
        """The highest recorded cause at or past `since_offset` of this source partition over all outputs, or None.

        No output can be older than its cause, so only outputs younger than the record at `since_offset` are read.
        """
        source = TopicPartition(self._prefix + spec.source_topic, partition)
        async with self._reader() as reader:
            extent = await _extent(reader, source)
            first = max(since_offset, extent.begin)
            if first >= extent.end and since_offset > 0:
                return None
            since_ms = 0
            async for record in _read(reader, source, first, min(first + 1, extent.end)):
                since_ms = max(0, record.timestamp_ms - CLOCK_MARGIN_MS)
            highest: int | None = None
            for topic in dict.fromkeys(spec.output_topics):
                for output in await _partitions(reader, self._prefix + topic):
                    async for cause in _causes(reader, output, since_ms):
                        if cause[:2] == (spec.source_topic, partition) and cause[2] >= since_offset:
                            highest = max(cause[2], highest or 0)
        return highest

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        reader = AIOKafkaConsumer(**client_args(self._kafka), group_id=None, enable_auto_commit=False, auto_offset_reset="none")
        try:
            await reader.start()
            yield reader
        finally:
            # The client stops a task of its own; one that never ran yet would raise the cancellation here.
            await asyncio.sleep(0)
            await reader.stop()


async def _partitions(reader: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    cluster = await asyncio.wait_for(reader._client.fetch_all_metadata(), ANSWER_SECONDS)
    return [TopicPartition(topic, partition) for partition in sorted(cluster.partitions_for_topic(topic) or ())]


async def _extent(reader: AIOKafkaConsumer, source: TopicPartition) -> Extent:
    begins = await asyncio.wait_for(reader.beginning_offsets([source]), ANSWER_SECONDS)
    ends = await asyncio.wait_for(reader.end_offsets([source]), ANSWER_SECONDS)
    return Extent(begins[source], ends[source])


async def _read(reader: AIOKafkaConsumer, source: TopicPartition, begin: int, end: int) -> AsyncIterator[Record]:
    if begin >= end:
        return
    reader.assign([source])
    reader.seek(source, begin)
    position = begin
    while position < end:
        batches = await asyncio.wait_for(reader.getmany(source, timeout_ms=1000), ANSWER_SECONDS)
        for found in batches.get(source, ()):
            if found.offset >= end:
                return
            yield Record(
                found.topic,
                found.partition,
                found.offset,
                found.key,
                found.value,
                tuple(found.headers),
                found.timestamp,
            )
        position = await asyncio.wait_for(reader.position(source), ANSWER_SECONDS)


async def _causes(reader: AIOKafkaConsumer, output: TopicPartition, since_ms: int) -> AsyncIterator[tuple[str, int, int]]:
    extent = await _extent(reader, output)
    starts = await asyncio.wait_for(reader.offsets_for_times({output: since_ms}), ANSWER_SECONDS)
    start = starts.get(output)
    begin = extent.end if start is None else max(start.offset, extent.begin)
    async for record in _read(reader, output, begin, extent.end):
        value = record.header(CAUSE_HEADER)
        cause = parse_cause(value) if value is not None else None
        if cause is not None:
            yield cause
