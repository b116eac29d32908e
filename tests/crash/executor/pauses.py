"""What is done to executors in the matrix of pauses, and how many pauses all reports hold together.

PAUSES is how many pauses the long form has; without it each lane has every point once, and all lanes together every point
with each kind of clocks.
"""

import os
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from streams.ports.process import Point
from tests.crash.executor.holes import held_over_a_take_over, held_until_the_lease_ends, row_lost
from tests.crash.executor.lanes import STOOD_STILL, TAKE_OVER, Lane
from tests.crash.executor.tally import LONG, SEED

AIM = 500
"""So many pauses without one order accepted after a take-over is what all reports together shall show."""
LATE, VOID = 3, 4
"""Columns of a tally's table, counted from rounds."""

TURNED = {
    "clocks stood still": {"wall": STOOD_STILL, "boot": STOOD_STILL},
    "BOOTTIME stood still": {"wall": 0, "boot": STOOD_STILL},
    "wall stepped 10 s ahead": {"wall": 10_000, "boot": 0},
    "wall stepped 10 s back": {"wall": -10_000, "boot": 0},
}
AWAKE = {
    "row lost under a healthy owner": row_lost,
    "bytes held until the lease ends": held_until_the_lease_ends,
    "bytes held over a take-over": held_over_a_take_over,
}
OWNERS = [point for point in Point if point not in TAKE_OVER and point is not Point.BEFORE_RELEASE]


@dataclass(frozen=True)
class Round:
    """A pause at `point` that ends with clocks `turned`, or what `awake` does to an owner that is not stopped at all."""

    kind: str
    point: Point | None = None
    turned: Mapping[str, int] | None = None
    awake: Callable[[Lane], Awaitable[None]] | None = None

    async def play(self, lane: Lane) -> None:
        if self.awake is not None:
            await self.awake(lane)
        elif self.point is not None:
            await lane.pause_round(self.point, self.turned)


RIGHT = [Round(point.value, point) for point in Point]
CLOCKS = [Round(kind, point, turned) for kind, turned in TURNED.items() for point in OWNERS]
HEALTHY = [Round(kind, awake=awake) for kind, awake in AWAKE.items()]


LANES = 3
ONE_TURN = LANES * len(RIGHT) + len(CLOCKS)
PAUSES = int(os.environ.get("PAUSES") or ONE_TURN)
REPORT = "pauses" if PAUSES == ONE_TURN else f"pauses-{PAUSES}"
"""A run of another length does not take the place of the usual one's report of the same day."""


def plans(lanes: int) -> list[list[Round]]:
    """Each lane's rounds: in the long form so many pauses as are asked for, in the short form a few by the seed."""
    if LONG:
        return long_plans(lanes, PAUSES)
    chance = random.Random(SEED)
    points, clocks = chance.sample(RIGHT, 3 * lanes), chance.sample(CLOCKS, lanes)
    healthy = chance.sample(HEALTHY, lanes)
    return [[*points[lane::lanes], clocks[lane], healthy[lane]] for lane in range(lanes)]


def long_plans(lanes: int, pauses: int) -> list[list[Round]]:
    """So many pauses, spread over the lanes: in turns, in each of which a lane has every point, and every point with each kind
    of clocks is in one of them. What happens to owners that are awake comes once in each lane."""

    def endless(lane: int) -> Iterator[Round]:
        for turn in count():
            yield from (*RIGHT, *CLOCKS[(lane + turn) % lanes :: lanes])

    shares = [pauses // lanes + (lane < pauses % lanes) for lane in range(lanes)]
    return [[*islice(endless(lane), share), *HEALTHY] for lane, share in enumerate(shares)]


def over_all(evidence: Path, name: str, pauses: int, after: int) -> str:
    """The pauses of all reports there and of this one, which will be written as `name`, and how many orders the venue accepted
    after a take-over."""
    told = [(name, pauses, after)]
    for path in sorted(path for path in evidence.glob("*.md") if path.name != name):
        found = _read(path.read_text())
        if found is not None:
            told.append((path.name, *found))
    each = ", ".join(f"{pauses} in {name}" for name, pauses, _ in told)
    pauses, after = sum(pauses for _, pauses, _ in told), sum(after for _, _, after in told)
    return (
        f"Over all reports, with this one: {pauses} pauses ({each}), {after} accepted after a take-over (target: 0 in {AIM})."
    )


def _read(text: str) -> tuple[int, int] | None:
    """The pauses of a report, and what was accepted after a take-over: late and void in the tables of the pause matrix, sends
    by former owners in the report of a crash run. None in any other report."""
    if found := re.search(r"^(\d+) pauses:$", text, re.MULTILINE):
        sums = re.findall(r"^\| all \|(.*)\|$", text.partition("Not asleep:")[0], re.MULTILINE)
        figures = [[int(figure) for figure in row.split("|")] for row in sums]
        return int(found[1]), sum(row[LATE] + row[VOID] for row in figures)
    if found := re.search(r"^- pauses: (\d+)$", text, re.MULTILINE):
        sent = re.search(r"^- sends by former owners .*: (\d+)$", text, re.MULTILINE)
        return (int(found[1]), int(sent[1])) if sent is not None else None
    return None
