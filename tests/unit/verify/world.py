"""A small world in which everything is right, as raw records, table rows and a venue's journal; tests then plant one lie."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import orjson

from schemas.orders import ClosedAs, Side
from schemas.values import plain
from streams.domain.ids import client_order_id, digest_id
from streams.ports import Output, Record
from streams.proof.verify.facts import Facts, Raw, entries
from streams.proof.verify.projection import KEYS, fold
from tests.unit.ledger.story import Story
from tests.unit.ledger.story import fold as book


@dataclass
class World:
    """One account that traded, lost a request, and was paid in; `journal` is what the venue saw of it."""

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
        story.admitted("b", Side.SELL)
        story.intended("b")
        story.unknown("b")
        story.absent("b")
        story.intended("b", attempt=2)
        story.accepted("b", attempt=2)
        world.accepted("b", attempt=2)
        story.filled("b", "2", attempt=2, fee="0.001", fee_asset="BTC")
        world.fill("b", 2, "sell", "0.5", "50000", "0.001", "BTC", attempt=2)
        story.closed("b", ClosedAs.FILLED, attempt=2)
        story.flow("dep", "USDT", "10.5")
        world.put("USDT", "10.5")
        story.owner(epoch=2)
        return world

    def order(self, name: str, side: Side, quantity: str, price: str, fee: str, trade: int = 1) -> None:
        self.story.admitted(name, side, quantity)
        self.story.intended(name, quantity=quantity)
        self.accepted(name)
        self.story.accepted(name)
        self.fill(name, trade, side.value, quantity, price, fee, "USDT")
        self.story.filled(name, str(trade), quantity, price, fee)
        self.story.closed(name, base=quantity, quote=plain(Decimal(quantity) * Decimal(price)))

    def put(self, asset: str, change: str) -> None:
        self.line("balance_set", account="main", asset=asset, change=change, free="0", locked="0")

    def accepted(self, name: str, attempt: int = 1) -> None:
        cid = client_order_id(digest_id(name), attempt)
        self.line("order_accepted", account="main", symbol="BTC/USDT", order_id=len(self.journal), client_order_id=cid)

    def fill(
        self, name: str, trade: int, side: str, quantity: str, price: str, fee: str, fee_asset: str, attempt: int = 1
    ) -> None:
        self.line(
            "fill",
            trade_id=trade,
            account="main",
            symbol="BTC/USDT",
            client_order_id=client_order_id(digest_id(name), attempt),
            side=side,
            price_quote=price,
            quantity_base=quantity,
            amount_quote=plain(Decimal(quantity) * Decimal(price)),
            fee_amount=fee,
            fee_asset=fee_asset,
        )

    def line(self, kind: str, **body: Any) -> None:
        self.journal.append({"sequence": len(self.journal) + 1, "at_ms": 1, "kind": kind, **body})

    def facts(self) -> Facts:
        """Everything as the checker reads it, in agreement."""
        outputs = book(self.story.records)
        ledger = tuple(raw_output(place, output) for place, output in enumerate(outputs))
        facts = Facts(
            events=tuple(raw_record(record) for record in self.story.records),
            ledger=ledger,
            journal=tuple(self.journal),
            projected={0: len(ledger)},
        )
        return with_tables(facts)


def with_tables(facts: Facts) -> Facts:
    """The facts with the rows that a right projection has."""
    tables = fold(entries(facts))
    return replace(facts, tables={table: tuple(tables[table].values()) for table in KEYS})


def raw_record(record: Record) -> Raw:
    ce_type = dict(record.headers)["ce_type"].decode()
    return Raw.of(record.topic, record.partition, record.offset, record.key or b"", record.value or b"", ce_type)


def raw_output(offset: int, output: Output) -> Raw:
    return Raw.of(output.topic, 0, offset, output.key, output.value, dict(output.headers)["ce_type"].decode())


def changed(raw: Raw, **fields: Any) -> Raw:
    """The record with other fields; bytes follow."""
    new = dict(raw.fields) | fields
    return replace(raw, fields=new, value=orjson.dumps(new, option=orjson.OPT_SORT_KEYS))
