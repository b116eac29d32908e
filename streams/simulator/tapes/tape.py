"""The tape as a market: what every listed pair quotes at an instant of tape time, for a seed.

Anybody who needs the price at START (to set balances on target, to seed a volatility) asks here; the running venue does
the same.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from random import Random

from streams.simulator.tapes.bars import load_bars
from streams.simulator.tapes.depth import Levels
from streams.simulator.tapes.listings import LISTINGS
from streams.simulator.tapes.path import PricePath

SEED = 20_240_805
"""The seed when nobody names one."""


@dataclass(frozen=True, slots=True)
class Day:
    """The figures of the bars seen so far on the tape (at most a day): prices in quote, volumes in both assets."""

    open_quote: Decimal
    high_quote: Decimal
    low_quote: Decimal
    volume_base: Decimal
    volume_quote: Decimal


@lru_cache(maxsize=8)
def _day(symbol: str, complete: int) -> Day:
    bars = load_bars(symbol)[:complete]
    return Day(
        open_quote=bars[0].open_quote,
        high_quote=max(bar.high_quote for bar in bars),
        low_quote=min(bar.low_quote for bar in bars),
        volume_base=sum((bar.volume_base for bar in bars), Decimal(0)),
        volume_quote=sum((bar.volume_base * bar.close_quote for bar in bars), Decimal(0)),
    )


class Tape:
    """All pairs of the tape, expanded with one seed. Symbols are the venue's own (BTCUSDT)."""

    def __init__(self, seed: int = SEED):
        self._seed = seed
        self._paths = {symbol: PricePath(symbol, listing.rules.tick_size, seed) for symbol, listing in LISTINGS.items()}

    def quote(self, symbol: str, at_ms: int, beat: int) -> tuple[Levels, Levels]:
        """Bids and asks, best first; the beat changes sizes and nothing else."""
        path = self._paths[symbol]
        random = Random(f"{self._seed}:{symbol}:depth:{beat}")
        return LISTINGS[symbol].depth.quote(path.price_ticks(at_ms), path.range_ticks(at_ms), random)

    def last_price(self, symbol: str, at_ms: int) -> Decimal:
        """The price of the path, in quote units."""
        return self._paths[symbol].price_ticks(at_ms) * LISTINGS[symbol].rules.tick_size

    def mid_price(self, symbol: str, at_ms: int) -> Decimal:
        """Half way between best bid and best ask, in quote units."""
        bids, asks = self.quote(symbol, at_ms, beat=0)
        return (bids[0][0] + asks[0][0]) / 2

    def day(self, symbol: str, at_ms: int) -> Day:
        """What the day's ticker says at an instant, from complete bars (the first bar while there is none)."""
        return _day(symbol, max(1, self._paths[symbol].bar_index(at_ms)))


def price_at(symbol: str, at_ms: int, seed: int = SEED) -> Decimal:
    """The mid price of a pair (BTC/USDT or BTCUSDT) at an instant of tape time (UTC ms)."""
    return Tape(seed).mid_price(symbol.replace("/", ""), at_ms)
