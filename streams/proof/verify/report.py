"""What an independent check found: items looked at, a verdict, and where the first violation lies.

A check that looked at nothing proves nothing: its verdict is not that it holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from streams.proof.verify.facts import Place

VIOLATIONS_KEPT = 5


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: at a message of a topic, or (`place` None) at a table's row, a line of the venue's journal, a sum."""

    where: str
    what: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One check: how many items it looked at, how many violations it met, the first of them, and what else is to be known."""

    check: str
    says: str
    items: int
    violated: int = 0
    violations: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Something was checked and nothing was found."""
        return self.items > 0 and not self.violated

    @property
    def verdict(self) -> str:
        """In words."""
        if self.violated:
            return "VIOLATED"
        return "holds" if self.items else "nothing to check"


@dataclass(slots=True)
class Tally:
    """A check under way: counts what it looks at, keeps the first violations and counts the others."""

    check: str
    says: str
    items: int = 0
    violated: int = 0
    violations: list[Violation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def at(self, place: Place, what: str) -> None:
        """A message breaks the rule."""
        self._add(Violation(str(place), what, place))

    def elsewhere(self, where: str, what: str) -> None:
        """Something that is no message breaks the rule."""
        self._add(Violation(where, what))

    def row(self) -> Row:
        """The result as it stands."""
        return Row(self.check, self.says, self.items, self.violated, tuple(self.violations), tuple(self.notes))

    def _add(self, violation: Violation) -> None:
        self.violated += 1
        if len(self.violations) < VIOLATIONS_KEPT:
            self.violations.append(violation)


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one run."""

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Every check looked at something and found nothing."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    @property
    def exit_code(self) -> int:
        """What the command line ends with: 0 when all hold, 1 when one is violated or had nothing to look at."""
        return 0 if self.passed else 1

    def text(self) -> str:
        """The report as a table for people, violations below their row."""
        return "\n".join(self._lines())

    def json(self) -> str:
        """The report as one JSON document."""
        return orjson.dumps({"passed": self.passed, "checks": [_plain(row) for row in self.rows]}).decode()

    def _lines(self) -> Iterator[str]:
        yield f"{'check':<6} {'items':>9} {'violated':>9} {'verdict':<16}  what is checked"
        for row in self.rows:
            yield f"{row.check:<6} {row.items:>9} {row.violated:>9} {row.verdict:<16}  {row.says}"
            for note in row.notes:
                yield f"    note: {note}"
            for found in row.violations:
                yield f"    {found.where}: {found.what}"
            if row.violated > len(row.violations):
                yield f"    and {row.violated - len(row.violations)} more"
        if self.passed:
            yield "all checks passed"
        elif any(row.violated for row in self.rows):
            yield "VERIFY FAILED"
        else:
            yield "NOT PROVEN: some checks had nothing to look at"


def _plain(row: Row) -> dict[str, Any]:
    return {
        "check": row.check,
        "says": row.says,
        "items": row.items,
        "verdict": row.verdict,
        "violated": row.violated,
        "violations": [_plain_violation(found) for found in row.violations],
        "notes": list(row.notes),
    }


def _plain_violation(found: Violation) -> dict[str, Any]:
    place = found.place
    named = {} if place is None else {"topic": place.topic, "partition": place.partition, "offset": place.offset}
    return {"where": found.where, "what": found.what, **named}
