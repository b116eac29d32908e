"""Generated pages under docs/: `python tests/docs.py` writes them, `python tests/docs.py check` compares (`make check`)."""

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from streams.domain import halts
from streams.domain.orders import lifecycle
from tests import faults


def life_of_a_command() -> str:
    """The picture of `streams/domain/orders/lifecycle.py`, as Mermaid."""
    return f"""# The life of a command

Generated from the table in `streams/domain/orders/lifecycle.py` by `python tests/docs.py`; `make check` compares. A step that
is not here cannot happen: executor and ledger stop. A word in brackets is the flag that a step leaves in the ledger.

```mermaid
{lifecycle.as_mermaid()}```
"""


def what_halts() -> str:
    """The causes of `streams/domain/halts.py`, as tables."""
    return f"""# What halts by itself

Generated from `streams/domain/halts.py` by `python tests/docs.py`; `make check` compares. A halt stops new orders and takes
open ones off the book; cancels still pass. Nothing lifts it but an operator: `trimtab resume SCOPE --halt-id ID` names it, and
what was decided before is void. No cause resumes by itself. `trimtab limits show` lists the halts that stand.

The executor halts an account (`orders.account-halted`) for

{_table(halts.EXECUTOR)}
The portfolio fold halts a portfolio (`rebalance.portfolio-halted`) for

{_table(halts.FOLD)}"""


def _table(causes: dict[str, halts.Cause]) -> str:
    rows = "".join(f"| `{name}` | {cause.words} | {cause.remedy} |\n" for name, cause in causes.items())
    return f"| cause | what was seen | before it is resumed |\n| --- | --- | --- |\n{rows}"


PAGES: dict[str, Callable[[], str]] = {
    "docs/lifecycle.md": life_of_a_command,
    "docs/halts.md": what_halts,
    "docs/faults.md": faults.page,
}


def main(arguments: list[str]) -> int:
    """Write, or say which page is out of date. Returns the exit status."""
    stale = 0
    for name, make in PAGES.items():
        path = ROOT / name
        try:
            text = make()
        except ValueError as error:
            print(error)
            stale += 1
            continue
        if arguments != ["check"]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{name} is not what the code says; write it again with `python tests/docs.py`")
            stale += 1
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
