"""What a shard remembers. Everything here is in the checkpoint but `watches`, which only save work.

A portfolio's state is frozen: a step makes a new one or leaves the old one standing, so that a failure in the middle of a
step changes nothing. `World` is what all portfolios of the shard see alike, and is changed in place by `step` alone.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from schemas.control import MaintenanceScheduled, PolicySet, PortfolioLimitsSet, TargetsSet, TradingStopped
from schemas.ledger import OrderState
from schemas.orders import CancelOrder, PlaceOrder, Side
from schemas.rebalance import Leg, Reason, TransitionCause
from schemas.values import Amount, Asset, Count, DurationMs, Holding, Id, Name, Price, Symbol, Text, TimeMs, VenueSymbol
from schemas.venue import VenueRules, VenueStatus
from streams.domain.intake.acceptance import Acceptance
from streams.domain.numbers import MONEY
from streams.domain.portfolio.screen import Watch


@dataclass(frozen=True, slots=True)
class Quoted:
    """The best prices of a symbol on one venue. `received_at_ms` 0: heard of without a receive time, so never fresh."""

    bid_price_quote: Price
    ask_price_quote: Price
    received_at_ms: TimeMs


@dataclass(frozen=True, slots=True)
class ForeignOrder:
    """What is left of an order by hand that stands on an account's book; without a limit nobody knows what a buy may spend."""

    symbol: Symbol
    side: Side
    remaining_base: Holding
    price_limit_quote: Price | None


@dataclass(frozen=True, slots=True)
class Account:
    """One venue account. `holdings` is the sum of its ledger postings; until `opened` they are not known. `foreign_orders` are
    orders by hand, by their flow's id: classified or not, what they bind is not ours to spend while they stand."""

    venue: Name
    opened: bool = False
    holdings: dict[Asset, Amount] = field(default_factory=dict)
    foreign_orders: dict[Text, ForeignOrder] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """A place command that has not ended, as the ledger tells it.

    `state` None: decided, nothing heard. `voided`: a resume was decided after it, so it is forgotten where no answer comes.
    `in_transition`: its fills are a transition's.
    """

    command: PlaceOrder
    state: OrderState | None
    since_ms: TimeMs
    filled_base: Holding
    voided: bool = False
    cancel_sent: bool = False
    in_transition: bool = False


@dataclass(frozen=True, slots=True)
class OpenCancel:
    """A cancel command that has not ended."""

    command: CancelOrder
    state: OrderState | None
    voided: bool = False


@dataclass(frozen=True, slots=True)
class Halt:
    """Why nothing new is sent: for the whole portfolio, or for one of its accounts."""

    cause: Text
    account: Name | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that must halt the portfolio at the end of this very step."""

    cause: Text
    detail: Text


@dataclass(frozen=True, slots=True)
class Failure:
    """A venue's refusal, remembered for as long as repeats of it count."""

    cause: Text
    at_ms: TimeMs


@dataclass(frozen=True, slots=True)
class Traded:
    """What was traded within one bucket of time: notional of both sides, and its cost against the decision's mid."""

    bucket_ms: TimeMs
    notional_quote: Amount
    cost_quote: Amount


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What holding is measured by: a portfolio worth `nav_quote` on these weights at these marks, from `since_ms` on; `flows`
    are the units of each asset that came in by themselves since. The weights are the targets or, `in_transition`, its own."""

    since_ms: TimeMs
    nav_quote: Amount
    weights: dict[Asset, Amount]
    marks: dict[Asset, Amount]
    flows: dict[Asset, Amount] = field(default_factory=dict)
    in_transition: bool = False


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What was lost against holding the targets from `since_ms` until its hour ended; below zero it was won."""

    since_ms: TimeMs
    loss_quote: Amount


@dataclass(frozen=True, slots=True)
class Transition:
    """A move to the targets that no drift of prices caused (`transition`): its budget, and what of it is traded, in all and by
    buckets of time."""

    cause: TransitionCause
    since_ms: TimeMs
    budget_quote: Amount
    spent_quote: Amount = Decimal(0)
    traded: tuple[Traded, ...] = ()


@dataclass(frozen=True, slots=True)
class TimeInBand:
    """Journal time with a known drift, and its part within the band, up to `since_ms`; from there on `in_band` holds."""

    since_ms: TimeMs
    in_band: bool | None = None
    total_ms: DurationMs = 0
    in_band_ms: DurationMs = 0


@dataclass(frozen=True, slots=True)
class PortfolioState:
    """One portfolio.

    `decision_number` counts decisions, `notice_number` what is said without deciding; both make ids. `waiting` are planned
    buys that no sell has funded yet and `sold` the accounts where a sell of the plan in work has been filled.
    `rounds` counts plans since the drift was last inside the threshold, `fruitless` those in a row that filled nothing.
    `limits_due`: a fill was booked that the limits have not been compared with yet. `benchmark` and `shortfalls` (oldest first)
    measure the day's loss against holding the targets. `transition` is under way, one for `transition_due` or for what `flowed`
    begins at the next look with nothing in the way; `transitioned` is what those that ended have traded, for its hour.
    `flows_open` are the flows of each account that nobody has classified. `missed` names the first ledger entry that could
    not be booked: the holdings are wrong from there on, and the quarantine stands until mended code folds the journal anew.
    """

    portfolio: Name
    incarnation: Id
    quote: Asset
    accounts: dict[Name, Account]
    observed_at_ms: TimeMs
    time_in_band: TimeInBand
    targets: TargetsSet | None = None
    policy: PolicySet | None = None
    limits: PortfolioLimitsSet | None = None
    decision_number: Count = 0
    notice_number: Count = 0
    orders: dict[Id, OpenOrder] = field(default_factory=dict)
    cancels: dict[Id, OpenCancel] = field(default_factory=dict)
    waiting: tuple[Leg, ...] = ()
    sold: tuple[Name, ...] = ()
    plan_filled: bool = False
    rounds: Count = 0
    fruitless: Count = 0
    paused_until_ms: TimeMs = 0
    halts: dict[Id, Halt] = field(default_factory=dict)
    alarms: tuple[Alarm, ...] = ()
    quarantine: Id | None = None
    missed: Text | None = None
    leaving_to: Count | None = None
    held_back: Reason | None = None
    failures: tuple[Failure, ...] = ()
    traded: tuple[Traded, ...] = ()
    limits_due: bool = False
    benchmark: Benchmark | None = None
    shortfalls: tuple[Shortfall, ...] = ()
    transition: Transition | None = None
    transition_due: TransitionCause | None = None
    transitioned: tuple[Traded, ...] = ()
    flowed: dict[Asset, Amount] = field(default_factory=dict)
    flows_open: dict[Name, tuple[Text, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """What all portfolios of a shard see: prices, rules and status of venues, and what operators stopped.

    `environment` goes into every id, so that a test and production never share one.
    """

    environment: str
    time_ms: TimeMs = 0
    quotes: dict[VenueSymbol, Quoted] = field(default_factory=dict)
    rules: dict[VenueSymbol, VenueRules] = field(default_factory=dict)
    statuses: dict[Name, VenueStatus] = field(default_factory=dict)
    maintenance: tuple[MaintenanceScheduled, ...] = ()
    stops: dict[Id, TradingStopped] = field(default_factory=dict)


@dataclass(slots=True)
class Shard:
    """The whole state of one journal partition; `watches` may be lost at any time."""

    number: int
    world: World
    acceptance: Acceptance = field(default_factory=Acceptance)
    portfolios: dict[Name, PortfolioState] = field(default_factory=dict)
    watches: dict[Name, Watch] = field(default_factory=dict)


def remaining_base(order: OpenOrder) -> Amount:
    """What is left of an order, in base units; an overfilled one has nothing left."""
    return max(MONEY.subtract(order.command.quantity_base, order.filled_base), Decimal(0))


def is_buy(side: Side) -> bool:
    """Whether a side receives the base asset."""
    return side is Side.BUY
