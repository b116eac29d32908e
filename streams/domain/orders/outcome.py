"""What a venue's answer proves: accepted, refused, unreachable or unknown. Whatever is not proven is unknown.

A reply counts as acceptance only when it carries an order id together with the symbol and the client id that were sent:
clients are known to return normally for a page of HTML, an empty body or `{}`. A refusal counts only with a code of the
venue's own that stands in the allow-list of its dialect, on a 4xx status: a 5xx may hide an accepted order. "Unreachable"
means that provably no byte left. Everything else is unknown: the order is asked for and never sent again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from schemas.orders import Liquidity, Side


class Failure(StrEnum):
    """Why there is no usable reply."""

    NOT_SENT = "not_sent"  # our own last check refused, before any byte
    NOT_CONNECTED = "not_connected"  # the connection was never made
    NO_REPLY = "no_reply"  # time ran out, or the connection broke
    UNUSABLE = "unusable"  # bytes came back that prove nothing


class Standing(StrEnum):
    """Where the venue says an order stands."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNREADABLE = "unreadable"  # a status word that we do not know: ask again

    @property
    def ended(self) -> bool:
        """Whether the order has left the venue's book for good. Says nothing about its fills."""
        return self not in (Standing.OPEN, Standing.UNREADABLE)


@dataclass(frozen=True, slots=True)
class OrderView:
    """One order as the venue shows it. `filled_base` is cumulative; `venue_time_ms` when the venue took it; without
    `price_limit_quote` it has no limit that is known."""

    venue_order_id: str
    client_order_id: str
    symbol: str
    side: Side
    quantity_base: Decimal
    filled_base: Decimal
    standing: Standing
    venue_time_ms: int
    price_limit_quote: Decimal | None = None


@dataclass(frozen=True, slots=True)
class TradeView:
    """One own trade as the venue shows it; `quote_amount` and the fee are the venue's own figures."""

    trade_id: str
    venue_order_id: str
    symbol: str
    side: Side
    price_quote: Decimal
    quantity_base: Decimal
    quote_amount: Decimal
    fee_asset: str
    fee_amount: Decimal
    liquidity: Liquidity
    venue_time_ms: int


@dataclass(frozen=True, slots=True)
class OrderNews:
    """What the venue's stream says of one order by itself: a trade is a fact, the rest a reason to look.

    `ended` means that the order has left the book, as far as the stream knows.
    """

    client_order_id: str
    symbol: str
    ended: bool
    trade: TradeView | None


@dataclass(frozen=True, slots=True)
class FlowView:
    """Money that entered (positive) or left (negative) the account without a trade of ours, as the venue shows it. `returns`
    names the flow whose money this one gives back: it moved nothing where that one was never seen."""

    flow_id: str
    asset: str
    amount: Decimal
    venue_time_ms: int
    returns: str | None = None


@dataclass(frozen=True, slots=True)
class VenueReply:
    """What came back of one request: facts without judgement. `code` is the venue's own; `text` carries no secret.

    `retry_after_ms` is the pause the venue asked for, if it did.
    """

    http_status: int | None = None
    code: str | None = None
    text: str = ""
    failure: Failure | None = None
    order: OrderView | None = None
    retry_after_ms: int | None = None


class Proof(StrEnum):
    """What a reply proves."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class Consequence(StrEnum):
    """What a refusal asks for besides being recorded."""

    NONE = "none"
    PAUSE = "pause"  # the venue's limiter: nothing goes out for a while
    HALT = "halt"  # key or rights: a person must act
    RESYNC = "resync"  # our idea of the venue's time is off


@dataclass(frozen=True, slots=True)
class Outcome:
    """A judged reply. `cause` is short and stable, for events and metrics."""

    proof: Proof
    cause: str
    consequence: Consequence = Consequence.NONE


_DEFINITE = Consequence.NONE
_BINANCE: dict[str, Consequence] = {
    "-1013": _DEFINITE,  # a filter: lot, price, notional, number of orders, market closed
    "-2010": _DEFINITE,  # new order rejected: funds, market closed, would match at once, not permitted
    "-2011": _DEFINITE,  # cancel rejected: final already, or not known
    "-1100": _DEFINITE,
    "-1101": _DEFINITE,
    "-1102": _DEFINITE,
    "-1103": _DEFINITE,
    "-1104": _DEFINITE,
    "-1105": _DEFINITE,
    "-1106": _DEFINITE,
    "-1111": _DEFINITE,
    "-1114": _DEFINITE,
    "-1115": _DEFINITE,
    "-1116": _DEFINITE,
    "-1117": _DEFINITE,
    "-1121": _DEFINITE,
    "-1003": Consequence.PAUSE,
    "-1015": Consequence.PAUSE,
    "-1021": Consequence.RESYNC,
    "-1002": Consequence.HALT,
    "-1022": Consequence.HALT,
    "-2014": Consequence.HALT,
    "-2015": Consequence.HALT,
}
REFUSALS: Mapping[str, Mapping[str, Consequence]] = {"binance": _BINANCE}
"""Dialect to the venue codes that prove a refusal. -1000, -1001, -1006, -1007 and -1008 are missing on purpose: the venue
itself does not know what became of such a request."""

# The id is in use: an earlier request with it did arrive, so this answer proves presence rather than absence.
_PRESENT_TEXTS: Mapping[tuple[str, str], str] = {("binance", "-2010"): "duplicate order"}
# Under codes that mean many things: the account itself may not trade, which no other order changes.
_ACCOUNT_TEXTS: Mapping[str, tuple[str, ...]] = {
    "binance": (
        "this action is disabled on this account",
        "this account may not place or cancel orders",
        "rest api trading is not enabled",
        "you don't have permission",
    )
}
# "-2013 Order does not exist." means: not visible now. It is an answer to a query and never an outcome of an order.
NOT_FOUND: Mapping[str, frozenset[str]] = {"binance": frozenset({"-2013"})}
"""Dialect to the codes by which a query says that it sees no such order."""


def judge(dialect: str, reply: VenueReply, symbol: str, client_order_id: str) -> Outcome:
    """What `reply` proves about the order that was sent for `symbol` under `client_order_id`."""
    if reply.failure is not None:
        if reply.failure in (Failure.NOT_SENT, Failure.NOT_CONNECTED):
            return Outcome(Proof.UNREACHABLE, reply.text or reply.failure.value)
        return Outcome(Proof.UNKNOWN, f"{reply.failure.value}: {reply.text}" if reply.text else reply.failure.value)
    if reply.code is not None:
        return _judge_code(dialect, reply, reply.code)
    if reply.http_status != 200 or reply.order is None:
        return Outcome(Proof.UNKNOWN, f"http {reply.http_status} without proof")
    return _judge_order(reply.order, symbol, client_order_id)


def _judge_code(dialect: str, reply: VenueReply, code: str) -> Outcome:
    consequence, text = REFUSALS[dialect].get(code), reply.text.lower()
    present = _PRESENT_TEXTS.get((dialect, code))
    refused_by_the_venue = reply.http_status is not None and 400 <= reply.http_status < 500
    if consequence is None or not refused_by_the_venue or (present is not None and present in text):
        return Outcome(Proof.UNKNOWN, f"http {reply.http_status} code {code}")
    if any(words in text for words in _ACCOUNT_TEXTS[dialect]):
        consequence = Consequence.HALT
    return Outcome(Proof.REFUSED, code, consequence)


def _judge_order(order: OrderView, symbol: str, client_order_id: str) -> Outcome:
    if not order.venue_order_id or order.symbol != symbol or order.client_order_id != client_order_id:
        return Outcome(Proof.UNKNOWN, "the reply is about another order")
    if order.standing is Standing.REJECTED and not order.filled_base:
        return Outcome(Proof.REFUSED, "REJECTED")
    return Outcome(Proof.ACCEPTED, "accepted")
