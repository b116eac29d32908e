"""One shard: stand by until its journal may be owned, take it over, and turn source records into journal records.

A take-over learns everything from the journal itself: the highest epoch from its tail, then, after its own WriterStarted is
durable, the positions of the sources from the tail up to and including that record. Nothing that was learned earlier is
used, since the former owner may have written in between.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from schemas import journal
from streams.agents.sequencer.config import SequencerConfig
from streams.agents.sequencer.errors import OwnershipLostError, StuckError, WriterFailedError
from streams.agents.sequencer.intake import Intake
from streams.agents.sequencer.ownership import LeaseWatch, Ownership
from streams.agents.sequencer.tail import read_tail
from streams.agents.sequencer.writer import JournalWriter, journal_output
from streams.agents.waiting import pause
from streams.domain.errors import UnreachableError
from streams.domain.intake.acceptance import Acceptance
from streams.ports.database import Lease, LeaseStore, LeaseUnreachableError
from streams.ports.log import Log, LogReader, PositionLostError, Record, Verifier
from streams.ports.process import Clock
from streams.topics import PORTFOLIO_JOURNAL

log = logging.getLogger("trimtab.sequencer")

_T = TypeVar("_T")

_STOP_S = 5.0


class ShardSequencer:
    """The life of one shard in one process: stand by, own, lose, stand by again."""

    def __init__(
        self,
        shard: int,
        config: SequencerConfig,
        open_log: Callable[[], Awaitable[Log]],
        open_reader: Callable[[], Awaitable[LogReader]],
        leases: LeaseStore,
        clock: Clock,
        verifier: Verifier,
        owner: str,
    ) -> None:
        self._shard = shard
        self._config = config
        self._open_log = open_log
        self._open_reader = open_reader
        self._leases = leases
        self._clock = clock
        self._verifier = verifier
        self._owner = owner
        self._resource = f"journal:{shard}"
        self._stopping = asyncio.Event()
        self._failures = 0

    def stop(self) -> None:
        """End in order: what was taken is journalled, then the lease is given up."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`. Raises InvariantError, RefusedError, StuckError, and UnreachableError after repeated failures."""
        while not self._stopping.is_set():
            seen = await self._stand_by()
            if self._stopping.is_set():
                return
            try:
                await self._own(seen)
            except OwnershipLostError as error:
                log.warning("shard %d: standing by: %s", self._shard, error)
            except StuckError:
                raise
            except (WriterFailedError, LeaseUnreachableError, PositionLostError, UnreachableError) as error:
                self._failures += 1
                if self._failures >= self._config.failures_max:
                    raise UnreachableError(f"shard {self._shard}: {self._failures} failures in a row, last: {error}") from error
                log.warning("shard %d: starting anew with a new epoch: %s", self._shard, error)
                await pause(self._config.retry_ms / 1000, self._stopping)

    async def _stand_by(self) -> Lease | None:
        """Wait until the lease may be taken; its row as it was seen then."""
        watch = LeaseWatch(self._owner, self._config.lease_ttl_ms)
        reachable = True
        while not self._stopping.is_set():
            try:
                row = await self._leases.read(self._resource)
            except LeaseUnreachableError as error:
                watch.unreachable()
                if reachable:
                    log.warning("shard %d: cannot stand by: %s", self._shard, error)
                reachable = False
            else:
                reachable = True
                if watch.may_take(row, self._clock.boot_ms()):
                    return row
            await pause(min(1.0, self._config.lease_ttl_ms / 5000), self._stopping)
        return None

    async def _unless_stopped(self, work: Awaitable[_T]) -> _T | None:
        """What `work` gives, or None when this process is asked to end first (the broker may be away for long)."""
        working, stopping = asyncio.ensure_future(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not working.done():
                working.cancel()
        if self._stopping.is_set() and not working.done():
            await asyncio.wait([working])
            return None
        return working.result()

    async def _own(self, seen: Lease | None) -> None:
        journal_log = await self._unless_stopped(self._open_log())
        if journal_log is None:
            return
        try:
            tail = await read_tail(journal_log, self._shard, await journal_log.end_offset(PORTFOLIO_JOURNAL, self._shard))
            epoch = max(0 if seen is None else seen.epoch, tail.epoch) + 1
            before_ms = self._clock.boot_ms()
            epoch_seen = None if seen is None else seen.epoch
            ttl_ms = self._config.lease_ttl_ms
            if not await self._leases.take(self._resource, self._owner, epoch_seen, epoch, ttl_ms):
                raise OwnershipLostError(f"{self._resource} was taken by another")
            lease = Lease(self._resource, self._owner, epoch, ttl_ms)
            ownership = Ownership(self._leases, self._clock, lease, before_ms, ttl_ms)
            await self._keeping(ownership, self._write(journal_log, ownership, epoch))
            await ownership.release()
        finally:
            await journal_log.close()

    async def _keeping(self, ownership: Ownership, work: Awaitable[None]) -> None:
        """Do `work` while the lease is renewed; a lost lease ends the work."""
        working = asyncio.ensure_future(work)
        keeping = asyncio.create_task(ownership.keep(), name=f"lease-{self._shard}")
        try:
            await asyncio.wait([working, keeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, keeping):
                if not task.done():
                    task.cancel()
            await asyncio.gather(working, keeping, return_exceptions=True)
        if not working.cancelled():
            await working
        elif not keeping.cancelled():
            await keeping

    async def _write(self, journal_log: Log, ownership: Ownership, epoch: int) -> None:
        acceptance, next_offset = await self._announce(journal_log, epoch)
        wake = asyncio.Event()
        writer = JournalWriter(
            journal_log,
            ownership,
            self._clock,
            acceptance,
            self._shard,
            next_offset,
            self._config.unacked_ms_max,
            wake.set,
        )
        intake = Intake(self._shard, self._config, journal_log, writer, self._clock, self._verifier, acceptance)
        reader = await self._open_reader()
        try:
            await intake.begin()
            await reader.assign(intake.positions())
            log.info("shard %d: writing as epoch %d from offset %d", self._shard, epoch, next_offset)
            self._failures = 0
            await self._flow(reader, intake, writer, wake)
            await self._end(intake)
        finally:
            writer.abandon()
            await reader.close()

    async def _end(self, intake: Intake) -> None:
        try:
            async with asyncio.timeout(_STOP_S):
                await intake.end()
        except TimeoutError:
            log.warning("shard %d: the last records are not durable yet; the next owner reads what became of them", self._shard)

    async def _announce(self, journal_log: Log, epoch: int) -> tuple[Acceptance, int]:
        """Make our WriterStarted durable, and learn from the log up to it. Raises OwnershipLostError."""
        writer_id = secrets.token_hex(16)
        started = journal.WriterStarted(
            epoch=epoch,
            writer=writer_id,
            expected_offset=await journal_log.end_offset(PORTFOLIO_JOURNAL, self._shard),
            sequenced_at_ms=self._clock.wall_ms(),
        )
        try:
            async with asyncio.timeout(self._config.unacked_ms_max / 1000):
                offset = await journal_log.append(journal_output(self._shard, started, 0))
        except TimeoutError:
            raise StuckError(f"shard {self._shard}: WriterStarted is not durable") from None
        except Exception as error:
            raise WriterFailedError(f"shard {self._shard}: WriterStarted failed: {error!r}") from error
        if offset < 0:
            raise WriterFailedError(f"shard {self._shard}: where WriterStarted lies is not known")
        acceptance = await read_tail(journal_log, self._shard, offset + 1)
        if (acceptance.epoch, acceptance.writer) != (epoch, writer_id):
            raise OwnershipLostError(f"shard {self._shard}: epoch {acceptance.epoch} was faster")
        return acceptance, offset + 1

    async def _flow(self, reader: LogReader, intake: Intake, writer: JournalWriter, wake: asyncio.Event) -> None:
        """Read, take and write until `stop`; reading runs one poll ahead."""
        inbox: asyncio.Queue[Sequence[Record]] = asyncio.Queue(1)
        reading = asyncio.create_task(_read(reader, inbox, wake), name=f"reader-{self._shard}")
        stopping = asyncio.create_task(self._stopping.wait())
        for task in (reading, stopping):
            task.add_done_callback(lambda _: wake.set())
        try:
            while not self._stopping.is_set():
                if reading.done():
                    await reading
                await writer.settle()
                if not inbox.empty():
                    await intake.take(inbox.get_nowait())
                await intake.flush()
                if inbox.empty():
                    await pause(intake.idle_ms() / 1000, wake)
                    wake.clear()
        finally:
            for task in (reading, stopping):
                task.cancel()
            await asyncio.gather(reading, stopping, return_exceptions=True)


async def _read(reader: LogReader, inbox: "asyncio.Queue[Sequence[Record]]", wake: asyncio.Event) -> None:
    while True:
        records = await reader.poll(timeout_ms=200)
        if records:
            await inbox.put(records)
            wake.set()
