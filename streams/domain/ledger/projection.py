"""The projection: what each record of the ledger, the signals and the probes changes in the tables people read.

A `Change` is one row for one table, as a function of one message and of where it stands; how a table takes a row (insert,
latest wins, add) belongs to whoever keeps the tables. Text loses its NUL characters, which no SQL text can hold.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from schemas.codec import encode
from schemas.ledger import EntryKind, Flag, LedgerEntry
from schemas.rebalance import (
    PortfolioHalted,
    PortfolioObserved,
    PortfolioQuarantined,
    RebalanceDecided,
    RebalanceHeldBack,
    Signal,
)
from schemas.venue import VenueLatency
from streams.domain.errors import InvariantError
from streams.domain.ledger.chain import GENESIS
from streams.domain.orders.lifecycle import TERMINAL

MONTHLY = ("entries", "postings", "fills", "signals")
"""Tables that are partitioned by month of their column `at`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FILLS = (EntryKind.FILLED, EntryKind.FILL_UNPLACED)
_INTENTS = (EntryKind.INTENDED, EntryKind.CANCEL_INTENDED)
_PRESENT = (EntryKind.ACCEPTED, EntryKind.FOUND)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message was read, its own id, the digest of its bytes and the trace it belongs to ("" for none)."""

    partition: int
    offset: int
    event_id: str
    value_sha256: str
    traceparent: str = ""

    @classmethod
    def of(cls, partition: int, offset: int, event_id: str, value: bytes, traceparent: str) -> "Origin":
        """The origin of a message with these bytes."""
        return cls(partition, offset, event_id, hashlib.sha256(value).hexdigest(), traceparent)

    @property
    def trace_id(self) -> str | None:
        """The trace id of the W3C traceparent, or None."""
        return self.traceparent[3:35] if len(self.traceparent) == 55 else None


@dataclass(frozen=True, slots=True)
class Change:
    """One row for one table of the projection."""

    table: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """The newest projected entry of an account."""

    sequence: int = 0
    entry_hash: str = GENESIS


@dataclass(slots=True)
class Heads:
    """The head of each account's chain: tells new entries from repeats, and stops at a gap or a fork."""

    heads: dict[str, Head] = field(default_factory=dict)

    def accept(self, entry: LedgerEntry) -> bool:
        """True for the next entry of its account, False for one that lies behind. Raises InvariantError otherwise."""
        head = self.heads.get(entry.account, Head())
        if entry.sequence <= head.sequence:
            return False
        if entry.sequence != head.sequence + 1:
            raise InvariantError(f"ledger of {entry.account}: entry {entry.sequence} follows {head.sequence}; some are missing")
        if entry.previous_hash != head.entry_hash:
            raise InvariantError(
                f"ledger of {entry.account}: entry {entry.sequence} does not name entry {head.sequence} before it"
            )
        self.heads[entry.account] = Head(entry.sequence, entry.entry_hash)
        return True


def of_entry(entry: LedgerEntry, origin: Origin) -> Iterator[Change]:
    """Every row that a new entry of the books changes."""
    at = moment(entry.at_ms)
    key = {"account": entry.account, "sequence": entry.sequence, "at": at}
    yield Change("heads", key | {"entry_hash": entry.entry_hash})
    yield Change("entries", key | _entry(entry, origin))
    for line, posting in enumerate(entry.postings):
        row = {"ledger_account": posting.ledger_account, "asset": posting.asset, "amount": posting.amount}
        yield Change("postings", key | row | {"line": line})
        yield Change("balances", row | {"account": entry.account})
    if entry.kind in _FILLS:
        yield Change("fills", key | _fill(entry))
    if entry.command_id is not None and entry.kind is not EntryKind.FILL_UNPLACED:
        yield Change("orders", _order(entry, origin, at))


def of_signal(signal: Signal, origin: Origin) -> Iterator[Change]:
    """Every row that a signal changes: observations only show the present, all others are kept."""
    at = moment(signal.at_ms)
    body = encode(signal).decode().replace("\\u0000", "\\ufffd")
    if isinstance(signal, PortfolioObserved):
        yield Change("portfolio_state", _observed(signal, at))
        return
    yield Change(
        "signals",
        {
            "event_id": _clean(origin.event_id),
            "at": at,
            "kind": signal.TYPE.removeprefix("rebalance."),
            "portfolio": signal.portfolio,
            "signal_id": signal.signal_id,
            "decision_number": signal.decision_number,
            "reason": _reason(signal),
            "nav_quote": getattr(signal, "nav_quote", None),
            "body": body,
            **_origin(origin),
        },
    )
    if isinstance(signal, RebalanceDecided):
        yield from _legs(signal, origin)


def of_latency(latency: VenueLatency) -> Iterator[Change]:
    """The row of a venue's newest probe."""
    figures = ("probe_ms", "order_ms", "socket_age_ms", "budget_left", "clock_offset_ms")
    row = {name: getattr(latency, name) for name in figures}
    yield Change("venue_latency", row | {"venue": latency.venue, "at": moment(latency.observed_at_ms)})


def moment(at_ms: int) -> datetime:
    """UTC milliseconds as a point in time, exactly."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def _origin(origin: Origin) -> dict[str, Any]:
    return {
        "value_sha256": origin.value_sha256,
        "source_partition": origin.partition,
        "source_offset": origin.offset,
        "trace_id": origin.trace_id,
    }


def _entry(entry: LedgerEntry, origin: Origin) -> dict[str, Any]:
    return {
        "kind": entry.kind.value,
        "event_id": _clean(entry.event_id),
        "portfolio": entry.portfolio,
        "command_id": entry.command_id,
        "target_command_id": entry.target_command_id,
        "client_order_id": entry.client_order_id,
        "attempt": entry.attempt,
        "symbol": entry.symbol,
        "side": entry.side and entry.side.value,
        "state": entry.state and entry.state.value,
        "flow_id": _clean(entry.flow_id),
        "halt_ids": list(entry.halt_ids),
        "cause": _clean(entry.cause),
        "flags": _flags(entry.flags),
        "previous_hash": entry.previous_hash,
        "entry_hash": entry.entry_hash,
        **_origin(origin),
    }


def _fill(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "kind": entry.kind.value,
        "portfolio": entry.portfolio,
        "command_id": entry.command_id,
        "client_order_id": entry.client_order_id,
        "venue_order_id": _clean(entry.venue_order_id),
        "symbol": entry.symbol,
        "side": entry.side and entry.side.value,
        "trade_id": _clean(entry.trade_id),
        "price_quote": entry.fill_price_quote,
        "quantity_base": entry.fill_quantity_base,
        "quote_amount": entry.fill_quote_amount,
        "fee_asset": entry.fee_asset,
        "fee_amount": entry.fee_amount,
        "flags": _flags(entry.flags),
    }


def _order(entry: LedgerEntry, origin: Origin, at: datetime) -> dict[str, Any]:
    """The command as this entry leaves it; None keeps what an earlier entry said.

    A fill names the attempt that it belongs to, which a late one shares with no order of the present: it tells neither
    attempt nor client id.
    """
    filled = entry.kind is EntryKind.FILLED
    return {
        "command_id": entry.command_id,
        "account": entry.account,
        "portfolio": entry.portfolio,
        "symbol": entry.symbol,
        "target_command_id": entry.target_command_id,
        "side": entry.side and entry.side.value,
        "quantity_base": entry.quantity_base,
        "price_limit_quote": entry.price_limit_quote,
        "price_mid_quote": entry.price_mid_quote,
        "state": entry.state and entry.state.value,
        "attempt": None if filled else entry.attempt,
        "client_order_id": None if filled else entry.client_order_id,
        "venue_order_id": _clean(entry.venue_order_id),
        "filled_base": entry.filled_base,
        "filled_quote": entry.filled_quote,
        "fills": int(filled),
        "cause": _clean(entry.cause),
        "flags": _flags(entry.flags),
        "intended_at": at if entry.kind in _INTENTS else None,
        "accepted_at": at if entry.kind in _PRESENT else None,
        "fill_at": at if filled else None,
        "ended_at": at if entry.state in TERMINAL else None,
        "at": at,
        "sequence": entry.sequence,
        "trace_id": origin.trace_id,
    }


def _reason(signal: Signal) -> str | None:
    """The reason of a decision or of what was held back, the cause of a halt, or None."""
    match signal:
        case RebalanceDecided() | RebalanceHeldBack():
            return signal.reason.value
        case PortfolioQuarantined() | PortfolioHalted():
            return _clean(signal.cause)
        case _:
            return None


def _observed(signal: PortfolioObserved, at: datetime) -> dict[str, Any]:
    assets = {asset: view.model_dump(mode="json") for asset, view in signal.assets.items()}
    return {
        "portfolio": signal.portfolio,
        "at": at,
        "incarnation": signal.incarnation,
        "decision_number": signal.decision_number,
        "reason": signal.reason.value,
        "detail": _clean(signal.detail),
        "nav_quote": signal.nav_quote,
        "band": signal.band,
        "threshold": signal.threshold,
        "assets": orjson.dumps(assets, option=orjson.OPT_SORT_KEYS).decode(),
        "time_total_ms": signal.time_total_ms,
        "time_in_band_ms": signal.time_in_band_ms,
    }


def _legs(signal: RebalanceDecided, origin: Origin) -> Iterator[Change]:
    for leg in signal.legs:
        if leg.command_id is not None:
            row = leg.model_dump() | {"side": leg.side.value}
            cause = {"event_id": _clean(origin.event_id), "signal_id": signal.signal_id, "portfolio": signal.portfolio}
            yield Change("legs", row | cause)


def _flags(flags: tuple[Flag, ...]) -> list[str]:
    return [flag.value for flag in flags]


def _clean(text: str | None) -> str | None:
    return None if text is None else text.replace("\0", "\ufffd")
