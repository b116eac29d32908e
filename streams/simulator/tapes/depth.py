"""Spread and depth around a price: what the venue's background liquidity quotes.

In ticks, with i = 0, 1, 2, ... counting levels from the best:

- spread = 1 + range of the minute / 2500, so a violent minute has a wider one;
- each level stands growth_percent / 100 times as far out from the best as the one before it, and at least one tick more;
- level i holds best_steps x (i + 1) lots, times a draw between 0.5 and 1.5 that changes with each *beat*, divided by
  (1 + range of the minute / thin_range): in a violent minute the book is thin.

The beat is a number that the caller raises with time: sizes breathe even while the tape stands still, as those of a
real book do, so that a silent stream means a broken one.
"""

from dataclasses import dataclass
from decimal import Decimal
from random import Random

Levels = list[tuple[Decimal, Decimal]]


@dataclass(frozen=True, slots=True)
class DepthModel:
    """How the book of one symbol looks. Sizes are whole lots of `step_size` base units."""

    tick_size: Decimal
    step_size: Decimal
    levels: int
    best_steps: int
    growth_percent: int
    thin_range_ticks: int
    spread_range_ticks: int = 2_500

    def offsets(self) -> list[int]:
        """Distance of each level from the best one, in ticks."""
        distances = [0]
        for _ in range(1, self.levels):
            grown = distances[-1] * self.growth_percent // 100
            distances.append(max(distances[-1] + 1, grown))
        return distances

    def spread_ticks(self, range_ticks: int) -> int:
        """Best ask minus best bid."""
        return 1 + range_ticks // self.spread_range_ticks

    def quote(self, price_ticks: int, range_ticks: int, random: Random) -> tuple[Levels, Levels]:
        """Bids and asks around a price, best first, as price in quote and quantity in base."""
        spread = self.spread_ticks(range_ticks)
        bid, ask = price_ticks - spread // 2, price_ticks - spread // 2 + spread
        bids: Levels = []
        asks: Levels = []
        for index, offset in enumerate(self.offsets()):
            full = self.best_steps * (index + 1) * self.thin_range_ticks // (self.thin_range_ticks + range_ticks)
            for levels, ticks in ((bids, bid - offset), (asks, ask + offset)):
                steps = max(1, full * random.randint(50, 150) // 100)
                if ticks > 0:
                    levels.append((ticks * self.tick_size, steps * self.step_size))
        return bids, asks
