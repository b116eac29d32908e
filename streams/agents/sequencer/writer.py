"""Appends to one journal partition as its current writer: in order, pipelined, each acknowledgement compared.

One writer's records lie side by side. If an acknowledged offset is not the expected one, somebody else wrote in between, and
the foreign records say who is wrong: an epoch at or above ours means that this process was replaced; lower ones are left
over from a replaced owner and are skipped.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas import journal
from schemas.envelope import trace_child
from streams.agents.envelopes import enveloped
from streams.agents.sequencer.errors import OwnershipLostError, StuckError, WriterFailedError
from streams.agents.sequencer.ownership import Ownership
from streams.agents.sequencer.tail import read_journal
from streams.domain.errors import InvariantError
from streams.domain.ids import digest_id
from streams.domain.intake.acceptance import Acceptance, Verdict, accept
from streams.domain.intake.clock import sequenced_at
from streams.ports.log import Log, Output
from streams.ports.process import Clock
from streams.topics import PORTFOLIO_JOURNAL

log = logging.getLogger("trimtab.sequencer")


@dataclass(slots=True)
class _InFlight:
    expected_offset: int
    record_id: bytes
    done: "asyncio.Future[int]"
    market: bool


class JournalWriter:
    """The one producer of an epoch. `acceptance` is the state up to and including this writer's WriterStarted."""

    def __init__(
        self,
        journal_log: Log,
        ownership: Ownership,
        clock: Clock,
        acceptance: Acceptance,
        shard: int,
        next_offset: int,
        unacked_ms_max: int,
        wake: Callable[[], None],
    ) -> None:
        self._log = journal_log
        self._ownership = ownership
        self._clock = clock
        self._acceptance = acceptance
        self._shard = shard
        self._next_offset = next_offset
        self._unacked_ms_max = unacked_ms_max
        self._wake = wake
        self._in_flight: deque[_InFlight] = deque()
        self._written = 0

    @property
    def in_flight(self) -> int:
        """How many appends are not acknowledged yet."""
        return len(self._in_flight)

    @property
    def batch_in_flight(self) -> bool:
        """Whether a market batch is not acknowledged yet."""
        return any(flight.market for flight in self._in_flight)

    async def append(self, kind: type[journal.JournalRecord], traceparent: str = "", **fields: Any) -> None:
        """Queue a record of `kind`; envelope, epoch, writer, offset and time are filled in here.

        Raises OwnershipLostError, and InvariantError for a record that would not be accepted: it is not written.
        """
        await self._ownership.check()
        # Nothing awaits from here on: what was checked is what is sent.
        held = self._acceptance
        message = kind(
            epoch=held.epoch,
            writer=held.writer,
            expected_offset=self._next_offset,
            sequenced_at_ms=sequenced_at(self._clock.wall_ms(), held.sequenced_at_ms),
            **fields,
        )
        if accept(held, message, self._next_offset) is not Verdict.ACCEPTED:
            raise InvariantError(f"shard {self._shard}: {kind.TYPE} at {self._next_offset} would not be accepted")
        self._written += 1
        output = journal_output(self._shard, message, self._written, traceparent)
        done = asyncio.ensure_future(self._log.append_nowait(output))
        done.add_done_callback(lambda _: self._wake())
        record_id = dict(output.headers)["ce_id"]
        self._in_flight.append(_InFlight(self._next_offset, record_id, done, isinstance(message, journal.MarketBatch)))
        self._next_offset += 1

    async def settle(self, in_flight_max: int | None = None) -> None:
        """Take in the acknowledgements that have come; with a bound, wait until no more than that many are missing.

        Raises WriterFailedError, OwnershipLostError, and StuckError when one is missing for too long.
        """
        while self._in_flight:
            flight = self._in_flight[0]
            waiting = in_flight_max is not None and len(self._in_flight) > in_flight_max
            if not flight.done.done() and not waiting:
                break
            offset = await self._outcome(flight)
            self._in_flight.popleft()
            if offset != flight.expected_offset:
                await self._explain(flight, offset)
        self.check_age()

    def check_age(self) -> None:
        """Raises StuckError when an append has not become durable within its bound."""
        age_ms = self._log.unacked_age_ms()
        if age_ms > self._unacked_ms_max:
            raise StuckError(f"shard {self._shard}: an append to the journal is not durable after {age_ms} ms")

    def abandon(self) -> None:
        """Ask no more for outcomes; whoever writes next reads them from the log."""
        for flight in self._in_flight:
            flight.done.add_done_callback(lambda done: done.cancelled() or done.exception())
            flight.done.cancel()
        self._in_flight.clear()

    async def _outcome(self, flight: _InFlight) -> int:
        while not flight.done.done():
            await asyncio.wait([flight.done], timeout=1.0)
            self.check_age()
        try:
            return flight.done.result()
        except Exception as error:
            raise WriterFailedError(f"shard {self._shard}: append at {flight.expected_offset} failed: {error!r}") from error

    async def _explain(self, flight: _InFlight, offset: int) -> None:
        expected = flight.expected_offset
        if offset < 0:
            offset = await self._find(flight)
        if offset < expected:
            raise InvariantError(f"shard {self._shard}: append acknowledged at {offset}, expected {expected}")
        for record in await self._log.read(PORTFOLIO_JOURNAL, self._shard, expected, offset):
            message = read_journal(record)
            if message.epoch >= self._acceptance.epoch:
                raise OwnershipLostError(f"shard {self._shard}: epoch {message.epoch} wrote at {record.offset}")
        if offset > expected:
            log.warning("shard %d: %d records of an earlier owner lie at %d", self._shard, offset - expected, expected)
        self._next_offset += offset - expected
        for later in self._in_flight:
            later.expected_offset += offset - expected

    async def _find(self, flight: _InFlight) -> int:
        """Where a record lies whose acknowledgement did not say it: the broker recognised a repeated send."""
        end = await self._log.end_offset(PORTFOLIO_JOURNAL, self._shard)
        for record in await self._log.read(PORTFOLIO_JOURNAL, self._shard, flight.expected_offset, end):
            if record.header("ce_id") == flight.record_id:
                return record.offset
        raise WriterFailedError(f"shard {self._shard}: the outcome of the append at {flight.expected_offset} is not known")


def journal_output(shard: int, message: journal.JournalRecord, number: int, traceparent: str = "") -> Output:
    """A journal record with its envelope; `number` counts the writer's records."""
    record_id = digest_id("journal", str(shard), str(message.epoch), message.writer, str(number))
    return enveloped(
        PORTFOLIO_JOURNAL,
        str(shard),
        message,
        ce_id=record_id,
        source=f"sequencer/{shard}",
        time_ms=message.sequenced_at_ms,
        traceparent=trace_child(traceparent, record_id),
        partition=shard,
    )
