"""Closing a reader while its broker is away: the role that ends must be able to finish its ending."""

import asyncio
import gc

from streams.gateways.kafka import KafkaReader
from streams.gateways.kafka_admin import Floors, create_topics
from streams.local.broker import Broker
from streams.ports.log import KafkaConnection
from streams.topics import Topic

SOURCE = Topic("source", "any", "anything", 1, 60_000, ("writer",), ("reader",))


async def reading(broker: Broker) -> list[KafkaReader]:
    """Ten readers of an empty topic."""
    connection = KafkaConnection(broker.bootstrap)
    await create_topics(connection, (SOURCE,), Floors(1, 1))
    readers = [KafkaReader(connection) for _ in range(10)]
    for reader in readers:
        await reader.start()
        await reader.assign({("source", 0): 0})
        assert await reader.poll(100) == []
    return readers


async def test_a_reader_closes_in_order_while_its_fetch_waits_for_a_broker_that_is_away(own_broker: Broker):
    readers = await reading(own_broker)
    await asyncio.to_thread(own_broker.kill)
    for reader in readers:
        assert await reader.poll(100) == []  # the fetch after the kill, which now waits between its attempts
    for reader in readers:
        await reader.close()


async def test_a_role_that_is_cancelled_leaves_no_connection_while_its_broker_is_away(own_broker: Broker):
    """What is left open is told when it is collected, in whatever test runs then."""
    readers = await reading(own_broker)
    polled = asyncio.Semaphore(0)

    async def role() -> None:
        try:
            while True:
                await asyncio.gather(*(reader.poll(100) for reader in readers))
                polled.release()
        finally:
            for reader in readers:
                await reader.close()

    await asyncio.to_thread(own_broker.kill)
    running = asyncio.create_task(role())
    for _ in range(5):
        await polled.acquire()  # the fetches after the kill, which now wait between their attempts
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    readers.clear()
    del running
    gc.collect()
