"""2.2: executors are stopped beyond lease, session and window at each step, and woken when others trade their accounts."""

import asyncio
import random

import pytest

from streams.ports import Point
from tests.crash.executor.lanes import STOOD_STILL, TAKE_OVER, Lane, Park
from tests.crash.executor.tally import LONG, SEED, Tally, opened, report

pytestmark = pytest.mark.timeout(1200 if LONG else 240)

TURNED = {
    "clocks right": None,
    "clocks stood still": {"wall": STOOD_STILL, "boot": STOOD_STILL},
    "BOOTTIME stood still": {"wall": 0, "boot": STOOD_STILL},
    "wall stepped 10 s ahead": {"wall": 10_000, "boot": 0},
    "wall stepped 10 s back": {"wall": -10_000, "boot": 0},
}
OWNERS = [point for point in Point if point not in TAKE_OVER and point is not Point.BEFORE_RELEASE]
Round = tuple[Point, str]


def rounds(lanes: int) -> list[list[Round]]:
    """Each lane's points and clocks: all of them in the long form, a few by the seed in the short one."""
    chance = random.Random(SEED)
    right, *turned = TURNED
    if LONG:
        plans = [[(point, right) for point in Point] for _ in range(lanes)]
        for number, (point, clocks) in enumerate((point, clocks) for clocks in turned for point in OWNERS):
            plans[number % lanes].append((point, clocks))
        return plans
    chosen = chance.sample(list(Point), 3 * lanes)
    plans = [[(point, right) for point in chosen[lane::lanes]] for lane in range(lanes)]
    for plan in plans:
        plan.append((chance.choice(OWNERS), chance.choice(turned)))
    return plans


async def test_given_executors_asleep_at_any_step_when_they_wake_then_nothing_of_theirs_is_accepted(park: Park) -> None:
    """2.2, I1, I2, I11: with the venue's clock exact, 0.9 s ahead and 0.9 s behind."""
    by_point, by_clocks = Tally(), Tally()
    offsets = {"exact": 0, "ahead": 900, "behind": -900}
    async with opened([Lane(park, name, offset_ms=offset_ms) for name, offset_ms in offsets.items()]) as lanes:

        async def play(lane: Lane, plan: list[Round]) -> None:
            for point, clocks in plan:
                tally, kind = (by_point, point.value) if TURNED[clocks] is None else (by_clocks, clocks)
                await tally.play(lane, kind, lambda: lane.pause_round(point, TURNED[clocks]))  # noqa: B023  awaited here

        async with asyncio.TaskGroup() as group:
            for lane, plan in zip(lanes, rounds(len(lanes)), strict=True):
                group.create_task(play(lane, plan))
        venues = "\n".join(f"- venue's clock {lane.name} ({lane.offset_ms} ms): {lane.verdict()}" for lane in lanes)
        assert all(lane.verdict().clean for lane in lanes), f"SEED={SEED}\n{venues}"
    if LONG:
        report("pauses", "Executors asleep at each step", by_point.table("stopped at"), by_clocks.table("woken with"), venues)
