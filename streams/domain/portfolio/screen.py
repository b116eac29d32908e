"""Leaving out work that provably cannot change anything.

Between two events almost every portfolio stays within its threshold. After an exact look at such a portfolio a watch says
how far each mark may move, and until when, before another look could come out differently. Marks within (low, high) and a
time before `due_at_ms` leave the portfolio's state and its outputs as they are, so skipping it gives equal bytes; a fold
with the screen switched off is compared with one that has it.

How far: let every mark move by at most a fraction m. A weight w then lies between w (1 - m)/(1 + m) and w (1 + m)/(1 - m)
(all holdings are at or above zero), so it moves by at most w 2m/(1 - m). With r the smallest (limit - |drift|) / w over all
assets, every |drift| stays below the limit while 2m/(1 - m) < r, that is while m < r / (2 + r).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from streams.domain.numbers import DECISION

# Rounding to 28 digits, and of weights to 18 places, is smaller than this by many powers of ten.
_PRUDENCE = Decimal("0.99")
_ROOM_MIN = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Watch:
    """Until when, and within which marks (exclusive), a portfolio need not be looked at. `keys` are all its quotes."""

    due_at_ms: int
    keys: frozenset[str]
    bounds: tuple[tuple[str, Decimal, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Moves:
    """What a market batch changed: the new mark of each quoted symbol, and the symbols whose quote is crossed."""

    marks: Mapping[str, Decimal]
    crossed: frozenset[str]


def is_quiet(watch: Watch, moves: Moves, now_ms: int) -> bool:
    """Whether the watch proves that looking at its portfolio now would change nothing."""
    if now_ms >= watch.due_at_ms or (moves.crossed and not moves.crossed.isdisjoint(watch.keys)):
        return False
    marks = moves.marks
    for key, low, high in watch.bounds:
        mark = marks.get(key)
        if mark is not None and not low < mark < high:
            return False
    return True


def bounds(
    marks: Mapping[str, Decimal], weights_drifts: Collection[tuple[Decimal, Decimal]], limit: Decimal
) -> tuple[tuple[str, Decimal, Decimal], ...] | None:
    """How far each mark (by key of its quote) may go while every |drift| stays below `limit`; None if nothing is proven.

    `weights_drifts` holds (weight, drift) of every asset, the quote asset included.
    """
    if any(weight < 0 for weight, _ in weights_drifts):
        return None
    rooms = [DECISION.divide(limit - abs(drift), weight) for weight, drift in weights_drifts if weight]
    room = min(rooms, default=Decimal(0))
    if room < _ROOM_MIN or any(abs(drift) >= limit for _, drift in weights_drifts):
        return None
    move = DECISION.multiply(_PRUDENCE, DECISION.divide(room, 2 + room))
    return tuple(_around(marks.items(), move))


def _around(marks: Iterable[tuple[str, Decimal]], move: Decimal) -> Iterable[tuple[str, Decimal, Decimal]]:
    for key, mark in marks:
        yield key, DECISION.multiply(mark, 1 - move), DECISION.multiply(mark, 1 + move)
