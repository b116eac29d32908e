"""The intake of one shard: what becomes of each offset of its sources, counted so that nothing is missing and nothing twice.

Records of market prices gather into one pending batch; everything else becomes a single, whole. The ranges that a journal
record carries are the offsets consumed since the last record that carried that source, so ranges tile every source.
"""

from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from schemas.account import AccountBalances
from schemas.control import ControlEvent
from schemas.envelope import Message
from schemas.journal import News, Quote, Range, Watermark
from schemas.ledger import LedgerEntry
from schemas.market import Ticker
from streams.domain.errors import InvariantError
from streams.domain.intake.acceptance import Acceptance, LedgerHead, Mark, Verdict, judge_entry
from streams.domain.intake.conflate import moved
from streams.domain.intake.needs import Needs
from streams.domain.intake.sources import SOURCES, split_source
from streams.domain.intake.validate import Sound

HASHES_REMEMBERED = 1_000
"""Ledger entries of an account whose content a repeat is compared with; the ledger repeats at most a few hundred."""


@dataclass(slots=True)
class _Pending:
    """Offsets of a source consumed since its last journalled range."""

    offset_from: int
    offset_to: int
    journalled: int = 0
    conflated: int = 0
    stale: int = 0
    repeated: int = 0
    not_needed: int = 0
    dead_lettered: int = 0

    def drain(self) -> Range:
        """The range so far; what follows begins at its end."""
        done = Range(
            offset_from=self.offset_from,
            offset_to=self.offset_to,
            journalled=self.journalled,
            conflated=self.conflated,
            stale=self.stale,
            repeated=self.repeated,
            not_needed=self.not_needed,
            dead_lettered=self.dead_lettered,
        )
        self.offset_from = self.offset_to
        self.journalled = self.conflated = self.stale = self.repeated = self.not_needed = self.dead_lettered = 0
        return done


class Single(NamedTuple):
    """A source record to be journalled by itself, with the ranges that its journal record carries."""

    sound: Sound
    ranges: dict[str, Range]


class Batch(NamedTuple):
    """What a market batch carries: ranges of all sources with pending offsets, changed quotes, symbols with news."""

    ranges: dict[str, Range]
    quotes: dict[str, Quote]
    news: dict[str, News]


class ShardIntake:
    """Takes source records in the order they were read, from the state that the journal amounts to."""

    def __init__(self, needs: Needs, acceptance: Acceptance, step: Decimal, stale_ms_max: int) -> None:
        self._needs = needs
        self._step = step
        self._stale_ms_max = stale_ms_max
        self._pending = {source: _Pending(position, position) for source, position in acceptance.positions.items()}
        self._marks: dict[str, Mark] = dict(acceptance.watermarks)
        self._heads: dict[str, LedgerHead] = dict(acceptance.ledger_heads)
        self._hashes: dict[str, OrderedDict[int, str]] = {}
        self._quotes: dict[str, Quote] = {}
        self._news: dict[str, News] = {}

    @property
    def has_quotes(self) -> bool:
        """Whether a changed price waits for a batch."""
        return bool(self._quotes)

    def position(self, source: str) -> int:
        """The next offset to take of a source."""
        return self._pending[source].offset_to

    def positions(self) -> dict[str, int]:
        """The next offset to take of every source."""
        return {source: pending.offset_to for source, pending in self._pending.items()}

    def watermarks(self) -> dict[str, Watermark]:
        """The last journalled quote of each symbol, with the newest venue sequence seen."""
        return {
            symbol: Watermark(
                bid_price_quote=mark.bid_price_quote,
                ask_price_quote=mark.ask_price_quote,
                venue_sequence=mark.venue_sequence,
            )
            for symbol, mark in self._marks.items()
        }

    def ledger_heads(self) -> dict[str, LedgerHead]:
        """The last journalled ledger entry of each account."""
        return dict(self._heads)

    def skip_to(self, source: str, offset: int) -> None:
        """Go on at `offset`: a SourceGap was journalled for what retention took. Nothing may be pending of the source."""
        self._pending[source] = _Pending(offset, offset)

    def taken(self, source: str, offset: int) -> bool:
        """Whether that offset was taken before (a source is sometimes read ahead of the common reader)."""
        return offset < self._pending[source].offset_to

    def take_garbage(self, source: str, offset: int) -> None:
        """Count an offset whose record lies in the dead-letter topic, durably."""
        self._reach(source, offset).dead_lettered += 1

    def take(self, sound: Sound, now_ms: int) -> Single | None:
        """Count a sound record; a single is returned, prices wait for `drain`. Raises InvariantError."""
        pending = self._reach(sound.source, sound.offset)
        message = sound.message
        if isinstance(message, Ticker):
            self._take_ticker(pending, sound, message, now_ms)
            return None
        if not self._take_single(pending, message, now_ms):
            return None
        pending.journalled += 1
        return Single(sound, {sound.source: pending.drain()})

    def drain(self) -> Batch:
        """Everything pending, for a market batch; empty, it is the clock mark."""
        ranges = {
            source: pending.drain() for source, pending in self._pending.items() if pending.offset_to > pending.offset_from
        }
        batch = Batch(ranges, self._quotes, self._news)
        self._quotes, self._news = {}, {}
        return batch

    def _reach(self, source: str, offset: int) -> _Pending:
        """Advance over `offset`; offsets that the topic no longer holds count as not needed."""
        pending = self._pending[source]
        hole = offset - pending.offset_to
        if hole < 0:
            raise InvariantError(f"{source}: offset {offset} was read again, {pending.offset_to} is next")
        if hole and SOURCES[split_source(source)[0]].lossless:
            raise InvariantError(f"{source}: offsets {pending.offset_to} to {offset - 1} are missing")
        pending.not_needed += hole
        pending.offset_to = offset + 1
        return pending

    def _take_ticker(self, pending: _Pending, sound: Sound, ticker: Ticker, now_ms: int) -> None:
        symbol = f"{ticker.venue}:{ticker.symbol}"
        mark = self._marks.get(symbol)
        if not self._needs.market(ticker.venue, ticker.symbol):
            pending.not_needed += 1
        elif now_ms - ticker.received_at_ms > self._stale_ms_max:
            pending.stale += 1
        elif mark is not None and ticker.venue_sequence <= mark.venue_sequence:
            pending.repeated += 1
        elif mark is not None and not moved(mark, ticker, self._step):
            pending.conflated += 1
            self._marks[symbol] = mark._replace(venue_sequence=ticker.venue_sequence)
            self._hear(symbol, ticker)
        else:
            pending.journalled += 1
            self._replace_quote(symbol, sound, ticker)
            self._marks[symbol] = Mark(ticker.bid_price_quote, ticker.ask_price_quote, ticker.venue_sequence)
            self._hear(symbol, ticker)

    def _replace_quote(self, symbol: str, sound: Sound, ticker: Ticker) -> None:
        """Make this the symbol's quote in the pending batch; one that still waits there is conflated into it."""
        waiting = self._quotes.get(symbol)
        if waiting is not None:
            self._pending[waiting.source].journalled -= 1
            self._pending[waiting.source].conflated += 1
        self._quotes[symbol] = Quote(
            bid_price_quote=ticker.bid_price_quote,
            bid_quantity_base=ticker.bid_quantity_base,
            ask_price_quote=ticker.ask_price_quote,
            ask_quantity_base=ticker.ask_quantity_base,
            venue_sequence=ticker.venue_sequence,
            source=sound.source,
            source_offset=sound.offset,
        )

    def _hear(self, symbol: str, ticker: Ticker) -> None:
        known = self._news.get(symbol)
        received, venue_time = ticker.received_at_ms, ticker.venue_time_ms
        if known is not None:
            received = max(received, known.received_at_ms)
            times = [time for time in (venue_time, known.venue_time_ms) if time is not None]
            venue_time = max(times, default=None)
        self._news[symbol] = News(received_at_ms=received, venue_time_ms=venue_time)

    def _take_single(self, pending: _Pending, message: Message, now_ms: int) -> bool:
        """Whether the message is journalled; if not, it is counted here as what it is instead."""
        match message:
            case ControlEvent():
                self._needs.learn(message)
                needed = self._needs.control(message)
            case LedgerEntry():
                needed = self._needs.account(message.account)
                if needed and self._entry_repeats(message):
                    pending.repeated += 1
                    return False
            case AccountBalances():
                needed = self._needs.account(message.account)
                if needed and now_ms - message.received_at_ms > self._stale_ms_max:
                    pending.stale += 1
                    return False
            case _:
                # Rules and status are few, and a portfolio created later must find the current ones in its journal.
                needed = True
        pending.not_needed += not needed
        return needed

    def _entry_repeats(self, entry: LedgerEntry) -> bool:
        hashes = self._hashes.setdefault(entry.account, OrderedDict())
        if judge_entry(self._heads.get(entry.account), entry) is Verdict.REPEATED:
            if hashes.get(entry.sequence, entry.entry_hash) != entry.entry_hash:
                raise InvariantError(f"ledger of {entry.account}: entry {entry.sequence} is repeated with other content")
            return True
        self._heads[entry.account] = LedgerHead(entry.sequence, entry.entry_hash)
        hashes[entry.sequence] = entry.entry_hash
        if len(hashes) > HASHES_REMEMBERED:
            hashes.popitem(last=False)
        return False
