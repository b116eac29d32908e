"""What is said to a venue's core and what it remembers: requests, orders, fills, refusals."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from streams.matching.amounts import ZERO


class Side(StrEnum):
    """Which way the base asset goes for the one who orders."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> "Side":
        """The side that this one trades with."""
        return Side.SELL if self is Side.BUY else Side.BUY


class Kind(StrEnum):
    """LIMIT_MAKER is post-only: it rests or is refused, it never takes."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"
    LIMIT_MAKER = "LIMIT_MAKER"


class TimeInForce(StrEnum):
    """What happens to the part that does not fill at once: rest, expire, or no fill at all."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class Status(StrEnum):
    """Where an order stands. An IOC that fills partly ends EXPIRED with a filled part."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"

    @property
    def is_open(self) -> bool:
        """Whether the order can still trade."""
        return self in (Status.NEW, Status.PARTIALLY_FILLED)


class Refusal(StrEnum):
    """Why the venue said no. A refused request changes nothing."""

    PRICE_FILTER = "PRICE_FILTER"
    LOT_SIZE = "LOT_SIZE"
    MARKET_LOT_SIZE = "MARKET_LOT_SIZE"
    NOTIONAL = "NOTIONAL"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    MARKET_CLOSED = "MARKET_CLOSED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    DUPLICATE = "DUPLICATE"
    WOULD_TAKE = "WOULD_TAKE"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue's no."""

    reason: Refusal


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A new order as its sender wrote it.

    A MARKET order names either `quantity_base` or `quantity_quote` (the most it may pay or wants to receive); all
    others name `quantity_base` and `price_quote`.
    """

    account: str
    symbol: str
    side: Side
    kind: Kind
    client_order_id: str
    time_in_force: TimeInForce = TimeInForce.GTC
    quantity_base: Decimal = ZERO
    quantity_quote: Decimal = ZERO
    price_quote: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Fill:
    """One side of one trade."""

    trade_id: int
    account: str
    symbol: str
    order_id: int
    client_order_id: str
    side: Side
    price_quote: Decimal
    quantity_base: Decimal
    amount_quote: Decimal
    fee_amount: Decimal
    fee_asset: str
    is_maker: bool
    at_ms: int


@dataclass(slots=True, eq=False)
class Order:
    """An accepted order. Only the core changes it; whoever else holds one reads it."""

    order_id: int
    account: str
    symbol: str
    client_order_id: str
    side: Side
    kind: Kind
    time_in_force: TimeInForce
    price_quote: Decimal
    quantity_base: Decimal
    quantity_quote: Decimal
    accepted_at_ms: int
    updated_at_ms: int
    status: Status = Status.NEW
    filled_base: Decimal = ZERO
    filled_quote: Decimal = ZERO
    locked: Decimal = ZERO
    """What is still locked for this order, in the asset that it spends."""
    fills: list[Fill] = field(default_factory=list)

    @property
    def remaining_base(self) -> Decimal:
        """What has not traded yet."""
        return self.quantity_base - self.filled_base
