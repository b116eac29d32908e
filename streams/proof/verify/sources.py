"""Where the facts come from: raw records from Kafka, rows from Postgres, the venue's journal from a file or its control port.

Read with the client libraries alone. The database is read first: the topic then holds at least what its rows came from.
"""

import asyncio
import ssl
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from psycopg import sql

from streams.proof.verify.facts import Facts, Raw, amount, plain, total
from streams.proof.verify.projection import KEYS

EVENTS = "orders.events.v1"
LEDGER = "orders.ledger.v1"
ANSWER_SECONDS = 30.0
HTTP_BYTES_MAX = 1 << 30

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sources:
    """Addresses of everything that is read.

    `kafka` are aiokafka's client arguments (`bootstrap_servers`, security); `journal` is a file of JSON lines, or the
    address of the venue's control port (`http://host:port`), which also states closing balances.
    """

    kafka: Mapping[str, Any]
    dsn: str
    journal: str
    topic_prefix: str = ""
    venue_accounts: Mapping[str, str] = field(default_factory=dict)


async def gather(sources: Sources) -> Facts:
    """All facts. Raises OSError, psycopg.Error, KafkaError or TimeoutError when something cannot be read."""
    tables, projected = await asyncio.to_thread(read_tables, sources.dsn)
    journal, balances = await asyncio.to_thread(read_venue, sources.journal)
    events = await read_topic(sources.kafka, sources.topic_prefix, EVENTS)
    ledger = await read_topic(sources.kafka, sources.topic_prefix, LEDGER)
    return Facts(
        events=events,
        ledger=ledger,
        journal=in_our_words(journal, events + ledger),
        tables=tables,
        projected=projected,
        balances=balances,
        venue_accounts=sources.venue_accounts,
    )


async def read_topic(kafka: Mapping[str, Any], prefix: str, topic: str) -> tuple[Raw, ...]:
    """Every record of a topic up to its end at the start of the call, in offset order within a partition."""
    consumer = AIOKafkaConsumer(**kafka, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = await _partitions(consumer, prefix + topic)
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for place in partitions:
            consumer.seek(place, begins[place])
        found: list[Raw] = []
        for place in partitions:
            while await asyncio.wait_for(consumer.position(place), ANSWER_SECONDS) < ends[place]:
                batches = await asyncio.wait_for(consumer.getmany(place, timeout_ms=500), ANSWER_SECONDS)
                found += [_raw(topic, record) for record in batches.get(place, ()) if record.offset < ends[place]]
        return tuple(found)
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    cluster = await asyncio.wait_for(consumer._client.fetch_all_metadata(), ANSWER_SECONDS)
    partitions = cluster.partitions_for_topic(topic)
    if not partitions:
        raise OSError(f"topic {topic} does not exist on these brokers")
    return [TopicPartition(topic, partition) for partition in sorted(partitions)]


def _raw(topic: str, record: Any) -> Raw:
    headers = dict(record.headers)
    ce_type = headers.get("ce_type", b"").decode(errors="replace")
    return Raw.of(topic, record.partition, record.offset, record.key or b"", record.value or b"", ce_type)


def read_tables(dsn: str) -> tuple[dict[str, tuple[dict[str, Any], ...]], dict[int, int]]:
    """The rows of the recomputed tables, and up to which offset of each ledger partition they follow; one instant of both."""
    with psycopg.connect(dsn, prepare_threshold=None, connect_timeout=10) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        tables = {table: tuple(_rows(connection, table)) for table in KEYS}
        offsets = connection.execute(
            "SELECT partition, next_offset FROM ledger.projection_offsets WHERE topic = %s", (LEDGER,)
        ).fetchall()
    return tables, dict(offsets)


def _rows(connection: psycopg.Connection[Any], table: str) -> Iterator[dict[str, Any]]:
    with connection.cursor(name=f"verify_{table}") as cursor:
        cursor.itersize = 5_000
        cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("ledger", table)))
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        for values in cursor:
            yield {name: _value(value) for name, value in zip(names, values, strict=True)}


def _value(value: Any) -> Any:
    """Amounts as plain text, times as UTC milliseconds, anything else as it is."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(milliseconds=1)
    return value


def read_venue(journal: str) -> tuple[tuple[dict[str, Any], ...], dict[str, dict[str, Decimal]] | None]:
    """The venue's journal and, from its control port, its statement of closing balances (free and locked together)."""
    if not journal.startswith(("http://", "https://")):
        return tuple(_lines(Path(journal).read_bytes())), None
    found: list[dict[str, Any]] = []
    while page := list(_lines(_get(f"{journal}/control/journal?from={len(found) + 1}"))):
        found += page
    accounts = orjson.loads(_get(f"{journal}/control/state"))["accounts"]
    balances = {
        account: {asset: total(map(amount, (part["free"], part["locked"]))) for asset, part in assets.items()}
        for account, assets in accounts.items()
    }
    return tuple(found), balances


def in_our_words(journal: Iterable[Mapping[str, Any]], records: Iterable[Raw]) -> tuple[dict[str, Any], ...]:
    """The venue's journal with symbols as base/quote and sides in lower case.

    Venues write BTCUSDT; where the base ends is learnt from the symbols in our records. A symbol that is in none of them stays
    as it is, and stands out in every comparison.
    """
    symbols = {str(raw.fields["symbol"]).replace("/", ""): raw.fields["symbol"] for raw in records if raw.fields.get("symbol")}
    found: list[dict[str, Any]] = []
    for line in journal:
        ours = dict(line)
        if "symbol" in ours:
            ours["symbol"] = symbols.get(ours["symbol"], ours["symbol"])
        if "side" in ours:
            ours["side"] = ours["side"].lower()
        found.append(ours)
    return tuple(found)


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    return (orjson.loads(line) for line in data.splitlines() if line)


def _get(url: str) -> bytes:
    context = ssl.create_default_context() if url.startswith("https://") else None
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS, context=context) as reply:
        return reply.read(HTTP_BYTES_MAX)
