"""2.1: ranges of one partition that are wanted together are read together: a hundred accounts are taken over at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from streams.gateways.kafka import TOGETHER_MAX, KafkaLog, KafkaReader
from streams.gateways.kafka_admin import Floors, create_topics
from streams.local.broker import Broker
from streams.ports.log import KafkaConnection, Output, PositionLostError, Record
from streams.topics import Topic

PLACE = ("events", 0)
RECORDS = TOGETHER_MAX + 100


class Counting(KafkaLog):
    """Counts the passes: each begins with the question what the partition still holds."""

    passes = 0

    async def begin_offset(self, topic: str, partition: int) -> int:
        self.passes += 1
        return await super().begin_offset(topic, partition)


@pytest.fixture
async def log(broker: Broker, topic_prefix: str) -> AsyncIterator[Counting]:
    connection = KafkaConnection(broker.bootstrap, topic_prefix=topic_prefix)
    topic = Topic(PLACE[0], "any", "anything", 2, 3_600_000, ("writer",), ("reader",))
    await create_topics(connection, (topic,), Floors(1, 1))
    log = Counting(connection)
    await log.start()
    for partition in (0, 1):
        acks = [log.append_nowait(Output(PLACE[0], b"", b"%d" % number, partition=partition)) for number in range(RECORDS)]
        await asyncio.gather(*acks)
    yield log
    await log.close()


async def values(log: KafkaLog, offset_from: int, offset_to: int, partition: int = 0) -> list[int]:
    return [int(record.value or b"") for record in await log.read(PLACE[0], partition, offset_from, offset_to)]


async def test_2_1_ranges_that_are_wanted_together_are_read_in_one_pass_and_each_is_whole(log: Counting) -> None:
    ranges = [(number, 3 * number + 5) for number in range(100)] + [(200, 200), (40, 41)]
    found = await asyncio.gather(*(values(log, *wanted) for wanted in ranges))
    assert found == [list(range(*wanted)) for wanted in ranges]
    assert log.passes == 1


async def test_2_1_what_lies_far_apart_or_elsewhere_is_not_read_for_it(log: Counting) -> None:
    ranges = [(0, 5, 0), (5, 10, 0), (RECORDS - 5, RECORDS, 0), (5, 10, 1), (7, 12, 0)]
    found = await asyncio.gather(*(values(log, *wanted) for wanted in ranges))
    assert found == [list(range(first, last)) for first, last, _ in ranges]
    assert log.passes == 3
    assert await values(log, 0, RECORDS) == list(range(RECORDS)), "a range of one's own may be as long as it is"


async def test_2_1_who_wants_what_is_not_there_is_told_and_nobody_else(log: Counting) -> None:
    asked = [values(log, 0, 5), values(log, 5, RECORDS + 1), values(log, 3, 9), values(log, RECORDS - 1, RECORDS)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(found[1], PositionLostError)
    assert (found[1].wanted, found[1].end) == (RECORDS + 1, RECORDS)
    assert (found[0], found[2], found[3]) == ([*range(5)], [*range(3, 9)], [RECORDS - 1])


async def test_2_1_who_gives_up_takes_nothing_from_those_that_wait(log: Counting) -> None:
    reads = [asyncio.create_task(values(log, number, 50)) for number in range(20)]
    await asyncio.sleep(0)
    reads[0].cancel()
    reads[7].cancel()
    found = await asyncio.gather(*reads, return_exceptions=True)
    assert [number for number, values in enumerate(found) if isinstance(values, asyncio.CancelledError)] == [0, 7]
    assert [values for number, values in enumerate(found) if number not in (0, 7)] == [
        list(range(number, 50)) for number in range(20) if number not in (0, 7)
    ]


class NoText(str):
    """A header's name as a client in another language may write it."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


async def test_2_2_a_header_with_a_name_that_is_no_text_is_taken_by_the_broker_and_read_past(
    log: Counting, broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_accumulator, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    monkeypatch.setattr(producer, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as stranger:
        await stranger.send_and_wait(topic_prefix + PLACE[0], b"-1", partition=0, headers=[(NoText("none"), b"text")])
    await log.append(Output(PLACE[0], b"", b"-2", partition=0))
    assert await values(log, RECORDS - 1, RECORDS + 2) == [RECORDS - 1, -1, -2]
    reader = KafkaReader(KafkaConnection(broker.bootstrap, topic_prefix=topic_prefix))
    await reader.assign({PLACE: RECORDS})
    found: list[Record] = []
    async with asyncio.timeout(30):
        while len(found) < 2:
            found += await reader.poll(200)
    await reader.close()
    assert [(record.offset, record.headers) for record in found] == [(RECORDS, (("\ufffd\ufffd", b"text"),)), (RECORDS + 1, ())]
