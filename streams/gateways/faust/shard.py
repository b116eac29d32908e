"""One owned shard: its fold, what it sent and has not seen acknowledged, and its checkpoints.

Order of a checkpoint: take state, offset and outstanding outputs at one moment between two records; await every output's
acknowledgement; write the chunks, then the header, each acknowledged; only then may the committed offset move. All but
the first step happens beside the fold, one checkpoint at a time.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from streams.domain.errors import InvariantError
from streams.gateways.faust.checkpoint import Checkpoint, CheckpointWriter, Entry
from streams.gateways.faust.history import cause_of
from streams.ports.folds import CAUSE_HEADER, Fold, FoldSpec
from streams.ports.log import Output, Record

# Above this size a checkpoint is paced by its bytes alone, at one of these a second.
PACE_BYTES = 1_000_000


class FoldObserver:
    """What happens in a fold, for metrics and tests. Every method is called in the fold's own thread and must be short."""

    def on_record(self, record: Record, outputs: int) -> None:
        """A record was folded and its outputs handed to the producer."""

    def on_outputs_acked(self, partition: int, next_offset: int) -> None:
        """All outputs below `next_offset` are durable; the checkpoint's records are not yet sent."""

    def on_chunks_acked(self, partition: int, next_offset: int) -> None:
        """The chunks of a checkpoint are durable; its header is not yet sent."""

    def on_checkpoint(self, partition: int, next_offset: int, size_bytes: int, seconds: float) -> None:
        """A checkpoint is durable; `seconds` from snapshot to acknowledgement, `size_bytes` compressed."""

    def on_recovered(self, partition: int, next_offset: int) -> None:
        """A shard was taken over and resumes at `next_offset`."""

    def on_revoked(self, partition: int, next_offset: int) -> None:
        """A shard was given up after its last durable checkpoint at `next_offset`."""


class Wire(Protocol):
    """How a shard reaches its topics. Both return once the record is queued, with a future of its acknowledgement."""

    async def send(self, output: Output) -> "asyncio.Future[object]":
        """Queue one output."""
        ...

    async def save(self, partition: int, key: bytes, value: bytes | None) -> "asyncio.Future[object]":
        """Queue one changelog record; None is a tombstone."""
        ...


@dataclass(slots=True)
class _Sent:
    at: float
    acked: "asyncio.Future[object]"


class OwnedShard:
    """The fold of one partition for as long as this process owns it.

    `durable_offset` is the next offset of the checkpoint that `fold` was made from; None for a shard without any, which
    begins at offset 0 and should `settle` before its first record: from then on a missing checkpoint means a lost one.
    """

    def __init__(
        self,
        spec: FoldSpec,
        partition: int,
        fold: Fold,
        durable_offset: int | None,
        writer: CheckpointWriter,
        wire: Wire,
        lift: Callable[[int, int], None],
        observer: FoldObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.partition = partition
        self.next_offset = durable_offset or 0
        self.durable_offset = durable_offset
        self._spec = spec
        self._fold = fold
        self._writer = writer
        self._wire = wire
        self._lift = lift
        self._observer = observer
        self._clock = clock
        self._sent: deque[_Sent] = deque()
        self._folding_since: float | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._checkpointing: asyncio.Task[None] | None = None
        self._checkpoint_started = clock()
        self._size_bytes = 0

    async def fold(self, record: Record) -> None:
        """Fold the record at `next_offset`, or skip one below it. Raises InvariantError on a gap."""
        if record.offset < self.next_offset:
            return
        if record.offset > self.next_offset:
            raise InvariantError(
                f"offset gap in {record.topic}:{record.partition}: got {record.offset}, want {self.next_offset}"
            )
        self._folding_since = self._clock()
        self._idle.clear()
        cause = (CAUSE_HEADER, cause_of(record))
        outputs = self._fold.step(record)
        for output in outputs:
            acked = await self._wire.send(replace(output, headers=(*output.headers, cause)))
            self._sent.append(_Sent(self._clock(), acked))
        self.next_offset = record.offset + 1
        self._folding_since = None
        self._idle.set()
        self._observer.on_record(record, len(outputs))
        self.checkpoint_if_due()

    def checkpoint_if_due(self) -> None:
        """Begin a checkpoint if there are changes, none is under way, and the interval or the event count is reached."""
        self._reap()
        if not self._changed or not self._idle.is_set() or self._checkpointing is not None:
            return
        elapsed = self._clock() - self._checkpoint_started
        pace = max(self._spec.checkpoint_seconds_min, self._size_bytes / PACE_BYTES)
        events = self.next_offset - (self.durable_offset or 0)
        many = self._size_bytes < PACE_BYTES and events >= self._spec.checkpoint_events_max
        if elapsed >= pace or many:
            self._begin()

    async def settle(self) -> None:
        """Checkpoint exactly at the last folded record and return when that is durable."""
        await self._idle.wait()
        while self._changed or self._checkpointing is not None:
            if self._checkpointing is None:
                self._begin()
            elif not self._checkpointing.done():
                await asyncio.wait([self._checkpointing])
            self._reap()

    def abandon(self) -> None:
        """Stop working for this shard. What is still on its way may land later and does no harm."""
        if self._checkpointing is not None:
            self._checkpointing.cancel()
        for sent in self._sent:
            sent.acked.add_done_callback(_forget)
        self._sent.clear()

    def waiting_seconds(self) -> float:
        """How long the oldest output, checkpoint or hand-over to the producer has been waiting for its answer."""
        self._reap()
        since = [sent.at for sent in list(self._sent)[:1]]
        if self._folding_since is not None:
            since.append(self._folding_since)
        if self._checkpointing is not None:
            since.append(self._checkpoint_started)
        return self._clock() - min(since) if since else 0.0

    @property
    def _changed(self) -> bool:
        return self.durable_offset is None or self.next_offset > self.durable_offset

    def _reap(self) -> None:
        while self._sent and self._sent[0].acked.done():
            self._sent.popleft().acked.result()
        if self._checkpointing is not None and self._checkpointing.done():
            task, self._checkpointing = self._checkpointing, None
            task.result()

    def _begin(self) -> None:
        self._checkpoint_started = self._clock()
        checkpoint = Checkpoint(self._spec.version, self.next_offset, self._fold.snapshot())
        outputs = [sent.acked for sent in self._sent]
        self._checkpointing = asyncio.get_running_loop().create_task(self._write(checkpoint, outputs))

    async def _write(self, checkpoint: Checkpoint, outputs: "list[asyncio.Future[object]]") -> None:
        await _all_acked(outputs)
        self._observer.on_outputs_acked(self.partition, checkpoint.next_offset)
        generation = await asyncio.to_thread(self._writer.encode, checkpoint)
        if generation.chunks:
            await self._save_all(generation.chunks)
            self._observer.on_chunks_acked(self.partition, checkpoint.next_offset)
        await self._save_all((generation.header,))
        self._size_bytes = generation.size_bytes
        self.durable_offset = checkpoint.next_offset
        self._lift(self.partition, checkpoint.next_offset)
        seconds = self._clock() - self._checkpoint_started
        self._observer.on_checkpoint(self.partition, checkpoint.next_offset, generation.size_bytes, seconds)
        await self._save_all(tuple((key, None) for key in generation.stale))

    async def _save_all(self, entries: tuple[Entry, ...] | tuple[tuple[bytes, None], ...]) -> None:
        acks = [await self._wire.save(self.partition, key, value) for key, value in entries]
        await _all_acked(acks)


async def _all_acked(acks: "list[asyncio.Future[object]]") -> None:
    # Shielded: a cancelled checkpoint must not cancel what the producer still has to send.
    await asyncio.gather(*(asyncio.shield(acked) for acked in acks))


def _forget(acked: "asyncio.Future[object]") -> None:
    if not acked.cancelled():
        acked.exception()
