"""Rounds by what was done in them, what they led to, and the report of a long run."""

import asyncio
import os
import platform
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.report import commit
from streams.agents.executor.config import ExecutorConfig
from tests.crash.executor.lanes import QUICK, Lane
from tests.crash.executor.verdict import Verdict

EVIDENCE = Path(__file__).resolve().parents[3] / "docs" / "evidence"
LONG = os.environ.get("TRIMTAB_TEST_LONG") == "1"
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1_000_000))


@asynccontextmanager
async def opened(lanes: list[Lane]) -> AsyncIterator[list[Lane]]:
    """All lanes, ready to trade."""
    async with AsyncExitStack() as stack:
        for lane in lanes:
            stack.push_async_callback(lane.close)
        await asyncio.gather(*(_open(lane) for lane in lanes))
        yield lanes


async def _open(lane: Lane) -> None:
    try:
        await lane.open()
    except TimeoutError as error:
        error.add_note(f"{lane.name} was not opened. {lane.park.quiet()}\n{lane.logs()}")
        raise


class Tally:
    """What each kind of round led to."""

    def __init__(self) -> None:
        self.rounds: dict[str, int] = defaultdict(int)
        self.verdicts: dict[str, Verdict] = defaultdict(Verdict)

    async def play(self, lane: Lane, kind: str, round_: Callable[[], Awaitable[None]]) -> Verdict:
        """One round, and what it led to. An error carries the seed and the ends of the logs."""
        before = lane.verdict()
        try:
            await round_()
        except Exception as error:
            error.add_note(f"{lane.name}: {kind}, SEED={SEED}. {lane.park.quiet()}\n{lane.logs()}")
            raise
        led_to = lane.verdict() - before
        self.add(kind, led_to)
        return led_to

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
        rows = [f"| {what} | rounds | accepted | missed | late | void | overdue | twice | lost |", "|---" * 9 + "|"]
        for kind in [*sorted(self.rounds), "all"]:
            rounds = self.total_rounds if kind == "all" else self.rounds[kind]
            told = self.total if kind == "all" else self.verdicts[kind]
            rows.append(f"| {kind} | " + " | ".join(map(str, (rounds, *astuple(told)))) + " |")
        return "\n".join(rows)


def conditions(**config: Any) -> str:
    """Under which figures of the executor the rounds were played, beside the product's own."""
    owns = {field.name: field.default for field in fields(ExecutorConfig)}
    told = ", ".join(f"{name} {value} (product: {owns[name]})" for name, value in (QUICK | config).items())
    return f"Conditions: the executors run with shorter times than the product's, so that a round takes seconds: {told}."


def file_of(name: str) -> str:
    """The file name of a report of today."""
    return f"{name}-{datetime.now(UTC):%Y-%m-%d}.md"


def report(name: str, title: str, *parts: str) -> None:
    """Write a long run's report to docs/evidence."""
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = f"load average {os.getloadavg()[2]:.1f} at the end"
    head = f"# {title}\n\n{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, seed {SEED}, {machine}, {load}."
    (EVIDENCE / file_of(name)).write_text("\n\n".join([head, *parts]) + "\n")
