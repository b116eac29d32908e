"""Where the facts come from: raw records from Kafka, rows from Postgres, the venue's journal from a file or its control port.

Read with the client libraries alone, up to a cut that holds while everything runs: the database's instant first, then the
end of each source, effects before causes (the ledger before the venue's journal, that before the execution events, those
before the commands, ...). So whatever is within the cut has its cause within it; what is later is not looked at.
"""

import asyncio
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from psycopg import sql

from streams.proof.verify.authors import Key
from streams.proof.verify.facts import Raw, amount, plain, read_value, total
from streams.proof.verify.merge import Source, merge
from streams.proof.verify.projection import KEYS
from streams.proof.verify.report import Report
from streams.proof.verify.verification import COMMANDS, CONTROL, EVENTS, LEDGER, TOPICS, Setting, Verification

ANSWER_SECONDS = 30.0
HTTP_BYTES_MAX = 1 << 30
RECORDS_AT_ONCE = 500
ROWS_AT_ONCE = 2_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = {"heads": "at", "entries": "at", "postings": "at", "fills": "at", "orders": "first_at", "balances": None}
"""The column that orders the rows of each table as the ledger does; sums have none."""

Balances = dict[str, dict[str, Decimal]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Addresses of everything that is read, and what belongs to the installation.

    `kafka` are aiokafka's client arguments (`bootstrap_servers`, security); `journal` is a file of JSON lines, or the
    address of the venue's control port (`http://host:port`), which also states closing balances. `environment`, `dev` and
    `trusted` tell whose signatures count.
    """

    kafka: Mapping[str, Any]
    dsn: str
    journal: str
    topic_prefix: str = ""
    environment: str = "dev"
    dev: bool = False
    trusted: Mapping[str, Key] | None = None
    venue_accounts: Mapping[str, str] = field(default_factory=dict)


async def verify(sources: Sources) -> Report:
    """Run every check. Raises OSError, psycopg.Error, KafkaError or TimeoutError when something cannot be read."""
    consumer = AIOKafkaConsumer(**sources.kafka, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        with ExitStack() as stack:
            tables = Tables(stack.enter_context(psycopg.connect(sources.dsn, prepare_threshold=None, connect_timeout=10)))
            venue = Venue(sources.journal)
            stack.callback(venue.close)
            topics = Topics(consumer, sources.topic_prefix)
            await topics.cut(LEDGER)
            venue.cut()
            for topic in reversed(TOPICS):
                if topic != LEDGER:
                    await topics.cut(topic)
            await topics.begin()
            verification = Verification(
                Setting(
                    environment=sources.environment,
                    dev=sources.dev,
                    trusted=sources.trusted,
                    projected=tables.projected(LEDGER),
                    cut_ms=time.time_ns() // 1_000_000,
                    venue_accounts=sources.venue_accounts,
                )
            )
            await read(verification, topics, tables, venue)
            return verification.close(venue.balances)
    finally:
        await consumer.stop()


async def read(verification: Verification, topics: "Topics", tables: "Tables", venue: "Venue") -> None:
    """Give the verification everything up to the cut: control first, the rest side by side."""

    def records(topic: str) -> dict[int, Source]:
        return {partition: record_source(batches, verification) for partition, batches in topics.read(topic).items()}

    await merge([*records(CONTROL).values()])
    found = {topic: records(topic) for topic in TOPICS if topic != CONTROL}
    for partition, source in found[EVENTS].items():
        if partition in found[COMMANDS]:
            name_cause(source, found[COMMANDS][partition])
    rows = [
        Source(tables.read(table), _time_of(table), lambda row, table=table: verification.row(table, row)) for table in KEYS
    ]
    lines = Source(venue.read(), lambda line: line["at_ms"], verification.line)
    await merge([*(source for topic in found.values() for source in topic.values()), lines, *rows])


def record_source(batches: AsyncIterator[Sequence[Raw]], verification: Verification) -> Source:
    """One topic partition for a verification."""
    return Source(batches, lambda raw: raw.at_ms, verification.take, offset=lambda raw: raw.offset)


def name_cause(events: Source, commands: Source) -> None:
    """Let each event wait for the command that it names: a partition of both topics holds the same accounts."""
    events.cause = commands
    events.needs = lambda raw: raw.fields.get("commands_offset")


class Topics:
    """The topics of an installation, each up to its end when it was cut."""

    def __init__(self, consumer: AIOKafkaConsumer, prefix: str) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._ends: dict[TopicPartition, int] = {}

    async def cut(self, topic: str) -> None:
        """What comes after now is not read."""
        cluster = await asyncio.wait_for(self._consumer._client.fetch_all_metadata(), ANSWER_SECONDS)
        partitions = cluster.partitions_for_topic(self._prefix + topic)
        if not partitions:
            raise OSError(f"topic {self._prefix}{topic} does not exist on these brokers")
        places = [TopicPartition(self._prefix + topic, partition) for partition in sorted(partitions)]
        self._ends |= await self._consumer.end_offsets(places)

    async def begin(self) -> None:
        """Start to read every topic that was cut, from its beginning."""
        begins = await self._consumer.beginning_offsets(list(self._ends))
        self._consumer.assign(list(self._ends))
        for place, offset in begins.items():
            self._consumer.seek(place, offset)

    def read(self, topic: str) -> dict[int, AsyncIterator[Sequence[Raw]]]:
        """The records of each partition of a topic."""
        return {place.partition: self._read(topic, place) for place in self._ends if place.topic == self._prefix + topic}

    async def _read(self, topic: str, place: TopicPartition) -> AsyncIterator[Sequence[Raw]]:
        heard_s = time.monotonic()
        while await asyncio.wait_for(self._consumer.position(place), ANSWER_SECONDS) < self._ends[place]:
            found = await self._consumer.getmany(place, timeout_ms=500, max_records=RECORDS_AT_ONCE)
            if found:
                heard_s = time.monotonic()
                yield [_raw(topic, record) for record in found[place] if record.offset < self._ends[place]]
            elif time.monotonic() - heard_s > ANSWER_SECONDS:
                raise TimeoutError(f"{place.topic}:{place.partition} gives nothing more before its end {self._ends[place]}")


def _raw(topic: str, record: Any) -> Raw:
    headers = dict(record.headers)
    value = record.value or b""
    return Raw(
        topic,
        record.partition,
        record.offset,
        record.key or b"",
        value,
        headers.get("ce_type", b"").decode(errors="replace"),
        read_value(value),
        record.timestamp,
        headers.get("ce_id", b"").decode(errors="replace"),
        headers.get("trimtab-signature", b""),
        headers.get("trimtab-key-id", b"").decode(errors="replace"),
    )


class Tables:
    """The schema `ledger` at one instant, which begins when this is made."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self._projected = connection.execute("SELECT topic, partition, next_offset FROM ledger.projection_offsets").fetchall()

    def projected(self, topic: str) -> dict[int, int]:
        """Up to which offset of each partition of a topic the tables follow it."""
        return {partition: next_offset for name, partition, next_offset in self._projected if name == topic}

    async def read(self, table: str) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """The rows of a recomputed table in the order of their times, where they have one."""
        with self._connection.cursor(name=f"verify_{table}") as cursor:
            time = _TIMES[table]
            order = sql.SQL("") if time is None else sql.SQL(" ORDER BY {}").format(sql.Identifier(time))
            cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("ledger", table)) + order)
            assert cursor.description is not None
            names = [column.name for column in cursor.description]
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield [{name: _value(value) for name, value in zip(names, row, strict=True)} for row in rows]


def _time_of(table: str) -> Callable[[Mapping[str, Any]], int]:
    time = _TIMES[table]
    return lambda row: 0 if time is None else row[time]


def _value(value: Any) -> Any:
    """Amounts as plain text, times as UTC milliseconds, anything else as it is."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(milliseconds=1)
    return value


class Venue:
    """The venue's own journal and, from its control port, its statement of balances (free and locked together) at the cut."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._file: BinaryIO | None = None
        self._end = 0
        self.balances: Balances | None = None
        if not address.startswith(("http://", "https://")):
            self._file = Path(address).open("rb")  # noqa: SIM115  `close` closes it

    def cut(self) -> None:
        """What comes after now is not read."""
        if self._file is not None:
            self._end = Path(self._address).stat().st_size
            return
        state = orjson.loads(_get(f"{self._address}/control/state"))
        self._end = state["journal_sequence"]
        self.balances = {
            account: {asset: total(map(amount, (part["free"], part["locked"]))) for asset, part in assets.items()}
            for account, assets in state["accounts"].items()
        }

    def close(self) -> None:
        """Close the file, if it is one."""
        if self._file is not None:
            self._file.close()

    async def read(self) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """The lines up to the cut."""
        if self._file is not None:
            begun = b""
            while data := self._file.read(min(1 << 20, self._end - self._file.tell())):
                *lines, begun = (begun + data).split(b"\n")
                yield [orjson.loads(line) for line in lines]
            return
        sequence = 1
        while sequence <= self._end:
            page = await asyncio.to_thread(_get, f"{self._address}/control/journal?from={sequence}")
            lines = [orjson.loads(line) for line in page.splitlines() if line]
            if not lines:
                raise OSError(f"the venue's journal ends before {self._end}, at {sequence - 1}")
            yield [line for line in lines if line["sequence"] <= self._end]
            sequence = lines[-1]["sequence"] + 1


def _get(url: str) -> bytes:
    context = ssl.create_default_context() if url.startswith("https://") else None
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS, context=context) as reply:
        return reply.read(HTTP_BYTES_MAX)
