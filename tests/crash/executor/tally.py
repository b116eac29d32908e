"""Rounds by what was done in them, what they led to, and the report of a long run."""

import asyncio
import os
import platform
import random
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.crash.executor.lanes import Lane
from tests.crash.executor.verdict import Verdict

ROOT = Path(__file__).resolve().parents[3]
LONG = os.environ.get("TRIMTAB_TEST_LONG") == "1"
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1_000_000))


@asynccontextmanager
async def opened(lanes: list[Lane]) -> AsyncIterator[list[Lane]]:
    """All lanes, ready to trade."""
    async with AsyncExitStack() as stack:
        for lane in lanes:
            stack.push_async_callback(lane.close)
        await asyncio.gather(*(lane.open() for lane in lanes))
        yield lanes


class Tally:
    """What each kind of round led to."""

    def __init__(self) -> None:
        self.rounds: dict[str, int] = defaultdict(int)
        self.verdicts: dict[str, Verdict] = defaultdict(Verdict)

    async def play(self, lane: Lane, kind: str, round_: Callable[[], Awaitable[None]]) -> None:
        """One round. An error carries the seed and the ends of the logs."""
        before = lane.verdict()
        try:
            await round_()
        except Exception as error:
            error.add_note(f"{lane.name}: {kind}, SEED={SEED}\n{lane.logs()}")
            raise
        self.add(kind, lane.verdict() - before)

    def add(self, kind: str, led_to: Verdict) -> None:
        """Count one round."""
        self.rounds[kind] += 1
        self.verdicts[kind] += led_to

    @property
    def total_rounds(self) -> int:
        return sum(self.rounds.values())

    @property
    def total(self) -> Verdict:
        return sum(self.verdicts.values(), Verdict())

    def table(self, what: str) -> str:
        """A table in Markdown: a row for each kind of round."""
        rows = [f"| {what} | rounds | accepted | late | void | overdue | twice | lost |", "|---|---|---|---|---|---|---|---|"]
        for kind in [*sorted(self.rounds), "all"]:
            rounds = self.total_rounds if kind == "all" else self.rounds[kind]
            told = self.total if kind == "all" else self.verdicts[kind]
            counts = (rounds, told.accepted, told.late, told.void, told.overdue, told.twice, told.lost)
            rows.append(f"| {kind} | " + " | ".join(map(str, counts)) + " |")
        return "\n".join(rows)


def report(name: str, title: str, *parts: str) -> None:
    """Write a long run's report to docs/evidence."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    head = f"# {title}\n\n{today}, commit {commit or 'unknown'}, seed {SEED}, {machine}."
    (ROOT / "docs" / "evidence" / f"{name}-{today}.md").write_text("\n\n".join([head, *parts]) + "\n")
