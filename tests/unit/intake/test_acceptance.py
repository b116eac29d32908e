"""Which records of a journal count, case by case."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pytest

from schemas import journal
from schemas.codec import encode
from streams.domain.errors import InvariantError
from streams.domain.intake.acceptance import Acceptance, LedgerHead, Verdict, accept, journal_record
from tests.unit.intake.journals import (
    BOOKS,
    T0,
    TICKS,
    A,
    B,
    booked,
    entry,
    mark,
    positions,
    quote,
    span,
    started,
    ticker,
)


def fold(*messages: journal.JournalRecord) -> tuple[Acceptance, list[Verdict]]:
    acceptance = Acceptance()
    return acceptance, [accept(acceptance, message, offset) for offset, message in enumerate(messages)]


def owned(epoch: int = 1, writer: str = A, **held: int) -> Acceptance:
    at = held or {TICKS: 0}
    return fold(started(epoch, writer), positions(epoch, writer, at))[0]


def test_the_current_writers_records_count_and_move_positions():
    acceptance, verdicts = fold(
        started(1, A), positions(1, A, {TICKS: 5}), mark(1, A, 5, 9), mark(1, A, 9, 9), mark(1, A, 9, 12)
    )
    assert verdicts == [Verdict.ACCEPTED] * 5
    assert acceptance.positions == {TICKS: 12}


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (mark(1, A, 0, 3), Verdict.IGNORED_EPOCH),
        (mark(2, A, 0, 3), Verdict.IGNORED_WRITER),
        (positions(1, A, {TICKS: 99}), Verdict.IGNORED_EPOCH),
        (started(2, A), Verdict.IGNORED_EPOCH),
        (started(1, A), Verdict.IGNORED_EPOCH),
        (started(3, A), Verdict.ACCEPTED),
    ],
    ids=[
        "lower epoch",
        "other writer",
        "zombie positions",
        "same epoch started",
        "lower epoch started",
        "higher epoch started",
    ],
)
def test_who_may_write_after_epoch_2_of_b_has_started(record: journal.JournalRecord, verdict: Verdict):
    acceptance = fold(started(1, A), positions(1, A, {TICKS: 0}), started(2, B))[0]
    before = acceptance.to_plain()
    assert accept(acceptance, record, 3) is verdict
    assert verdict.counts == (verdict is Verdict.ACCEPTED)
    if not verdict.counts:
        assert acceptance.to_plain() == before


def test_a_record_between_lease_change_and_writer_started_is_still_valid():
    acceptance, verdicts = fold(
        started(1, A), positions(1, A, {TICKS: 0}), mark(1, A, 0, 4), started(2, B), mark(1, A, 4, 6), mark(2, B, 4, 7)
    )
    assert verdicts[2:] == [Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.IGNORED_EPOCH, Verdict.ACCEPTED]
    assert acceptance.positions == {TICKS: 7}


def test_time_of_writer_started_is_not_taken():
    acceptance, _ = fold(started(1, A, T0 + 90), positions(1, A, {TICKS: 0}, T0))
    assert acceptance.sequenced_at_ms == T0


def batch(begin: int, end: int, journalled: int, **fields: Any) -> journal.MarketBatch:
    more = {"quotes": {"sim:BTC/USDT": quote(end - 1, **fields)}, "ranges": {TICKS: span(begin, end, journalled)}}
    return mark(1, A, begin, end).model_copy(update=more)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (lambda: mark(2, A, 0, 1), "without its WriterStarted"),
        (lambda: mark(1, A, 1, 2), "goes on at 1, expected 0"),
        (lambda: mark(1, A, 0, 1, source=BOOKS), "expected None"),
        (lambda: mark(1, A, 0, 1, at_ms=T0 - 1), "is before"),
        (lambda: batch(0, 2, journalled=0), "counts 0 journalled, carries 1"),
        (lambda: positions(1, A, {TICKS: 3}), "stands at 3, the log at 0"),
        (lambda: positions(1, A, {}), "leaves out"),
        (lambda: positions(1, A, {TICKS: 0}, ledger_sequences={"main": 4}), "leaves out"),
        (
            lambda: journal.SourceGap(
                epoch=1, writer=A, expected_offset=0, sequenced_at_ms=T0, source=TICKS, gap_from=2, gap_to=9
            ),
            "position 0",
        ),
    ],
)
def test_what_no_race_explains_stops(record: Callable[[], journal.JournalRecord], words: str):
    with pytest.raises(InvariantError, match=words):
        accept(owned(), record(), 7)


def test_a_gap_moves_the_position_and_a_new_source_may_join():
    gap = journal.SourceGap(epoch=1, writer=A, expected_offset=0, sequenced_at_ms=T0, source=TICKS, gap_from=0, gap_to=40)
    acceptance = owned()
    assert accept(acceptance, gap, 2) is Verdict.ACCEPTED
    assert accept(acceptance, positions(1, A, {TICKS: 40, BOOKS: 3}), 3) is Verdict.ACCEPTED
    assert acceptance.positions == {TICKS: 40, BOOKS: 3}


def test_quotes_leave_watermarks():
    acceptance = owned()
    accept(acceptance, batch(0, 2, 1, bid="7", ask="8", sequence=66), 2)
    assert acceptance.watermarks["sim:BTC/USDT"] == (7, 8, 66)


def test_ledger_entries_come_in_order_and_repeats_are_not_folded_again():
    acceptance = owned(**{BOOKS: 0})
    verdicts = [accept(acceptance, booked(1, A, at, entry(sequence)), at + 2) for at, sequence in enumerate([1, 2, 2, 1, 3])]
    assert verdicts == [Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.REPEATED, Verdict.REPEATED, Verdict.ACCEPTED]
    assert acceptance.ledger_heads == {"main": LedgerHead(3, f"{3:064d}")}
    assert acceptance.positions == {BOOKS: 5}
    assert verdicts[2].counts


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (entry(4), "sequence 4 follows 2"),
        (entry(2, salt="f"), "repeated with other content"),
        (entry(3).model_copy(update={"previous_hash": "e" * 64}), "does not continue the chain"),
    ],
)
def test_a_broken_ledger_stops(bad, words: str):
    acceptance = owned(**{BOOKS: 0})
    accept(acceptance, booked(1, A, 0, entry(1)), 2)
    accept(acceptance, booked(1, A, 1, entry(2)), 3)
    with pytest.raises(InvariantError, match=words):
        accept(acceptance, booked(1, A, 2, bad), 4)


def test_an_input_outside_its_range_and_an_unreadable_entry_stop():
    good = booked(1, A, 0, entry(1))
    with pytest.raises(InvariantError, match="is not in its range"):
        accept(owned(**{BOOKS: 0}), good.model_copy(update={"source_offset": 5}), 2)
    with pytest.raises(InvariantError, match="unreadable ledger entry"):
        accept(owned(**{BOOKS: 0}), good.model_copy(update={"source_value": "{}"}), 2)


def test_an_input_that_is_no_ledger_entry_counts():
    acceptance = owned()
    message = booked(1, A, 0, entry(1)).model_copy(
        update={"source": TICKS, "ranges": {TICKS: span(0, 1, journalled=1)}, "source_type": "trimtab.venue.status.v1"}
    )
    assert accept(acceptance, message, 2) is Verdict.ACCEPTED


def test_an_adopted_portfolio_brings_its_ledger_sequence():
    acceptance = owned(**{BOOKS: 0})
    adopted = journal.PortfolioAdopted(
        epoch=1, writer=A, expected_offset=0, sequenced_at_ms=T0, portfolio="p", state="{}", state_version="1",
        ledger_sequences={"main": 7}, ledger_positions={},
    )  # fmt: skip
    released = journal.PortfolioReleased(
        epoch=1, writer=A, expected_offset=0, sequenced_at_ms=T0, portfolio="q", state="{}", state_version="1"
    )
    assert accept(acceptance, adopted, 2) is Verdict.ACCEPTED
    assert accept(acceptance, released, 3) is Verdict.ACCEPTED
    assert accept(acceptance, booked(1, A, 0, entry(8)), 4) is Verdict.ACCEPTED


def test_positions_hold_all_that_a_look_back_needs():
    """Beginning at a Positions gives the state that folding from the start gives."""
    head = {"main": 1}
    watermark = journal.Watermark(bid_price_quote=Decimal(1), ask_price_quote=Decimal(2), venue_sequence=5)
    first = [started(1, A), positions(1, A, {BOOKS: 0, TICKS: 3}), booked(1, A, 0, entry(1))]
    base = positions(
        1,
        A,
        {BOOKS: 1, TICKS: 3},
        ledger_sequences=head,
        ledger_hashes={"main": f"{1:064d}"},
        watermarks={"sim:BTC/USDT": watermark},
    )
    whole, _ = fold(*first, base, mark(1, A, 3, 9))
    late = Acceptance.at_positions(base)
    accept(late, mark(1, A, 3, 9), 4)
    assert late == whole


def test_the_state_survives_json():
    acceptance = owned(**{BOOKS: 0, TICKS: 3})
    accept(acceptance, booked(1, A, 0, entry(1)), 2)
    accept(acceptance, batch(3, 4, 1), 3)
    assert Acceptance.from_plain(orjson.loads(orjson.dumps(acceptance.to_plain()))) == acceptance


def test_only_journal_records_are_read_from_a_journal():
    message = mark(1, A, 0, 1)
    assert journal_record(message.ce_type(), encode(message)) == message
    with pytest.raises(InvariantError, match="unreadable"):
        journal_record("trimtab.journal.unheard-of.v1", b"{}")
    with pytest.raises(InvariantError, match="does not belong"):
        journal_record(ticker().ce_type(), encode(ticker()))
