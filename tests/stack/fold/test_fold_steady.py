"""4: what a fold does while nobody disturbs it."""

import asyncio
import signal
from collections.abc import Callable

import pytest

from tests.crash.fold.rig import Rig, eventually


@pytest.mark.timeout(300)
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


@pytest.mark.timeout(300)
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
