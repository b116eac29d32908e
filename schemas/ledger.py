"""The books: one append-only, gapless, hash-chained ledger for each account."""

from enum import StrEnum
from typing import ClassVar

from schemas.envelope import Message, Part
from schemas.orders import Side
from schemas.values import (
    Amount,
    Asset,
    ClientOrderId,
    Count,
    Digest,
    Holding,
    Id,
    Name,
    Price,
    Quantity,
    Symbol,
    Text,
    TimeMs,
)


class EntryKind(StrEnum):
    """What an entry books, named after the execution event it came from."""

    ACCOUNT_OPENED = "account_opened"
    ADMITTED = "admitted"
    NOT_ADMITTED = "not_admitted"
    INTENDED = "intended"
    UNSENT = "unsent"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    FOUND = "found"
    ABSENT = "absent"
    FILLED = "filled"
    CLOSED = "closed"
    EXPIRED_UNSENT = "expired_unsent"
    CANCEL_INTENDED = "cancel_intended"
    CANCEL_ENDED = "cancel_ended"
    FLOW_OBSERVED = "flow_observed"
    FLOW_CLASSIFIED = "flow_classified"
    FOREIGN_ORDER_SEEN = "foreign_order_seen"
    FOREIGN_ORDER_GONE = "foreign_order_gone"
    FILL_UNPLACED = "fill_unplaced"
    ACCOUNT_HALTED = "account_halted"
    ACCOUNT_RESUMED = "account_resumed"


class OrderState(StrEnum):
    """Where a command stands in its life cycle."""

    ADMITTED = "admitted"
    INTENDED = "intended"
    UNKNOWN = "unknown"
    OPEN = "open"
    ABSENT = "absent"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    NOT_ADMITTED = "not_admitted"
    EXPIRED_UNSENT = "expired_unsent"
    CANCEL_ENDED = "cancel_ended"


class Flag(StrEnum):
    """What was odd about an entry that is booked all the same."""

    LATE_FILL = "late_fill"
    OVERFILL = "overfill"
    CLOSED_BEFORE_FILLS = "closed_before_fills"


class Posting(Part):
    """One signed line of an entry; for each asset the postings of an entry sum to zero.

    Ledger accounts: `assets:<account>`, `equity:opening`, `equity:unclassified`, `equity:external`, `trading:<account>`,
    `fees:<account>`, `rounding`.
    """

    ledger_account: Text
    asset: Asset
    amount: Amount


class LedgerEntry(Message):
    """One entry of an account's books.

    `sequence` starts at 1 without gaps; `entry_hash` = SHA-256 over `previous_hash` and the entry's other fields in
    canonical JSON. `filled_*` are cumulative for the command (or the order by hand) after this entry. The ce_id comes from
    account and sequence.
    """

    TYPE: ClassVar[str] = "ledger.entry"
    account: Name
    sequence: Count
    kind: EntryKind
    event_id: Text
    at_ms: TimeMs
    portfolio: Name | None = None
    command_id: Id | None = None
    target_command_id: Id | None = None
    client_order_id: ClientOrderId | None = None
    venue_order_id: Text | None = None
    attempt: Count | None = None
    symbol: Symbol | None = None
    side: Side | None = None
    state: OrderState | None = None
    quantity_base: Quantity | None = None
    price_limit_quote: Price | None = None
    price_mid_quote: Price | None = None
    filled_base: Holding | None = None
    filled_quote: Holding | None = None
    trade_id: Text | None = None
    fill_price_quote: Price | None = None
    fill_quantity_base: Quantity | None = None
    fill_quote_amount: Holding | None = None
    fee_asset: Asset | None = None
    fee_amount: Holding | None = None
    flow_id: Text | None = None
    halt_ids: tuple[Id, ...] = ()
    cause: Text | None = None
    flags: tuple[Flag, ...] = ()
    postings: tuple[Posting, ...] = ()
    previous_hash: Digest
    entry_hash: Digest
