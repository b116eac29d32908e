"""4, 6: the broker goes away and comes back while a fold works."""

import asyncio
import time
from collections.abc import Callable

import pytest

from streams.local.broker import Broker
from tests.crash.fold.rig import Rig

AWAY_SECONDS = 20.0


@pytest.mark.timeout(300)
async def test_4_a_broker_away_for_20_s_is_ridden_out(own_broker: Broker, make_rig: Callable[..., Rig]) -> None:
    # Given a fold at work
    rig = make_rig(partitions=2, on=own_broker)
    await rig.create_topics()
    async with rig.feeding(100):
        # A loaded machine may need a minute to start the broker again, which is not what is tried here.
        worker = await rig.start_worker(watchdog_seconds=150.0)
        await worker.until(lambda: worker.count("CHECKPOINT") > 6)
        before = worker.durable(0)
        # When the broker is killed and comes back 20 s later with its data
        own_broker.kill()
        gone = time.monotonic()
        while time.monotonic() - gone < AWAY_SECONDS:
            assert not worker.ended, worker.log_tail()
            await asyncio.sleep(0.2)
        await asyncio.to_thread(own_broker.start)
        # Then the very same process goes on
        await worker.until(lambda: worker.durable(0) > before + 500, seconds=120)
    await rig.drained(worker)
    verdict = await rig.judge()
    assert verdict.differences == []
    # And says so in few lines
    assert 0 < len(worker.log_lines()) < 150, worker.log_tail(200)


@pytest.mark.timeout(300)
async def test_6_a_broker_that_stays_away_ends_the_fold_with_one_clear_line(
    own_broker: Broker, make_rig: Callable[..., Rig]
) -> None:
    # Given a fold whose patience is 3 s
    rig = make_rig(partitions=1, on=own_broker)
    await rig.create_topics()
    async with rig.feeding(100):
        worker = await rig.start_worker(watchdog_seconds=3.0)
        await worker.until(lambda: worker.count("CHECKPOINT") > 3)
        # When the broker stops answering
        own_broker.pause()
        try:
            code = await worker.end(seconds=60)
        finally:
            own_broker.resume()
    # Then it ends itself, and its successor resumes at the checkpoint
    assert code == 75
    assert "the oldest output or checkpoint has no answer for 3 s (exit 75)" in worker.log_tail()
    await rig.finish()
    assert (await rig.judge()).differences == []
