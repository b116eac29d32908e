"""3.3: the broker dates what operators say: their clocks decide neither what a cancel takes nor what a resume voids."""

import time

from streams.gateways.kafka import KafkaLog
from streams.gateways.kafka_admin import Floors, check_topics, create_topics
from streams.local.broker import Broker
from streams.ports.log import KafkaConnection, Output
from streams.topics import OPERATOR_CONTROL, TABLE

YEAR_MS = 365 * 24 * 3_600_000
CONTROL = [topic for topic in TABLE if topic.name == OPERATOR_CONTROL]


async def test_3_3_a_record_of_the_control_topic_is_dated_by_the_broker_whatever_its_writer_says(
    broker: Broker, topic_prefix: str
) -> None:
    connection, floors = KafkaConnection(broker.bootstrap, topic_prefix=topic_prefix), Floors(1, 1)
    await create_topics(connection, CONTROL, floors)
    assert await check_topics(connection, CONTROL, floors) == []
    log = KafkaLog(connection)
    await log.start()
    try:
        before_ms = time.time_ns() // 1_000_000
        for at_ms in (before_ms - YEAR_MS, before_ms + YEAR_MS):
            await log.append(Output(OPERATOR_CONTROL, b"all", b"{}", partition=0, timestamp_ms=at_ms))
        records = await log.read(OPERATOR_CONTROL, 0, 0, 2)
        assert all(before_ms <= record.timestamp_ms <= time.time_ns() // 1_000_000 for record in records)
    finally:
        await log.close()
