"""4.1: executors end by SIGKILL at each step, and somebody else takes over, whatever the venue did with the request."""

import asyncio
import random

import pytest

from streams.ports.process import Point
from tests.crash.executor.lanes import Lane, Park
from tests.crash.executor.tally import LONG, SEED, Tally, conditions, opened, report

pytestmark = pytest.mark.timeout(1800 if LONG else 400)

OUTCOMES = ("accepted", "refused", "never")
LANES = 3
POINTS_SHORT = 9


def plans() -> list[list[tuple[Point, str]]]:
    """Each lane's kills. The outcome rotates with the seed; in the long form every point meets every outcome."""
    points = list(Point)
    random.Random(SEED).shuffle(points)
    if not LONG:
        points = points[:POINTS_SHORT]
    rotated = [[(point, OUTCOMES[(n + lane + SEED) % 3]) for n, point in enumerate(points)] for lane in range(LANES)]
    return rotated if LONG else [plan[lane::LANES] for lane, plan in enumerate(rotated)]


async def test_4_1_given_executors_killed_at_any_step_then_every_command_ends_once(park: Park) -> None:
    """4.1, I1, I2: the venue accepts, refuses or never sees what was under way."""
    by_point, by_outcome = Tally(), Tally()
    async with opened([Lane(park, f"kills-{number}") for number in range(LANES)]) as lanes:

        async def play(lane: Lane, plan: list[tuple[Point, str]]) -> None:
            for point, outcome in plan:
                play = lambda: lane.kill_round(point, outcome)  # noqa: B023,E731  awaited here
                by_outcome.add(outcome, await by_point.play(lane, point.value, play))

        async with asyncio.TaskGroup() as group:
            for lane, plan in zip(lanes, plans(), strict=True):
                group.create_task(play(lane, plan))
        told = "\n".join(f"- {lane.name}: {lane.verdict()}" for lane in lanes)
        assert all(lane.verdict().clean for lane in lanes), f"SEED={SEED}\n{told}"
    if LONG:
        report(
            "kills",
            "Executors killed at each step",
            "Printed by `TRIMTAB_TEST_LONG=1 python -m pytest tests/crash/executor/test_kills.py`; the columns are those of "
            "the pauses' report.",
            conditions(),
            by_point.table("killed at"),
            by_outcome.table("the venue"),
            told,
            park.quiet(),
        )
