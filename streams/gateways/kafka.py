"""Partitions by explicit offsets over aiokafka: the ports Log and LogReader.

Producers are idempotent, wait for all replicas and never time out: while the broker is away a send simply stays
unacknowledged, and the role's own watchdog decides when that is too long. Readers assign and seek in one step of the event
loop, and know no reset policy: a position outside a topic is an error, never a jump. The installation's topic prefix is
added and removed here and nowhere else.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from schemas.envelope import Headers
from streams.domain.errors import RefusedError, UnreachableError
from streams.gateways.kafka_access import KNOCK_TIMEOUT_MS, client_args, knock
from streams.ports.log import KafkaConnection, Output, PositionLostError, Record

QUEUED_MAX = 200_000
FETCH_WAIT_MS = 20  # one fetch in flight per broker: a longer wait delays records of every other partition
TOGETHER_MAX = 10_000  # offsets that ranges which are wanted at the same time may span, to be read in one pass
REQUEST_TIMEOUT_MS = 90_000  # above the watchdogs: with idempotence only they may give a send up
FLUSH_S = 3.0
STOP_S = 5.0
START_PATIENCE_S = 600.0  # a role's, for a broker that is started beside it

log = logging.getLogger("trimtab.kafka")


async def patiently(
    connection: KafkaConnection, what: str, start: Callable[[], Awaitable[None]], patience_s: float = START_PATIENCE_S
) -> None:
    """Knock, then run `start`, until both work, with growing pauses up to 5 s and one clear line for each; where somebody
    waits for the answer (a patience of seconds) the only line is the error itself.

    Raises UnreachableError when the patience (ten minutes) is at its end, and RefusedError at once for what waiting cannot
    change.
    """
    deadline, pause_s = time.monotonic() + patience_s, 0.2
    away: Exception | None = None
    while True:
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
                await knock(connection, min(KNOCK_TIMEOUT_MS, int(patience_s * 500)))
                return await start()
        except (KafkaError, OSError) as error:
            away = error if str(error) or away is None else away
        if time.monotonic() + pause_s > deadline:
            words = str(away) or "no answer"
            raise UnreachableError(f"{what}: the broker cannot be reached at {connection.bootstrap}: {words}") from None
        if patience_s >= START_PATIENCE_S:
            log.warning("%s: the broker cannot be reached yet (%s); trying again", what, away)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, 5.0)


@dataclass(slots=True, eq=False)
class _Wanted:
    """A range that somebody waits for, and what was found in it."""

    place: TopicPartition
    offset_from: int
    offset_to: int
    found: list[Record] | None = None


@dataclass(slots=True, eq=False)
class _Queued:
    output: Output
    done: "asyncio.Future[int]"


class KafkaLog:
    """The port Log. One idempotent producer, and one consumer for reading ranges back. Its start waits `patience_s` for the
    broker."""

    def __init__(
        self, connection: KafkaConnection, compression: str | None = None, *, patience_s: float = START_PATIENCE_S
    ) -> None:
        self._connection = connection
        self._patience_s = patience_s
        self._compression = compression
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._reading = asyncio.Lock()
        self._wanted: list[_Wanted] = []
        self._queue: deque[_Queued] = deque()
        self._unacked: dict[int, float] = {}
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, waiting for the broker with patience. Raises UnreachableError."""
        await patiently(self._connection, "log", self._start_clients, self._patience_s)
        self._pump = asyncio.create_task(self._run_pump(), name="log-pump")

    async def _start_clients(self) -> None:
        arguments = client_args(self._connection)
        producer = AIOKafkaProducer(
            **arguments,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            compression_type=cast("Any", self._compression),
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_batch_size=900_000,
        )
        consumer = AIOKafkaConsumer(
            **arguments, auto_offset_reset="none", enable_auto_commit=False, fetch_max_wait_ms=FETCH_WAIT_MS
        )
        try:
            await producer.start()
            await consumer.start()
        except BaseException:
            await producer.stop()
            await consumer.stop()
            raise
        self._producer, self._consumer = producer, consumer

    def append_nowait(self, output: Output) -> "asyncio.Future[int]":
        """See the port."""
        if len(self._queue) >= QUEUED_MAX:
            raise BufferError(f"{QUEUED_MAX} appends are waiting for the broker")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(_Queued(output, done))
        self._unacked[id(done)] = time.monotonic()
        done.add_done_callback(lambda future: self._unacked.pop(id(future), None))
        self._wake.set()
        return done

    async def append(self, output: Output) -> int:
        """See the port."""
        return await self.append_nowait(output)

    def unacked_age_ms(self) -> int:
        """See the port."""
        oldest = next(iter(self._unacked.values()), None)
        return 0 if oldest is None else int((time.monotonic() - oldest) * 1000)

    async def _run_pump(self) -> None:
        producer = self._producer
        assert producer is not None
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                queued = self._queue.popleft()
                output = queued.output
                try:
                    sent = await producer.send(
                        self._connection.topic_prefix + output.topic,
                        value=output.value,
                        key=output.key,
                        partition=output.partition,
                        timestamp_ms=output.timestamp_ms,
                        headers=cast("Any", list(output.headers)),
                    )
                except asyncio.CancelledError:
                    queued.done.cancel()
                    raise
                except Exception as error:  # noqa: BLE001  the caller of append gets whatever it was
                    if not queued.done.done():
                        queued.done.set_exception(error)
                else:
                    sent.add_done_callback(lambda ack, done=queued.done: _settle(ack, done))

    async def partitions(self, topic: str) -> int:
        """See the port."""
        assert self._producer is not None
        try:
            async with asyncio.timeout(30):
                return len(await self._producer.partitions_for(self._connection.topic_prefix + topic))
        except (KafkaError, TimeoutError) as error:
            raise RefusedError(f"topic {self._connection.topic_prefix + topic} cannot be read: {error!r}") from None

    async def end_offset(self, topic: str, partition: int) -> int:
        """See the port."""
        place = self._place(topic, partition)
        with _reaching(topic):
            return (await self._need_consumer().end_offsets([place]))[place]

    async def begin_offset(self, topic: str, partition: int) -> int:
        """See the port."""
        place = self._place(topic, partition)
        with _reaching(topic):
            return (await self._need_consumer().beginning_offsets([place]))[place]

    async def read(self, topic: str, partition: int, offset_from: int, offset_to: int) -> Sequence[Record]:
        """See the port. One range after the other, but those of one partition that are wanted together in one pass: a
        hundred accounts that are taken over at the same time want much the same records."""
        if offset_from >= offset_to:
            return []
        own = _Wanted(self._place(topic, partition), offset_from, offset_to)
        self._wanted.append(own)
        try:
            async with self._reading:
                if own.found is None:
                    await self._read_together(topic, partition, own)
        finally:
            self._wanted.remove(own)
        assert own.found is not None
        return own.found

    async def _read_together(self, topic: str, partition: int, own: _Wanted) -> None:
        begin, end = await self.begin_offset(topic, partition), await self.end_offset(topic, partition)
        if not begin <= own.offset_from <= own.offset_to <= end:
            wanted = own.offset_from if own.offset_from < begin else own.offset_to
            raise PositionLostError(topic, partition, wanted, begin, end)
        served, first, last = [own], own.offset_from, own.offset_to
        for other in self._wanted:
            if other is own or other.place != own.place or other.found is not None:
                continue
            wider = min(first, other.offset_from), max(last, other.offset_to)
            if begin <= wider[0] and wider[1] <= end and wider[1] - wider[0] <= max(TOGETHER_MAX, last - first):
                served.append(other)
                first, last = wider
        records = await self._read_range(topic, own.place, first, last)
        for wanted in served:
            wanted.found = [record for record in records if wanted.offset_from <= record.offset < wanted.offset_to]

    async def _read_range(self, topic: str, place: TopicPartition, offset_from: int, offset_to: int) -> list[Record]:
        consumer = self._need_consumer()
        consumer.assign([place])
        consumer.seek(place, offset_from)
        found: list[Record] = []
        try:
            with _reaching(topic):
                while await consumer.position(place) < offset_to:
                    batches = await consumer.getmany(place, timeout_ms=200)
                    found += [_record(raw, topic) for raw in batches.get(place, []) if raw.offset < offset_to]
        finally:
            consumer.pause(place)  # else it asks for news of this partition 50 times a second, for ever
        return found

    async def close(self, flush_s: float = FLUSH_S, stop_s: float = STOP_S) -> None:
        """See the port. With the broker away it waits `flush_s` for the queue, again for the producer, and `stop_s` for
        each of two clients."""
        if self._producer is not None:
            await self._flush(self._producer, flush_s)
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        for queued in self._queue:
            queued.done.cancel()
        for client in (self._producer, self._consumer):
            if client is not None:
                await _stop(client, stop_s)
        self._producer = self._consumer = None

    async def _flush(self, producer: AIOKafkaProducer, within_s: float) -> None:
        """Wait for a while until everything queued is durable: with the broker away it would be for ever."""
        if self._queue:
            await asyncio.wait([self._queue[-1].done], timeout=within_s)
        try:
            async with asyncio.timeout(within_s):
                await producer.flush()
        except TimeoutError:
            log.warning("%d appends are not acknowledged at the stop", len(self._unacked))

    def _place(self, topic: str, partition: int) -> TopicPartition:
        return TopicPartition(self._connection.topic_prefix + topic, partition)

    def _need_consumer(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise UnreachableError("the log is not started")
        return self._consumer


class KafkaReader:
    """The port LogReader: explicit assignment, own offsets, no group."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect, waiting for the broker with patience. Raises UnreachableError."""
        await patiently(self._connection, "reader", self._start_client)

    async def _start_client(self) -> None:
        consumer = AIOKafkaConsumer(
            **client_args(self._connection),
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer

    async def assign(self, positions: Mapping[tuple[str, int], int]) -> None:
        """See the port."""
        if self._consumer is None:
            await self.start()
        consumer = self._consumer
        assert consumer is not None
        places = {
            TopicPartition(self._connection.topic_prefix + topic, partition): offset
            for (topic, partition), offset in positions.items()
        }
        if not places:
            consumer.unsubscribe()
            return
        with _reaching("the topics to be read"):
            begins, ends = await consumer.beginning_offsets(list(places)), await consumer.end_offsets(list(places))
        for place, offset in places.items():
            if not begins[place] <= offset <= ends[place]:
                raise PositionLostError(self._logical(place.topic), place.partition, offset, begins[place], ends[place])
        # No await between these two: a fetcher without position would queue an error for a later poll.
        consumer.assign(list(places))
        for place, offset in places.items():
            consumer.seek(place, offset)

    async def poll(self, timeout_ms: int, records_max: int = 2000) -> Sequence[Record]:
        """See the port."""
        consumer = self._consumer
        if consumer is None or not consumer.assignment():
            await asyncio.sleep(timeout_ms / 1000)
            return []
        try:
            batches = await consumer.getmany(timeout_ms=timeout_ms, max_records=records_max)
        except OffsetOutOfRangeError as error:
            raise await self._lost(consumer, error) from None
        return [_record(raw, self._logical(place.topic)) for place, raws in batches.items() for raw in raws]

    async def _lost(self, consumer: AIOKafkaConsumer, error: OffsetOutOfRangeError) -> PositionLostError:
        """What retention (or a deleted topic) took away while it was being read."""
        place, wanted = next(iter(error.args[0].items()))
        with _reaching(place.topic):
            begins, ends = await consumer.beginning_offsets([place]), await consumer.end_offsets([place])
        return PositionLostError(self._logical(place.topic), place.partition, wanted, begins[place], ends[place])

    async def close(self) -> None:
        """See the port."""
        if self._consumer is not None:
            await _stop(self._consumer)
            self._consumer = None

    def _logical(self, topic: str) -> str:
        return topic.removeprefix(self._connection.topic_prefix)


@contextmanager
def _reaching(what: str) -> Iterator[None]:
    """Say in our words that the broker did not answer (aiokafka's bound: 40 s)."""
    try:
        yield
    except KafkaError as error:
        raise UnreachableError(f"{what}: the broker did not answer: {error!r}") from error


def _settle(ack: "asyncio.Future[Any]", done: "asyncio.Future[int]") -> None:
    if done.done():
        if not ack.cancelled():
            ack.exception()
    elif ack.cancelled():
        done.cancel()
    elif (error := ack.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(ack.result().offset)


def _record(raw: ConsumerRecord, topic: str) -> Record:
    headers: Headers = tuple((name, value) for name, value in raw.headers)
    return Record(topic, raw.partition, raw.offset, raw.key, raw.value, headers, raw.timestamp)


async def _stop(client: AIOKafkaProducer | AIOKafkaConsumer, within_s: float = STOP_S) -> None:
    """Stop a client, bounded: with the broker away its own flush would wait for ever.

    A consumer whose fetch waits for a broker that is away lets the cancellation of that fetch escape from its stop, before
    its connections are closed. Nobody cancelled us then, not once more at least, and the role's own ending must go on.
    """
    task = asyncio.current_task()
    assert task is not None
    cancelled = task.cancelling()
    try:
        async with asyncio.timeout(within_s):
            try:
                await client.stop()
            except asyncio.CancelledError:
                if task.cancelling() > cancelled:
                    raise
                await (client._client if isinstance(client, AIOKafkaConsumer) else client.client).close()
    except (TimeoutError, KafkaError):
        log.warning("a Kafka client did not stop in %g s; its connections are cut", within_s)
        await _cut(client)


async def _cut(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """End the connections of a client whose own stop was given up; what it still had to say is lost, and was said so."""
    sender = client._sender.sender_task if isinstance(client, AIOKafkaProducer) and client._sender is not None else None
    if sender is not None:
        sender.cancel()
    with suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(1.0):
            await (client._client if isinstance(client, AIOKafkaConsumer) else client.client).close()
