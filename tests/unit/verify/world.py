"""A small world in which everything is right, as raw records, table rows and a venue's journal; tests then plant one lie."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.codec import encode
from schemas.control import AccountLimitsSet, KeyPurpose, PolicySet, PortfolioCreated
from schemas.envelope import Envelope, Message
from schemas.journal import Input, MarketBatch, Positions, Range, WriterStarted
from schemas.orders import ClosedAs, OrderType, PlaceOrder, Side, TimeInForce
from schemas.signing import signed_bytes
from schemas.values import plain
from streams.domain.ids import client_order_id, digest_id
from streams.ports.log import Output, Record
from streams.proof.verify.authors import Key
from streams.proof.verify.facts import Raw, read_value
from streams.proof.verify.merge import Source, merge
from streams.proof.verify.projection import KEYS, Fold
from streams.proof.verify.report import Report
from streams.proof.verify.sources import name_cause, record_source
from streams.proof.verify.verification import (
    COMMANDS,
    CONTROL,
    EVENTS,
    JOURNAL,
    LEDGER,
    SIGNALS,
    TOPICS,
    Setting,
    Verification,
)
from tests.unit.ledger.messages import signals as rebalance_signals
from tests.unit.ledger.story import START_MS, Story
from tests.unit.ledger.story import fold as book

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
"""The author of everything that is signed here."""
KEY_IDS = {KeyPurpose.COMMANDS: "commands-key", KeyPurpose.CONTROL: "control-key"}
TRUSTED = {key_id: Key(PRIVATE.public_key(), purpose.value, 0, START_MS + 10**12) for purpose, key_id in KEY_IDS.items()}
LIMITS = {
    "order_notional_max_quote": Decimal(60_000),
    "turnover_5min_max_quote": Decimal(200_000),
    "turnover_day_max_quote": Decimal(400_000),
    "open_orders_max": 3,
    "price_collar": Decimal("0.02"),
    "symbols": ("BTC/USDT", "ETH/USDT"),
}
LONG_AGO_MS = START_MS - 3_600_000
AGE_MS_MAX = 5_000


@dataclass
class History:
    """What a verification reads, in lists: records of each topic, the venue's journal, rows by table."""

    topics: dict[str, list[Raw]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})
    journal: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    balances: Mapping[str, Mapping[str, Decimal]] | None = None
    setting: Setting = field(default_factory=lambda: Setting(environment="test", trusted=TRUSTED))

    def report(self) -> Report:
        """What the checker says of it."""
        return asyncio.run(self._verified())

    async def _verified(self) -> Report:
        verification = Verification(self.setting)

        def sources(topic: str) -> dict[int, Source]:
            partitions = sorted({raw.partition for raw in self.topics[topic]})
            parts = {number: [raw for raw in self.topics[topic] if raw.partition == number] for number in partitions}
            return {number: record_source(_batches(part), verification) for number, part in parts.items()}

        await merge([*sources(CONTROL).values()])
        topics = {topic: sources(topic) for topic in TOPICS if topic != CONTROL}
        for partition in topics[EVENTS].keys() & topics[COMMANDS].keys():
            name_cause(topics[EVENTS][partition], topics[COMMANDS][partition])
        lines = Source(_batches(self.journal), lambda line: line["at_ms"], verification.line)
        rows = [
            Source(_batches(self.tables[table]), lambda row: 0, lambda row, table=table: verification.row(table, row))
            for table in self.tables
        ]
        await merge([*(source for parts in topics.values() for source in parts.values()), lines, *rows])
        return verification.close(self.balances)

    def of(self, topic: str, kind: str, nth: int = 0) -> Raw:
        """The n-th record of that kind (of an entry: that `kind` field)."""
        return [raw for raw in self.topics[topic] if kind in (raw.kind, raw.fields.get("kind"))][nth]

    def change(self, raw: Raw, **fields: Any) -> Raw:
        """Put a record with other fields in the place of this one; its bytes follow, its author does not."""
        records = self.topics[raw.topic]
        records[records.index(raw)] = new = changed(raw, **fields)
        return new

    def sign(self, raw: Raw, **fields: Any) -> Raw:
        """Put a record with other fields in the place of this one, signed."""
        new = changed(raw, **fields)
        new = replace(new, signature=PRIVATE.sign(signed_bytes("test", new.topic, new.ce_type, new.key, new.value)))
        records = self.topics[raw.topic]
        records[records.index(raw)] = new
        return new

    def drop(self, raw: Raw) -> None:
        """Take a record away; offsets of others stay."""
        self.topics[raw.topic].remove(raw)

    def with_tables(self) -> "History":
        """With the rows that a right projection of the whole ledger has."""
        self.tables = tables_of(self.topics[LEDGER])
        self.setting = replace(self.setting, projected={0: len(self.topics[LEDGER])})
        return self


@dataclass
class World:
    """One account that traded, lost a request, canceled an order and was paid in; `journal` is what the venue saw of it."""

    story: Story
    journal: list[dict[str, Any]]

    @classmethod
    def made(cls) -> "World":
        story = Story()
        world = cls(story, [])
        world.put("BTC", "2")
        world.put("USDT", "100000")
        story.begun(BTC="2", USDT="100000")
        world.order("a", Side.BUY, "0.5", "50000", fee="25")
        story.admitted("b", Side.SELL, price_limit_quote=Decimal("49500"))
        story.intended("b", price_limit_quote=Decimal("49500"))
        story.unknown("b")
        story.absent("b")
        story.intended("b", attempt=2, price_limit_quote=Decimal("49500"))
        story.accepted("b", attempt=2)
        world.accepted("b", attempt=2)
        story.filled("b", "2", attempt=2, fee="0.001", fee_asset="BTC")
        world.fill("b", 2, "sell", "0.5", "50000", "0.001", "BTC", attempt=2)
        story.closed("b", ClosedAs.FILLED, attempt=2)
        story.hand("order/BTC/USDT/77")
        story.flow("dep", "USDT", "10.5")
        world.put("USDT", "10.5")
        story.owner(epoch=2)
        return world

    def order(self, name: str, side: Side, quantity: str, price: str, fee: str, trade: int = 1) -> None:
        limit = Decimal("50500") if side is Side.BUY else Decimal("49500")
        self.story.admitted(name, side, quantity, price_limit_quote=limit)
        self.story.intended(name, quantity=quantity, price_limit_quote=limit)
        self.accepted(name)
        self.story.accepted(name)
        self.fill(name, trade, side.value, quantity, price, fee, "USDT")
        self.story.filled(name, str(trade), quantity, price, fee)
        self.story.closed(name, base=quantity, quote=plain(Decimal(quantity) * Decimal(price)))

    def put(self, asset: str, change: str) -> None:
        self.line("balance_set", account="main", asset=asset, change=change, free="0", locked="0")

    def accepted(self, name: str, attempt: int = 1, **fields: Any) -> None:
        cid = client_order_id(digest_id(name), attempt)
        self.line("order_accepted", account="main", symbol="BTCUSDT", order_id=len(self.journal), client_order_id=cid, **fields)

    def fill(
        self, name: str, trade: int, side: str, quantity: str, price: str, fee: str, fee_asset: str, attempt: int = 1
    ) -> None:
        self.line(
            "fill",
            trade_id=trade,
            account="main",
            symbol="BTCUSDT",
            client_order_id=client_order_id(digest_id(name), attempt),
            side=side.upper(),
            price_quote=price,
            quantity_base=quantity,
            amount_quote=plain(Decimal(quantity) * Decimal(price)),
            fee_amount=fee,
            fee_asset=fee_asset,
        )

    def line(self, kind: str, **body: Any) -> None:
        self.journal.append({"sequence": len(self.journal) + 1, "at_ms": self.story.at_ms, "kind": kind, **body})

    def history(self) -> History:
        """Everything as the checker reads it, in agreement; the executor's own cancels have no command."""
        history = History(journal=[dict(line) for line in self.journal])
        history.topics[CONTROL] = control_records()
        history.topics[JOURNAL] = journal_records()
        history.topics[SIGNALS] = signal_records()
        history.topics[EVENTS] = [raw_record(record) for record in self.story.records]
        history.topics[COMMANDS] = [command_of(raw) for raw in history.topics[EVENTS] if is_answer(raw)]
        history.topics[LEDGER] = [raw_output(place, output) for place, output in enumerate(book(self.story.records))]
        return history.with_tables()


def is_answer(raw: Raw) -> bool:
    """Whether an event admits a command that somebody gave."""
    return raw.kind == "admitted" and not raw.fields.get("own_cause")


def control_records() -> list[Raw]:
    about = {"at_ms": LONG_AGO_MS, "who": "ada"}
    created = PortfolioCreated(
        scope="portfolio:alpha",
        portfolio="alpha",
        incarnation=digest_id("incarnation"),
        shard=0,
        quote="USDT",
        accounts={"main": "sim"},
        **about,
    )
    policy = PolicySet(
        scope="portfolio:alpha",
        portfolio="alpha",
        band=Decimal("0.02"),
        threshold=Decimal("0.01"),
        edge_inner=Decimal("0.005"),
        price_cap=Decimal("0.01"),
        mark_age_ms_max=AGE_MS_MAX,
        admit_within_ms=10_000,
        order_life_ms=60_000,
        observe_every_ms=1000,
        **about,
    )
    limits = AccountLimitsSet(scope="account:main", account="main", **LIMITS, **about)
    return [said(CONTROL, place, "x", message, LONG_AGO_MS) for place, message in enumerate((created, policy, limits))]


def journal_records() -> list[Raw]:
    """One shard's journal under two writers: what the first one writes after the second one has started does not count."""
    tickers, ledger = "market.tickers.v1:0", "orders.ledger.v1:0"
    entry: dict[str, Any] = {"source": ledger, "source_type": "t", "source_id": "i", "source_value": "{}"}
    told = [
        (WriterStarted, "one", {}),
        (Positions, "one", {"positions": {tickers: 100, ledger: 0}}),
        (MarketBatch, "one", {"ranges": {tickers: Range(offset_from=100, offset_to=105, conflated=3, stale=2)}}),
        (Input, "one", entry | {"source_offset": 0, "ranges": {ledger: Range(offset_from=0, offset_to=1, journalled=1)}}),
        (WriterStarted, "two", {}),
        (MarketBatch, "one", {"ranges": {tickers: Range(offset_from=105, offset_to=106, repeated=1)}}),
        (MarketBatch, "two", {"ranges": {tickers: Range(offset_from=105, offset_to=109, not_needed=3, dead_lettered=1)}}),
        (Positions, "two", {"positions": {tickers: 109, ledger: 1}}),
    ]
    return [
        said(
            JOURNAL,
            place,
            "0",
            kind(
                epoch={"one": 1, "two": 2}[writer],
                writer=digest_id(writer),
                expected_offset=place,
                sequenced_at_ms=START_MS + place,
                **fields,
            ),
            START_MS + place,
        )
        for place, (kind, writer, fields) in enumerate(told)
    ]


def signal_records() -> list[Raw]:
    return [raw_output(place, output) for place, output in enumerate(rebalance_signals())]


def command_of(admitted: Raw) -> Raw:
    """The signed command that an admission answers, at the offset that it names."""
    fields = admitted.fields
    order = {name: fields[name] for name in ("command_id", "portfolio", "incarnation", "decision_number", "ordinal")}
    decided_at_ms = fields["decided_at_ms"]
    command = PlaceOrder.model_validate(
        order
        | {name: fields[name] for name in ("account", "symbol", "side", "quantity_base", "price_mid_quote", "decided_at_ms")}
        | {
            "signal_id": digest_id("signal", fields["command_id"]),
            "venue": "sim",
            "admit_by_ms": decided_at_ms + 10_000,
            "expires_at_ms": decided_at_ms + 60_000,
            "order_type": OrderType.LIMIT,
            "time_in_force": TimeInForce.IOC,
            "price_limit_quote": fields.get("price_limit_quote"),
            "oldest_received_at_ms": decided_at_ms - 100,
            "input_age_ms_max": AGE_MS_MAX,
        }
    )
    return said(COMMANDS, fields["commands_offset"], fields["account"], command, decided_at_ms)


def said(topic: str, offset: int, key: str, message: Message, at_ms: int) -> Raw:
    """A message as it lies in its topic, signed where its topic is."""
    purpose = {COMMANDS: KeyPurpose.COMMANDS, CONTROL: KeyPurpose.CONTROL}.get(topic)
    envelope = Envelope(digest_id(topic, str(offset)), message.ce_type(), "test", at_ms)
    if purpose is not None:
        covered = signed_bytes("test", topic, message.ce_type(), key.encode(), encode(message))
        envelope = replace(envelope, signature=PRIVATE.sign(covered), key_id=KEY_IDS[purpose])
    return raw_record(Record(topic, 0, offset, key.encode(), encode(message), envelope.headers(), at_ms))


def tables_of(ledger: Sequence[Raw]) -> dict[str, list[dict[str, Any]]]:
    """The rows of every table as these entries, each once, make them."""
    fold = Fold()
    tables: dict[str, list[dict[str, Any]]] = {table: [] for table in KEYS}
    for raw in ledger:
        for table, row in fold.take(raw):
            tables[table].append(row)
    for table, row, _ in fold.close():
        tables[table].append(row)
    return tables


def raw_record(record: Record) -> Raw:
    envelope = Envelope.read(record.headers)
    value = record.value or b""
    return Raw(
        record.topic,
        record.partition,
        record.offset,
        record.key or b"",
        value,
        envelope.type,
        read_value(value),
        record.timestamp_ms,
        envelope.id,
        envelope.signature,
        envelope.key_id,
    )


def raw_output(offset: int, output: Output) -> Raw:
    return raw_record(Record(output.topic, 0, offset, output.key, output.value, output.headers, output.timestamp_ms or 0))


def changed(raw: Raw, **fields: Any) -> Raw:
    """The record with other fields; bytes follow."""
    new = dict(raw.fields) | fields
    return replace(raw, fields=new, value=orjson.dumps(new, option=orjson.OPT_SORT_KEYS))


async def _batches(items: Sequence[Any]) -> AsyncIterator[Sequence[Any]]:
    for begin in range(0, len(items), 3):
        yield items[begin : begin + 3]
