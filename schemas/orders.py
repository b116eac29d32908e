"""Commands to trade, and everything execution saw while carrying them out."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from schemas.control import FlowKind
from schemas.envelope import Message
from schemas.values import (
    Amount,
    Asset,
    ClientOrderId,
    Count,
    DurationMs,
    Holding,
    Id,
    Name,
    Price,
    Quantity,
    Symbol,
    Text,
    TimeMs,
)


class Side(StrEnum):
    """Which way an order trades the base asset."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order is priced."""

    LIMIT = "limit"
    MARKET = "market"


class TimeInForce(StrEnum):
    """How long an order stands: immediate or cancel, fill or kill, until canceled, post only."""

    IOC = "ioc"
    FOK = "fok"
    GTC = "gtc"
    POST_ONLY = "post_only"


Attempt = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
"""The protocol's k: 1 for the first request of a command. A cancel is tried as long as its order stands."""


class OrderCommand(Message):
    """Base of commands. (portfolio, incarnation, decision_number, ordinal) orders all commands of a portfolio.

    An executor admits it only until `admit_by_ms` and only while its oldest input is younger than `input_age_ms_max`; the
    order's own life ends at `expires_at_ms`.
    """

    command_id: Id
    signal_id: Id
    portfolio: Name
    incarnation: Id
    decision_number: Count
    ordinal: Count
    account: Name
    venue: Name
    symbol: Symbol
    decided_at_ms: TimeMs
    admit_by_ms: TimeMs
    expires_at_ms: TimeMs


class PlaceOrder(OrderCommand):
    """Place one order. `price_mid_quote` is the mid at decision, the benchmark of its shortfall."""

    TYPE: ClassVar[str] = "orders.place"
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity_base: Quantity
    price_limit_quote: Price | None = None
    price_mid_quote: Price
    oldest_received_at_ms: TimeMs
    input_age_ms_max: DurationMs
    round: Count = 0


class CancelOrder(OrderCommand):
    """Cancel what is left of the order of `target_command_id`."""

    TYPE: ClassVar[str] = "orders.cancel"
    target_command_id: Id
    why: Text = ""


class ExecutionEvent(Message):
    """Base of what execution saw on an account. `epoch` is the owner's; `at_ms` its wall clock."""

    account: Name
    epoch: Count
    at_ms: TimeMs


class CommandEvent(ExecutionEvent):
    """Base of events about one command."""

    portfolio: Name
    command_id: Id
    symbol: Symbol


class AttemptEvent(CommandEvent):
    """Base of events about one attempt of a command."""

    attempt: Attempt
    client_order_id: ClientOrderId


class OwnerStarted(ExecutionEvent):
    """A new owner of the account: every lower epoch is void from this record on."""

    TYPE: ClassVar[str] = "orders.owner-started"
    owner: Text


class AccountOpened(ExecutionEvent):
    """Every asset's total at the start of books, after two equal snapshots with nothing in between. Written once."""

    TYPE: ClassVar[str] = "orders.account-opened"
    portfolio: Name
    venue: Name
    totals: dict[Asset, Holding]
    venue_time_ms: TimeMs


class FlowObserved(ExecutionEvent):
    """A deposit (positive) or withdrawal (negative) that the venue reports under `flow_id`."""

    TYPE: ClassVar[str] = "orders.flow-observed"
    portfolio: Name
    flow_id: Text
    asset: Asset
    amount: Amount
    venue_time_ms: TimeMs


class FlowClassified(ExecutionEvent):
    """An observed flow is what an operator said it is."""

    TYPE: ClassVar[str] = "orders.flow-classified"
    portfolio: Name
    flow_id: Text
    asset: Asset
    amount: Amount
    flow_kind: FlowKind
    control_id: Text


class ForeignOrderSeen(ExecutionEvent):
    """An order by hand stands on the account's book, now with this much filled; what is left of it binds funds.

    Without `price_limit_quote` nobody knows what a buy may spend. `flow_id` is the flow of nothing by which it is classified.
    """

    TYPE: ClassVar[str] = "orders.foreign-order-seen"
    portfolio: Name
    flow_id: Text
    venue_order_id: Text
    symbol: Symbol
    side: Side
    quantity_base: Quantity
    filled_base: Holding
    price_limit_quote: Price | None = None
    venue_time_ms: TimeMs


class ForeignOrderGone(ExecutionEvent):
    """An order by hand is off the book, and all that it traded is in the books."""

    TYPE: ClassVar[str] = "orders.foreign-order-gone"
    portfolio: Name
    flow_id: Text
    venue_time_ms: TimeMs


class CommandAdmitted(CommandEvent):
    """The command passed admission; from here on it ends in exactly one terminal event.

    `own_cause` is set for a cancel that the executor decided itself (a halt, the end of an order's life, an operator's word):
    no command stands behind it, so its incarnation and numbers are nobody's.
    """

    TYPE: ClassVar[str] = "orders.admitted"
    command_type: Text
    incarnation: Id
    decision_number: Count
    ordinal: Count
    side: Side | None = None
    quantity_base: Quantity | None = None
    price_limit_quote: Price | None = None
    price_mid_quote: Price | None = None
    target_command_id: Id | None = None
    decided_at_ms: TimeMs
    commands_offset: Count
    own_cause: Text = ""


class CommandNotAdmitted(CommandEvent):
    """NOT_ADMITTED: a command of a trusted author, refused before admission (too late, inputs too old, halted, limit)."""

    TYPE: ClassVar[str] = "orders.not-admitted"
    incarnation: Id
    decision_number: Count
    ordinal: Count
    cause: Text
    detail: Text = ""
    commands_offset: Count


class CommandsDistrusted(ExecutionEvent):
    """Records among the commands whose author proved nothing: nothing that they claim is believed, or repeated here.

    They are no commands: no entry of the books and no command's life comes of them. One event tells of all that came since
    the last one: `causes` counts them by the reason, they lie in [offset_from, offset_to), `detail` is of the first.
    """

    TYPE: ClassVar[str] = "orders.commands-distrusted"
    causes: dict[Name, Count] = Field(min_length=1)
    detail: Text = ""
    offset_from: Count
    offset_to: Count


class OrderIntended(AttemptEvent):
    """INTENT: durable before any byte leaves. The venue accepts it only until `timestamp_ms` + `window_ms` in its time."""

    TYPE: ClassVar[str] = "orders.intended"
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity_base: Quantity
    price_limit_quote: Price | None = None
    timestamp_ms: TimeMs
    window_ms: DurationMs


class OrderAccepted(AttemptEvent):
    """The venue's reply proved itself: it carries an id and the symbol and client id that were sent."""

    TYPE: ClassVar[str] = "orders.accepted"
    venue_order_id: Text
    venue_time_ms: TimeMs


class OrderRejected(AttemptEvent):
    """Refused: the venue said no with a code of the allow-list. Terminal."""

    TYPE: ClassVar[str] = "orders.rejected"
    code: Text
    detail: Text = ""


class OrderUnsent(AttemptEvent):
    """An intent of which provably no byte left: the lease or the intent's age ended before the request."""

    TYPE: ClassVar[str] = "orders.unsent"
    cause: Text


class OrderUnknown(AttemptEvent):
    """Nobody knows whether the venue took the order: its funds stay reserved, its symbol is blocked."""

    TYPE: ClassVar[str] = "orders.unknown"
    cause: Text


class OrderFound(AttemptEvent):
    """Proof of presence for an UNKNOWN order, found by client id."""

    TYPE: ClassVar[str] = "orders.found"
    venue_order_id: Text
    venue_time_ms: TimeMs


class OrderAbsent(AttemptEvent):
    """Proof of absence for an UNKNOWN order: the venue's own time is past window and margin, and `queries` repeated
    queries, open orders and trades showed nothing."""

    TYPE: ClassVar[str] = "orders.absent"
    venue_time_ms: TimeMs
    queries: Count


class Liquidity(StrEnum):
    """Whether a fill added liquidity or took it."""

    MAKER = "maker"
    TAKER = "taker"


class OrderFilled(AttemptEvent):
    """One trade of an order, unique by the venue's trade id. `quote_amount` is the venue's own figure."""

    TYPE: ClassVar[str] = "orders.filled"
    venue: Name
    venue_order_id: Text
    trade_id: Text
    side: Side
    price_quote: Price
    quantity_base: Quantity
    quote_amount: Price
    fee_asset: Asset
    fee_amount: Holding
    liquidity: Liquidity
    venue_time_ms: TimeMs


class ClosedAs(StrEnum):
    """How an accepted order ended at the venue."""

    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"


class OrderClosed(AttemptEvent):
    """The order's end at the venue, after all its fills were seen. Terminal."""

    TYPE: ClassVar[str] = "orders.closed"
    closed_as: ClosedAs
    filled_base: Holding
    filled_quote: Holding
    venue_time_ms: TimeMs


class CommandExpiredUnsent(CommandEvent):
    """EXPIRED_UNSENT: admitted, but no attempt reached the venue within its bounds. Terminal."""

    TYPE: ClassVar[str] = "orders.expired-unsent"
    cause: Text


class CancelIntended(AttemptEvent):
    """INTENT of a cancel; `command_id` is the cancel command's, `client_order_id` the target order's."""

    TYPE: ClassVar[str] = "orders.cancel-intended"
    target_command_id: Id
    timestamp_ms: TimeMs
    window_ms: DurationMs


class CancelEnded(AttemptEvent):
    """A cancel command ended: the target is closed, was closed already, or was never there. Terminal for the cancel."""

    TYPE: ClassVar[str] = "orders.cancel-ended"
    target_command_id: Id
    cause: Text


class AccountHalted(ExecutionEvent):
    """The executor halted its account by itself; `halt_id` is what a resume must name."""

    TYPE: ClassVar[str] = "orders.account-halted"
    portfolio: Name
    halt_id: Id
    cause: Text
    detail: Text = ""


class AccountResumed(ExecutionEvent):
    """The named halts are lifted for this account."""

    TYPE: ClassVar[str] = "orders.account-resumed"
    portfolio: Name
    halt_ids: tuple[Id, ...]
