"""What operators allow: the control topic folded to what an executor must know before it sends anything.

A resume lifts exactly the halts that it names, wherever they came from, and voids commands that were decided before it
within its scope and theirs: whoever decided them did not know of the halt.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schemas.control import (
    AccountLimitsSet,
    CancelRequested,
    FlowClassificationSet,
    LookRequested,
    MaintenanceScheduled,
    PortfolioCreated,
    StopKind,
    TradingResumed,
    TradingStopped,
    TransferAnnounced,
)
from schemas.envelope import Message

_WINDOWS_MAX = 1000
_ANNOUNCED_MAX = 1000
_LOOKS_MAX = 100
CLOCKS_DIFFER_MS = 60_000
"""How far the broker that took a resume may be behind the one that took the halt it lifts."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A halt or freeze that nobody has lifted, and when it was said."""

    scope: str
    kind: StopKind
    at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Authority:
    """The control topic as of its last record read. Owners: account to (portfolio, venue); an account stays with whom it
    was given to first.

    `incarnations` are those of each portfolio, the present one last.
    """

    owners: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    incarnations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: Mapping[str, AccountLimitsSet] = field(default_factory=dict)
    stops: Mapping[str, Stop] = field(default_factory=dict)
    resumed: frozenset[str] = frozenset()
    voided_before_ms: Mapping[str, int] = field(default_factory=dict)
    maintenance: tuple[MaintenanceScheduled, ...] = ()
    announced: tuple[TransferAnnounced, ...] = ()
    classified: Mapping[tuple[str, str], FlowClassificationSet] = field(default_factory=dict)
    canceled: frozenset[str] = frozenset()
    canceled_before_ms: Mapping[str, int] = field(default_factory=dict)
    looks: tuple[LookRequested, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountAuthority:
    """What control says about one account. Limits None: none were set, so nothing may be sent.

    `incarnation` is the portfolio's present one, `former` are those it had before. `looks` are the latest questions that
    operators want asked: when they said so, and about which command (None: the whole account).
    """

    portfolio: str | None = None
    incarnation: str | None = None
    former: frozenset[str] = frozenset()
    limits: AccountLimitsSet | None = None
    stop: StopKind | None = None
    resumed: frozenset[str] = frozenset()
    voided_before_ms: int = 0
    maintenance: tuple[tuple[int, int], ...] = ()
    announced: tuple[TransferAnnounced, ...] = ()
    classified: Mapping[str, FlowClassificationSet] = field(default_factory=dict)
    canceled: frozenset[str] = frozenset()
    canceled_before_ms: int = 0
    looks: frozenset[tuple[int, str | None]] = frozenset()

    def is_former(self, portfolio: str, incarnation: str) -> bool:
        """Whether that was an incarnation of the account's portfolio and is no more."""
        return portfolio == self.portfolio and incarnation in self.former

    def withdraws(self, command_id: str, decided_at_ms: int) -> bool:
        """Whether an operator wants this command's order off the book, or never there."""
        return command_id in self.canceled or decided_at_ms <= self.canceled_before_ms


def fold(state: Authority, message: Message) -> Authority:
    """The authority after one control event; events that do not concern sending change nothing."""
    match message:
        case PortfolioCreated():
            owned = {
                account: (message.portfolio, venue)
                for account, venue in message.accounts.items()
                if state.owners.get(account, (message.portfolio,))[0] == message.portfolio
            }
            before = [one for one in state.incarnations.get(message.portfolio, ()) if one != message.incarnation]
            incarnations = {**state.incarnations, message.portfolio: (*before, message.incarnation)}
            return replace(state, owners={**state.owners, **owned}, incarnations=incarnations)
        case AccountLimitsSet():
            return replace(state, limits={**state.limits, message.account: message})
        case TradingStopped():
            if message.halt_id in state.resumed:
                return state
            return replace(state, stops={**state.stops, message.halt_id: Stop(message.scope, message.kind, message.at_ms)})
        case TradingResumed():
            return _resumed(state, message)
        case MaintenanceScheduled():
            return replace(state, maintenance=(*state.maintenance, message)[-_WINDOWS_MAX:])
        case CancelRequested():
            return _cancel_requested(state, message)
        case LookRequested():
            return replace(state, looks=(*state.looks, message)[-_LOOKS_MAX:])
        case TransferAnnounced():
            return replace(state, announced=(*state.announced, message)[-_ANNOUNCED_MAX:])
        case FlowClassificationSet():
            said = {**state.classified, (message.account, message.flow_id): message}
            return replace(state, classified=dict(list(said.items())[-_ANNOUNCED_MAX:]))
        case _:
            return state


def _cancel_requested(state: Authority, message: CancelRequested) -> Authority:
    if message.target_command_id is not None:
        return replace(state, canceled=state.canceled | {message.target_command_id})
    before = max(message.at_ms, state.canceled_before_ms.get(message.scope, 0))
    return replace(state, canceled_before_ms={**state.canceled_before_ms, message.scope: before})


def _resumed(state: Authority, message: TradingResumed) -> Authority:
    lifted = frozenset(message.halt_ids)
    stops = [stop for halt_id, stop in state.stops.items() if halt_id in lifted]
    # Brokers' clocks step, and another one may lead since the halt; one far ahead must not void what is to come.
    before_ms = max(message.at_ms, *(min(stop.at_ms, message.at_ms + CLOCKS_DIFFER_MS) for stop in stops), 0)
    scopes = {message.scope, *(stop.scope for stop in stops)}
    voided = {scope: max(before_ms, state.voided_before_ms.get(scope, 0)) for scope in sorted(scopes)}
    return replace(
        state,
        stops={halt_id: stop for halt_id, stop in state.stops.items() if halt_id not in lifted},
        resumed=state.resumed | lifted,
        voided_before_ms={**state.voided_before_ms, **voided},
    )


def for_account(state: Authority, account: str, venue: str) -> AccountAuthority:
    """The part of control that concerns one account on one venue."""
    owner = state.owners.get(account)
    portfolio = owner[0] if owner is not None and owner[1] == venue else None
    scopes = {"all", f"account:{account}", f"venue:{venue}", f"portfolio:{portfolio}"}
    kinds = {stop.kind for stop in state.stops.values() if stop.scope in scopes}
    stop = StopKind.HALT if StopKind.HALT in kinds else StopKind.FREEZE if kinds else None
    incarnations = state.incarnations.get(portfolio or "", ())
    return AccountAuthority(
        portfolio=portfolio,
        incarnation=incarnations[-1] if incarnations else None,
        former=frozenset(incarnations[:-1]),
        limits=state.limits.get(account),
        stop=stop,
        resumed=state.resumed,
        voided_before_ms=max((state.voided_before_ms.get(scope, 0) for scope in scopes), default=0),
        maintenance=tuple((window.from_ms, window.to_ms) for window in state.maintenance if window.venue == venue),
        canceled=state.canceled,
        canceled_before_ms=max((state.canceled_before_ms.get(scope, 0) for scope in scopes), default=0),
        looks=frozenset((look.at_ms, look.target_command_id) for look in state.looks if look.account == account),
        announced=tuple(transfer for transfer in state.announced if transfer.account == account),
        classified={flow_id: said for (name, flow_id), said in state.classified.items() if name == account},
    )
