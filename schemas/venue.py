"""How a venue is: how fast, whether it trades, and by which rules."""

from enum import StrEnum
from typing import ClassVar

from pydantic import model_validator

from schemas.envelope import Message
from schemas.values import Asset, Count, DurationMs, Name, Price, Quantity, SignedMs, Symbol, TimeMs, Weight


class VenueLatency(Message):
    """One round of probes. Without `probe_ms` the probe failed: it counts as the worst latency, never as a missing one."""

    TYPE: ClassVar[str] = "venue.latency"
    venue: Name
    probe_ms: DurationMs | None = None
    order_ms: DurationMs | None = None
    socket_age_ms: DurationMs | None = None
    budget_left: Count | None = None
    clock_offset_ms: SignedMs | None = None
    observed_at_ms: TimeMs


class TradingStatus(StrEnum):
    """Whether a venue, or one symbol on it, takes orders."""

    TRADING = "trading"
    CANCEL_ONLY = "cancel_only"
    MAINTENANCE = "maintenance"
    CLOSED = "closed"


class VenueStatus(Message):
    """A venue's trading status and the rights of the key that asked."""

    TYPE: ClassVar[str] = "venue.status"
    venue: Name
    account: Name | None = None
    status: TradingStatus
    key_may_read: bool | None = None
    key_may_trade: bool | None = None
    key_may_withdraw: bool | None = None
    observed_at_ms: TimeMs


class VenueRules(Message):
    """One symbol's rules on a venue. `fee_*` are fractions of the traded amount; `rules_version` grows with each change."""

    TYPE: ClassVar[str] = "venue.rules"
    venue: Name
    symbol: Symbol
    base: Asset
    quote: Asset
    status: TradingStatus
    price_tick_quote: Price
    quantity_step_base: Quantity
    quantity_min_base: Quantity
    quantity_max_base: Quantity
    notional_min_quote: Price
    notional_max_quote: Price | None = None
    fee_maker: Weight
    fee_taker: Weight
    rules_version: Count
    observed_at_ms: TimeMs

    @model_validator(mode="after")
    def _named_alike(self) -> "VenueRules":
        if self.symbol != f"{self.base}/{self.quote}":
            raise ValueError("symbol must be base/quote")
        return self
