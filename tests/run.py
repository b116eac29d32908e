"""Runs set-up, checks and the suites, and ends with one line of counts: `python3 tests/run.py [quick|rounds|parts|SUITE ...]`.

Each suite is its own pytest process, so that none can leave something behind for the next. Standard library only: without a
named suite it begins with the set-up itself.
"""

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = str(ROOT / ".venv" / "bin" / "python")
HANG_GUARD_S = 1_500


@dataclass(frozen=True)
class Suite:
    """A part of the run. `minutes` is its budget; `paths` are its tests, `argv` what runs instead of pytest.

    `options` are pytest's; `workers` above 1 spreads the files over so many processes, each with servers of its
    own where its tests ask for some.
    """

    name: str
    minutes: int
    paths: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    workers: int = 1


SUITES = (
    Suite("set-up", 3, argv=(sys.executable, "streams/local/install.py")),
    Suite("check", 1, argv=(PYTHON, "tests/check.py")),
    Suite("unit and property", 4, ("tests/unit", "tests/property"), workers=2),
    Suite("contract", 2, ("tests/contract",)),
    Suite("stack", 5, ("tests/stack",), workers=2),
    Suite("crash", 6, ("tests/crash",)),
)
QUICK = (Suite("style", 1, argv=(PYTHON, "-m", "ruff", "check", ".")), SUITES[2])
TOLD = ("-o", "log_cli=true", "--log-cli-level=INFO", "--log-cli-format=%(asctime)s %(message)s")
ROUNDS = (Suite("crash, rounds", 10 + int(os.environ.get("ROUNDS") or 0) // 2, ("tests/crash/flow",), options=TOLD),)
PARTS = (
    Suite(
        "crash, part by part",
        60 + int(os.environ.get("PAUSES") or 0) // 5,
        ("tests/crash/executor", "tests/crash/fold", "tests/crash/sequencer", "tests/stack/bench"),
        env={"TRIMTAB_TEST_LONG": "1"},
    ),
)


@dataclass
class Counts:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: "Counts") -> None:
        """Add another part's counts."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def run_suite(suite: Suite) -> Counts:
    """Run one suite to its end; anything but success is at least one failure."""
    report = ROOT / ".local" / f"report-{suite.name.replace(' ', '-')}.xml"
    report.unlink(missing_ok=True)
    tests = [str(path) for name in suite.paths for path in sorted((ROOT / name).rglob("test_*.py"))]
    if suite.paths and not tests:
        return Counts()
    spread = ("-n", str(suite.workers), "--dist", "loadfile") if suite.workers > 1 else ()
    argv = suite.argv or (PYTHON, "-m", "pytest", "-q", f"--junitxml={report}", *spread, *suite.options, *suite.paths)
    guard_s = max(HANG_GUARD_S, 100 * suite.minutes)
    process = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, **suite.env}, start_new_session=True)
    try:
        status = process.wait(guard_s)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        os.killpg(process.pid, signal.SIGKILL)  # the leash of its servers ends them too
        process.wait()
        if isinstance(error, KeyboardInterrupt):
            raise
        print(f"{suite.name}: still running after {guard_s} s, ended")
        status = 1
    counts = read_report(report) if report.exists() else Counts(passed=int(status == 0))
    if status != 0 and counts.failed == 0:
        counts.failed = 1
    return counts


def read_report(report: Path) -> Counts:
    """The counts in a JUnit file of pytest."""
    counts = Counts()
    for suite in ElementTree.parse(report).iter("testsuite"):
        total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        counts.add(Counts(total - failed - skipped, failed, skipped))
    return counts


def main(names: list[str]) -> int:
    """Run the suites; the last line is the total. Returns the exit status."""
    suites = {"quick": QUICK, "rounds": ROUNDS, "parts": PARTS}.get(names[0]) if len(names) == 1 else None
    suites = suites or [suite for suite in SUITES if not names or suite.name in names]
    if not suites:
        print(f"no such suite: choose from {', '.join(suite.name for suite in SUITES)}, quick, rounds, parts")
        return 2
    rows, total = [], Counts()
    for suite in suites:
        print(f"\n== {suite.name}", flush=True)
        began = time.monotonic()
        counts = run_suite(suite)
        rows.append((suite, (time.monotonic() - began) / 60, counts))
        total.add(counts)
        if suite.name == "set-up" and counts.failed:
            break
    print(f"\n{'suite':<20}{'minutes':>8}{'budget':>8}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for suite, minutes, counts in rows:
        figures = f"{counts.passed:>8}{counts.failed:>8}{counts.skipped:>8}"
        print(f"{suite.name:<20}{minutes:>8.1f}{suite.minutes:>8}{figures}")
    print(f"{'all':<20}{sum(minutes for _suite, minutes, _counts in rows):>8.1f}\n")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
