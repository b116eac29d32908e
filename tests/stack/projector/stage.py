"""A projector on real Kafka and PostgreSQL, and the records that it follows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.agents.projector import Projector, ProjectorConfig
from streams.gateways import postgres
from streams.gateways.clock import SystemClock
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.gateways.projection import PostgresProjection
from streams.ports.log import KafkaConnection, Output
from streams.topics import ORDERS_LEDGER, REBALANCE_SIGNALS, VENUE_LATENCY, dead_letter

PARTITIONS = 2
HANG_SECONDS = 60.0


def new_topic(name: str) -> NewTopic:
    """A topic that keeps records of 2024: by default a broker removes what is a week old."""
    return NewTopic(name, PARTITIONS, 1, topic_configs={"retention.ms": "-1"})


async def create_topics(connection: KafkaConnection) -> None:
    """The sources of the projector and their dead letters."""
    sources = (ORDERS_LEDGER, REBALANCE_SIGNALS, VENUE_LATENCY)
    names = [*sources, *(dead_letter(topic, "projector") for topic in sources)]
    admin = AIOKafkaAdminClient(bootstrap_servers=connection.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([new_topic(connection.topic_prefix + name) for name in names])
    finally:
        await admin.close()


@dataclass
class Stage:
    """A broker's topics, a database, and the projectors that were started."""

    connection: KafkaConnection
    dsn: str
    log: KafkaLog
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def write(self, outputs: Sequence[Output]) -> None:
        """Append in order and wait until durable."""
        for acked in [self.log.append_nowait(output) for output in outputs]:
            await acked

    @asynccontextmanager
    async def _running(self, **config: Any) -> AsyncIterator[tuple[Projector, asyncio.Task[None]]]:
        store = PostgresProjection(self.dsn, patience_s=2.0)
        await store.open()
        reader = KafkaReader(self.connection)
        await reader.start()
        projector = Projector(store, self.log, reader, SystemClock(), ProjectorConfig(poll_ms=20, **config))
        running = asyncio.create_task(projector.run())
        self.tasks.append(running)
        try:
            yield projector, running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await reader.close()
            await store.close()

    @asynccontextmanager
    async def projecting(self, **config: Any) -> AsyncIterator[Projector]:
        """A projector at work until the block ends; whatever it raised is raised here."""
        async with self._running(**config) as (projector, running):
            yield projector
            projector.stop()
            await asyncio.wait_for(running, HANG_SECONDS)

    async def projected_to_the_end(self, **config: Any) -> None:
        """A projector until it ends by itself; raises what ended it."""
        async with self._running(**config) as (_, running):
            await asyncio.wait_for(running, HANG_SECONDS)

    async def project(self) -> None:
        """Project all that was written, then stop."""
        async with self.projecting():
            await self.until(self.drained)

    async def drained(self) -> bool:
        """Whether the tables follow every topic to its end."""
        found = dict(self.rows("SELECT topic || ':' || partition, next_offset FROM ledger.projection_offsets"))
        for topic in (ORDERS_LEDGER, REBALANCE_SIGNALS, VENUE_LATENCY):
            for partition in range(PARTITIONS):
                end = await self.log.end_offset(topic, partition)
                if end and found.get(f"{topic}:{partition}") != end:
                    return False
        return True

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition with a hang guard; a projector that fails meanwhile fails the test with its error."""
        async with asyncio.timeout(HANG_SECONDS):
            while not await condition():
                for task in self.tasks:
                    if task.done() and not task.cancelled():
                        task.result()
                await asyncio.sleep(0.05)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with postgres.connect(self.dsn) as connection:
            return connection.execute(query.encode()).fetchall()

    def execute(self, statement: str) -> None:
        with postgres.connect(self.dsn) as connection:
            connection.execute(statement.encode())

    def dump(self) -> dict[str, tuple[int, str]]:
        with postgres.connect(self.dsn) as connection:
            return postgres.canonical_dump(connection)


@asynccontextmanager
async def stage(bootstrap: str, prefix: str, dsn: str) -> AsyncIterator[Stage]:
    """Topics and a migrated database."""
    connection = KafkaConnection(bootstrap, topic_prefix=prefix)
    await create_topics(connection)
    postgres.migrate(dsn)
    log = KafkaLog(connection)
    await log.start()
    try:
        yield Stage(connection, dsn, log)
    finally:
        await log.close()
