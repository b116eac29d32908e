"""Which journal records count: one pure function for the fold, replay, the checker and a new owner's look back.

Several sequencers may write one journal partition: an owner that was paused wakes up and writes once more. No clock and no
database can prevent that, so the log itself decides. A WriterStarted with a higher epoch makes its writer the current one;
any other record counts only if it is the current writer's. A new owner learns positions from the log up to and including
its own WriterStarted, so the ranges of accepted records tile every source: each starts exactly where the last one ended.
Anything else that claims to be current is not a race but a defect, and raises.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from schemas import journal
from schemas.codec import DecodeError, decode
from schemas.ledger import LedgerEntry
from schemas.values import exact, plain
from streams.domain.errors import InvariantError

_LEDGER_TYPE = f"trimtab.{LedgerEntry.TYPE}."


class Verdict(StrEnum):
    """What became of a journal record."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    """Its ranges count, but the ledger entry in it was folded before and is not folded again."""
    IGNORED_EPOCH = "ignored_epoch"
    """Written under a lower epoch, or a WriterStarted that is not above the current one."""
    IGNORED_WRITER = "ignored_writer"
    """Written under the current epoch by another writer."""

    @property
    def counts(self) -> bool:
        """Whether the record's ranges are part of the record of inputs."""
        return self in (Verdict.ACCEPTED, Verdict.REPEATED)


class Mark(NamedTuple):
    """The last journalled quote of a symbol and the newest venue sequence seen of it."""

    bid_price_quote: Decimal
    ask_price_quote: Decimal
    venue_sequence: int


class LedgerHead(NamedTuple):
    """The last journalled entry of an account's books. `entry_hash` "" is not known (the portfolio was adopted)."""

    sequence: int
    entry_hash: str


@dataclass(slots=True)
class Acceptance:
    """What the accepted records up to here amount to. Changed by `accept` alone."""

    epoch: int = 0
    writer: str = ""
    sequenced_at_ms: int = 0
    positions: dict[str, int] = field(default_factory=dict)
    ledger_heads: dict[str, LedgerHead] = field(default_factory=dict)
    watermarks: dict[str, Mark] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """A JSON-able form; equal states give equal forms (sort keys when encoding)."""
        return {
            "epoch": self.epoch,
            "writer": self.writer,
            "sequenced_at_ms": self.sequenced_at_ms,
            "positions": dict(sorted(self.positions.items())),
            "ledger_heads": {account: list(head) for account, head in sorted(self.ledger_heads.items())},
            "watermarks": {
                symbol: [plain(mark.bid_price_quote), plain(mark.ask_price_quote), mark.venue_sequence]
                for symbol, mark in sorted(self.watermarks.items())
            },
        }

    @classmethod
    def from_plain(cls, form: Mapping[str, Any]) -> "Acceptance":
        """The state of a `to_plain` form. Raises ValueError or KeyError on any other."""
        return cls(
            epoch=form["epoch"],
            writer=form["writer"],
            sequenced_at_ms=form["sequenced_at_ms"],
            positions=dict(form["positions"]),
            ledger_heads={account: LedgerHead(*head) for account, head in form["ledger_heads"].items()},
            watermarks={
                symbol: Mark(exact(bid), exact(ask), sequence) for symbol, (bid, ask, sequence) in form["watermarks"].items()
            },
        )

    @classmethod
    def at_positions(cls, message: journal.Positions) -> "Acceptance":
        """The state right after a Positions that lies where its writer expected it: then nobody else wrote in between."""
        acceptance = cls(epoch=message.epoch, writer=message.writer, sequenced_at_ms=message.sequenced_at_ms)
        _take_positions(acceptance, message)
        return acceptance


def accept(acceptance: Acceptance, message: journal.JournalRecord, offset: int) -> Verdict:
    """Judge the record at `offset`, and take it into `acceptance` if it counts.

    Raises InvariantError on what no race explains: a higher epoch without its WriterStarted, a range that does not start
    at the position, counts that do not match what the record carries, time that runs back, a gap in an account's ledger
    sequence, a repeated ledger entry with other content.
    """
    if isinstance(message, journal.WriterStarted):
        if message.epoch <= acceptance.epoch:
            return Verdict.IGNORED_EPOCH
        # Its time is not taken: the clock of a new host can be behind a record that still lands before it.
        acceptance.epoch, acceptance.writer = message.epoch, message.writer
        return Verdict.ACCEPTED
    if message.epoch < acceptance.epoch:
        return Verdict.IGNORED_EPOCH
    if message.epoch > acceptance.epoch:
        raise InvariantError(f"journal offset {offset}: epoch {message.epoch} without its WriterStarted")
    if message.writer != acceptance.writer:
        return Verdict.IGNORED_WRITER
    return _take(acceptance, message, offset)


def journal_record(ce_type: str, value: bytes | None) -> journal.JournalRecord:
    """The journal record in a value. Raises InvariantError: a journal that cannot be read cannot be judged."""
    try:
        message = decode(ce_type, value)
    except DecodeError as error:
        raise InvariantError(f"unreadable journal record: {error}") from None
    if not isinstance(message, journal.JournalRecord):
        raise InvariantError(f"{ce_type} does not belong into a journal")
    return message


def judge_entry(head: LedgerHead | None, entry: LedgerEntry) -> Verdict:
    """ACCEPTED for the next entry of an account's books, REPEATED for one at or below its head. Raises InvariantError."""
    last = head or LedgerHead(0, "")
    if entry.sequence > last.sequence + 1:
        raise InvariantError(f"ledger of {entry.account}: sequence {entry.sequence} follows {last.sequence}")
    known = last.entry_hash
    if entry.sequence == last.sequence + 1:
        if known and entry.previous_hash != known:
            raise InvariantError(f"ledger of {entry.account}: entry {entry.sequence} does not continue the chain")
        return Verdict.ACCEPTED
    if entry.sequence == last.sequence and known and entry.entry_hash != known:
        raise InvariantError(f"ledger of {entry.account}: entry {entry.sequence} is repeated with other content")
    return Verdict.REPEATED


def _take(acceptance: Acceptance, message: journal.JournalRecord, offset: int) -> Verdict:
    if message.sequenced_at_ms < acceptance.sequenced_at_ms:
        raise InvariantError(f"journal offset {offset}: time {message.sequenced_at_ms} is before {acceptance.sequenced_at_ms}")
    _check_ranges(acceptance, message, offset)
    for source, taken in message.ranges.items():
        acceptance.positions[source] = taken.offset_to
    acceptance.sequenced_at_ms = message.sequenced_at_ms
    match message:
        case journal.MarketBatch():
            _take_quotes(acceptance, message)
        case journal.Input() if message.source_type.startswith(_LEDGER_TYPE):
            return _take_entry(acceptance, message, offset)
        case journal.Positions():
            _check_positions(acceptance, message, offset)
            _take_positions(acceptance, message)
        case journal.SourceGap():
            _take_gap(acceptance, message, offset)
        case journal.PortfolioAdopted():
            for account, sequence in message.ledger_sequences.items():
                acceptance.ledger_heads[account] = LedgerHead(sequence, "")
        case _:
            pass  # the other kinds carry nothing beyond their ranges that acceptance depends on
    return Verdict.ACCEPTED


def _check_ranges(acceptance: Acceptance, message: journal.JournalRecord, offset: int) -> None:
    journalled = 0
    for source, taken in message.ranges.items():
        if taken.offset_from != acceptance.positions.get(source):
            raise InvariantError(
                f"journal offset {offset}: {source} goes on at {taken.offset_from}, expected {acceptance.positions.get(source)}"
            )
        journalled += taken.journalled
    carried = 0
    if isinstance(message, journal.Input):
        carried = 1
        taken = message.ranges.get(message.source)
        if taken is None or taken.offset_to != message.source_offset + 1:
            raise InvariantError(f"journal offset {offset}: {message.source}@{message.source_offset} is not in its range")
    elif isinstance(message, journal.MarketBatch):
        carried = len(message.quotes)
    if journalled != carried:
        raise InvariantError(f"journal offset {offset}: counts {journalled} journalled, carries {carried}")


def _take_quotes(acceptance: Acceptance, message: journal.MarketBatch) -> None:
    for symbol, quote in message.quotes.items():
        acceptance.watermarks[symbol] = Mark(quote.bid_price_quote, quote.ask_price_quote, quote.venue_sequence)


def _take_entry(acceptance: Acceptance, message: journal.Input, offset: int) -> Verdict:
    try:
        entry = decode(message.source_type, message.source_value.encode())
    except DecodeError as error:
        raise InvariantError(f"journal offset {offset}: unreadable ledger entry: {error}") from None
    assert isinstance(entry, LedgerEntry)
    verdict = judge_entry(acceptance.ledger_heads.get(entry.account), entry)
    if verdict is Verdict.ACCEPTED:
        acceptance.ledger_heads[entry.account] = LedgerHead(entry.sequence, entry.entry_hash)
    return verdict


def _check_positions(acceptance: Acceptance, message: journal.Positions, offset: int) -> None:
    """A Positions states what the log amounts to; only sources that no record named before may be new in it."""
    for source, position in message.positions.items():
        if acceptance.positions.get(source, position) != position:
            raise InvariantError(
                f"journal offset {offset}: {source} stands at {position}, the log at {acceptance.positions[source]}"
            )
    stated = {
        account: LedgerHead(sequence, message.ledger_hashes.get(account, ""))
        for account, sequence in message.ledger_sequences.items()
    }
    if acceptance.positions.keys() - message.positions.keys() or stated != acceptance.ledger_heads:
        raise InvariantError(f"journal offset {offset}: Positions leaves out what the log holds")


def _take_positions(acceptance: Acceptance, message: journal.Positions) -> None:
    acceptance.positions = dict(message.positions)
    acceptance.ledger_heads = {
        account: LedgerHead(sequence, message.ledger_hashes.get(account, ""))
        for account, sequence in message.ledger_sequences.items()
    }
    acceptance.watermarks = {
        symbol: Mark(mark.bid_price_quote, mark.ask_price_quote, mark.venue_sequence)
        for symbol, mark in message.watermarks.items()
    }


def _take_gap(acceptance: Acceptance, message: journal.SourceGap, offset: int) -> None:
    position = acceptance.positions.get(message.source)
    if position != message.gap_from or message.gap_to < message.gap_from:
        raise InvariantError(
            f"journal offset {offset}: gap [{message.gap_from}, {message.gap_to}) of {message.source}, position {position}"
        )
    acceptance.positions[message.source] = message.gap_to
