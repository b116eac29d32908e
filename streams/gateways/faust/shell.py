"""The fold shell: Faust owns partitions and recovers tables; everything that decides what is kept is done here.

Life of a worker: topics and history are checked; Faust joins the group and reads the changelog; for each partition it
owns, the newest complete checkpoint becomes a fold and the consumer is moved to that checkpoint's next offset while the
partitions still stand; then each record is folded, its outputs sent, and state checkpointed in the background. When
partitions are revoked, or the process is asked to stop, a last checkpoint is made exactly at the last folded record.
"""

import asyncio
import logging
from typing import Any

from faust.types import TP

from streams.gateways.faust.checkpoint import CheckpointWriter, Found, find_checkpoint
from streams.gateways.faust.ending import EXIT_FAILED, EXIT_WATCHDOG, end_process, end_with
from streams.gateways.faust.history import Extent, History
from streams.gateways.faust.reading import Reading
from streams.gateways.faust.shard import FoldObserver, OwnedShard
from streams.gateways.faust.start import admit, resume
from streams.gateways.faust.transport import Consumer, FoldApp
from streams.ports.folds import FoldFactory, FoldSpec
from streams.ports.log import KafkaConnection, Output, Record, Signer

logger = logging.getLogger(__name__)

# A revoked handler that takes longer would make the group wait for us; what is not done by then is only repeated.
REVOKED_SECONDS = 3.0
TICK_SECONDS = 0.1


class FoldShell:
    """Folds the partitions that `app` is given. Ends the process on everything that is not a plain record.

    `signer` signs outputs on their way out: the fold itself knows no key, so that a replay cannot sign.
    """

    def __init__(
        self,
        app: FoldApp,
        spec: FoldSpec,
        factory: FoldFactory,
        kafka: KafkaConnection,
        observer: FoldObserver,
        signer: Signer | None = None,
    ) -> None:
        self._app = app
        self._signer = signer
        self._prefix = kafka.topic_prefix
        self._source = kafka.topic_prefix + spec.source_topic
        self._spec = spec
        self._factory = factory
        self._history = History(kafka)
        self._observer = observer
        self._shards: dict[int, OwnedShard] = {}
        # Counts revocations: what was begun in an older era must not be finished in a newer one.
        self._era = 0
        self._draining = False
        self._ended = False
        self._table = app.Table(
            "checkpoints",
            partitions=spec.partitions,
            key_type=bytes,
            value_type=bytes,
            recovery_buffer_size=16,
        )
        self._reading = Reading(app.tables, self._table.changelog_topic.get_topic_name())
        # Raw: the framework would skip a record that is no JSON, and the fold, which decides what to do with it, see a gap.
        source = app.topic(
            self._source,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )
        self._table.on_recover(self._on_recover)
        app.agent(source, concurrency=1, name="fold")(self._agent)
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_crash = self._on_crash

    async def drain(self) -> None:
        """Take no further record, make the last checkpoints durable, commit them. Returns when all of it is done."""
        self._draining = True
        if self._shards:
            await self._settle(self._shards)
        self._ended = True

    async def watch(self) -> None:
        """Checkpoint idle shards when due; end the process when an answer or the recovery is overdue or the group is lost."""
        while not self._ended:
            await asyncio.sleep(TICK_SECONDS)
            try:
                if (overdue := self._overdue()) is not None:
                    end_process(EXIT_WATCHDOG, overdue)
                for shard in list(self._shards.values()):
                    if not self._draining:
                        shard.checkpoint_if_due()
                if self._app._consumer is not None and (failure := self._consumer.failure()) is not None:
                    end_process(EXIT_FAILED, failure)
            except Exception as error:  # noqa: BLE001 - a broken watch must not leave a fold unwatched
                end_with(error)

    @property
    def _consumer(self) -> Consumer:
        consumer = self._app.consumer
        assert isinstance(consumer, Consumer)
        return consumer

    def _overdue(self) -> str | None:
        for shard in list(self._shards.values()):
            waiting = shard.waiting_seconds()
            if waiting > self._spec.watchdog_seconds:
                return f"partition {shard.partition}: the oldest output or checkpoint has no answer for {waiting:.0f} s"
        waiting = self._reading.waiting_seconds()
        if waiting > self._spec.watchdog_seconds:
            return f"the changelog of the assigned partitions was not read any further for {waiting:.0f} s"
        return None

    async def _agent(self, stream: Any) -> None:
        async for event in stream.events():
            try:
                await self._on_message(event.message)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - raising out of an agent would acknowledge the event
                end_with(error)

    async def _on_message(self, message: Any) -> None:
        shard = self._shards.get(message.partition)
        if shard is None or self._draining:
            return
        await shard.fold(
            Record(
                self._spec.source_topic,
                message.partition,
                message.offset,
                message.key,
                message.value,
                tuple(message.headers or ()),
                round((message.timestamp or 0.0) * 1000),
            )
        )

    async def _on_recover(self) -> None:
        try:
            await self._take_over()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - the framework swallows what a recovery callback raises
            if not self._ended:  # a stop in the midst of a take-over closes the consumer below it, with nothing owned yet
                end_with(error)

    async def _take_over(self) -> None:
        if not self._reading.finish():
            logger.info("a rebalance has cut the recovery short; the new assignment has its own")
            return
        era = self._era
        assigned = self._app.assignor.assigned_actives()
        sources = sorted(tp for tp in assigned if tp.topic == self._source)
        if not sources:
            return  # more workers than partitions: this one stands by
        try:
            taken = await self._restore(sources)
        except Exception as error:
            if era == self._era:
                raise
            # The next owner may have written meanwhile what does not fit to what was read here.
            logger.info("revoked while taking over, nothing was owned yet: %s", error)
            return
        if era != self._era or not set(sources) <= self._consumer.assignment():
            return
        positions = {TP(tp.topic, tp.partition): taken[tp.partition].next_offset for tp in sources}
        await self._consumer.seek_to_checkpoints(positions)
        if era != self._era:
            return
        self._consumer.cap = positions
        self._shards = taken
        for shard in taken.values():
            logger.info("partition %d resumes at offset %d", shard.partition, shard.next_offset)
            self._observer.on_recovered(shard.partition, shard.next_offset)

    async def _restore(self, sources: list[TP]) -> dict[int, OwnedShard]:
        begins = await self._consumer.earliest_offsets(*sources)
        ends = await self._consumer.highwaters(*sources)
        taken: dict[int, OwnedShard] = {}
        for tp in sources:
            self._reading.check(tp.partition)
            found = find_checkpoint(self._table.data, tp.partition)
            await admit(self._spec, self._history, tp.partition, found, Extent(begins[tp], ends[tp]))
            shard = taken[tp.partition] = self._own(tp.partition, found)
            if found.checkpoint is None:
                await asyncio.wait_for(shard.settle(), self._spec.watchdog_seconds)
        return taken

    def _own(self, partition: int, found: Found) -> OwnedShard:
        checkpoint = found.checkpoint
        return OwnedShard(
            self._spec,
            partition,
            resume(self._spec, self._factory, partition, checkpoint),
            checkpoint.next_offset if checkpoint is not None else None,
            CheckpointWriter(partition, found),
            self,
            self._lift,
            self._observer,
        )

    def _lift(self, partition: int, next_offset: int) -> None:
        self._consumer.cap[TP(self._source, partition)] = next_offset

    async def _on_assigned(self, *_: Any, **__: Any) -> None:
        self._reading.expect()

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        self._era += 1
        self._reading.forget()
        shards, self._shards = self._shards, {}
        if not shards:
            return
        try:
            await asyncio.wait_for(self._settle(shards), REVOKED_SECONDS)
        except TimeoutError:
            logger.warning("revoked before the last checkpoint was durable; its records will be repeated")
        except BaseException as error:  # noqa: BLE001 - see _agent
            end_with(error)
        self._consumer.cap = {}
        for shard in shards.values():
            shard.abandon()
            self._observer.on_revoked(shard.partition, shard.durable_offset or 0)

    async def _settle(self, shards: dict[int, OwnedShard]) -> None:
        """Last checkpoints, then their commit: explicit, since the framework has forgotten by then what it could commit."""
        await asyncio.gather(*(shard.settle() for shard in shards.values()))
        await self._consumer._commit_offsets(dict(self._consumer.cap))

    def _on_crash(self, reason: BaseException) -> None:
        if not self._ended:
            end_with(reason)

    async def send(self, output: Output) -> "asyncio.Future[object]":
        """Queue one output on the application's producer, signed where its topic is."""
        if self._signer is not None:
            output = self._signer.sign(output)
        return await self._producer.send(
            self._prefix + output.topic,
            output.value,
            key=output.key,
            partition=output.partition,
            timestamp_ms=output.timestamp_ms,
            headers=list(output.headers),
        )

    async def save(self, partition: int, key: bytes, value: bytes | None) -> "asyncio.Future[object]":
        """Queue one changelog record on the application's producer."""
        return await self._producer.send(self._table.changelog_topic.get_topic_name(), value, key=key, partition=partition)

    @property
    def _producer(self) -> Any:
        producer: Any = self._app.producer
        return producer._ensure_producer()
