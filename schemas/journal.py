"""The record of everything a decision could see: sequenced inputs of one shard, in one total order.

Every journal record carries who wrote it (epoch, writer), the offset it was expected to get, and for each source partition
it consumed the range and what became of each of its offsets. Which records count is decided by one pure function of the log.
"""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from schemas.envelope import Message, Part
from schemas.values import Count, Digest, Id, Name, Price, Quantity, Text, TimeMs, VenueSymbol, Version

Source = Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,200}:[0-9]{1,6}$")]
"""`topic:partition` of a source, without the installation's topic prefix."""


class Range(Part):
    """Offsets [offset_from, offset_to) of one source partition and what became of each; the counts sum to its length."""

    offset_from: Count
    offset_to: Count
    journalled: Count = 0
    conflated: Count = 0
    stale: Count = 0
    repeated: Count = 0
    not_needed: Count = 0
    dead_lettered: Count = 0

    @model_validator(mode="after")
    def _counted(self) -> "Range":
        counted = self.journalled + self.conflated + self.stale + self.repeated + self.not_needed + self.dead_lettered
        if counted != self.offset_to - self.offset_from:
            raise ValueError(f"{counted} offsets counted in a range of {self.offset_to - self.offset_from}")
        return self


class JournalRecord(Message):
    """Base of journal records. `sequenced_at_ms` = max(clock, last in the partition) and is the time decisions see."""

    epoch: Count
    writer: Id
    expected_offset: Count
    sequenced_at_ms: TimeMs
    ranges: dict[Source, Range] = {}


class WriterStarted(JournalRecord):
    """A new owner of the partition. Carries no offsets: the owner learns them from the log up to this record."""

    TYPE: ClassVar[str] = "journal.writer-started"


class Watermark(Part):
    """The last journalled quote of a symbol, so that a successor conflates and drops repeats as its predecessor did."""

    bid_price_quote: Price
    ask_price_quote: Price
    venue_sequence: Count


class Positions(JournalRecord):
    """Where every source stands: a restart begins at the newest one whose expected offset is its own.

    `ledger_hashes` has the entry hash of each account's last sequence where it is known.
    """

    TYPE: ClassVar[str] = "journal.positions"
    positions: dict[Source, Count]
    watermarks: dict[VenueSymbol, Watermark] = {}
    ledger_sequences: dict[Name, Count] = {}
    ledger_hashes: dict[Name, Digest] = {}


class Quote(Part):
    """A journalled best bid and ask, with the source offset it came from."""

    bid_price_quote: Price
    bid_quantity_base: Quantity
    ask_price_quote: Price
    ask_quantity_base: Quantity
    venue_sequence: Count
    source: Source
    source_offset: Count


class News(Part):
    """The newest times at which a symbol was heard of, whether its price was journalled or conflated."""

    received_at_ms: TimeMs
    venue_time_ms: TimeMs | None = None


class MarketBatch(JournalRecord):
    """All symbols that changed since the last batch; empty, it is the clock mark.

    A symbol that was not received again is not repeated, so a dead feed ages visibly.
    """

    TYPE: ClassVar[str] = "journal.market-batch"
    quotes: dict[VenueSymbol, Quote] = {}
    news: dict[VenueSymbol, News] = {}


class Input(JournalRecord):
    """One source record, whole: `source_value` is its exact text, `source_type` and `source_id` its CloudEvents headers.

    `source_key_id` is the key by which the writer verified it, where it is a signed one.
    """

    TYPE: ClassVar[str] = "journal.input"
    source: Source
    source_offset: Count
    source_type: Text
    source_id: Text
    source_value: str
    source_key_id: Name | None = None


class SourceGap(JournalRecord):
    """Offsets of a market source that its retention removed before they were read."""

    TYPE: ClassVar[str] = "journal.source-gap"
    source: Source
    gap_from: Count
    gap_to: Count


class PortfolioReleased(JournalRecord):
    """A portfolio leaves this shard: its whole state, with the version of code and shape that wrote it."""

    TYPE: ClassVar[str] = "journal.portfolio-released"
    portfolio: Name
    state: str
    state_version: Version


class PortfolioAdopted(JournalRecord):
    """A portfolio enters this shard, with the last ledger sequence of each account and the ledger positions."""

    TYPE: ClassVar[str] = "journal.portfolio-adopted"
    portfolio: Name
    state: str
    state_version: Version
    ledger_sequences: dict[Name, Count]
    ledger_positions: dict[Source, Count]


class ArchivedCheckpoint(Message):
    """A shard's whole state before `next_offset` and its hash, for replay from the middle."""

    TYPE: ClassVar[str] = "journal.archived-checkpoint"
    shard: Count
    next_offset: Count
    sequenced_at_ms: TimeMs
    code_version: Version
    state_version: Version
    state: str
    state_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
