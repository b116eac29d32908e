"""4: one owned shard, without a broker: order of writes, when a checkpoint is due, and what ends the fold."""

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest

from streams.domain.errors import InvariantError
from streams.gateways.faust.checkpoint import Checkpoint, CheckpointWriter, Found, find_checkpoint
from streams.gateways.faust.history import parse_cause
from streams.gateways.faust.shard import FoldObserver, OwnedShard
from streams.ports.folds import CAUSE_HEADER, FoldSpec
from streams.ports.log import Output, Record

SPEC = FoldSpec("fold", "journal", 1, "v1", ("outputs",), checkpoint_seconds_min=1.0, checkpoint_events_max=10)


class CountingFold:
    """Its state is the list of what it has folded; every even record has an output."""

    def __init__(self) -> None:
        self._folded: list[int] = []

    def step(self, record: Record) -> Sequence[Output]:
        self._folded.append(record.offset)
        return [Output("outputs", b"k", str(record.offset).encode())] if record.offset % 2 == 0 else []

    def snapshot(self) -> bytes:
        return (",".join(str(offset) for offset in self._folded)).encode()


class ManualWire:
    """Acknowledges when the test says so, and remembers the order of everything."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.outputs: list[tuple[Output, asyncio.Future[object]]] = []
        self.saves: list[tuple[bytes, bytes | None, asyncio.Future[object]]] = []
        self.auto = False

    async def send(self, output: Output) -> "asyncio.Future[object]":
        self.log.append(f"send {output.value.decode()}")
        return self._future(lambda ack: self.outputs.append((output, ack)))

    async def save(self, partition: int, key: bytes, value: bytes | None) -> "asyncio.Future[object]":
        self.log.append(f"save {key.split(b'/')[1].decode() if value is not None else 'tombstone'}")
        return self._future(lambda ack: self.saves.append((key, value, ack)))

    def _future(self, keep: "Callable[[asyncio.Future[object]], None]") -> "asyncio.Future[object]":
        ack = asyncio.get_running_loop().create_future()
        keep(ack)
        if self.auto:
            ack.set_result(None)
        return ack

    def ack_all(self) -> None:
        for entry in [*self.outputs, *self.saves]:
            if not entry[-1].done():
                entry[-1].set_result(None)


class Stage:
    """A shard on a manual wire and a manual clock."""

    def __init__(self, durable_offset: int | None = 0) -> None:
        self.wire = ManualWire()
        self.now = 0.0
        self.lifted: list[int] = []
        self.shard = OwnedShard(
            SPEC,
            0,
            CountingFold(),
            durable_offset,
            CheckpointWriter(0, Found(None, 0, ())),
            self.wire,
            lambda partition, offset: self.lifted.append(offset),
            FoldObserver(),
            clock=lambda: self.now,
        )

    async def fold(self, *offsets: int) -> None:
        for offset in offsets:
            await self.shard.fold(Record("journal", 0, offset, None, b"x"))

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)


async def test_outputs_are_acknowledged_before_the_checkpoint_is_written_and_the_checkpoint_before_the_commit() -> None:
    stage = Stage()
    await stage.fold(0, 1, 2)
    stage.now = 1.5
    stage.shard.checkpoint_if_due()
    # Nothing is saved while one output is not acknowledged
    stage.wire.outputs[0][1].set_result(None)
    for _ in range(20):
        await asyncio.sleep(0)
    assert stage.wire.log == ["send 0", "send 2"]
    stage.wire.outputs[1][1].set_result(None)
    await stage.until(lambda: stage.wire.saves)
    # Nothing is committed while the checkpoint is not acknowledged
    assert stage.lifted == []
    stage.wire.ack_all()
    await stage.until(lambda: stage.lifted == [3])
    assert stage.wire.log == ["send 0", "send 2", "save h"]


async def test_a_checkpoint_holds_the_state_of_its_own_moment() -> None:
    stage = Stage()
    await stage.fold(0, 1)
    stage.now = 1.5
    stage.shard.checkpoint_if_due()
    await stage.fold(2, 3)
    stage.wire.ack_all()
    await stage.until(lambda: stage.wire.saves)
    key, value, _ = stage.wire.saves[0]
    assert find_checkpoint({key: value}, 0).checkpoint == Checkpoint("v1", 2, b"0,1")


async def test_a_record_below_is_skipped_and_a_gap_stops() -> None:
    stage = Stage(durable_offset=5)
    await stage.fold(3, 4, 5)
    assert stage.wire.log == []
    assert stage.shard.next_offset == 6
    with pytest.raises(InvariantError, match="offset gap in journal:0: got 7, want 6"):
        await stage.fold(7)


async def test_outputs_carry_their_cause() -> None:
    stage = Stage()
    await stage.fold(0)
    output = stage.wire.outputs[0][0]
    assert output.headers == ((CAUSE_HEADER, b"journal:0:0"),)
    assert parse_cause(b"journal:0:0") == ("journal", 0, 0)
    assert parse_cause(b"elsewhere") is None


async def test_a_checkpoint_is_due_after_a_second_or_the_event_count_and_only_with_changes() -> None:
    stage = Stage()
    stage.now = 100.0
    stage.shard.checkpoint_if_due()
    await asyncio.sleep(0)
    assert stage.wire.log == []  # nothing changed
    stage = Stage()
    stage.wire.auto = True
    await stage.fold(*range(9))
    assert "save h" not in stage.wire.log  # too early, too few
    await stage.fold(9)
    await stage.until(lambda: stage.lifted == [10])  # the tenth
    await stage.fold(10)
    stage.now = 1.1
    stage.shard.checkpoint_if_due()
    await stage.until(lambda: stage.lifted == [10, 11])  # a second


async def test_settle_writes_exactly_the_last_record_even_behind_a_running_checkpoint() -> None:
    stage = Stage()
    await stage.fold(0)
    stage.now = 2.0
    stage.shard.checkpoint_if_due()
    await stage.fold(1, 2)
    settling = asyncio.create_task(stage.shard.settle())
    async with asyncio.timeout(10):
        while not settling.done():
            stage.wire.ack_all()
            await asyncio.sleep(0.001)
    assert stage.lifted == [1, 3]
    assert stage.shard.durable_offset == 3


async def test_a_new_shard_settles_its_empty_state() -> None:
    stage = Stage(durable_offset=None)
    stage.wire.auto = True
    await stage.shard.settle()
    assert stage.lifted == [0]
    assert stage.wire.log == ["save h"]


async def test_an_output_that_fails_for_good_is_raised() -> None:
    stage = Stage()
    await stage.fold(0)
    stage.wire.outputs[0][1].set_exception(RuntimeError("too large"))
    with pytest.raises(RuntimeError, match="too large"):
        stage.shard.checkpoint_if_due()


async def test_waiting_is_the_age_of_the_oldest_output_or_checkpoint() -> None:
    stage = Stage()
    assert stage.shard.waiting_seconds() == 0.0
    await stage.fold(0)
    stage.now = 0.5
    await stage.fold(1, 2)
    stage.now = 0.9
    assert stage.shard.waiting_seconds() == pytest.approx(0.9)
    stage.wire.outputs[0][1].set_result(None)
    assert stage.shard.waiting_seconds() == pytest.approx(0.4)
    stage.wire.ack_all()
    assert stage.shard.waiting_seconds() == 0.0
    stage.now = 2.0
    stage.shard.checkpoint_if_due()
    await stage.until(lambda: stage.wire.saves)
    stage.now = 63.0
    assert stage.shard.waiting_seconds() == pytest.approx(61.0)


async def test_an_abandoned_shard_lifts_nothing_any_more() -> None:
    stage = Stage()
    await stage.fold(0)
    stage.now = 2.0
    stage.shard.checkpoint_if_due()
    stage.wire.outputs[0][1].set_result(None)
    await stage.until(lambda: stage.wire.saves)
    stage.shard.abandon()
    stage.wire.ack_all()
    for _ in range(20):
        await asyncio.sleep(0)
    assert stage.lifted == []
