"""The recorded figures: one-minute bars of two pairs over one day."""

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files

MINUTE_MS = 60_000
TAPE_FIRST_MS = 1_722_816_000_000
"""2024-08-05T00:00Z, the first instant of the tape."""
TAPE_END_MS = 1_722_902_400_000
"""2024-08-06T00:00Z, the first instant after the tape."""
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@dataclass(frozen=True, slots=True)
class Bar:
    """One minute: start (UTC ms), prices in quote, volume in base."""

    at_ms: int
    open_quote: Decimal
    high_quote: Decimal
    low_quote: Decimal
    close_quote: Decimal
    volume_base: Decimal


@cache
def load_bars(symbol: str) -> tuple[Bar, ...]:
    """All bars of a symbol, oldest first, without gaps.

    Raises ValueError for a symbol that is not on the tape and for a file that is not what it should be.
    """
    if symbol not in SYMBOLS:
        raise ValueError(f"{symbol} is not on the tape, which has {', '.join(SYMBOLS)}")
    text = files("streams.simulator.tapes").joinpath(f"{symbol}-2024-08-05.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    bars = tuple(
        Bar(int(row["ts_ms"]), *(Decimal(row[name]) for name in ("open", "high", "low", "close", "volume"))) for row in rows
    )
    expected = range(TAPE_FIRST_MS, TAPE_END_MS, MINUTE_MS)
    if [bar.at_ms for bar in bars] != list(expected):
        raise ValueError(f"the tape of {symbol} has missing or repeated minutes")
    return bars
