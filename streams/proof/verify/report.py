"""What an independent check found: rows with items checked and violations. A check that looked at nothing proves nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

VIOLATIONS_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: `where` names the place (topic, partition and offset, table and key, or journal line)."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Row:
    """One check: how many items it looked at, and what it found."""

    check: str
    says: str
    items: int
    violations: tuple[Violation, ...] = ()

    @property
    def passed(self) -> bool:
        """Something was checked and nothing was found."""
        return self.items > 0 and not self.violations


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
        """What the command line ends with: 0 when all passed, else 1."""
        return 0 if self.passed else 1

    def text(self) -> str:
        """The report as a table for people, violations below their row."""
        lines = [f"{'check':<10} {'items':>8} {'violations':>10}  what is checked"]
        for row in self.rows:
            note = "" if row.items else "  (NOTHING CHECKED)"
            lines.append(f"{row.check:<10} {row.items:>8} {len(row.violations):>10}  {row.says}{note}")
            lines += [f"    {found.where}: {found.what}" for found in row.violations[:VIOLATIONS_SHOWN_MAX]]
            if len(row.violations) > VIOLATIONS_SHOWN_MAX:
                lines.append(f"    and {len(row.violations) - VIOLATIONS_SHOWN_MAX} more")
        lines.append("all checks passed" if self.passed else "VERIFY FAILED")
        return "\n".join(lines)


def row(check: str, says: str, items: int, violations: Iterable[Violation]) -> Row:
    """A row of the report."""
    return Row(check, says, items, tuple(violations))
