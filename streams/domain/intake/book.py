"""A symbol's order book from a snapshot and the changes after it, exact, or not at all.

Changes carry the first and last update number they cover. A snapshot with number n is continued by the change that covers
n + 1, and each change by the one that follows it without a gap. Whatever does not fit empties the book: a book with a hole
must not be routed on.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from decimal import Decimal

from schemas.values import exact

Levels = tuple[tuple[Decimal, Decimal], ...]
Raw = Iterable[Sequence[object]]


class DepthBook:
    """One symbol's book. `sequence` is the last update it holds, None while it waits for a snapshot.

    At most `waiting_max` changes wait for a snapshot, and each side keeps at most 2 x `levels_max` levels, the best ones.
    """

    def __init__(self, waiting_max: int = 1000, levels_max: int = 1000) -> None:
        self.sequence: int | None = None
        self._levels_max = levels_max
        self._waiting: deque[tuple[int, int, Levels, Levels]] = deque(maxlen=waiting_max)
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}

    def clear(self) -> None:
        """Forget everything and wait for a snapshot."""
        self.sequence = None
        self._waiting.clear()
        self._bids, self._asks = {}, {}

    def snapshot(self, sequence: object, bids: Raw, asks: Raw) -> bool:
        """Take a snapshot and the changes that waited for it.

        False: it is older than the waiting changes; ask for a newer one. Raises ValueError on values that are no book.
        """
        number = _number(sequence)
        sides = dict(_levels(bids)), dict(_levels(asks))
        waiting = [change for change in self._waiting if change[1] > number]
        if waiting and waiting[0][0] > number + 1:
            return False
        self.sequence = number
        self._bids, self._asks = ({price: size for price, size in side.items() if size} for side in sides)
        self._waiting.clear()
        for change in waiting:
            self._follow(*change)
        return self.sequence is not None

    def change(self, first: object, last: object, bids: Raw, asks: Raw) -> bool:
        """Take a change; a size of zero removes its level. False: a snapshot is needed.

        Raises ValueError on values that are no change; the book is empty then, since it has missed one.
        """
        try:
            numbers = _number(first), _number(last)
            levels = tuple(_levels(bids)), tuple(_levels(asks))
            if numbers[0] > numbers[1]:
                raise ValueError(f"updates {numbers[0]} to {numbers[1]} run backwards")
        except ValueError:
            self.clear()
            raise
        return self._follow(*numbers, *levels)

    def best(self, levels: int) -> tuple[Levels, Levels]:
        """The best `levels` bids and asks, best first."""
        bids = heapq.nlargest(levels, self._bids.items())
        asks = heapq.nsmallest(levels, self._asks.items())
        return tuple(bids), tuple(asks)

    def _follow(self, first: int, last: int, bids: Levels, asks: Levels) -> bool:
        if self.sequence is not None and last <= self.sequence:
            return True
        if self.sequence is not None and first > self.sequence + 1:
            self.clear()
        if self.sequence is None:
            self._waiting.append((first, last, bids, asks))
            return False
        self._bids = self._changed(self._bids, bids, best_last=True)
        self._asks = self._changed(self._asks, asks, best_last=False)
        self.sequence = last
        return True

    def _changed(self, side: dict[Decimal, Decimal], levels: Levels, best_last: bool) -> dict[Decimal, Decimal]:
        for price, size in levels:
            if size:
                side[price] = size
            else:
                side.pop(price, None)
        if len(side) <= 2 * self._levels_max:
            return side
        pick = heapq.nlargest if best_last else heapq.nsmallest
        return dict(pick(self._levels_max, side.items()))


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{str(value)[:40]!r} is no update number")
    return value


def _levels(side: Raw) -> Iterable[tuple[Decimal, Decimal]]:
    if not isinstance(side, list | tuple):
        raise ValueError("a book side is a list of levels")
    for level in side:
        if not isinstance(level, list | tuple) or len(level) < 2:
            raise ValueError("a level is a price and a size")
        price, size = exact(level[0]), exact(level[1])
        if price <= 0 or size < 0:
            raise ValueError("a level has a price above zero and a size that is not negative")
        yield price, size
