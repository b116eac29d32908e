"""4: a fold starts from a changelog that was read to its end, whatever rebalances come meanwhile, or it does not start.

The framework's own recovery runs here, on a consumer thread of ours and without a broker.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from faust.assignor.client_assignment import ClientAssignment
from faust.types import TP

from streams.domain.errors import InvariantError
from streams.gateways.faust.checkpoint import Checkpoint, CheckpointWriter, Found
from streams.gateways.faust.reading import Reading
from streams.gateways.faust.shard import FoldObserver
from streams.gateways.faust.shell import FoldShell
from streams.gateways.faust.transport import make_app
from streams.ports.folds import FoldSpec
from streams.ports.log import KafkaConnection, Output, Record
from streams.topics import changelog

SPEC = FoldSpec("fold", "journal", 2, "v1", ("outputs",), instance="a")
KAFKA = KafkaConnection("127.0.0.1:1")
CHANGELOG = changelog("fold")


class EmptyFold:
    def step(self, record: Record) -> list[Output]:
        return []

    def snapshot(self) -> bytes:
        return b""


class Thread:
    """What the consumer's thread answers: what is assigned, and where each partition ends."""

    def __init__(self) -> None:
        self.assigned: set[TP] = set()
        self.ends: dict[TP, int] = {}
        self.asked: set[str] = set()
        self.held: dict[str, asyncio.Event] = {}

    def assignment(self) -> set[TP]:
        return self.assigned

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return dict.fromkeys(partitions, 0)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        topics = {tp.topic for tp in partitions}
        self.asked |= topics
        for topic in topics & self.held.keys():
            await self.held[topic].wait()
        return {tp: self.ends.get(tp, 0) for tp in partitions}

    async def seek_wait(self, positions: Mapping[TP, int]) -> None:
        """There is nothing to read."""

    async def getmany(self, partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Any]]:
        await asyncio.sleep(timeout)
        return {}


class Shell(FoldShell):
    """Keeps what a take-over raises, which would end the process."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.failures: list[Exception] = []

    async def _take_over(self) -> None:
        try:
            await super()._take_over()
        except Exception as error:  # noqa: BLE001
            self.failures.append(error)


class Owner(FoldObserver):
    def __init__(self) -> None:
        self.owned: list[tuple[int, int]] = []

    def on_recovered(self, partition: int, next_offset: int) -> None:
        self.owned.append((partition, next_offset))


class Worker:
    """One fold worker in a group of which the test is the coordinator. Each shard's checkpoint stands at offset 7."""

    def __init__(self, spec: FoldSpec) -> None:
        self.app: Any = make_app(spec, KAFKA)
        self.owner, self.thread = Owner(), Thread()
        self.shell = Shell(self.app, spec, lambda partition, snapshot: EmptyFold(), KAFKA, self.owner)
        self.app.consumer._thread = self.thread
        (table,) = self.app.tables.values()
        for partition in range(SPEC.partitions):
            self.thread.ends[TP(SPEC.source_topic, partition)] = 9
            generation = CheckpointWriter(partition, Found(None, 0, ())).encode(Checkpoint("v1", 7, b""))
            table.data.update([generation.header])

    @property
    def recovery(self) -> Any:
        return self.app.tables.recovery

    async def revoke(self) -> None:
        await self.app.on_partitions_revoked.send(self.thread.assigned)

    async def assign(self, partitions: Iterable[int]) -> None:
        """As the group coordinator and the application do it, in their order."""
        before, self.thread.assigned = self.thread.assigned, places(SPEC.source_topic, partitions)
        self.thread.assigned |= places(CHANGELOG, partitions)
        self.app.assignor._assignment = ClientAssignment(
            actives={topic: list(partitions) for topic in (SPEC.source_topic, CHANGELOG)}, standbys={}
        )
        self.app.consumer_generation_id += 1
        assigned = self.thread.assigned
        await self.recovery.on_rebalance(assigned, before - assigned, assigned - before, self.app.consumer_generation_id)
        await self.app.on_partitions_assigned.send(assigned)

    async def rebalance(self, partitions: Iterable[int]) -> None:
        await self.revoke()
        await self.assign(partitions)

    def grow_changelog(self, end: int) -> None:
        for place in places(CHANGELOG, range(SPEC.partitions)):
            self.thread.ends[place] = end

    def read_changelog(self) -> None:
        """The last record of each changelog arrives: what the framework then notes, and how it signals it."""
        self.recovery.active_offsets |= self.recovery.active_highwaters
        self.recovery.signal_recovery_end.set()
        self.recovery.signal_recovery_end.clear()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.001)

    async def until_reading(self) -> None:
        """The framework waits for changelog records, of which none will come."""
        await self.until(lambda: len(self.recovery.signal_recovery_end._waiters) > 0)


def places(topic: str, partitions: Iterable[int]) -> set[TP]:
    return {TP(topic, partition) for partition in partitions}


@asynccontextmanager
async def recovering(spec: FoldSpec = SPEC) -> AsyncIterator[Worker]:
    worker = Worker(spec)
    await worker.recovery.start()
    try:
        yield worker
    finally:
        await worker.app._fetcher.stop()
        await worker.recovery.stop()


@pytest.mark.parametrize("then", [(0, 1), (1,), (0,)], ids=["gains", "swaps", "keeps"])
async def test_a_reading_cut_short_by_a_rebalance_is_followed_by_one_of_its_own(then: tuple[int, ...]) -> None:
    """The framework calls back also for the reading that was cut short: with workers that joined one after the other this
    ended the process ("changelog of partition 1 read to None, its last record is None")."""
    async with recovering() as worker:
        # Given a worker that still reads the changelog of its first assignment
        worker.grow_changelog(5)
        await worker.rebalance([0])
        await worker.until_reading()
        # When another assignment comes
        worker.grow_changelog(0)
        await worker.rebalance(then)
        # Then what was cut short takes nothing over and ends nothing, and the new assignment's own recovery does
        await worker.until(lambda: len(worker.owner.owned) == len(then))
        assert worker.owner.owned == [(partition, 7) for partition in then]
        assert worker.shell.failures == []


async def test_a_reading_that_ends_between_two_assignments_takes_nothing_over() -> None:
    """By then the assignor may name the next assignment already, which another owner may have written to last."""
    async with recovering() as worker:
        # Given a worker that reads the changelog, of partitions that are then revoked
        worker.grow_changelog(5)
        await worker.rebalance([0, 1])
        await worker.until_reading()
        await worker.revoke()
        # When its last record comes before the next assignment does
        worker.read_changelog()
        await worker.until(lambda: worker.recovery.completed.is_set())
        # Then nothing is owned before that assignment's own recovery, and then once
        assert worker.owner.owned == []
        await worker.assign([0])
        await worker.until(lambda: worker.owner.owned != [])
        assert worker.owner.owned == [(0, 7)]
        assert worker.shell.failures == []


@pytest.mark.parametrize("revoked", [True, False])
async def test_what_a_take_over_finds_wrong_counts_only_while_the_partitions_are_ours(revoked: bool) -> None:
    async with recovering() as worker:
        # Given a take-over that waits for the ends of its journal, which turns out to be shorter than the checkpoint
        answer = worker.thread.held[SPEC.source_topic] = asyncio.Event()
        await worker.rebalance([0])
        await worker.until(lambda: SPEC.source_topic in worker.thread.asked)
        worker.thread.ends[TP(SPEC.source_topic, 0)] = 3
        # When the partition is revoked meanwhile, or not
        if revoked:
            await worker.revoke()
        answer.set()
        await worker.until(lambda: worker.recovery.completed.is_set())
        # Then it ends the process only if it is not
        assert [type(error) for error in worker.shell.failures] == ([] if revoked else [InvariantError])
        assert worker.owner.owned == []


async def test_6_a_recovery_that_the_framework_gave_up_is_overdue() -> None:
    """One request that is not answered in time ends the framework's recovery task for good, and it says nothing."""
    async with recovering(replace(SPEC, watchdog_seconds=0.3)) as worker:
        worker.app.conf.broker_request_timeout = 0.05
        # Given a broker that answers too late
        worker.thread.held[CHANGELOG] = asyncio.Event()
        await worker.rebalance([0])
        await worker.until(lambda: CHANGELOG in worker.thread.asked)
        assert worker.shell._overdue() is None
        # Then the worker knows after its patience
        await worker.until(lambda: worker.shell._overdue() is not None)
        assert "was not read any further" in str(worker.shell._overdue())
        # And not even another assignment would bring the framework back
        worker.thread.held.clear()
        await worker.rebalance([0, 1])
        assert worker.shell._overdue() is None
        await worker.until(lambda: worker.shell._overdue() is not None)
        assert worker.owner.owned == []


class Framework:
    """What the framework knows of its recovery."""

    def __init__(self) -> None:
        self.signal_recovery_start = asyncio.Event()
        self.active_offsets: dict[TP, int | None] = {}
        self.active_highwaters: dict[TP, int] = {}


@pytest.mark.parametrize(
    ("offset", "highwater", "read"),
    [(4, 4, True), (None, -1, True), (-1, -1, True), (3, 4, False), (-1, 0, False), (None, 0, False), (4, None, False)],
)
async def test_a_changelog_counts_only_when_it_was_read_to_its_end(
    offset: int | None, highwater: int | None, read: bool
) -> None:
    framework, place = Framework(), TP(CHANGELOG, 0)
    reading = Reading(SimpleNamespace(recovery=framework), CHANGELOG)
    framework.active_offsets[place] = offset
    if highwater is not None:
        framework.active_highwaters[place] = highwater
    if read:
        reading.check(0)
        return
    with pytest.raises(TimeoutError, match=f"partition 0 read to {offset}, its last record is {highwater}"):
        reading.check(0)


async def test_6_a_reading_is_overdue_when_it_stands_still_and_not_when_it_is_long() -> None:
    now = [0.0]
    framework, place = Framework(), TP(CHANGELOG, 0)
    reading = Reading(SimpleNamespace(recovery=framework), CHANGELOG, clock=lambda: now[0])
    # Given no assignment, nothing is awaited
    now[0] = 100.0
    assert reading.waiting_seconds() == 0.0
    assert not reading.finish()
    # When partitions are assigned, the wait lasts while no record comes, and begins anew with each
    reading.expect()
    now[0] = 150.0
    assert reading.waiting_seconds() == 50.0
    framework.active_offsets[place] = 1
    assert reading.waiting_seconds() == 0.0
    now[0] = 160.0
    assert reading.waiting_seconds() == 10.0
    # Then it ends with the callback, but not with one that another recovery has overtaken
    framework.signal_recovery_start.set()
    assert not reading.finish()
    assert reading.waiting_seconds() == 10.0
    framework.signal_recovery_start.clear()
    assert reading.finish()
    assert reading.waiting_seconds() == 0.0
    # And it is awaited no longer once the partitions are revoked
    reading.expect()
    reading.forget()
    now[0] = 300.0
    assert not reading.finish()
    assert reading.waiting_seconds() == 0.0
