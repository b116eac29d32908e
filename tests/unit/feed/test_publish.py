"""While the log answers everything goes out; while it does not, memory stays bounded and the newest wins."""

import asyncio

import pytest

from streams.agents.feed.publish import Publisher
from streams.domain.errors import UnreachableError
from streams.ports.log import Output
from tests.unit.feed.fakes import MemoryLog


def output(key: str, value: str, topic: str = "market.tickers.v1") -> Output:
    return Output(topic, key.encode(), value.encode())


def values(log: MemoryLog) -> list[str]:
    return [each.value.decode() for each in log.outputs]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


def publisher(log: MemoryLog, outstanding_max: int = 2) -> Publisher:
    return Publisher(log, outstanding_max, dead_letters_max=2, unacked_ms_max=60_000)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_everything_goes_out_at_once_while_the_log_answers(log: MemoryLog) -> None:
    ours = publisher(log)
    for number in range(5):
        ours.publish(output("a", str(number)))
        await settle()
    assert values(log) == ["0", "1", "2", "3", "4"]
    assert ours.conflated == 0


async def test_the_newest_of_each_key_wins_while_the_log_is_away(log: MemoryLog) -> None:
    log.acknowledging = False
    ours = publisher(log)
    for number in range(1000):
        ours.publish(output("a", f"a{number}"))
        ours.publish(output("b", f"b{number}"))
    assert values(log) == ["a0", "b0"]
    log.acknowledge()
    await settle()
    assert values(log) == ["a0", "b0", "a999", "b999"]
    assert ours.conflated == 2 * 998


async def test_one_key_may_carry_several_stories(log: MemoryLog) -> None:
    log.acknowledging = False
    ours = publisher(log, outstanding_max=1)
    ours.publish(output("v", "first"))
    ours.publish(output("v", "one"), slot="one")
    ours.publish(output("v", "two"), slot="two")
    log.acknowledging = True
    log.acknowledge()
    await settle()
    assert values(log) == ["first", "one", "two"]


async def test_refused_frames_are_kept_up_to_a_bound_and_the_rest_counted(log: MemoryLog) -> None:
    log.acknowledging = False
    ours = publisher(log, outstanding_max=1)
    for number in range(6):
        ours.dead_letter(output("v", str(number), "dlq"))
    assert ours.dead_letters_lost == 3
    log.acknowledging = True
    log.acknowledge()
    await settle()
    assert values(log) == ["0", "4", "5"]


async def test_a_record_unacknowledged_for_too_long_ends_the_role(log: MemoryLog) -> None:
    ours = publisher(log)
    log.age_ms = 60_000
    ours.check()
    log.age_ms = 60_001
    with pytest.raises(UnreachableError, match="60001 ms"):
        ours.check()


async def test_a_record_that_the_log_refuses_ends_the_role(log: MemoryLog) -> None:
    log.acknowledging = False
    ours = publisher(log)
    ours.publish(output("a", "1"))
    log.waiting[0].set_exception(RuntimeError("too large"))
    await settle()
    with pytest.raises(UnreachableError, match="too large"):
        ours.check()
