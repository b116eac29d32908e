"""2.2: the fence closes each hole, and lets through what it should when the part that closes it is left out."""

import asyncio

import pytest

from tests.crash.executor.holes import HOLES, Hole
from tests.crash.executor.lanes import Lane, Park
from tests.crash.executor.tally import LONG, SEED, Tally, conditions, opened, report

pytestmark = pytest.mark.timeout(1800 if LONG else 400)

AT_ONCE = 3 if LONG else 5
ROUNDS = 3 if LONG else 1
TRIES = 12


def lane_of(park: Park, hole: Hole, *, whole: bool) -> Lane:
    """A lane of the hole; `whole` has the part in question."""
    left_out = hole.beside if whole else (*hole.beside, hole.part)
    return Lane(park, f"{hole.part.value}-{'with' if whole else 'without'}", without=left_out, **hole.config)


async def test_2_2_given_a_part_of_the_fence_is_left_out_then_its_hole_opens_and_only_then(park: Park) -> None:
    """Two runs of a hole differ in its part alone: with it nothing is late, void, overdue, twice or lost."""
    closed, open_ = Tally(), Tally()
    slots = asyncio.Semaphore(AT_ONCE)
    failures: list[str] = []

    async def play(hole: Hole, *, whole: bool) -> None:
        async with slots, opened([lane_of(park, hole, whole=whole)]) as (lane,):
            tally = closed if whole else open_
            for _ in range(ROUNDS if whole else TRIES):
                await tally.play(lane, f"{hole.part.value}: {hole.story}", lambda: hole.play(lane))
                if not whole and not lane.verdict().clean:
                    break
            verdict = lane.verdict()
            if verdict.clean != whole:
                failures.append(f"{lane.name}: {verdict}\n{lane.logs()}")

    async with asyncio.TaskGroup() as group:
        for hole in HOLES:
            for whole in (True, False):
                group.create_task(play(hole, whole=whole))
    assert not failures, f"SEED={SEED}\n" + "\n".join(failures)
    if LONG:
        report(
            "holes",
            "What each part of the fence is for",
            "Printed by `TRIMTAB_TEST_LONG=1 python -m pytest tests/crash/executor/test_holes.py`. Two runs of a hole differ "
            "in its part alone; the one without it ends with its first loss. The columns are those of the pauses' report.",
            conditions() + " Some holes change more (`holes.py`).",
            closed.table("with the part"),
            open_.table("without the part"),
            park.quiet(),
        )
