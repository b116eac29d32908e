"""What the portfolio fold decided, what it held back, and why."""

from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from schemas.envelope import Message, Part
from schemas.orders import Side
from schemas.values import (
    Amount,
    Asset,
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
    Weight,
)


class Reason(StrEnum):
    """Why a portfolio does or does not trade at this instant, the most binding first."""

    QUARANTINED = "quarantined"
    HALTED = "halted"
    WAITING_OPENING = "waiting_opening"
    UNCLASSIFIED_FLOW = "unclassified_flow"
    NO_TARGETS = "no_targets"
    NO_RULES = "no_rules"
    NO_PRICE = "no_price"
    STALE = "stale"
    CROSSED = "crossed"
    NO_VALUE = "no_value"
    VENUE_CLOSED = "venue_closed"
    UNKNOWN_ORDER = "unknown_order"
    UNANSWERED = "unanswered"
    IN_WORK = "in_work"
    LIMIT = "limit"
    BELOW_MINIMUM = "below_minimum"
    WITHIN_BAND = "within_band"
    DRIFT = "drift"
    SELL_FILLED = "sell_filled"


class AssetView(Part):
    """One asset of a portfolio at an instant; weights and drifts are fractions of net asset value.

    `drift_pending` counts every planned or open remainder as filled. `reserved` of the holding is bound by orders by hand that
    stand on a book: it counts in every figure here, and nothing of ours may spend it.
    """

    holding: Amount
    mark_quote: Price
    weight: Amount
    weight_target: Weight
    drift: Amount
    drift_pending: Amount
    reserved: Holding = Decimal(0)


class Signal(Message):
    """Base of what the fold says about a portfolio. `decision_number` counts its decisions within the incarnation."""

    signal_id: Id
    portfolio: Name
    incarnation: Id
    decision_number: Count
    at_ms: TimeMs


class Leg(Part):
    """One trade of a plan: `quantity_base` at `price_cap_quote` or better, sent now or released by sell fills."""

    account: Name
    symbol: Symbol
    side: Side
    quantity_base: Quantity
    price_mid_quote: Price
    price_cap_quote: Price
    command_id: Id | None = None


class Debt(Part):
    """What the plan wanted but could not do, and why (under the minimum, funds elsewhere)."""

    asset: Asset
    amount_quote: Amount
    cause: Text


class TransitionCause(StrEnum):
    """What moved a portfolio off its targets that was no drift of prices."""

    FIRST_FUNDING = "first_funding"
    TARGETS = "targets"
    FLOW = "flow"


class TransitionView(Part):
    """A transition under way: what it may trade in all, and what it has traded, outside the ordinary turnover limits."""

    cause: TransitionCause
    since_ms: TimeMs
    budget_quote: Holding
    spent_quote: Holding


class RebalanceDecided(Signal):
    """A decision to trade, with everything it looked at."""

    TYPE: ClassVar[str] = "rebalance.decided"
    reason: Reason
    round: Count = 0
    nav_quote: Holding
    threshold: Weight
    edge_inner: Weight
    band: Weight
    trigger_asset: Asset | None = None
    assets: dict[Asset, AssetView]
    legs: tuple[Leg, ...]
    debts: tuple[Debt, ...] = ()
    oldest_received_at_ms: TimeMs
    transition: TransitionView | None = None


class RebalanceHeldBack(Signal):
    """A trigger that was not acted on, and why. Written once for each change of the reason."""

    TYPE: ClassVar[str] = "rebalance.held-back"
    reason: Reason
    detail: Text = ""
    nav_quote: Holding | None = None
    assets: dict[Asset, AssetView] = {}


class PortfolioObserved(Signal):
    """How a portfolio stands, every `observe_every_ms` of journal time; `reason` says why it does or does not trade."""

    TYPE: ClassVar[str] = "rebalance.observed"
    reason: Reason
    detail: Text = ""
    nav_quote: Holding | None = None
    band: Weight
    threshold: Weight
    assets: dict[Asset, AssetView] = {}
    time_total_ms: DurationMs
    time_in_band_ms: DurationMs
    transition: TransitionView | None = None


class PortfolioQuarantined(Signal):
    """QUARANTINED: folding an event failed for this portfolio; its state is unchanged and it is halted."""

    TYPE: ClassVar[str] = "rebalance.quarantined"
    cause: Text
    detail: Text = ""


class PortfolioHalted(Signal):
    """The fold halted a portfolio by itself; `halt_id` is what a resume must name. `cause` COMMAND_UNANSWERED: a command
    had no ledger entry 30 s after its `admit_by`."""

    TYPE: ClassVar[str] = "rebalance.portfolio-halted"
    halt_id: Id
    cause: Text
    detail: Text = ""


class PortfolioResumed(Signal):
    """The named halts are lifted for this portfolio."""

    TYPE: ClassVar[str] = "rebalance.portfolio-resumed"
    halt_ids: tuple[Id, ...]
