"""From a history that fails to the shortest one found that fails the same way: fewer commands, happenings and mishaps."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import TypeVar

from streams.lab.chance import Key
from streams.lab.plan import NIGHT_MS, Item, Plan
from streams.lab.world import Outcome, play

_T = TypeVar("_T")


class Shrinker:
    """Plays parts of a failing history again, for `seconds` at most."""

    def __init__(self, failed: Outcome, seconds: float) -> None:
        assert failed.violation is not None
        self._invariant = failed.violation.invariant
        self._until = monotonic() + seconds
        self._best = failed
        self._spared: frozenset[Key] = frozenset()
        self.tries = 0

    def shortest(self) -> Outcome:
        """The shortest failing history found, with its story."""
        self._cut_the_end()
        self._reduce(self._best.plan.items, self._with_items)
        self._reduce(self._best.struck, self._without_mishaps)
        self._reduce(self._best.plan.items, self._with_items)
        return play(self._best.plan, tuple(self._spared), telling=True)

    def _cut_the_end(self) -> None:
        plan = self._best.plan
        if self._best.virtual_ms < plan.end_ms:
            kept = tuple(item for item in plan.items if item.at_ms <= self._best.virtual_ms)
            self._try(replace(plan, items=kept, end_ms=self._best.virtual_ms + 1), self._spared)

    def _with_items(self, kept: Sequence[Item]) -> tuple[Plan, frozenset[Key]]:
        """The night stays: without it everything would be awake for two idle days, and the next try would never end."""
        numbers = {item.number for item in kept}
        items = tuple(i for i in self._best.plan.items if i.number in numbers or NIGHT_MS in i.fields)
        return replace(self._best.plan, items=items), self._spared

    def _without_mishaps(self, kept: Sequence[Key]) -> tuple[Plan, frozenset[Key]]:
        return self._best.plan, self._spared | (frozenset(self._best.struck) - frozenset(kept))

    def _reduce(self, parts: Sequence[_T], candidate: Callable[[Sequence[_T]], tuple[Plan, frozenset[Key]]]) -> None:
        """Leave out ever smaller pieces as long as the same invariant breaks (delta debugging)."""
        kept, size = list(parts), max(1, len(parts) // 2)
        while kept and monotonic() < self._until:
            start, progress = 0, False
            while start < len(kept) and monotonic() < self._until:
                fewer = kept[:start] + kept[start + size :]
                if self._try(*candidate(fewer)):
                    kept, progress = fewer, True
                else:
                    start += size
            if size == 1 and not progress:
                return
            size = max(1, size // 2)

    def _try(self, plan: Plan, spared: frozenset[Key]) -> bool:
        self.tries += 1
        outcome = play(plan, tuple(spared))
        if outcome.violation is None or outcome.violation.invariant != self._invariant:
            return False
        self._best, self._spared = outcome, spared
        return True
