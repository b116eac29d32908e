"""What venues' public streams said: best prices and depth."""

from typing import ClassVar

from schemas.envelope import Message, Part
from schemas.values import Count, Name, Price, Quantity, Symbol, TimeMs


class Ticker(Message):
    """Best bid and ask of a symbol as one venue quoted them.

    `venue_time_ms` is the venue's own time where its stream carries one, else None; `received_at_ms` is our receive time.
    `venue_sequence` grows with each update of the symbol; a smaller or equal one is a repeat.
    """

    TYPE: ClassVar[str] = "market.ticker"
    venue: Name
    symbol: Symbol
    bid_price_quote: Price
    bid_quantity_base: Quantity
    ask_price_quote: Price
    ask_quantity_base: Quantity
    last_price_quote: Price | None = None
    venue_time_ms: TimeMs | None = None
    received_at_ms: TimeMs
    venue_sequence: Count


class Level(Part):
    """One price level of a book side."""

    price_quote: Price
    quantity_base: Quantity


class Book(Message):
    """The levels of a symbol's book that routing needs, best first."""

    TYPE: ClassVar[str] = "market.book"
    venue: Name
    symbol: Symbol
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    venue_time_ms: TimeMs | None = None
    received_at_ms: TimeMs
    venue_sequence: Count
