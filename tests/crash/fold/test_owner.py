"""4: owners that sleep, come and go: a shard is folded by whoever owns it, and a former owner does no harm."""

import asyncio
import signal
from collections.abc import Callable

import pytest

from tests.crash.fold.rig import Rig

SLEEP_BEFORE_RECORD = {"stop_at": 5}
SLEEP_BEFORE_HEADER = {"stop_at": 5, "stop_between_chunks_and_header": True}


@pytest.mark.timeout(300)
async def test_4_a_paused_owners_late_checkpoint_does_no_harm(make_rig: Callable[..., Rig]) -> None:
    # Given one state that fits into a record and one that needs chunks
    cases = [(make_rig(partitions=1), SLEEP_BEFORE_RECORD), (make_rig(1, 1_500_000), SLEEP_BEFORE_HEADER)]

    async def one(rig: Rig, sleep: dict[str, object]) -> None:
        await rig.create_topics()
        async with rig.feeding(100):
            # When an owner is stopped inside a checkpoint and another one takes over and goes well past it
            sleeper = await rig.start_worker(instance="sleeper", **sleep)
            await sleeper.until(lambda: sleeper.count("STOPPED") == 1)
            late = int(sleeper.words[-1][2])
            taker = await rig.start_worker(instance="taker")
            await taker.until(lambda: taker.count("FOLDED") > 0 and taker.durable(0) > late + 100)
            # And the first one wakes, and finishes the checkpoint that it had begun
            overtaken = taker.durable(0)
            sleeper.signal(signal.SIGCONT)
            await sleeper.until(lambda: ["CHECKPOINT", "0", str(late)] in [words[:3] for words in sleeper.words])
            assert late < overtaken
            await sleeper.until(lambda: sleeper.count("REVOKED") > 0)
        for worker in (sleeper, taker):
            worker.signal(signal.SIGKILL)
            await worker.end()
        # Then whoever recovers next finds the newest state, and nothing differs
        last = await rig.finish()
        assert int(next(words[2] for words in last.words if words[0] == "RECOVERED")) >= overtaken
        verdict = await rig.judge()
        assert verdict.differences == []
        assert verdict.outputs > 0

    async with asyncio.TaskGroup() as group:
        for rig, sleep in cases:
            group.create_task(one(rig, sleep))


@pytest.mark.timeout(300)
async def test_4_workers_join_stand_by_leave_and_die(make_rig: Callable[..., Rig]) -> None:
    # Given one worker that owns both shards
    rig = make_rig(partitions=2)
    await rig.create_topics()
    async with rig.feeding(150):
        first = await rig.start_worker(instance="first")
        await first.until(lambda: first.count("FOLDED") > 0 and first.count("CHECKPOINT") > 6)
        # When a second one joins, it gets one of them after a last checkpoint of each
        second = await rig.start_worker(instance="second")
        await second.until(lambda: second.count("FOLDED") > 0)
        assert first.count("REVOKED") == 2
        # And a third one finds nothing to own, and stands by
        third = await rig.start_worker(instance="third")
        await first.until(lambda: first.count("REVOKED") > 2)
        # When one leaves in order and one is killed
        first.signal(signal.SIGTERM)
        second.signal(signal.SIGKILL)
        assert await first.end() == 0, first.log_tail()
        await second.end()
        # Then the third one folds both
        await third.until(lambda: third.durable(0) > 0 and third.durable(1) > 0 and third.count("FOLDED") > 0)
    await rig.drained(third)
    verdict = await rig.judge()
    assert verdict.differences == []


@pytest.mark.timeout(300)
async def test_4_a_state_larger_than_one_record_survives_kills(make_rig: Callable[..., Rig]) -> None:
    # Given a state of 1.5 MB
    rig = make_rig(partitions=1, padding_bytes=1_500_000)
    await rig.create_topics()
    # When its worker is killed in the middle of writing one, and after writing several
    async with rig.feeding(100):
        for kill_at in (2, 4):
            worker = await rig.start_worker(kill_at=kill_at)
            assert await worker.end() == -signal.SIGKILL, worker.log_tail()
    await rig.finish()
    # Then nothing differs, and the state really lies in several chunks
    keys = [record.key or b"" for record in await rig.read(rig.changelog, 0)]
    assert any(key.split(b"/")[1] == b"c" and key.endswith(b"/1") for key in keys)
    verdict = await rig.judge()
    assert verdict.differences == []
    assert verdict.repeats > 0
