"""`python -m streams.lab.simulate`: histories of the order path in virtual time, until so many orders were given.

A run is a list of histories, each from a seed of its own that comes from the run's seed, spread over processes; the same seed
is the same run. It fails when an invariant breaks, and then tells the shortest history that still breaks it; and it fails
when a rare state was never reached, since then it proves nothing about it.
"""

import argparse
import gc
import logging
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from streams.lab.plan import plan
from streams.lab.shrink import Shrinker
from streams.lab.world import Outcome, play

ROOT = Path(__file__).resolve().parents[2]
HISTORY_ORDERS = 1000
STORY_LINES_MAX = 150
RARE = (
    "UNKNOWN, then found",
    "UNKNOWN, then absent",
    "absent or unsent, then another attempt",
    "inherited intent",
    "cancel crossed a fill",
    "late fill",
    "lease lost in flight",
    "paused owner woke to a successor",
    "paused owner refused by the window",
    "sent after waking, with the old timestamp",
    "a former owner's event came after its successor",
    "bytes of a former owner accepted after the take-over",
    "killed between intent and request",
    "killed with a request in flight",
    "restored from a checkpoint",
    "read from the log's beginning",
    "another executor was faster",
    "repeated command dropped",
    "budget pause after 429",
    "account halted by itself",
    "fill overtook its reply",
    "end overtook its reply",
    "trade told twice",
    "trade told again, after the end",
    "trade told late, after the end",
    "UNKNOWN, then found by its trade",
    "UNKNOWN, although its trade was told",
    "news lost",
    "stream that missed a trade, dialled anew",
    "own cancel: halted",
    "own cancel: halt_file",
    "own cancel: expired",
    "own cancel: operator",
    "own cancel: account_halted",
    "kept on this machine under the HALT file",
    "kept events settled at a take-over",
    "append refused",
    "database away",
    "events booked again, without effect",
    "expired unsent: too_late",
    "expired unsent: voided",
    "expired unsent: canceled",
    "not admitted: too_late",
    "not admitted: halted",
    "not admitted: frozen",
    "not admitted: freeze_file",
    "unsent: lease_unproven",
    "unsent: intent_too_old",
    "unsent: deadline_passed",
    "unsent: not_connected",
    "unsent: halt_file",
    "refused by the window",
    "refused: would_take",
    "remark: venue_time_stepped",
    "remark: commands_distrusted",
    "closed as filled",
    "closed as canceled",
    "closed as expired",
)
"""States that a run must have reached."""


@dataclass(slots=True)
class Total:
    """All histories of a run."""

    histories: int = 0
    orders: int = 0
    accepted: int = 0
    steps: int = 0
    virtual_ms: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one more history."""
        self.histories += 1
        self.orders += outcome.orders
        self.accepted += outcome.accepted
        self.steps += outcome.steps
        self.virtual_ms += outcome.virtual_ms
        self.seen.update(outcome.seen)

    def missing(self) -> list[str]:
        """Rare states that were never reached."""
        return [state for state in RARE if not self.seen[state]]


def history_seed(seed: int, number: int) -> int:
    """The seed of a run's history."""
    return seed * 1_000_003 + number


def one(seed: int, orders: int) -> Outcome:
    """Play one history by its seed. What it leaves behind is collected once, at its end."""
    gc.disable()
    try:
        return play(plan(seed, orders))
    finally:
        gc.enable()
        gc.collect()


def run(orders: int, seed: int, workers: int, size: int = HISTORY_ORDERS) -> Iterator[tuple[int, Outcome]]:
    """(number, outcome) of each history of `size` orders as it ends. The caller may stop at any time."""
    sizes = [size] * -(-orders // size)
    if workers == 1:
        for number, size in enumerate(sizes):
            yield number, one(history_seed(seed, number), size)
        return
    pool, waiting, given = ProcessPoolExecutor(workers), dict[Future[Outcome], int](), 0
    try:
        while given < len(sizes) or waiting:
            while given < len(sizes) and len(waiting) < 2 * workers:
                waiting[pool.submit(one, history_seed(seed, given), sizes[given])] = given
                given += 1
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda future: waiting[future]):
                yield waiting.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and say what came of it. Returns the exit status."""
    asked = _parser().parse_args(arguments)
    logging.disable()
    total, began = Total(), time.monotonic()
    numbers = run(asked.orders, asked.seed, asked.workers, asked.size)
    if asked.history is not None:
        numbers = iter([(asked.history, one(history_seed(asked.seed, asked.history), asked.size))])
    for number, outcome in numbers:
        total.add(outcome)
        if outcome.violation is not None:
            return _failed(asked, number, outcome, total)
        if asked.progress and total.histories % 25 == 0:
            _say(f"  {total.orders} orders, {total.orders / (time.monotonic() - began):.0f} a second")
    lines = _report(asked, total, time.monotonic() - began)
    _say("\n".join(lines))
    if asked.report:
        path = ROOT / "docs" / "evidence" / f"simulate-{datetime.now(UTC):%Y-%m-%d}.md"
        path.write_text("\n".join(lines) + "\n")
        _say(f"written to {path.relative_to(ROOT)}")
    missing = total.missing()
    if missing and asked.history is None:
        _say(f"NEVER REACHED, so that nothing is proven about it: {'; '.join(missing)}")
        return 1
    return 0


def _failed(asked: argparse.Namespace, number: int, outcome: Outcome, total: Total) -> int:
    _say(f"VIOLATION {outcome.violation}")
    spent = f"after {total.orders} orders and {_processor_s():.0f} s of processor time"
    _say(f"  in history {number} of seed {asked.seed}, {spent}")
    if not asked.shrink:
        return 1
    shrinker = Shrinker(outcome, asked.shrink)
    short = shrinker.shortest()
    items, mishaps = (f"{len(few)} of {len(all_)}" for few, all_ in _pairs(short, outcome))
    _say(f"the shortest history found in {shrinker.tries} tries has {items} commands and happenings, {mishaps} mishaps:")
    _say("\n".join(short.story[-STORY_LINES_MAX:]))
    _say(f"again: python -m streams.lab.simulate --seed {asked.seed} --size {asked.size} --history {number}")
    return 1


def _pairs(short: Outcome, outcome: Outcome) -> tuple[tuple[Sized, Sized], tuple[Sized, Sized]]:
    return (short.plan.items, outcome.plan.items), (short.struck, outcome.struck)


def _report(asked: argparse.Namespace, total: Total, seconds: float) -> list[str]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    days, spent = total.virtual_ms / 86_400_000, _processor_s()
    rows = [f"| {state} | {count} |" for state, count in sorted(total.seen.items())]
    command = f"make simulate ORDERS={asked.orders} SEED={asked.seed}"
    return [
        "# Orders in virtual time",
        "",
        f"Printed by `{command}`. Every invariant held after every step, and all drained.",
        "",
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit or 'unknown'}, {machine}, {asked.workers} processes",
        f"- {total.orders} orders given in {total.histories} histories, {total.accepted} accepted by the venue, none twice",
        f"- {total.steps} steps of the protocol, {days:.0f} days of virtual time",
        f"- {seconds:.0f} s, {total.orders / seconds:.0f} orders a second; {spent:.0f} s of processor time, "
        f"{1000 * spent / total.orders:.2f} ms an order",
        f"- load of the machine at the end: {os.getloadavg()[2]:.1f} over the last 15 minutes",
        "",
        "| state reached | times |",
        "| --- | --- |",
        *rows,
    ]


def _processor_s() -> float:
    """What this process and those that have ended for it took."""
    return sum(os.times()[:4])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streams.lab.simulate", description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000, help="how many orders to give")
    parser.add_argument("--seed", type=int, default=1, help="the run's seed")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--size", type=int, default=HISTORY_ORDERS, help="orders in one history")
    parser.add_argument("--history", type=int, help="play this history of the seed alone")
    parser.add_argument("--shrink", type=float, default=60.0, help="seconds to spend on a shorter history that fails")
    parser.add_argument("--report", action="store_true", help="write docs/evidence/simulate-DATE.md")
    parser.add_argument("--progress", action="store_true", help="say now and then how far it is")
    return parser


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
