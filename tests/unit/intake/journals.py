"""Short ways to say journal records in tests."""

from decimal import Decimal
from typing import Any

from schemas import journal
from schemas.codec import encode
from schemas.envelope import Envelope, Headers
from schemas.ledger import EntryKind, LedgerEntry
from schemas.market import Ticker
from streams.ports.log import Record
from streams.topics import MARKET_TICKERS

A = "a" * 32
B = "b" * 32
TICKS = "market.tickers.v1:0"
BOOKS = "orders.ledger.v1:0"
T0 = 1_700_000_000_000


def started(epoch: int, writer: str, at_ms: int = T0) -> journal.WriterStarted:
    return journal.WriterStarted(epoch=epoch, writer=writer, expected_offset=0, sequenced_at_ms=at_ms)


def positions(epoch: int, writer: str, held: dict[str, int], at_ms: int = T0, **more: Any) -> journal.Positions:
    return journal.Positions(epoch=epoch, writer=writer, expected_offset=0, sequenced_at_ms=at_ms, positions=held, **more)


def span(begin: int, end: int, journalled: int = 0) -> journal.Range:
    return journal.Range(offset_from=begin, offset_to=end, journalled=journalled, not_needed=end - begin - journalled)


def mark(epoch: int, writer: str, begin: int, end: int, at_ms: int = T0, source: str = TICKS) -> journal.MarketBatch:
    """A batch that consumes [begin, end) of one source and journals nothing of it."""
    return journal.MarketBatch(
        epoch=epoch, writer=writer, expected_offset=0, sequenced_at_ms=at_ms, ranges={source: span(begin, end)}
    )


def quote(source_offset: int, bid: str = "100", ask: str = "101", sequence: int = 1) -> journal.Quote:
    return journal.Quote(
        bid_price_quote=Decimal(bid),
        bid_quantity_base=Decimal(1),
        ask_price_quote=Decimal(ask),
        ask_quantity_base=Decimal(1),
        venue_sequence=sequence,
        source=TICKS,
        source_offset=source_offset,
    )


def entry(sequence: int, account: str = "main", salt: str = "") -> LedgerEntry:
    """Entry `sequence` of a chain whose hashes are the sequence written 64 digits wide; `salt` makes another content."""
    return LedgerEntry(
        account=account,
        sequence=sequence,
        kind=EntryKind.ADMITTED,
        event_id=f"event-{sequence}",
        at_ms=T0,
        previous_hash=f"{sequence - 1:064d}",
        entry_hash=f"{sequence:064d}" if not salt else f"{salt}{sequence:063d}",
    )


def booked(epoch: int, writer: str, source_offset: int, booking: LedgerEntry, at_ms: int = T0) -> journal.Input:
    return journal.Input(
        epoch=epoch,
        writer=writer,
        expected_offset=0,
        sequenced_at_ms=at_ms,
        ranges={BOOKS: span(source_offset, source_offset + 1, journalled=1)},
        source=BOOKS,
        source_offset=source_offset,
        source_type=booking.ce_type(),
        source_id=booking.event_id,
        source_value=encode(booking).decode(),
    )


def ticker(sequence: int = 1, bid: str = "100", ask: str = "101", received_at_ms: int = T0, **more: Any) -> Ticker:
    fields: dict[str, Any] = {
        "venue": "sim",
        "symbol": "BTC/USDT",
        "bid_price_quote": bid,
        "bid_quantity_base": "1",
        "ask_price_quote": ask,
        "ask_quantity_base": "1",
        "received_at_ms": received_at_ms,
        "venue_sequence": sequence,
    }
    return Ticker.model_validate(fields | more)


def record(message: Any, offset: int, topic: str = MARKET_TICKERS, key: str | None = None, partition: int = 0) -> Record:
    """A source record with its envelope, keyed as its topic wants."""
    headers = Envelope(id=f"id-{offset}", type=message.ce_type(), source="test", time_ms=T0).headers()
    return raw(encode(message), offset, topic, headers, key or natural_key(message), partition)


def natural_key(message: Any) -> str:
    if hasattr(message, "symbol") and hasattr(message, "venue"):
        return f"{message.venue}:{message.symbol}"
    return getattr(message, "scope", None) or getattr(message, "account", None) or message.venue


def raw(
    value: bytes | None, offset: int, topic: str, headers: Headers = (), key: str | None = None, partition: int = 0
) -> Record:
    return Record(topic, partition, offset, None if key is None else key.encode(), value, headers, T0)
