"""What can happen to the protocol (inputs) and what it asks for (effects): plain data on both sides of `protocol.step`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from schemas.orders import CancelOrder, ExecutionEvent, OrderType, PlaceOrder, Side, TimeInForce
from streams.domain.orders.authority import AccountAuthority
from streams.domain.orders.outcome import FlowView, OrderNews, OrderView, TradeView, VenueReply
from streams.domain.orders.prices import Prices


@dataclass(frozen=True, slots=True)
class Now:
    """The instant of an input. `halt_file` is the reason in the local HALT file while that halts this account, `freeze_file`
    while it only freezes it; `prices` is what the executor itself has seen of the market so far."""

    wall_ms: int
    boot_ms: int
    halt_file: str | None = None
    prices: Prices = field(default_factory=dict)
    freeze_file: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """Base of what can happen."""

    now: Now


@dataclass(frozen=True, slots=True)
class Ticked(Input):
    """Time went by."""


@dataclass(frozen=True, slots=True)
class TakenOver(Input):
    """This owner's OwnerStarted and everything before it in the log was read. Nothing may be sent by others from here on,
    and nothing by us before."""


@dataclass(frozen=True, slots=True)
class Superseded(Input):
    """An OwnerStarted of a higher epoch stands in the log, or the lease row is somebody else's."""


@dataclass(frozen=True, slots=True)
class LeaseRenewed(Input):
    """The lease row is ours. The deadline counts from before the renewal was sent."""

    asked_wall_ms: int
    asked_boot_ms: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class VenueTimeRead(Input):
    """The venue said its time; the question left at `asked_boot_ms`, the answer was here at `answered_boot_ms`."""

    venue_time_ms: int
    asked_boot_ms: int
    answered_boot_ms: int


@dataclass(frozen=True, slots=True)
class AuthorityRead(Input):
    """Control was read up to the end that was seen at `asked_boot_ms`; `authority` is what it says by now."""

    authority: AccountAuthority
    asked_boot_ms: int


@dataclass(frozen=True, slots=True)
class CommandRead(Input):
    """A readable command of a trusted author stands at `offset`."""

    command: PlaceOrder | CancelOrder
    offset: int


@dataclass(frozen=True, slots=True)
class CommandDistrusted(Input):
    """The record at `offset` names our account, but nobody whom we trust signed it: nothing in it is believed."""

    offset: int
    cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class CommandSkipped(Input):
    """The record at `offset` is not a command for this account, or not readable (and dead-lettered)."""

    offset: int


@dataclass(frozen=True, slots=True)
class IntentReadBack(Input):
    """Our own INTENT was read back from the log, with no higher OwnerStarted before it."""

    command_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Replied(Input):
    """The one request of an attempt came to its end."""

    command_id: str
    attempt: int
    reply: VenueReply


@dataclass(frozen=True, slots=True)
class OrderHeard(Input):
    """The venue's stream spoke of an order of the account. It may repeat itself, skip, or fall silent: that proves nothing."""

    news: OrderNews


@dataclass(frozen=True, slots=True)
class Look:
    """What the venue shows of one order.

    `venue_time_ms` is the venue's own time, read before any of the questions. `conclusive` means that every question was
    answered and that no trade or open order was left whose client id is not known. `trades` are the order's own. `strangers`
    are the venue's ids of orders that were asked for and are others.
    """

    venue_time_ms: int
    order: OrderView | None
    trades: tuple[TradeView, ...]
    conclusive: bool
    strangers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Looked(Input):
    """A look came back; None is a look that failed."""

    command_id: str
    attempt: int
    look: Look | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the whole account: totals of all assets, open orders, and own trades since `since_ms` (venue time).

    `strangers` gives the client ids of orders behind trades that no order of ours explained, by symbol and venue order id,
    since venues number the orders of each symbol by itself; a trade whose order is in none of both cannot be judged yet.
    `flows` are deposits and withdrawals of the last weeks. Orders and trades were asked for of `symbols` alone. From
    `judged_ms` on trades are left that cannot be judged yet; None: there are none.
    """

    venue_time_ms: int
    since_ms: int
    totals: Mapping[str, Decimal]
    open_orders: tuple[OrderView, ...]
    trades: tuple[TradeView, ...]
    strangers: Mapping[tuple[str, str], str] = field(default_factory=dict)
    flows: tuple[FlowView, ...] = ()
    symbols: frozenset[str] = frozenset()
    judged_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRead(Input):
    """A snapshot came back; its first question left at `asked_boot_ms`."""

    snapshot: Snapshot
    asked_boot_ms: int


@dataclass(frozen=True, slots=True)
class RightsRead(Input):
    """What the account's key may do, read again. `refused`: the venue did not take the key at all, twice in a row."""

    read: bool
    trade: bool
    withdraw: bool
    refused: bool = False


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """Exactly what is asked of the venue, once. It is valid from `timestamp_ms` for `window_ms` of the venue's time."""

    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity_base: Decimal
    price_limit_quote: Decimal | None
    timestamp_ms: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Exactly what is asked of the venue about an order that stands there."""

    client_order_id: str
    venue_order_id: str
    symbol: str
    timestamp_ms: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Append to `orders.events`, in order. An INTENT must be read back before its request may leave.

    With `keep` it is kept on this machine until the log has it, so that what follows it there is never without it; with `sync`
    it is on disk, and all that was kept before, before anything that follows it is done.
    """

    event: ExecutionEvent
    keep: bool = False
    sync: bool = False


@dataclass(frozen=True, slots=True)
class SendOrder:
    """Send this request once, now, if it leaves before `deadline_boot_ms`; answer with Replied."""

    command_id: str
    attempt: int
    request: OrderRequest
    deadline_boot_ms: int


@dataclass(frozen=True, slots=True)
class SendCancel:
    """Send this cancel once, now, if it leaves before `deadline_boot_ms`; answer with Replied."""

    command_id: str
    attempt: int
    request: CancelRequest
    deadline_boot_ms: int


class Scope(StrEnum):
    """How far a look goes."""

    TRADES = "trades"  # the order is known to have ended: only its trades are missing
    ORDER = "order"  # the order, and its trades where it has any
    PROOF = "proof"  # the order by every way there is: by client id, among open orders, behind own trades


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask the venue about one order; answer with Looked. `known_order_ids` are other orders that explain trades."""

    command_id: str
    attempt: int
    symbol: str
    client_order_id: str
    venue_order_id: str | None
    since_ms: int
    scope: Scope
    known_order_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReadVenueTime:
    """Ask the venue for its time at once; answer with VenueTimeRead."""


@dataclass(frozen=True, slots=True)
class ReadAccount:
    """Take a snapshot of the whole account now; answer with SnapshotRead."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something a person should see that changes nothing here: one log line and one count for each kind."""

    kind: str
    detail: str


Effect = Publish | SendOrder | SendCancel | LookUp | ReadVenueTime | ReadAccount | Remark
