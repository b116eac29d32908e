"""From source records to journal records: the agent's side of a shard's intake.

Dead letters are durable before the record that counts them. Control is read up to its end before an account is called
unknown, since no order holds between topics.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from schemas.account import AccountBalances
from schemas.control import ControlEvent
from schemas.journal import Input, MarketBatch, Positions, SourceGap
from schemas.ledger import LedgerEntry
from streams.agents.deadletter import Few, dead_letter_of
from streams.agents.sequencer.config import SequencerConfig
from streams.agents.sequencer.errors import StuckError, WriterFailedError
from streams.agents.sequencer.writer import JournalWriter
from streams.domain.control import Hearing, OutOfTimeError
from streams.domain.errors import InvariantError, RefusedError
from streams.domain.intake.acceptance import Acceptance
from streams.domain.intake.needs import Needs
from streams.domain.intake.shard import ShardIntake, Single
from streams.domain.intake.sources import CONTROL, SOURCES, lost_until, source_name, split_source, start_of
from streams.domain.intake.validate import GarbageError, Sound, read_sound
from streams.ports.log import Log, Record, UntrustedError, Verifier
from streams.ports.process import Clock
from streams.topics import PORTFOLIO_JOURNAL

log = logging.getLogger("trimtab.sequencer")

_CONTROL = source_name(CONTROL.topic, 0)
_READ_AT_ONCE = 5_000
"""Control records read in one go."""


class Intake:
    """Feeds one journal from its sources. `begin` once, then `take` and `flush` in turn, then `end`."""

    def __init__(
        self,
        shard: int,
        config: SequencerConfig,
        log: Log,
        writer: JournalWriter,
        clock: Clock,
        verifier: Verifier,
        acceptance: Acceptance,
    ) -> None:
        self._shard = shard
        self._verifier = verifier
        self._hearing = Hearing()
        self._refused = 0
        self._strangers = Few()
        self._config = config
        self._log = log
        self._writer = writer
        self._clock = clock
        self._acceptance = acceptance
        self._needs = Needs(shard)
        self._intake = ShardIntake(self._needs, acceptance, config.conflation_step, config.stale_ms_max)
        self._batch_at_ms = self._positions_at_ms = clock.boot_ms()

    async def begin(self) -> None:
        """Journal where every source stands, then read control to its end: it says what the shard needs.

        Raises RefusedError when a source no longer holds what must not be lost.
        """
        positions, gaps = await self._stand()
        held = self._acceptance
        at = Acceptance(positions=positions, ledger_heads=held.ledger_heads, watermarks=held.watermarks)
        self._intake = ShardIntake(self._needs, at, self._config.conflation_step, self._config.stale_ms_max)
        await self._rebuild_needs(positions[_CONTROL])
        await self._write_positions()
        for source, gap_to in gaps.items():
            await self._writer.append(SourceGap, source=source, gap_from=positions[source], gap_to=gap_to)
            self._intake.skip_to(source, gap_to)
        await self._catch_up_control()

    def positions(self) -> dict[tuple[str, int], int]:
        """Where to read on, for each (topic, partition)."""
        return {split_source(source): position for source, position in self._intake.positions().items()}

    async def take(self, records: Sequence[Record]) -> None:
        """Take in what was read: dead letters first, then control, then the rest in the order it was read."""
        now_ms = self._clock.wall_ms()
        read = [(record, self._read(record, now_ms)) for record in records if not self._taken(record)]
        await self._bury([(record, found) for record, found in read if isinstance(found, GarbageError)])
        for record, found in sorted(read, key=lambda pair: pair[0].topic != CONTROL.topic):
            if isinstance(found, GarbageError):
                self._intake.take_garbage(source_name(record.topic, record.partition), record.offset)
            else:
                await self._take_sound(found, now_ms)

    async def flush(self) -> None:
        """Write what is due: a batch when prices changed or the clock mark is due, and where every source stands."""
        now_ms = self._clock.boot_ms()
        due_ms = self._config.batch_floor_ms if self._intake.has_quotes else self._config.heartbeat_ms
        if now_ms - self._batch_at_ms >= due_ms and not self._writer.batch_in_flight:
            await self._write_batch()
        if now_ms - self._positions_at_ms >= self._config.positions_every_ms:
            await self._write_batch()
            await self._write_positions()

    def idle_ms(self) -> int:
        """For how long nothing becomes due, if nothing arrives."""
        now_ms = self._clock.boot_ms()
        due_ms = self._config.batch_floor_ms if self._intake.has_quotes else self._config.heartbeat_ms
        if self._writer.batch_in_flight:
            due_ms = self._config.heartbeat_ms  # its acknowledgement wakes us
        left_ms = min(due_ms - (now_ms - self._batch_at_ms), self._config.positions_every_ms - (now_ms - self._positions_at_ms))
        return max(1, left_ms)

    async def end(self) -> None:
        """Journal what is pending and where every source stands, durably."""
        await self._write_batch()
        await self._write_positions()
        await self._writer.settle(in_flight_max=0)

    def _taken(self, record: Record) -> bool:
        return self._intake.taken(source_name(record.topic, record.partition), record.offset)

    def _read(self, record: Record, now_ms: int) -> Sound | GarbageError:
        name = source_name(record.topic, record.partition)
        try:
            sound = read_sound(SOURCES[record.topic], name, record.offset, record.key, record.value, record.headers, now_ms)
            return self._heard(record, sound) if isinstance(sound.message, ControlEvent) else sound
        except GarbageError as garbage:
            return garbage

    def _heard(self, record: Record, sound: Sound) -> Sound:
        """The control event with the key that an operator signed it by. Raises GarbageError for one not to be obeyed."""
        event = sound.message
        assert isinstance(event, ControlEvent)
        try:
            key_id = self._verifier.check(record, self._hearing.key_time_ms(event, record.timestamp_ms))
            self._hearing.hear(event, sound.value, record.timestamp_ms)
        except UntrustedError as error:
            raise GarbageError("Untrusted", f"{error.cause}: {error}") from None
        except OutOfTimeError as error:
            raise GarbageError("OutOfTime", str(error)) from None
        return replace(sound, envelope=replace(sound.envelope, key_id=key_id))

    async def _bury(self, garbage: Sequence[tuple[Record, GarbageError]]) -> None:
        if not garbage:
            return
        for record, reason in garbage:
            if record.topic == CONTROL.topic:
                self._remark(record, reason)
        journal = f"{PORTFOLIO_JOURNAL}:{self._shard}"
        letters = [dead_letter_of(record, "sequencer", reason, journal=journal) for record, reason in garbage]
        appends = [self._log.append_nowait(letter) for letter in letters]
        try:
            async with asyncio.timeout(self._config.unacked_ms_max / 1000):
                await asyncio.gather(*appends)
        except TimeoutError:
            raise StuckError(f"shard {self._shard}: dead letters are not durable") from None
        except Exception as error:
            raise WriterFailedError(f"shard {self._shard}: dead letters failed: {error!r}") from error

    def _remark(self, record: Record, reason: GarbageError) -> None:
        """What no operator said is refused aloud; of a stranger's flood only a part."""
        self._refused += 1
        if self._strangers.another(self._clock.boot_ms()):
            words = "shard %d: control offset %d is not obeyed: %s: %s (%d refused since the take-over)"
            log.error(words, self._shard, record.offset, reason.name, reason, self._refused)

    async def _take_sound(self, sound: Sound, now_ms: int) -> None:
        message = sound.message
        if isinstance(message, LedgerEntry | AccountBalances) and not self._needs.account_known(message.account):
            await self._catch_up_control()
        single = self._intake.take(sound, now_ms)
        if single is not None:
            await self._writer.settle(in_flight_max=self._config.in_flight_max)
            await self._write_single(single)

    async def _write_single(self, single: Single) -> None:
        sound = single.sound
        await self._writer.append(
            Input,
            traceparent=sound.envelope.traceparent,
            ranges=single.ranges,
            source=sound.source,
            source_offset=sound.offset,
            source_type=sound.envelope.type,
            source_id=sound.envelope.id,
            source_value=sound.value.decode(),
            source_key_id=(sound.envelope.key_id or None) if isinstance(sound.message, ControlEvent) else None,
        )

    async def _write_batch(self) -> None:
        ranges, quotes, news = self._intake.drain()
        await self._writer.append(MarketBatch, ranges=ranges, quotes=quotes, news=news)
        self._batch_at_ms = self._clock.boot_ms()

    async def _write_positions(self) -> None:
        heads = self._intake.ledger_heads()
        await self._writer.append(
            Positions,
            positions=self._intake.positions(),
            watermarks=self._intake.watermarks(),
            ledger_sequences={account: head.sequence for account, head in heads.items()},
            ledger_hashes={account: head.entry_hash for account, head in heads.items() if head.entry_hash},
        )
        self._positions_at_ms = self._clock.boot_ms()

    async def _stand(self) -> tuple[dict[str, int], dict[str, int]]:
        """The position of every source, and up to where retention overtook those that may lose records."""
        positions: dict[str, int] = {}
        gaps: dict[str, int] = {}
        for source in SOURCES.values():
            for partition in range(await self._log.partitions(source.topic)):
                name = source_name(source.topic, partition)
                begin = await self._log.begin_offset(source.topic, partition)
                end = await self._log.end_offset(source.topic, partition)
                held = self._acceptance.positions.get(name)
                positions[name] = start_of(source, begin, end) if held is None else held
                if (gap_to := lost_until(source, name, positions[name], begin, end)) is not None:
                    gaps[name] = gap_to
        if gone := self._acceptance.positions.keys() - positions.keys():
            raise RefusedError(f"shard {self._shard} has read from {', '.join(sorted(gone))}, which no longer exist")
        return positions, gaps

    async def _rebuild_needs(self, upto: int) -> None:
        """What control said below our position: it was journalled, or not needed, before."""
        for at in range(0, upto, _READ_AT_ONCE):
            for record in await self._log.read(CONTROL.topic, 0, at, min(at + _READ_AT_ONCE, upto)):
                found = self._read(record, 0)
                if isinstance(found, Sound) and isinstance(found.message, ControlEvent):
                    self._needs.learn(found.message)

    async def _catch_up_control(self) -> None:
        """Take control up to its present end, ahead of the common reader."""
        end = await self._log.end_offset(CONTROL.topic, 0)
        while (position := self._intake.position(_CONTROL)) < end:
            records = await self._log.read(CONTROL.topic, 0, position, min(end, position + _READ_AT_ONCE))
            if not records:
                raise InvariantError(f"{_CONTROL}: offsets from {position} to {end - 1} are missing")
            await self.take(records)
