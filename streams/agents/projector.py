"""The projector: folds ledger, signals and probes into the tables that people read. Rows and offsets are one transaction.

Where it stands is in the database and nowhere else: at start, and after every failure whose outcome nobody knows, it reads
positions and heads back and goes on from there; a batch counts only if the positions still are what it saw. So a crash, a
database restored from an old copy, a schema dropped under it, or a second projector only mean that more is read again. While
database or broker are away it waits, with growing pauses, and says so once.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.codec import DecodeError, decode
from schemas.envelope import Envelope, Message
from schemas.ledger import LedgerEntry
from schemas.rebalance import Signal
from schemas.venue import VenueLatency
from streams.agents.deadletter import dead_letter_of
from streams.agents.waiting import pause
from streams.domain.errors import RefusedError, UnreachableError
from streams.domain.ledger.projection import Change, Heads, Origin, of_entry, of_latency, of_signal
from streams.ports.database import ProjectionMovedError, ProjectionStore
from streams.ports.log import Log, LogReader, Output, PositionLostError, Record
from streams.ports.process import Clock
from streams.topics import ORDERS_LEDGER, REBALANCE_SIGNALS, VENUE_LATENCY

log = logging.getLogger("trimtab.projector")

SOURCES: dict[str, type[Message]] = {ORDERS_LEDGER: LedgerEntry, REBALANCE_SIGNALS: Signal, VENUE_LATENCY: VenueLatency}
"""The topics that are projected, and what stands in them."""


@dataclass(frozen=True, slots=True)
class ProjectorConfig:
    """Bounds: records of one transaction, wait for new ones, how often the tables are looked at while nothing comes, pauses
    while database or broker are away, when to give up."""

    records_max: int = 2_000
    poll_ms: int = 200
    look_every_ms: int = 5_000
    pause_ms_min: int = 100
    pause_ms_max: int = 2_000
    away_ms_max: int = 600_000


@dataclass(slots=True)
class _Batch:
    changes: list[Change] = field(default_factory=list)
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    repeats: list[tuple[str, int, str]] = field(default_factory=list)
    dead: list[Output] = field(default_factory=list)


class Projector:
    """The role. `run` returns after `stop`; it raises InvariantError on a gap, a fork, or a repeat with other bytes,
    RefusedError when topics or tables are not what they must be, UnreachableError when the database stays away too long.

    `entries`, `signals`, `dead_lettered` count what was projected since this object was made.
    """

    def __init__(
        self, store: ProjectionStore, topics: Log, reader: LogReader, clock: Clock, config: ProjectorConfig | None = None
    ):
        self._store = store
        self._topics = topics
        self._reader = reader
        self._clock = clock
        self._config = config or ProjectorConfig()
        self._heads = Heads()
        self._stored: dict[tuple[str, int], int] = {}
        self._partitions: dict[str, int] = {}
        self._stopping = asyncio.Event()
        self._away_since_ms: int | None = None
        self._looked_at_ms = 0
        self.entries = 0
        self.signals = 0
        self.dead_lettered = 0

    def stop(self) -> None:
        """Ask `run` to return after the batch at hand."""
        self._stopping.set()

    async def run(self) -> None:
        """Project until stopped."""
        pause_ms = self._config.pause_ms_min
        while not self._stopping.is_set():
            try:
                await self._resume()
                while not self._stopping.is_set():
                    await self._project()
                    pause_ms = self._config.pause_ms_min
            except UnreachableError as error:
                self._away(error)
            except (ProjectionMovedError, PositionLostError) as error:
                log.warning("%s; reading back where the tables stand", error)
            await pause(pause_ms / 1000, self._stopping)
            pause_ms = min(pause_ms * 2, self._config.pause_ms_max)

    async def _resume(self) -> None:
        """Read back where the tables stand and follow the topics from there."""
        stored = self._stored = await self._store.positions()
        self._heads = Heads(await self._store.heads())
        positions: dict[tuple[str, int], int] = {}
        if not self._partitions:
            self._partitions = {topic: await self._topics.partitions(topic) for topic in SOURCES}
        for topic, count in self._partitions.items():
            for partition in range(count):
                place = (topic, partition)
                positions[place] = stored[place] if place in stored else await self._begin(topic, partition)
        for _ in range(len(positions) + 1):
            try:
                return await self._reader.assign(positions)
            except PositionLostError as lost:
                positions[lost.topic, lost.partition] = self._replacement(lost)
        raise UnreachableError("projector: topics lose records faster than positions in them can be taken")

    async def _begin(self, topic: str, partition: int) -> int:
        begin = await self._topics.begin_offset(topic, partition)
        if topic == ORDERS_LEDGER and begin > 0:
            raise RefusedError(
                f"{topic}:{partition} begins at {begin}: the books are not whole, restore the topic from its archive"
            )
        return begin

    def _replacement(self, lost: PositionLostError) -> int:
        """Where to go on when a position is gone: signals and probes age out, the books must not."""
        if lost.topic == ORDERS_LEDGER or lost.wanted > lost.end:
            raise RefusedError(
                f"{lost}: the tables do not fit this topic; point at the right brokers, or drop the schema `ledger` and rebuild"
            ) from lost
        log.warning("%s; the projection goes on from %d", lost, lost.begin)
        return lost.begin

    async def _project(self) -> None:
        """One poll, one transaction."""
        records = await self._reader.poll(self._config.poll_ms, self._config.records_max)
        if not records:
            await self._look()
            return self._back()
        batch = self._fold(records)
        for acked in [self._topics.append_nowait(output) for output in batch.dead]:
            await acked
        moves = {place: (self._stored.get(place), next_offset) for place, next_offset in batch.positions.items()}
        await self._store.apply(batch.changes, moves, batch.repeats)
        self._stored |= batch.positions
        return self._back()

    async def _look(self) -> None:
        """While nothing comes, no transaction would tell that the tables were rebuilt under us."""
        now_ms = self._clock.boot_ms()
        if now_ms - self._looked_at_ms < self._config.look_every_ms:
            return
        self._looked_at_ms = now_ms
        if await self._store.positions() != self._stored:
            raise ProjectionMovedError("the tables do not stand where they stood")

    def _fold(self, records: Sequence[Record]) -> _Batch:
        batch = _Batch()
        for record in records:
            batch.positions[record.topic, record.partition] = record.offset + 1
            try:
                message, origin = _read(record)
            except ValueError as error:
                self.dead_lettered += 1
                log.warning("%s:%d:%d goes to the dead letters: %s", record.topic, record.partition, record.offset, error)
                batch.dead.append(dead_letter_of(record, "projector", error))
                continue
            self._change(batch, message, origin)
        return batch

    def _change(self, batch: _Batch, message: Message, origin: Origin) -> None:
        match message:
            case LedgerEntry() if self._heads.accept(message):
                self.entries += 1
                batch.changes += of_entry(message, origin)
            case LedgerEntry():
                batch.repeats.append((message.account, message.sequence, origin.value_sha256))
            case Signal():
                self.signals += 1
                batch.changes += of_signal(message, origin)
            case VenueLatency():
                batch.changes += of_latency(message)

    def _back(self) -> None:
        if self._away_since_ms is not None:
            log.warning("projecting again after %d ms; nothing was lost", self._clock.boot_ms() - self._away_since_ms)
            self._away_since_ms = None

    def _away(self, error: UnreachableError) -> None:
        now_ms = self._clock.boot_ms()
        if self._away_since_ms is None:
            self._away_since_ms = now_ms
            log.warning("%s; trying again with pauses of up to %d ms", error, self._config.pause_ms_max)
        elif now_ms - self._away_since_ms > self._config.away_ms_max:
            raise error


def _read(record: Record) -> tuple[Message, Origin]:
    envelope = Envelope.read(record.headers)
    message = decode(envelope.type, record.value)
    if not isinstance(message, SOURCES[record.topic]):
        raise DecodeError(f"a {type(message).__name__} does not belong here")
    origin = Origin.of(record.partition, record.offset, envelope.id, record.value or b"", envelope.traceparent)
    return message, origin
