"""From minute bars to a price for every second: a seeded bridge through open, high, low and close.

All arithmetic is in whole ticks, so equal seeds give equal paths on every machine. For each minute the generator is
seeded anew from (seed, symbol, minute); a minute can be expanded without the ones before it.

1. The two extremes get two different seconds between 1 and 58. Which comes first is drawn: a minute that closes above
   its open dips first with probability 2/3, one that closes below rises first with the same.
2. The waypoints are open at second 0, the extremes, close at second 59.
3. Between two waypoints the price walks: with n seconds left it moves by (gap / n), plus a step drawn evenly from
   [-a, a] with a = range / 8 (shrinking to 0 at the waypoint), kept inside [low, high].
"""

from decimal import Decimal
from itertools import pairwise
from random import Random

from streams.simulator.tapes.bars import MINUTE_MS, TAPE_END_MS, TAPE_FIRST_MS, Bar, load_bars

SECONDS = 60
NOISE_DIVISOR = 8


class PricePath:
    """Prices of one symbol, one for each second of the tape, in ticks."""

    def __init__(self, symbol: str, tick_size: Decimal, seed: int):
        self._bars = load_bars(symbol)
        self._tick_size = tick_size
        self._seed = f"{seed}:{symbol}"
        self._minutes: dict[int, tuple[int, ...]] = {}

    def bar_index(self, at_ms: int) -> int:
        """Which bar an instant lies in; instants off the tape belong to its first or last bar."""
        inside = min(max(at_ms, TAPE_FIRST_MS), TAPE_END_MS - 1)
        return (inside - TAPE_FIRST_MS) // MINUTE_MS

    def price_ticks(self, at_ms: int) -> int:
        """The price of the second that an instant lies in."""
        inside = min(max(at_ms, TAPE_FIRST_MS), TAPE_END_MS - 1)
        return self.minute_ticks(self.bar_index(at_ms))[inside % MINUTE_MS // 1_000]

    def range_ticks(self, at_ms: int) -> int:
        """High minus low of the minute that an instant lies in."""
        bar = self._bars[self.bar_index(at_ms)]
        return self._ticks(bar.high_quote) - self._ticks(bar.low_quote)

    def minute_ticks(self, index: int) -> tuple[int, ...]:
        """The sixty prices of one minute. Only the newest few minutes are kept."""
        prices = self._minutes.get(index)
        if prices is None:
            if len(self._minutes) > 4:
                self._minutes.clear()
            prices = self._minutes[index] = self._expand(self._bars[index], Random(f"{self._seed}:{index}"))
        return prices

    def _ticks(self, price: Decimal) -> int:
        return int(price / self._tick_size)

    def _expand(self, bar: Bar, random: Random) -> tuple[int, ...]:
        first, high, low, last = map(self._ticks, (bar.open_quote, bar.high_quote, bar.low_quote, bar.close_quote))
        early, late = sorted(random.sample(range(1, SECONDS - 1), 2))
        dips_first = (random.randrange(3) < 2) == (last >= first)
        extremes = (low, high) if dips_first else (high, low)
        waypoints = ((0, first), (early, extremes[0]), (late, extremes[1]), (SECONDS - 1, last))
        noise = (high - low) // NOISE_DIVISOR
        prices = [first]
        for (second_from, _), (second_to, target) in pairwise(waypoints):
            for left in range(second_to - second_from, 0, -1):
                span = noise * (left - 1) // left
                price = prices[-1] + (target - prices[-1]) // left + random.randint(-span, span)
                prices.append(min(max(price, low), high) if left > 1 else target)
        return tuple(prices)
