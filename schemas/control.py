"""What operators decided: portfolios, targets, policy, limits, halts, keys. The topic is the truth; files are proposals."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from schemas.envelope import Message
from schemas.values import (
    Amount,
    Asset,
    Count,
    DurationMs,
    Id,
    Name,
    Price,
    Scope,
    Symbol,
    Text,
    TimeMs,
    Weight,
)


class ControlEvent(Message):
    """Base of control events: what it is about, who decided it, when (by his own clock) and why."""

    scope: Scope
    at_ms: TimeMs
    who: Name
    why: Text = ""


class PortfolioCreated(ControlEvent):
    """A portfolio exists from here on. `incarnation` is random and makes its ids unlike any earlier portfolio's."""

    TYPE: ClassVar[str] = "control.portfolio-created"
    portfolio: Name
    incarnation: Id
    shard: Count
    quote: Asset
    accounts: dict[Name, Name] = Field(min_length=1, description="account to the venue it stands on")


class ShardAssigned(ControlEvent):
    """The portfolio moves to another shard; only with no open order."""

    TYPE: ClassVar[str] = "control.shard-assigned"
    portfolio: Name
    shard: Count


class TargetsSet(ControlEvent):
    """Target weights, quote included; they sum to 1. `symbols` names the pair that trades each risky asset."""

    TYPE: ClassVar[str] = "control.targets-set"
    portfolio: Name
    weights: dict[Asset, Weight] = Field(min_length=1)
    symbols: dict[Asset, Symbol]

    @model_validator(mode="after")
    def _whole(self) -> "TargetsSet":
        if sum(self.weights.values()) != 1:
            raise ValueError("target weights must sum to 1")
        return self


class PolicySet(ControlEvent):
    """How a portfolio is steered. All fractions of net asset value (1 point = 0.01).

    `band` is the hard band b; a rebalance triggers at |drift| >= `threshold` and aims at `edge_inner`; orders are priced at
    mid x (1 +- `price_cap`). Version 1 had no `edge_inner`: it was always half the threshold.
    """

    TYPE: ClassVar[str] = "control.policy-set"
    VERSION: ClassVar[int] = 2
    portfolio: Name
    band: Weight
    threshold: Weight
    edge_inner: Weight
    price_cap: Weight
    mark_age_ms_max: DurationMs
    admit_within_ms: DurationMs
    order_life_ms: DurationMs
    observe_every_ms: DurationMs


class PortfolioLimitsSet(ControlEvent):
    """Limits that the fold checks, as fractions of net asset value.

    Those of transitions (first funding, new targets, a large flow) bound each of their orders, and what they trade in an hour.
    """

    TYPE: ClassVar[str] = "control.portfolio-limits-set"
    portfolio: Name
    order_notional_max: Weight
    turnover_5min_max: Annotated[Amount, Field(gt=0)]
    turnover_day_max: Annotated[Amount, Field(gt=0)]
    loss_day_max: Weight
    transition_order_max: Weight = Decimal("0.01")
    transition_hour_max: Weight = Decimal("0.1")


class AccountLimitsSet(ControlEvent):
    """Limits that the executor checks from its own fills, in quote units."""

    TYPE: ClassVar[str] = "control.account-limits-set"
    account: Name
    order_notional_max_quote: Price
    turnover_5min_max_quote: Price
    turnover_day_max_quote: Price
    open_orders_max: Count
    price_collar: Weight
    symbols: tuple[Symbol, ...]


class StopKind(StrEnum):
    """halt: no new orders and cancel all open; freeze: no new orders."""

    HALT = "halt"
    FREEZE = "freeze"


class TradingStopped(ControlEvent):
    """Nothing new is sent within the scope until a resume names `halt_id`."""

    TYPE: ClassVar[str] = "control.trading-stopped"
    halt_id: Id
    kind: StopKind


class TradingResumed(ControlEvent):
    """Lifts exactly the named halts and voids commands decided before it."""

    TYPE: ClassVar[str] = "control.trading-resumed"
    halt_ids: tuple[Id, ...] = Field(min_length=1)


class CancelRequested(ControlEvent):
    """An operator wants one order off the book, or (without a target) every order decided within the scope before.

    Before: until the broker took this event, by its record's timestamp; `at_ms` is the operator's clock, which may be wrong.

    The executor cancels by itself; nothing is stopped, so a portfolio may well decide to trade again.
    """

    TYPE: ClassVar[str] = "control.cancel-requested"
    target_command_id: Id | None = None


class LookRequested(ControlEvent):
    """An operator wants the account's owner to ask the venue now: about one order whose fate is unknown, or (without a target)
    for the whole account, to be compared with its books. What is concluded follows the same rules as ever."""

    TYPE: ClassVar[str] = "control.look-requested"
    account: Name
    target_command_id: Id | None = None


class MaintenanceScheduled(ControlEvent):
    """A window in which a venue does not trade."""

    TYPE: ClassVar[str] = "control.maintenance-scheduled"
    venue: Name
    from_ms: TimeMs
    to_ms: TimeMs


class TransferAnnounced(ControlEvent):
    """A deposit (positive) or withdrawal (negative) that an operator is about to make."""

    TYPE: ClassVar[str] = "control.transfer-announced"
    account: Name
    asset: Asset
    amount: Amount


class FlowKind(StrEnum):
    """What a deposit or withdrawal turned out to be."""

    EXTERNAL = "external"
    FOREIGN = "foreign"


class FlowClassificationSet(ControlEvent):
    """An operator says what an observed flow was; the executor carries it out as FlowClassified."""

    TYPE: ClassVar[str] = "control.flow-classification-set"
    account: Name
    flow_id: Text
    flow_kind: FlowKind


class KeyPurpose(StrEnum):
    """What a key may sign."""

    COMMANDS = "commands"
    CONTROL = "control"


class KeyTrusted(ControlEvent):
    """A public signing key, recorded for replay. Trust itself comes from local settings only.

    `public_key` are the 32 bytes of an Ed25519 key in base64; it signs commands or control events.
    """

    TYPE: ClassVar[str] = "control.key-trusted"
    key_id: Name
    purpose: KeyPurpose
    public_key: Text
    valid_from_ms: TimeMs
    valid_until_ms: TimeMs
