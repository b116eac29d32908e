"""4: owners that sleep, come and go: a shard is folded by whoever owns it, and a former owner does no harm."""

import asyncio
import signal
from collections.abc import Callable

import pytest

from tests.crash.fold.rig import Rig, eventually

SLEEP_BEFORE_RECORD = {"stop_at": 5}
SLEEP_BEFORE_HEADER = {"stop_at": 5, "stop_between_chunks_and_header": True}


@pytest.mark.timeout(180)
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


@pytest.mark.timeout(180)
async def test_4_two_workers_join_leave_and_come_back(make_rig: Callable[..., Rig]) -> None:
    # Given one worker that owns four shards
    rig = make_rig(partitions=4)
    await rig.create_topics()
    async with rig.feeding(200):
        first = await rig.start_worker(instance="first")
        await first.until(lambda: first.count("FOLDED") > 0 and first.count("CHECKPOINT") > 8)
        # When a second one joins, it gets some of them after a last checkpoint of each
        second = await rig.start_worker(instance="second")
        await second.until(lambda: second.count("FOLDED") > 0)
        assert first.count("REVOKED") == 4
        assert 0 < second.count("RECOVERED") < 4
        # And the first one leaves in order, and the second is killed and comes back
        first.signal(signal.SIGTERM)
        assert await first.end() == 0, first.log_tail()
        await second.until(lambda: second.count("RECOVERED") >= 5)
        second.signal(signal.SIGKILL)
        await second.end()
        second = await rig.start_worker(instance="second")
        await second.until(lambda: second.count("RECOVERED") == 4 and second.count("FOLDED") > 0)
    await rig.drained(second)
    # Then every output is as the pure fold wants it
    verdict = await rig.judge()
    assert verdict.differences == []


@pytest.mark.timeout(60)
async def test_4_the_commit_never_passes_the_checkpoint_and_follows_it(make_rig: Callable[..., Rig]) -> None:
    # Given a worker that is fed
    rig = make_rig(partitions=2)
    await rig.create_topics()
    compared = 0
    async with rig.feeding(300):
        worker = await rig.start_worker()
        await worker.until(lambda: worker.count("CHECKPOINT") > 4)
        # When committed offsets and checkpoints are read again and again, the committed ones first
        async with asyncio.timeout(30):
            while compared < 30:
                for partition, offset in (await rig.committed()).items():
                    checkpoint = await rig.checkpoint(partition)
                    # Then the commit is covered
                    assert checkpoint is not None
                    assert offset <= checkpoint.next_offset
                    compared += offset > 0
    # And in the end it has caught up
    await rig.drained(worker)

    async def caught_up() -> bool:
        return await rig.committed() == dict(rig.fed)

    await eventually(caught_up, 10)


@pytest.mark.timeout(60)
async def test_4_an_idle_shard_checkpoints(make_rig: Callable[..., Rig]) -> None:
    # Given a worker and three records, after which nothing more comes
    rig = make_rig(partitions=2)
    await rig.create_topics()
    worker = await rig.start_worker()
    await rig.feed(3, partition=1)
    # When time passes, then their checkpoint is written
    await worker.until(lambda: worker.durable(1) == 3, seconds=20)
    # And no further one, since nothing changes: as many as the two first ones and this one
    worker.signal(signal.SIGTERM)
    assert await worker.end() == 0
    assert worker.count("CHECKPOINT") <= 2 + 3


@pytest.mark.timeout(90)
async def test_4_a_state_larger_than_one_record_survives_kills(make_rig: Callable[..., Rig]) -> None:
    # Given a state of 3 MB
    rig = make_rig(partitions=1, padding_bytes=3_000_000)
    await rig.create_topics()
    # When its worker is killed in the middle of writing one, and after writing several
    async with rig.feeding(100):
        for kill_at in (2, 6):
            worker = await rig.start_worker(kill_at=kill_at)
            assert await worker.end() == -signal.SIGKILL, worker.log_tail()
    await rig.finish()
    # Then nothing differs, and the state really lies in several chunks
    keys = [record.key or b"" for record in await rig.read(rig.changelog, 0)]
    assert any(key.split(b"/")[1] == b"c" and key.endswith(b"/2") for key in keys)
    verdict = await rig.judge()
    assert verdict.differences == []
    assert verdict.repeats > 0
