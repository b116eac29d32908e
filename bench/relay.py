"""The baseline of an order's way: a bare aiokafka relay with as many hops, `python -m bench.relay BOOTSTRAP TIMES.json`.

It takes each record of one topic, appends it to a second one (acks=all, idempotent, no linger, as the executor's INTENT) and
reads it back from there. When asked to end it writes the monotonic time of each read-back, by the record's key.
"""

import asyncio
import gc
import json
import signal
import sys
import time
from pathlib import Path

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.gateways.kafka import FETCH_WAIT_MS
from streams.gateways.kafka_access import client_args
from streams.ports.log import KafkaConnection
from streams.topics import HOUR_MS, Topic

RELAY_IN = "bench.relay-in.v1"
RELAY_OUT = "bench.relay-out.v1"
RELAY_TOPICS = tuple(
    Topic(name, "id", "records of the relay", 1, HOUR_MS, ("bench",), ("bench",)) for name in (RELAY_IN, RELAY_OUT)
)


async def relay(connection: KafkaConnection) -> dict[str, int]:
    """Relay until SIGTERM; when each record was read back, monotonic ns by key.

    One output for each input: the end of the outputs is where reading goes on after a crash.
    """
    arguments = client_args(connection)
    source = AIOKafkaConsumer(**arguments, enable_auto_commit=False, fetch_max_wait_ms=FETCH_WAIT_MS)
    echo = AIOKafkaConsumer(**arguments, enable_auto_commit=False, fetch_max_wait_ms=FETCH_WAIT_MS)
    producer = AIOKafkaProducer(**arguments, acks="all", enable_idempotence=True, linger_ms=0)
    for client in (producer, source, echo):
        await client.start()
    end = (await echo.end_offsets([TopicPartition(RELAY_OUT, 0)]))[TopicPartition(RELAY_OUT, 0)]
    for consumer, topic in ((source, RELAY_IN), (echo, RELAY_OUT)):
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), end)
    seen: dict[str, int] = {}
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    tasks = [asyncio.create_task(work) for work in (_forward(source, producer), _read_back(echo, seen), stopping.wait())]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for client in (producer, source, echo):
        await client.stop()
    for task in done:
        task.result()
    return seen


async def _forward(source: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
    async for record in source:
        await producer.send(RELAY_OUT, value=record.value, key=record.key, headers=list(record.headers))


async def _read_back(echo: AIOKafkaConsumer, seen: dict[str, int]) -> None:
    async for record in echo:
        seen[(record.key or b"").decode()] = time.monotonic_ns()


if __name__ == "__main__":
    gc.freeze()
    seen = uvloop.run(relay(KafkaConnection(sys.argv[1])))
    Path(sys.argv[2]).write_text(json.dumps(seen))
