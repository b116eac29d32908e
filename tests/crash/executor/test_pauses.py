"""2.2: executors are stopped beyond lease, session and window at each step, and woken when others trade their accounts."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import pytest

from streams.ports import Point
from tests.crash.executor.holes import held_over_a_take_over, held_until_the_lease_ends, row_lost
from tests.crash.executor.lanes import STOOD_STILL, TAKE_OVER, Lane, Park
from tests.crash.executor.tally import LONG, SEED, Tally, opened, report

pytestmark = pytest.mark.timeout(1800 if LONG else 400)

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


def plans(lanes: int) -> list[list[Round]]:
    """Each lane's rounds: in the long form every point and everything awake in each lane, and every point with each kind of
    clocks in one of them; in the short form a few by the seed."""
    if LONG:
        return [[*RIGHT, *HEALTHY, *CLOCKS[lane::lanes]] for lane in range(lanes)]
    chance = random.Random(SEED)
    points, clocks = chance.sample(RIGHT, 3 * lanes), chance.sample(CLOCKS, lanes)
    healthy = chance.sample(HEALTHY, lanes)
    return [[*points[lane::lanes], clocks[lane], healthy[lane]] for lane in range(lanes)]


async def test_2_2_given_executors_asleep_at_any_step_when_they_wake_then_nothing_of_theirs_is_accepted(park: Park) -> None:
    """2.2, I1, I2, I11: with the venue's clock exact, 0.9 s ahead and 0.9 s behind."""
    by_point, by_clocks, by_cause = Tally(), Tally(), Tally()
    offsets = {"exact": 0, "ahead": 900, "behind": -900}
    async with opened([Lane(park, name, offset_ms=offset_ms) for name, offset_ms in offsets.items()]) as lanes:

        async def play(lane: Lane, plan: list[Round]) -> None:
            for round_ in plan:
                tally = by_cause if round_.awake else by_clocks if round_.turned else by_point
                await tally.play(lane, round_.kind, lambda: round_.play(lane))  # noqa: B023  awaited here

        async with asyncio.TaskGroup() as group:
            for lane, plan in zip(lanes, plans(len(lanes)), strict=True):
                group.create_task(play(lane, plan))
        venues = "\n".join(f"- venue's clock {lane.name} ({lane.offset_ms} ms): {lane.verdict()}" for lane in lanes)
        assert all(lane.verdict().clean for lane in lanes), f"SEED={SEED}\n{venues}"
    if LONG:
        report(
            "pauses",
            "Executors asleep at each step",
            EXPLAINED,
            f"{by_point.total_rounds + by_clocks.total_rounds} pauses:",
            by_point.table("stopped at"),
            by_clocks.table("woken with"),
            "Not asleep:",
            by_cause.table("what happened"),
            venues,
            park.quiet(),
        )


EXPLAINED = (
    "Printed by `TRIMTAB_TEST_LONG=1 python -m pytest tests/crash/executor/test_pauses.py`. Each round stops an owner beyond "
    "lease, window and margin (and the broker knows no session on this path), lets another one take over and trade, and wakes "
    "it. *missed*: commands that nobody got to the venue in time, as when a busy machine let no lease be proven; *late*: "
    "accepted after the next OwnerStarted though its bytes had not all left before; *void*: its INTENT even lies behind it; "
    "*overdue*: accepted after timestamp + window in the venue's time; *twice*: commands executed more than once; *lost*: "
    "commands without an end, or trades that only venue or books know."
)
