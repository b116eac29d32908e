"""Rebuilds a shard whose changelog was lost, so that it can be started again without deciding anything twice.

The journal is folded up to and including the last record that has a recorded output, every output on the way is thrown
away, and the state is written as a checkpoint. What was decided before the loss stays as it was recorded: a record whose
outputs were cut off in the middle by the crash is not completed, since commands it caused have long passed the time by
which they had to be admitted. Where such a command was never sent, its portfolio holds as `unanswered` until an operator
halts and resumes it.
"""

import asyncio
import logging
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from streams.domain.errors import InvariantError, RefusedError
from streams.gateways.faust.checkpoint import Checkpoint, CheckpointWriter, Found, find_checkpoint
from streams.gateways.faust.history import History
from streams.gateways.faust.start import resume
from streams.gateways.faust.transport import BATCH_BYTES
from streams.gateways.kafka_access import client_args
from streams.ports.folds import FoldFactory, FoldSpec
from streams.ports.log import KafkaConnection
from streams.topics import changelog

logger = logging.getLogger(__name__)

WRITE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RecoveredShard:
    """What was rebuilt: the shard resumes at `next_offset`, after `records_folded` records folded without output."""

    partition: int
    next_offset: int
    records_folded: int


async def recover_shard(
    spec: FoldSpec,
    factory: FoldFactory,
    kafka: KafkaConnection,
    partition: int,
    archived: Checkpoint | None = None,
) -> RecoveredShard:
    """Write the checkpoint that `partition` of a stopped fold must resume from, and send no output at all.

    Begins at `archived`, or at the journal's first record. Raises RefusedError when the shard has a checkpoint, when there
    is nothing to rebuild, or when the journal no longer reaches back far enough; InvariantError when it ends too early.
    """
    history = History(kafka)
    await history.check_topics(spec)
    found = await _read_changelog(history, spec, partition)
    if found.checkpoint is not None:
        raise RefusedError(f"shard {partition} has a checkpoint at {found.checkpoint.next_offset}: there is nothing to recover")
    cause = await history.last_cause(spec, partition, 0)
    if cause is None:
        raise RefusedError(f"shard {partition} has no recorded output: start it, it folds its journal from the beginning")
    source = await history.extent(spec.source_topic, partition)
    begin = archived.next_offset if archived is not None else 0
    if source.begin > begin:
        raise RefusedError(f"{spec.source_topic}:{partition} begins at {source.begin}: an archived checkpoint is needed")
    if source.end <= cause:
        raise InvariantError(f"{spec.source_topic}:{partition} ends at {source.end}, but {cause} has recorded outputs")
    next_offset = max(begin, cause + 1)
    fold = resume(spec, factory, partition, archived)
    async for record in history.read(spec.source_topic, partition, begin, next_offset):
        fold.step(record)
    checkpoint = Checkpoint(spec.version, next_offset, fold.snapshot())
    await _write(kafka, spec, partition, found, checkpoint)
    logger.info("shard %d rebuilt from offset %d to %d", partition, begin, next_offset)
    return RecoveredShard(partition, next_offset, next_offset - begin)


async def _read_changelog(history: History, spec: FoldSpec, partition: int) -> Found:
    topic = changelog(spec.application)
    extent = await history.extent(topic, partition)
    records: dict[bytes, bytes | None] = {}
    async for record in history.read(topic, partition, extent.begin, extent.end):
        records[record.key or b""] = record.value
    return find_checkpoint(records, partition)


async def _write(kafka: KafkaConnection, spec: FoldSpec, partition: int, found: Found, checkpoint: Checkpoint) -> None:
    topic = kafka.topic_prefix + changelog(spec.application)
    generation = CheckpointWriter(partition, found).encode(checkpoint)
    producer = AIOKafkaProducer(**client_args(kafka), acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES)
    await producer.start()
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            for key, value in (*generation.chunks, generation.header):
                await producer.send_and_wait(topic, value, key=key, partition=partition)
    finally:
        await producer.stop()
