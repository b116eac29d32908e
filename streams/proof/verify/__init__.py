"""The independent checker: invariants from raw topics, database rows and the venue's own journal.

It shares no code with what it checks, so that a bug cannot hide itself: this is the one place where logic is written twice.

    facts = await sources.gather(Sources(kafka={...}, dsn=..., journal=...))
    report = verify(facts)
    print(report.text()); raise SystemExit(report.exit_code)
"""

from streams.proof.verify.chain import i17
from streams.proof.verify.facts import Facts
from streams.proof.verify.money import i3, i4, same_fills
from streams.proof.verify.orders import i1
from streams.proof.verify.projection import i6
from streams.proof.verify.report import Report

CHECKS = (i1, i3, i4, i6, i17, same_fills)


def verify(facts: Facts) -> Report:
    """Run every check."""
    return Report(tuple(check(facts) for check in CHECKS))
