"""The independent checker: invariants from raw topics, database rows and the venue's own journal.

It shares no code with what it checks, so that a bug cannot hide itself: this is the one place where logic is written twice.
Everything is read once, side by side in the order of time, and forgotten: a history of any length fits.

    report = await verify(Sources(kafka={...}, dsn=..., journal=...))
    print(report.text()); raise SystemExit(report.exit_code)

`orders` judges what happens to commands (I1, I2, I5, I11), `gates` what had to be true before a request (I8, I9, I10, I16),
`money` balances and fills (I3, I4), `projection` the tables (I6), `intake` what the sequencer read (I14), `chain` the books
(I17).
"""

from streams.proof.verify.report import Report
from streams.proof.verify.sources import Sources, verify

__all__ = ["Report", "Sources", "verify"]
