"""What an account's executor remembers, so that the next owner need not read the whole log."""

from decimal import Decimal
from typing import ClassVar

from schemas.envelope import Part
from schemas.orders import Attempt, ExecutionEvent, Side
from schemas.values import Amount, Asset, ClientOrderId, Count, Digest, Holding, Id, Name, Price, Quantity, Symbol, Text, TimeMs


class AnsweredUpTo(Part):
    """The highest answered command of a portfolio's incarnation: a command at or below it that is not open is a repeat."""

    incarnation: Id
    decision_number: Count
    ordinal: Count


class OpenCommand(Part):
    """An admitted command that has not ended, as the protocol knows it. `state` is the protocol's own snapshot."""

    command_id: Id
    portfolio: Name
    symbol: Symbol
    unknown: bool
    state: str


class EndedOrder(Part):
    """An order that ended a while ago, with the venue's trade ids of its fills: a late fill finds its home by it."""

    command_id: Id
    portfolio: Name
    symbol: Symbol
    attempt: Attempt
    client_order_id: ClientOrderId
    venue_order_id: Text | None = None
    side: Side | None = None
    trade_ids: tuple[Text, ...] = ()
    filled_base: Holding = Decimal(0)
    ended_at_ms: Count = 0


class OpenFlow(Part):
    """A flow that nobody has classified yet; `amount` is signed."""

    asset: Asset
    amount: Amount


class ForeignOrder(Part):
    """An order by hand as it was last seen on the account's book."""

    venue_order_id: Text
    symbol: Symbol
    side: Side
    quantity_base: Quantity
    filled_base: Holding
    price_limit_quote: Price | None = None


class ExecutorCheckpoint(ExecutionEvent):
    """All that an owner must know to go on, so that start-up does not grow with history.

    `totals` is what the account should hold by its opening, fills and flows; `turnover_quote` what it traded in each minute of
    the last day, by the minute's start in UTC milliseconds; `flows_seen` the venue time of each flow of the last weeks; up to
    `reconciled_ms` (venue time) the account's own trades were compared with the books. Orders that ended after `forgotten_ms`
    are all among `ended`. `foreign_orders` are the orders by hand that stand, by their flow's id. `refused_early` is the
    highest refused command of an incarnation that is not the one of `answered`.
    """

    TYPE: ClassVar[str] = "orders.executor-checkpoint"
    owner: Text
    opened: bool
    commands: tuple[OpenCommand, ...]
    client_order_ids_unexpired: tuple[ClientOrderId, ...]
    answered: dict[Name, AnsweredUpTo]
    refused_early: dict[Name, AnsweredUpTo] = {}
    halts: dict[Id, Text] = {}
    opened_at_ms: Count = 0
    reconciled_ms: Count = 0
    forgotten_ms: Count = 0
    ended: tuple[EndedOrder, ...] = ()
    flows_open: dict[Text, OpenFlow] = {}
    flows_seen: dict[Text, TimeMs] = {}
    foreign_orders: dict[Text, ForeignOrder] = {}
    totals: dict[Asset, Amount] = {}
    turnover_quote: dict[str, Holding] = {}
    commands_next_offset: Count
    events_next_offset: Count
    state_sha256: Digest
