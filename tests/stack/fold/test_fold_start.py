"""4, design rule "a deployment is a replay": when a fold may start, when it must refuse, and how a lost state is rebuilt."""

import signal
from collections.abc import Callable

import pytest

from streams.domain.errors import RefusedError
from streams.gateways.faust import recover_shard
from streams.ports.folds import Fold
from tests.crash.fold.reference import ReferenceFold
from tests.crash.fold.rig import Rig

REFUSED = 2


def make_fold(partition: int, snapshot: bytes | None) -> Fold:
    return ReferenceFold("outputs", snapshot)


@pytest.mark.timeout(300)
async def test_4_another_version_starts_only_on_a_drained_shard(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(partitions=1)
    await rig.create_topics()
    # Given a shard whose old worker died with outputs recorded past its checkpoint
    await rig.feed(300)
    worker = await rig.start_worker(version="1", kill_at=2)
    assert await worker.end() == -signal.SIGKILL
    # When another version starts, then it refuses and names the remedy
    worker = await rig.start_worker(version="2")
    assert await worker.end() == REFUSED
    assert "drain with the old version 1 first, then start 2" in worker.log_tail()
    assert worker.count("FOLDED") == 0
    # When the old version has folded what it had decided before, and was drained: SIGTERM in the middle of the flow
    async with rig.feeding(200):
        worker = await rig.start_worker(version="1")
        await worker.until(lambda: worker.durable(0) > 300)
        worker.signal(signal.SIGTERM)
        assert await worker.end() == 0, worker.log_tail()
        drained = await rig.checkpoint(0)
        repeats = (await rig.judge()).repeats
    # Then the other version goes on from exactly there and repeats nothing
    worker = await rig.finish(version="2")
    assert drained is not None
    assert ["RECOVERED", "0", str(drained.next_offset)] in worker.words
    verdict = await rig.judge()
    assert verdict.differences == []
    assert verdict.repeats == repeats


@pytest.mark.timeout(300)
async def test_4_a_lost_changelog_is_refused_and_rebuilt_without_a_second_output(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(partitions=1)
    await rig.create_topics()
    # Given a shard that began with a full journal, decided, and died; and then lost its changelog
    await rig.feed(400)
    worker = await rig.start_worker(kill_at=3)
    assert await worker.end() == -signal.SIGKILL
    recorded = (await rig.judge()).repeats
    await rig.lose_changelog()
    # When a worker starts, then it refuses
    worker = await rig.start_worker()
    assert await worker.end() == REFUSED
    assert "run `trimtab recover 0` to rebuild it" in worker.log_tail()
    # When the shard is rebuilt
    plan = rig.plan()
    rebuilt = await recover_shard(plan.spec(), make_fold, plan.kafka(), 0)
    # Then it resumes after the last recorded output, and nothing was or is decided twice
    assert rebuilt.next_offset == rebuilt.records_folded > 0
    worker = await rig.finish()
    assert ["RECOVERED", "0", str(rebuilt.next_offset)] in worker.words
    verdict = await rig.judge()
    assert verdict.differences == []
    assert verdict.repeats == recorded
    # And a shard that has its state is not rebuilt
    with pytest.raises(RefusedError, match="nothing to recover"):
        await recover_shard(plan.spec(), make_fold, plan.kafka(), 0)


@pytest.mark.timeout(300)
async def test_4_a_first_start_that_died_before_its_first_output_is_not_locked_out(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(partitions=1)
    await rig.create_topics()
    # Given a full journal and a first worker that dies before its very first checkpoint is written
    await rig.feed(50)
    worker = await rig.start_worker(kill_at=1)
    assert await worker.end() == -signal.SIGKILL
    assert await rig.checkpoint(0) is None
    # And a second one that dies after its first outputs
    worker = await rig.start_worker(kill_at=2)
    assert await worker.end() == -signal.SIGKILL
    # When the next one starts, then it folds everything
    await rig.finish()
    assert (await rig.judge()).differences == []


@pytest.mark.timeout(300)
async def test_4_a_journal_shorter_than_its_checkpoint_stops_the_fold(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(partitions=1)
    await rig.create_topics()
    # Given a shard with a checkpoint
    await rig.feed(30)
    await rig.finish()
    # When its journal was made anew and is shorter
    await rig.remake_journal()
    worker = await rig.start_worker()
    # Then the fold says so and stops
    assert await worker.end() == 70
    assert "the journal was cut" in worker.log_tail()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("changelog", "partitions", "words"),
    [
        ({"cleanup.policy": "delete"}, 2, "cleanup.policy is delete, wanted compact"),
        (None, 2, "existence is missing"),
        ({"cleanup.policy": "compact"}, 3, "partition count is 2, wanted 3"),
    ],
)
async def test_4_a_topic_made_differently_is_refused_by_name(
    make_rig: Callable[..., Rig], changelog: dict[str, str] | None, partitions: int, words: str
) -> None:
    # Given topics that are not as the fold needs them
    rig = make_rig(partitions=2)
    await rig.create_topics(changelog, with_changelog=changelog is not None)
    # When a worker starts, then it refuses and names topic, found and wanted
    worker = await rig.start_worker(partitions=partitions)
    assert await worker.end() == REFUSED
    assert f"topic {rig.changelog}: {words}" in worker.log_tail()
