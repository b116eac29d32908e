"""One installation of a test: topics under a prefix, a lease database, and short ways to write sources and read journals."""

import hashlib
from collections.abc import Iterable
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from schemas import control
from schemas.codec import encode
from schemas.envelope import Envelope, Message
from schemas.ledger import EntryKind, LedgerEntry
from schemas.market import Ticker
from streams.agents.sequencer.agent import Sequencer
from streams.agents.sequencer.config import SequencerConfig
from streams.agents.sequencer.tail import read_journal, read_tail
from streams.domain.intake.sources import SOURCES
from streams.gateways.clock import SystemClock
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.gateways.kafka_admin import Floors, admin_client, create_topics
from streams.gateways.signing import AnyAuthor
from streams.ports.database import LeaseStore
from streams.ports.log import KafkaConnection, Output, Record
from streams.topics import OPERATOR_CONTROL, PORTFOLIO_JOURNAL, partition_of, topics_of
from tests.stack.sequencer.recount import Recount, recount

CLOCK = SystemClock()


class Installation:
    """Topics and clients of one test."""

    def __init__(self, bootstrap: str, prefix: str, shards: int) -> None:
        self.connection = KafkaConnection(bootstrap, topic_prefix=prefix)
        self.shards = shards
        self.log = KafkaLog(self.connection)

    async def open(self) -> None:
        await create_topics(self.connection, topics_of("sequencer", self.shards), Floors(1, 1))
        await self.log.start()

    async def close(self) -> None:
        await self.log.close()

    async def open_log(self) -> KafkaLog:
        opened = KafkaLog(self.connection)
        await opened.start()
        return opened

    async def open_reader(self) -> KafkaReader:
        opened = KafkaReader(self.connection)
        await opened.start()
        return opened

    def sequencer(self, leases: LeaseStore, config: SequencerConfig | None = None) -> Sequencer:
        config = config or SequencerConfig(shards=self.shards, lease_ttl_ms=2_000)
        return Sequencer(config, self.open_log, self.open_reader, leases, CLOCK, AnyAuthor(), "test")

    async def write(self, topic: str, key: str, message: Message, record_id: str = "1") -> int:
        """Append a source record where every producer would, and return its offset."""
        envelope = Envelope(id=record_id, type=message.ce_type(), source="test", time_ms=CLOCK.wall_ms())
        return await self.write_raw(topic, key, encode(message), envelope.headers())

    async def write_raw(self, topic: str, key: str, value: bytes, headers: Any = ()) -> int:
        partition = partition_of(key.encode(), await self.log.partitions(topic))
        return await self.log.append(Output(topic, key.encode(), value, headers, partition))

    async def control(self, *events: control.ControlEvent) -> None:
        for event in events:
            await self.write(OPERATOR_CONTROL, event.scope, event)

    async def records(self, topic: str, partition: int) -> list[Record]:
        """Everything in a partition now."""
        begin, end = await self.log.begin_offset(topic, partition), await self.log.end_offset(topic, partition)
        return list(await self.log.read(topic, partition, begin, end))

    async def journal(self, shard: int) -> list[tuple[int, Any]]:
        return [(record.offset, read_journal(record)) for record in await self.records(PORTFOLIO_JOURNAL, shard)]

    async def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Let retention take everything below `offset`."""
        async with admin_client(self.connection) as admin:
            place = TopicPartition(self.connection.topic_prefix + topic, partition)
            await admin.delete_records({place: RecordsToDelete(before_offset=offset)})

    async def ends(self) -> dict[str, int]:
        """The end offset of every source partition."""
        return {
            f"{topic}:{partition}": await self.log.end_offset(topic, partition)
            for topic in SOURCES
            for partition in range(await self.log.partitions(topic))
        }

    async def sources(self) -> dict[str, dict[int, Record]]:
        """Every record of every source partition now, by offset."""
        found = {}
        for source in await self.ends():
            topic, _, partition = source.rpartition(":")
            found[source] = {record.offset: record for record in await self.records(topic, int(partition))}
        return found

    async def counted(self, shard: int, sources: dict[str, dict[int, Record]] | None = None) -> Recount:
        """A recount of the shard's whole journal against its sources, as they are now unless they are given."""
        journal = await self.records(PORTFOLIO_JOURNAL, shard)
        return recount(journal, await self.sources() if sources is None else sources)

    async def all_counted(self, shard: int) -> bool:
        """Whether the journal has counted every source up to its present end."""
        ends = await self.ends()
        tail = await read_tail(self.log, shard, await self.log.end_offset(PORTFOLIO_JOURNAL, shard))
        return tail.positions == ends


def portfolio(name: str, shard: int, account: str, symbols: Iterable[str], venue: str = "sim") -> list[control.ControlEvent]:
    """The control events that make a portfolio that needs these symbols."""
    at = {"scope": f"portfolio:{name}", "at_ms": CLOCK.wall_ms(), "who": "tester", "portfolio": name}
    assets = {symbol.partition("/")[0]: symbol for symbol in symbols}
    created = {"incarnation": "0" * 32, "shard": shard, "quote": "USDT", "accounts": {account: venue}}
    return [
        control.PortfolioCreated.model_validate(at | created),
        control.TargetsSet.model_validate(at | {"weights": {"USDT": "1"}, "symbols": assets}),
    ]


def ticker(symbol: str, sequence: int, bid: str, ask: str, received_at_ms: int | None = None) -> Ticker:
    received = CLOCK.wall_ms() if received_at_ms is None else received_at_ms
    fields = {"venue": "sim", "symbol": symbol, "bid_price_quote": bid, "bid_quantity_base": "1", "ask_price_quote": ask}
    return Ticker.model_validate(
        fields | {"ask_quantity_base": "2", "received_at_ms": received, "venue_time_ms": received, "venue_sequence": sequence}
    )


def entries(account: str, first: int, count: int) -> list[LedgerEntry]:
    """Entries of an account's chain; hashes depend on account and sequence alone."""
    return [
        LedgerEntry(
            account=account,
            sequence=sequence,
            kind=EntryKind.ADMITTED,
            event_id=f"{account}-{sequence}",
            at_ms=CLOCK.wall_ms(),
            previous_hash=_hash(account, sequence - 1),
            entry_hash=_hash(account, sequence),
        )
        for sequence in range(first, first + count)
    ]


def _hash(account: str, sequence: int) -> str:
    return hashlib.sha256(f"{account}-{sequence}".encode()).hexdigest()
