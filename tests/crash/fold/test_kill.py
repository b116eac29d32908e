"""4, 7.3: a fold that is killed again and again decides exactly what it decides when nobody kills it."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.crash.fold.rig import Rig

LONG = os.environ.get("TRIMTAB_TEST_LONG") == "1"
SIGKILLED = -signal.SIGKILL
# Commits come every half second: with checkpoints this rare, a dying worker has committed past its last one.
COMMIT_AHEAD = {"commit_ahead": True, "checkpoint_seconds_min": 1.5, "checkpoint_events_max": 1_000_000}


@dataclass(slots=True)
class Kills:
    anywhere: int = 0
    between_send_and_checkpoint: int = 0

    @property
    def total(self) -> int:
        return self.anywhere + self.between_send_and_checkpoint


async def kill_again_and_again(rig: Rig, kills: int, chance: random.Random, **plan: object) -> Kills:
    """Kill the rig's only worker that often: by turns between the acknowledgement of its outputs and their checkpoint,
    and at a random moment after it has come back to work. Every second worker lets its committed offsets run ahead of its
    checkpoints, because they must not matter."""
    done = Kills()
    for number in range(kills):
        at_checkpoint = chance.randint(1, 3) if number % 2 == 0 else None
        ahead = COMMIT_AHEAD if number % 4 < 2 else {}
        worker = await rig.start_worker(kill_at=at_checkpoint, **ahead, **plan)
        if at_checkpoint is None:
            await worker.until(lambda worker=worker: worker.count("FOLDED") > 0)
            await asyncio.sleep(chance.uniform(0.0, 1.5))  # the moment of the fault, not a wait for something
            worker.signal(signal.SIGKILL)
            done.anywhere += 1
        else:
            done.between_send_and_checkpoint += 1
        code = await worker.end()
        assert code == SIGKILLED, f"the worker ended by itself with {code}\n{worker.log_tail()}"
    return done


@pytest.mark.timeout(3600 if LONG else 600)
async def test_4_outputs_equal_the_pure_fold_after_20_kills_while_the_log_cleaner_works(
    make_rig: Callable[..., Rig], capsys: pytest.CaptureFixture[str]
) -> None:
    # Given three applications of two shards each, fed all the time
    seed = random.randrange(2**32)
    kills_each = 60 if LONG else 7
    rigs = [make_rig(partitions=2) for _ in range(3)]
    for rig in rigs:
        await rig.create_topics()
    started = time.monotonic()

    # When their workers are killed again and again
    async def one(rig: Rig, number: int) -> Kills:
        async with rig.feeding(100):
            kills = await kill_again_and_again(rig, kills_each, random.Random(seed + number))
        await rig.finish()
        return kills

    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(one(rig, number)) for number, rig in enumerate(rigs)]
    kills = [loop.result() for loop in loops]

    # Then nothing is lost, nothing differs, something was repeated, and the cleaner really removed old checkpoints
    verdicts = [await rig.judge() for rig in rigs]
    removed = [await rig.holes() for rig in rigs]
    total = sum(kill.total for kill in kills)
    between = sum(kill.between_send_and_checkpoint for kill in kills)
    repeats = sum(verdict.repeats for verdict in verdicts)
    with capsys.disabled():
        sys.stdout.write(
            f"\nfold: {total} kills ({between} between send and checkpoint),"
            f" {sum(verdict.outputs for verdict in verdicts)} outputs, {repeats} repeats,"
            f" {sum(removed)} checkpoint records cleaned away, {time.monotonic() - started:.0f} s, seed {seed}\n"
        )
    assert [verdict.differences for verdict in verdicts] == [[], [], []]
    assert total >= 20
    assert between >= 10
    assert repeats > 0
    assert sum(removed) > 0


@pytest.mark.timeout(300)
async def test_4_the_same_kills_are_fatal_without_the_seek_to_the_checkpoint(make_rig: Callable[..., Rig]) -> None:
    # Given the same loop, but workers that resume at the committed offset
    rig = make_rig(partitions=2)
    await rig.create_topics()

    # When they are killed, then a worker comes back past its checkpoint and stops at the gap
    with pytest.raises(AssertionError, match=r"(?s)ended.* with 70.*offset gap in journal"):
        async with rig.feeding(300):
            await kill_again_and_again(rig, 8, random.Random(1), without_seek=True)
