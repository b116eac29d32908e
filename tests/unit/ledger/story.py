"""Execution events as an executor writes them, told in a few words; and the entries that the ledger fold makes of them."""

from decimal import Decimal
from typing import Any

from schemas.codec import decode, encode
from schemas.control import FlowKind
from schemas.envelope import Envelope
from schemas.ledger import LedgerEntry
from schemas.orders import (
    AccountHalted,
    AccountOpened,
    AccountResumed,
    CancelEnded,
    CancelIntended,
    ClosedAs,
    CommandAdmitted,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    ExecutionEvent,
    FlowClassified,
    FlowObserved,
    ForeignOrderGone,
    ForeignOrderSeen,
    Liquidity,
    OrderAbsent,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderFound,
    OrderIntended,
    OrderRejected,
    OrderType,
    OrderUnknown,
    OrderUnsent,
    OwnerStarted,
    Side,
    TimeInForce,
)
from streams.agents.ledger import LedgerFold
from streams.domain.ids import client_order_id, digest_id
from streams.ports.log import Output, Record
from streams.topics import ORDERS_EVENTS

START_MS = 1_722_816_000_000  # 5 August 2024
TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


class Story:
    """The execution events of one account, in order, as records of one partition."""

    def __init__(self, account: str = "main", portfolio: str = "alpha", venue: str = "sim"):
        self.account, self.portfolio, self.venue = account, portfolio, venue
        self.records: list[Record] = []
        self.epoch = 1
        self.at_ms = START_MS
        self._sides: dict[str, Side] = {}

    def say(self, kind: type[ExecutionEvent], event_id: str | None = None, **fields: Any) -> Record:
        """Write one event; its id comes from its place unless given."""
        self.at_ms = fields.pop("at_ms", self.at_ms + 10)
        event = kind(account=self.account, epoch=fields.pop("epoch", self.epoch), at_ms=self.at_ms, **fields)
        return self.write(event, event_id or digest_id("event", self.account, str(len(self.records))))

    def write(self, event: ExecutionEvent, event_id: str) -> Record:
        envelope = Envelope(event_id, event.ce_type(), f"executor/{self.account}", event.at_ms, traceparent=TRACE)
        record = Record(
            ORDERS_EVENTS, 0, len(self.records), self.account.encode(), encode(event), envelope.headers(), event.at_ms
        )
        self.records.append(record)
        return record

    def again(self, record: Record) -> Record:
        """The same record once more, as at-least-once delivery does."""
        repeat = Record(record.topic, 0, len(self.records), record.key, record.value, record.headers, record.timestamp_ms)
        self.records.append(repeat)
        return repeat

    def owner(self, epoch: int = 1) -> Record:
        self.epoch = epoch
        return self.say(OwnerStarted, owner=f"host-{epoch}")

    def opened(self, **totals: str) -> Record:
        return self.say(
            AccountOpened,
            portfolio=self.portfolio,
            venue=self.venue,
            totals={asset: Decimal(total) for asset, total in totals.items()},
            venue_time_ms=self.at_ms,
        )

    def begun(self, **totals: str) -> "Story":
        """An owner has started and the account is open."""
        self.owner()
        self.opened(**(totals or {"BTC": "1", "USDT": "100000"}))
        return self

    def command(self, name: str) -> dict[str, Any]:
        return {"portfolio": self.portfolio, "command_id": digest_id(name), "symbol": "BTC/USDT"}

    def attempt(self, name: str, attempt: int = 1) -> dict[str, Any]:
        cid = client_order_id(digest_id(name), attempt)
        return {**self.command(name), "attempt": attempt, "client_order_id": cid}

    def admitted(self, name: str, side: Side = Side.BUY, quantity: str = "0.5", **fields: Any) -> Record:
        self._sides[name] = side
        order = {
            "command_type": "orders.place",
            "side": side,
            "quantity_base": Decimal(quantity),
            "price_limit_quote": Decimal("50500"),
            "price_mid_quote": Decimal("50000"),
        }
        return self.say(
            CommandAdmitted,
            **self.command(name),
            **self._place(name),
            **(order | fields),
            decided_at_ms=self.at_ms - 50,
        )

    def not_admitted(self, name: str, cause: str = "TOO_LATE", detail: str = "") -> Record:
        return self.say(CommandNotAdmitted, **self.command(name), **self._place(name), cause=cause, detail=detail)

    def _place(self, name: str) -> dict[str, Any]:
        return {
            "incarnation": digest_id("incarnation"),
            "decision_number": len(self.records),
            "ordinal": 0,
            "commands_offset": len(self.records),
        }

    def intended(self, name: str, attempt: int = 1, quantity: str = "0.5", **fields: Any) -> Record:
        return self.say(
            OrderIntended,
            **self.attempt(name, attempt),
            side=self._sides.get(name, Side.BUY),
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce.IOC,
            quantity_base=Decimal(quantity),
            timestamp_ms=self.at_ms,
            window_ms=2000,
            **({"price_limit_quote": Decimal("50500")} | fields),
        )

    def accepted(self, name: str, attempt: int = 1, **fields: Any) -> Record:
        return self.say(
            OrderAccepted, **self.attempt(name, attempt), venue_order_id=f"v-{name}", venue_time_ms=self.at_ms, **fields
        )

    def rejected(self, name: str, attempt: int = 1) -> Record:
        return self.say(OrderRejected, **self.attempt(name, attempt), code="-2010", detail="insufficient balance")

    def unsent(self, name: str, attempt: int = 1) -> Record:
        return self.say(OrderUnsent, **self.attempt(name, attempt), cause="LEASE_LOST")

    def unknown(self, name: str, attempt: int = 1, **fields: Any) -> Record:
        return self.say(OrderUnknown, **self.attempt(name, attempt), cause="REPLY_LOST", **fields)

    def found(self, name: str, attempt: int = 1) -> Record:
        return self.say(OrderFound, **self.attempt(name, attempt), venue_order_id=f"v-{name}", venue_time_ms=self.at_ms)

    def absent(self, name: str, attempt: int = 1) -> Record:
        return self.say(OrderAbsent, **self.attempt(name, attempt), venue_time_ms=self.at_ms, queries=3)

    def filled(
        self,
        name: str,
        trade_id: str,
        quantity: str = "0.5",
        price: str = "50000",
        fee: str = "0",
        fee_asset: str = "USDT",
        attempt: int = 1,
        **fields: Any,
    ) -> Record:
        figures = {
            "price_quote": Decimal(price),
            "quantity_base": Decimal(quantity),
            "quote_amount": Decimal(price) * Decimal(quantity),
            "fee_asset": fee_asset,
            "fee_amount": Decimal(fee),
        }
        return self.say(
            OrderFilled,
            **self.attempt(name, attempt),
            venue=self.venue,
            venue_order_id=f"v-{name}",
            trade_id=trade_id,
            side=self._sides.get(name, Side.BUY),
            liquidity=Liquidity.TAKER,
            venue_time_ms=self.at_ms,
            **(figures | fields),
        )

    def closed(
        self,
        name: str,
        how: ClosedAs = ClosedAs.FILLED,
        base: str = "0.5",
        quote: str = "25000",
        attempt: int = 1,
        **fields: Any,
    ) -> Record:
        return self.say(
            OrderClosed,
            **self.attempt(name, attempt),
            closed_as=how,
            filled_base=Decimal(base),
            filled_quote=Decimal(quote),
            venue_time_ms=self.at_ms,
            **fields,
        )

    def expired_unsent(self, name: str) -> Record:
        return self.say(CommandExpiredUnsent, **self.command(name), cause="ADMIT_BY_PASSED")

    def cancel_intended(self, name: str, target: str, attempt: int = 1) -> Record:
        return self.say(
            CancelIntended,
            **(self.attempt(name, attempt) | {"client_order_id": client_order_id(digest_id(target), 1)}),
            target_command_id=digest_id(target),
            timestamp_ms=self.at_ms,
            window_ms=2000,
        )

    def cancel_ended(self, name: str, target: str, attempt: int = 1) -> Record:
        return self.say(CancelEnded, **self.attempt(name, attempt), target_command_id=digest_id(target), cause="CLOSED")

    def flow(self, flow_id: str, asset: str, amount: str, **fields: Any) -> Record:
        return self.say(
            FlowObserved,
            portfolio=self.portfolio,
            flow_id=flow_id,
            asset=asset,
            amount=Decimal(amount),
            venue_time_ms=self.at_ms,
            **fields,
        )

    def classified(self, flow_id: str, asset: str, amount: str, kind: FlowKind = FlowKind.EXTERNAL) -> Record:
        return self.say(
            FlowClassified,
            portfolio=self.portfolio,
            flow_id=flow_id,
            asset=asset,
            amount=Decimal(amount),
            flow_kind=kind,
            control_id="c-1",
        )

    def hand(self, flow_id: str, filled: str = "0") -> Record:
        """An order by hand for 2 BTC at 50 000, seen on the book."""
        return self.say(
            ForeignOrderSeen,
            portfolio=self.portfolio,
            flow_id=flow_id,
            venue_order_id="77",
            symbol="BTC/USDT",
            side=Side.BUY,
            quantity_base=Decimal(2),
            filled_base=Decimal(filled),
            price_limit_quote=Decimal(50_000),
            venue_time_ms=self.at_ms,
        )

    def hand_gone(self, flow_id: str) -> Record:
        return self.say(ForeignOrderGone, portfolio=self.portfolio, flow_id=flow_id, venue_time_ms=self.at_ms)

    def halted(self, halt: str = "halt") -> Record:
        return self.say(AccountHalted, portfolio=self.portfolio, halt_id=digest_id(halt), cause="BOOKS", detail="differs")

    def resumed(self, halt: str = "halt") -> Record:
        return self.say(AccountResumed, portfolio=self.portfolio, halt_ids=(digest_id(halt),))

    def traded(self, name: str, side: Side = Side.BUY, quantity: str = "0.5", price: str = "50000", fee: str = "0") -> "Story":
        """A whole order: admitted, intended, accepted, filled, closed."""
        self.admitted(name, side, quantity)
        self.intended(name, quantity=quantity)
        self.accepted(name)
        self.filled(name, f"t-{name}", quantity, price, fee)
        self.closed(name, base=quantity, quote=str(Decimal(price) * Decimal(quantity)))
        return self


def fold(records: list[Record], ledger: LedgerFold | None = None) -> list[Output]:
    """What the ledger agent writes for these records."""
    ledger = ledger or LedgerFold(0, None)
    return [output for record in records for output in ledger.step(record)]


def entries(outputs: list[Output]) -> list[LedgerEntry]:
    """The ledger entries among outputs."""
    found = [decode(header(output, "ce_type"), output.value) for output in outputs]
    return [entry for entry in found if isinstance(entry, LedgerEntry)]


def header(output: Output, name: str) -> str:
    return dict(output.headers)[name].decode()


def booked(story: Story) -> list[LedgerEntry]:
    """The entries of a story."""
    return entries(fold(story.records))


def holdings(found: list[LedgerEntry]) -> dict[tuple[str, str], Decimal]:
    """The sum of all postings by (ledger account, asset), zeros left out."""
    sums: dict[tuple[str, str], Decimal] = {}
    for entry in found:
        for line in entry.postings:
            key = (line.ledger_account, line.asset)
            sums[key] = sums.get(key, Decimal(0)) + line.amount
    return {key: amount for key, amount in sums.items() if amount}
