"""Appending to a journal: order, expected offsets, foreign records, and what ends a writer."""

import asyncio

import pytest

from schemas import journal
from streams.agents.sequencer.errors import OwnershipLostError, StuckError, WriterFailedError
from streams.agents.sequencer.ownership import Ownership
from streams.agents.sequencer.tail import CHUNK, read_tail
from streams.agents.sequencer.writer import JournalWriter
from streams.domain.errors import InvariantError, RefusedError
from streams.ports.database import Lease
from streams.ports.log import Output
from streams.topics import PORTFOLIO_JOURNAL
from tests.unit.intake.fakes import HandClock, MemoryLeases, MemoryLog
from tests.unit.intake.journals import TICKS, A, B, mark, positions, span, started


class Desk:
    """A writer of epoch 2 on a log that holds epoch 1 and its own start."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.log = MemoryLog()
        self.log.put_journal(started(1, A))
        self.log.put_journal(started(2, B))

    async def writer(self) -> JournalWriter:
        lease = Lease("journal:0", "me", 2, 5_000)
        ownership = Ownership(MemoryLeases(self.clock), self.clock, lease, self.clock.boot, 5_000)
        acceptance = await read_tail(self.log, 0, 2)
        writer = JournalWriter(self.log, ownership, self.clock, acceptance, 0, 2, 60_000, lambda: None)
        await writer.append(journal.Positions, positions={TICKS: 0})
        return writer


async def tick(writer: JournalWriter, begin: int) -> None:
    await writer.append(journal.MarketBatch, ranges={TICKS: span(begin, begin + 1)})


async def test_records_carry_epoch_writer_and_the_offset_they_get():
    desk = Desk()
    writer = await desk.writer()
    await tick(writer, 0)
    await tick(writer, 1)
    await writer.settle(in_flight_max=0)
    assert [(m.epoch, m.writer, m.expected_offset) for m in desk.log.messages()[2:]] == [(2, B, 2), (2, B, 3), (2, B, 4)]
    assert writer.in_flight == 0


async def test_time_is_the_clocks_but_never_runs_back():
    desk = Desk()
    writer = await desk.writer()
    first = desk.clock.wall
    desk.clock.wall -= 4_000
    await tick(writer, 0)
    desk.clock.wall += 9_000
    await tick(writer, 1)
    assert [m.sequenced_at_ms - first for m in desk.log.messages()[2:]] == [0, 0, 5_000]


async def test_appends_are_pipelined_and_a_batch_is_known_to_be_in_flight():
    desk = Desk()
    desk.log.held = True
    writer = await desk.writer()
    assert not writer.batch_in_flight
    await tick(writer, 0)
    assert (writer.in_flight, writer.batch_in_flight) == (2, True)
    desk.log.acknowledge()
    await writer.settle()
    assert writer.in_flight == 1


async def test_with_a_bound_settling_waits():
    desk = Desk()
    desk.log.held = True
    writer = await desk.writer()
    await tick(writer, 0)
    settling = asyncio.create_task(writer.settle(in_flight_max=1))
    await asyncio.sleep(0)
    assert not settling.done()
    desk.log.acknowledge()
    await settling
    assert writer.in_flight == 1


async def test_a_record_that_would_not_be_accepted_is_not_written():
    desk = Desk()
    writer = await desk.writer()
    with pytest.raises(InvariantError, match="goes on at 7"):
        await tick(writer, 7)
    assert len(desk.log.messages()) == 3


async def test_what_a_paused_owner_left_behind_shifts_the_expectation():
    desk = Desk()
    desk.log.held = True
    writer = await desk.writer()
    desk.log.put_journal(mark(1, A, 0, 9))
    await tick(writer, 0)
    for _ in range(2):
        desk.log.acknowledge()
    await writer.settle()
    await tick(writer, 1)
    desk.log.acknowledge()
    await writer.settle()
    assert [m.expected_offset for m in desk.log.messages()[2:]] == [2, 0, 3, 5]
    assert (await read_tail(desk.log, 0, 6)).positions == {TICKS: 2}


@pytest.mark.parametrize("foreign", [started(3, A), mark(2, A, 0, 1)], ids=["higher epoch", "own epoch"])
async def test_a_newer_owners_record_ends_the_writer(foreign: journal.JournalRecord):
    desk = Desk()
    writer = await desk.writer()
    desk.log.put_journal(foreign)
    await tick(writer, 0)
    with pytest.raises(OwnershipLostError):
        await writer.settle()


async def test_an_unknown_offset_is_read_from_the_log():
    desk = Desk()
    desk.log.held = True
    writer = await desk.writer()
    desk.log.put_journal(mark(1, A, 0, 9))
    await tick(writer, 0)
    desk.log.acknowledge(-1)
    desk.log.acknowledge(-1)
    await writer.settle()
    await tick(writer, 1)
    assert desk.log.messages()[-1].expected_offset == 5


async def test_an_unknown_offset_of_a_record_that_is_not_there_ends_the_writer():
    desk = Desk()
    desk.log.held = True
    writer = await desk.writer()
    desk.log.partition[PORTFOLIO_JOURNAL, 0].pop()
    desk.log.acknowledge(-1)
    with pytest.raises(WriterFailedError, match="is not known"):
        await writer.settle()


async def test_an_offset_below_the_expected_one_cannot_be():
    desk = Desk()
    desk.log.held = True
    writer = await desk.writer()
    desk.log.acknowledge(1)
    with pytest.raises(InvariantError, match="acknowledged at 1, expected 2"):
        await writer.settle()


async def test_a_failed_append_ends_the_writer():
    desk = Desk()
    desk.log.held = True
    writer = await desk.writer()
    desk.log.waiting[0][0].set_exception(ConnectionError("gone"))
    with pytest.raises(WriterFailedError, match="gone"):
        await writer.settle()


async def test_an_append_that_stays_unacknowledged_ends_the_process():
    desk = Desk()
    desk.log.held = True
    writer = await desk.writer()
    desk.log.age_ms = 60_001
    with pytest.raises(StuckError):
        await writer.settle()
    writer.abandon()
    assert writer.in_flight == 0


def long_log(records: int, base_at: int | None) -> MemoryLog:
    log = MemoryLog()
    log.put_journal(started(1, A))
    first = positions(1, A, {TICKS: 0}).model_copy(update={"expected_offset": 1})
    log.put_journal(first)
    for at in range(records):
        if at == base_at:
            here = len(log.messages())
            log.put_journal(positions(1, A, {TICKS: at}).model_copy(update={"expected_offset": here}))
        log.put_journal(mark(1, A, at, at + 1))
    return log


async def test_a_look_back_begins_at_the_newest_positions():
    log = long_log(700, base_at=650)
    end = await log.end_offset(PORTFOLIO_JOURNAL, 0)
    assert (await read_tail(log, 0, end)).positions == {TICKS: 700}
    assert log.reads == [(end - CHUNK, end)]


async def test_a_look_back_goes_further_until_it_finds_one():
    log = long_log(CHUNK * 5 + 100, base_at=20)
    end = await log.end_offset(PORTFOLIO_JOURNAL, 0)
    assert (await read_tail(log, 0, end)).positions == {TICKS: CHUNK * 5 + 100}
    assert len(log.reads) == 3


async def test_positions_that_lie_elsewhere_are_no_base():
    log = long_log(10, base_at=None)
    log.put_journal(started(2, B))
    log.put_journal(positions(1, A, {TICKS: 999}).model_copy(update={"expected_offset": 11}))
    acceptance = await read_tail(log, 0, await log.end_offset(PORTFOLIO_JOURNAL, 0))
    assert (acceptance.epoch, acceptance.positions) == (2, {TICKS: 10})


async def test_without_base_and_beginning_it_refuses():
    log = long_log(10, base_at=None)
    log.begin[PORTFOLIO_JOURNAL, 0] = 5
    with pytest.raises(RefusedError, match="archive"):
        await read_tail(log, 0, await log.end_offset(PORTFOLIO_JOURNAL, 0))


async def test_an_empty_journal_amounts_to_nothing():
    assert (await read_tail(MemoryLog(), 0, 0)).epoch == 0


async def test_a_journal_record_without_type_stops():
    log = MemoryLog()
    log.put(Output(PORTFOLIO_JOURNAL, b"0", b"{}", (), 0))
    with pytest.raises(InvariantError, match="no ce_type"):
        await read_tail(log, 0, 1)
