"""The agent's side of intake on a log in memory: where it begins, what it refuses, what it reads ahead."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas import journal
from schemas.codec import encode
from schemas.envelope import SIGNATURE_KEY_ID, Envelope
from schemas.venue import VenueStatus
from streams.agents.sequencer.config import SequencerConfig
from streams.agents.sequencer.intake import Intake
from streams.agents.sequencer.ownership import Ownership
from streams.agents.sequencer.tail import read_tail
from streams.agents.sequencer.writer import JournalWriter
from streams.domain.errors import RefusedError
from streams.domain.intake.acceptance import Acceptance
from streams.gateways.signing import AnyAuthor
from streams.ports.database import Lease
from streams.ports.log import Output, Record
from streams.topics import MARKET_TICKERS, OPERATOR_CONTROL, ORDERS_LEDGER, PORTFOLIO_JOURNAL, VENUE_STATUS, dead_letter
from tests.unit.intake.fakes import HandClock, MemoryLeases, MemoryLog
from tests.unit.intake.journals import BOOKS, TICKS, A, entry, natural_key, positions, started, ticker
from tests.unit.intake.test_rules import created, targets

CONFIG = SequencerConfig(shards=2, conflation_step=Decimal("0.001"))


class Desk:
    """Shard 1 on a log in memory; `begin` takes over from whatever the journal holds."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.log = MemoryLog()
        self.epoch = 0

    def source(self, topic: str, message: Any) -> Record:
        offset = len(self.log.partition[topic, 0])
        headers = Envelope(id=f"{topic}-{offset}", type=message.ce_type(), source="test", time_ms=self.clock.wall).headers()
        self.log.put(Output(topic, natural_key(message).encode(), encode(message), headers, 0))
        return self.log.partition[topic, 0][offset]

    async def begin(self) -> Intake:
        self.epoch += 1
        self.log.put_journal(started(self.epoch, A), shard=1)
        end = await self.log.end_offset(PORTFOLIO_JOURNAL, 1)
        acceptance = await read_tail(self.log, 1, end)
        lease = Lease("journal:1", "me", self.epoch, 5_000)
        leases = MemoryLeases(self.clock)
        leases.rows[lease.resource] = (lease.owner, lease.epoch, self.clock.boot + 5_000)
        ownership = Ownership(leases, self.clock, lease, self.clock.boot, 5_000)
        self.writer = writer = JournalWriter(self.log, ownership, self.clock, acceptance, 1, end, 60_000, lambda: None)
        intake = Intake(1, CONFIG, self.log, writer, self.clock, AnyAuthor(), acceptance)
        await intake.begin()
        return intake

    async def amounts_to(self) -> Acceptance:
        return await read_tail(self.log, 1, await self.log.end_offset(PORTFOLIO_JOURNAL, 1))

    def kinds(self) -> list[str]:
        return [type(message).__name__ for message in self.log.messages(1)]


async def test_an_empty_journal_begins_with_positions_and_the_whole_of_control():
    desk = Desk()
    for event in (created("mine", 1, main="sim"), targets("mine", "BTC/USDT")):
        desk.source(OPERATOR_CONTROL, event)
    desk.source(MARKET_TICKERS, ticker(1))
    desk.source(ORDERS_LEDGER, entry(1))
    intake = await desk.begin()
    assert desk.kinds() == ["WriterStarted", "Positions", "Input", "Input"]
    at = intake.positions()
    assert (at[MARKET_TICKERS, 0], at[ORDERS_LEDGER, 0], at[OPERATOR_CONTROL, 0]) == (1, 0, 2)


async def test_a_successor_goes_on_where_the_log_ends_and_knows_what_control_said():
    desk = Desk()
    desk.source(OPERATOR_CONTROL, created("mine", 1, main="sim"))
    desk.source(OPERATOR_CONTROL, targets("mine", "BTC/USDT"))
    await desk.begin()
    intake = await desk.begin()
    await intake.take([desk.source(MARKET_TICKERS, ticker(1, received_at_ms=desk.clock.wall))])
    await intake.end()
    assert desk.kinds()[4:] == ["WriterStarted", "Positions", "MarketBatch", "Positions"]
    assert "sim:BTC/USDT" in (await desk.amounts_to()).watermarks


async def test_control_is_read_up_to_its_end_before_an_account_is_called_unknown():
    desk = Desk()
    intake = await desk.begin()
    desk.source(OPERATOR_CONTROL, created("mine", 1, main="sim"))
    await intake.take([desk.source(ORDERS_LEDGER, entry(1))])
    inputs = [message.source for message in desk.log.messages(1) if isinstance(message, journal.Input)]
    assert inputs == [f"{OPERATOR_CONTROL}:0", BOOKS]
    await intake.take(desk.log.partition[OPERATOR_CONTROL, 0])  # the common reader brings it again
    assert len(desk.kinds()) == 4


async def test_a_dead_letter_is_there_before_the_record_that_counts_it():
    desk = Desk()
    desk.source(OPERATOR_CONTROL, created("mine", 1, main="sim"))
    intake = await desk.begin()
    garbage = Record(MARKET_TICKERS, 0, 0, b"key", b"\xff\x00", (("mine", b"header"),), 5)
    await intake.take([garbage])
    (letter,) = desk.log.partition[dead_letter(MARKET_TICKERS, "sequencer"), 0]
    assert desk.kinds()[-1] == "Input"
    assert (letter.key, letter.value, letter.header("mine"), letter.timestamp_ms) == (b"key", b"\xff\x00", b"header", 5)
    assert letter.header("trimtab-error") == b"WrongEnvelope: header ce_id is missing"
    assert letter.header("trimtab-journal") == b"portfolio.journal.v1:1"
    assert letter.header("__connect.errors.offset") == b"0"
    await intake.end()
    batch = desk.log.messages(1)[-2]
    assert batch.ranges[TICKS].dead_lettered == 1


async def test_a_key_that_a_record_of_no_operator_names_is_not_journalled():
    """Nobody verified it, and a stranger may write anything there. Found once: the sequencer ended on it for good."""
    desk = Desk()
    intake = await desk.begin()
    status = VenueStatus.model_validate({"venue": "sim", "status": "trading", "observed_at_ms": desk.clock.wall})
    for key_id in (b"No Name!", b"ops-2026"):
        given = desk.source(VENUE_STATUS, status)
        await intake.take([replace(given, headers=(*given.headers, (SIGNATURE_KEY_ID, key_id)))])
    inputs = [message for message in desk.log.messages(1) if isinstance(message, journal.Input)]
    assert [(message.source_offset, message.source_key_id) for message in inputs] == [(0, None), (1, None)]


async def test_a_clock_mark_is_written_each_heartbeat_and_positions_now_and_then():
    desk = Desk()
    intake = await desk.begin()
    for _ in range(20):
        desk.clock.pass_ms(intake.idle_ms())
        await desk.writer.settle()
        await intake.flush()
    kinds = desk.kinds()[2:]
    assert kinds[:9] == ["MarketBatch"] * 9
    assert kinds.count("Positions") == (desk.clock.boot - 1_000_000) // CONFIG.positions_every_ms >= 1


async def test_a_changed_price_is_written_at_once():
    desk = Desk()
    for event in (created("mine", 1, main="sim"), targets("mine", "BTC/USDT")):
        desk.source(OPERATOR_CONTROL, event)
    intake = await desk.begin()
    await intake.take([desk.source(MARKET_TICKERS, ticker(1, received_at_ms=desk.clock.wall))])
    assert intake.idle_ms() == 1
    await intake.flush()
    last = desk.log.messages(1)[-1]
    assert isinstance(last, journal.MarketBatch)
    assert list(last.quotes) == ["sim:BTC/USDT"]
    assert intake.idle_ms() == CONFIG.heartbeat_ms


async def test_what_retention_took_of_a_market_source_is_a_gap_in_the_journal():
    desk = Desk()
    await desk.begin()
    for sequence in range(3):
        desk.source(MARKET_TICKERS, ticker(sequence))
    desk.log.begin[MARKET_TICKERS, 0] = 2
    intake = await desk.begin()
    gap = desk.log.messages(1)[-1]
    assert isinstance(gap, journal.SourceGap)
    assert (gap.source, gap.gap_from, gap.gap_to) == (TICKS, 0, 2)
    assert intake.positions()[MARKET_TICKERS, 0] == 2
    assert (await desk.amounts_to()).positions[TICKS] == 2


async def test_what_retention_took_of_the_ledger_is_a_refusal():
    desk = Desk()
    await desk.begin()
    desk.source(ORDERS_LEDGER, entry(1))
    desk.log.begin[ORDERS_LEDGER, 0] = 1
    with pytest.raises(RefusedError, match="entries are lost"):
        await desk.begin()


async def test_a_source_partition_that_no_longer_exists_is_a_refusal():
    desk = Desk()
    desk.log.put_journal(started(1, A), shard=1)
    held = {f"{MARKET_TICKERS}:7": 3}
    desk.log.put_journal(positions(1, A, held).model_copy(update={"expected_offset": 1}), shard=1)
    desk.epoch = 1
    with pytest.raises(RefusedError, match=r"market\.tickers\.v1:7, which no longer exist"):
        await desk.begin()


async def test_a_late_start_finds_what_another_program_wrote_to_the_ledger():
    """A look back brings the ledger's heads: a repeat is recognised, the next entry is journalled."""
    desk = Desk()
    desk.source(OPERATOR_CONTROL, created("mine", 1, main="sim"))
    first = await desk.begin()
    await first.take([desk.source(ORDERS_LEDGER, entry(1))])
    second = await desk.begin()
    await second.take([desk.source(ORDERS_LEDGER, entry(sequence)) for sequence in (1, 2)])
    assert (await desk.amounts_to()).ledger_heads["main"].sequence == 2
    journalled = [m for m in desk.log.messages(1) if isinstance(m, journal.Input) and m.source == BOOKS]
    assert [m.source_offset for m in journalled] == [0, 2]
