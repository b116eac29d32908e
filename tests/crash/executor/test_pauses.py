"""2.2: executors are stopped beyond lease, session and window at each step, and woken when others trade their accounts."""

import asyncio

import pytest

from tests.crash.executor.lanes import Lane, Park
from tests.crash.executor.pauses import PAUSES, REPORT, Round, over_all, plans
from tests.crash.executor.tally import EVIDENCE, LONG, SEED, Tally, conditions, file_of, opened, report

pytestmark = pytest.mark.timeout(1800 + 15 * PAUSES if LONG else 400)


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
        pauses, told = by_point.total_rounds + by_clocks.total_rounds, by_point.total + by_clocks.total
        report(
            REPORT,
            "Executors asleep at each step",
            EXPLAINED,
            conditions(),
            over_all(EVIDENCE, file_of(REPORT), pauses, told.late + told.void),
            f"{pauses} pauses:",
            by_point.table("stopped at"),
            by_clocks.table("woken with"),
            "Not asleep:",
            by_cause.table("what happened"),
            venues,
            park.quiet(),
        )


EXPLAINED = (
    f"Printed by `PAUSES={PAUSES} TRIMTAB_TEST_LONG=1 python -m pytest tests/crash/executor/test_pauses.py`. Each round stops "
    "an owner beyond lease, window and margin (and the broker knows no session on this path), lets another one take over and "
    "trade, and wakes it. *missed*: commands that nobody got to the venue in time, as when a busy machine let no lease be "
    "proven; *late*: accepted after the next OwnerStarted though its bytes had not all left before; *void*: its INTENT even "
    "lies behind it; *overdue*: accepted after timestamp + window in the venue's time; *twice*: commands executed more than "
    "once; *lost*: commands without an end, or trades that only venue or books know."
)
