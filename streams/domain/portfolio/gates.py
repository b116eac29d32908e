"""Gates: what must be provably true before anything new is sent. A gate that is not provably open is closed.

They are asked in the order of `Reason`, the most binding first, and the first closed one is the portfolio's reason. No
urgency overrides a gate. A cancel needs none of them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal

from schemas.control import StopKind, TradingStopped
from schemas.rebalance import Reason
from schemas.venue import TradingStatus
from streams.domain.portfolio.state import Account, PortfolioState, World
from streams.domain.portfolio.valuation import UNKNOWN_MAX, Sight, quote_keys, unknown_orders

UNANSWERED_MS = 30_000
"""Every command gets a ledger entry; one without any this long after its `admit_by` has met a lag or a hole somewhere."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed gate, with the account, symbol or figure that closes it."""

    reason: Reason
    detail: str = ""


def first_closed(world: World, state: PortfolioState, sight: Sight | None) -> Closed | None:
    """The most binding gate that is closed, or None: then new orders may be decided. `sight` is `look(world, state)`."""
    return (
        _stopped(world, state)
        or _unready(world, state)
        or _unpriced(world, state)
        or _unvalued(sight)
        or _no_way_out(world, state)
        or _unanswered(world, state)
    )


def open_accounts(world: World, state: PortfolioState) -> dict[str, Account]:
    """The accounts through which new orders may go: not stopped, on a venue that trades."""
    stopped = stopped_accounts(world, state, (StopKind.HALT, StopKind.FREEZE))
    return {
        name: account
        for name, account in sorted(state.accounts.items())
        if name not in stopped and not venue_closed(world, account.venue)
    }


def stopped_accounts(world: World, state: PortfolioState, kinds: Collection[StopKind]) -> dict[str, str]:
    """The accounts stopped by the portfolio's own halts or by an operator's stop of these kinds, each with the id of one
    halt that names it."""
    stopped = {} if state.quarantine is None else dict.fromkeys(state.accounts, state.quarantine)
    for halt_id, halt in sorted(state.halts.items()):
        stopped |= {name: halt_id for name in state.accounts if halt.account in (None, name)}
    for halt_id, stop in sorted(world.stops.items()):
        if stop.kind in kinds:
            stopped |= {name: halt_id for name, account in state.accounts.items() if _concerns(stop, state, name, account)}
    return stopped


def concerns(stop: TradingStopped, state: PortfolioState) -> bool:
    """Whether a stop's scope touches the portfolio or one of its accounts."""
    return any(_concerns(stop, state, name, account) for name, account in state.accounts.items())


def venue_closed(world: World, venue: str) -> bool:
    """Whether the venue takes no orders now: it says so, or maintenance was announced."""
    status = world.statuses.get(venue)
    if status is not None and status.status is not TradingStatus.TRADING:
        return True
    return any(window.venue == venue and window.from_ms <= world.time_ms < window.to_ms for window in world.maintenance)


def is_crossed(bid_price_quote: Decimal, ask_price_quote: Decimal) -> bool:
    """Whether a quote cannot be real: its bid is not below its ask."""
    return bid_price_quote >= ask_price_quote


def is_priced(world: World, state: PortfolioState) -> bool:
    """Whether every price that the portfolio stands on is there, fresh and uncrossed. Its targets and policy are set."""
    return _unpriced(world, state) is None


def stale_from_ms(state: PortfolioState, oldest_received_at_ms: int) -> int:
    """The first instant at which a price received then is too old to decide on."""
    assert state.policy is not None
    return oldest_received_at_ms + state.policy.mark_age_ms_max + 1


def _stopped(world: World, state: PortfolioState) -> Closed | None:
    if state.quarantine is not None:
        return Closed(Reason.QUARANTINED, state.quarantine)
    stopped = stopped_accounts(world, state, (StopKind.HALT, StopKind.FREEZE))
    if stopped and len(stopped) == len(state.accounts):
        return Closed(Reason.HALTED, stopped[min(stopped)])
    if state.leaving_to is not None:
        return Closed(Reason.HALTED, f"moves to shard {state.leaving_to}")
    return None


def _unready(world: World, state: PortfolioState) -> Closed | None:
    if not state.accounts:
        return Closed(Reason.WAITING_OPENING, "no account")
    unopened = sorted(name for name, account in state.accounts.items() if not account.opened)
    if unopened:
        return Closed(Reason.WAITING_OPENING, unopened[0])
    if state.flows_open:
        return Closed(Reason.UNCLASSIFIED_FLOW, min(state.flows_open[min(state.flows_open)]))
    missing = [name for name in ("targets", "policy", "limits") if getattr(state, name) is None]
    if missing:
        return Closed(Reason.NO_TARGETS, missing[0])
    without = [key for key in quote_keys(state) if key not in world.rules]
    return Closed(Reason.NO_RULES, without[0]) if without else None


def _unpriced(world: World, state: PortfolioState) -> Closed | None:
    keys = quote_keys(state)
    without = [key for key in keys if key not in world.quotes]
    if without:
        return Closed(Reason.NO_PRICE, without[0])
    stale = [key for key in keys if world.time_ms >= stale_from_ms(state, world.quotes[key].received_at_ms)]
    if stale:
        return Closed(Reason.STALE, stale[0])
    crossed = [key for key in keys if is_crossed(world.quotes[key].bid_price_quote, world.quotes[key].ask_price_quote)]
    return Closed(Reason.CROSSED, crossed[0]) if crossed else None


def _unvalued(sight: Sight | None) -> Closed | None:
    return Closed(Reason.NO_VALUE) if sight is None else None


def _no_way_out(world: World, state: PortfolioState) -> Closed | None:
    if not open_accounts(world, state):
        return Closed(Reason.VENUE_CLOSED, min(account.venue for account in state.accounts.values()))
    if len(unknown_orders(state)) > UNKNOWN_MAX:
        return Closed(Reason.UNKNOWN_ORDER, f"{len(unknown_orders(state))} orders")
    return None


def _unanswered(world: World, state: PortfolioState) -> Closed | None:
    """A lag heals by itself when the answer comes, so this holds and does not halt: a fold that catches up decides at old
    times, and the answers to that lie further on in its journal."""
    for command_id, command in sorted((state.orders | state.cancels).items()):
        unheard = command.state is None and not command.voided
        if unheard and world.time_ms > command.command.admit_by_ms + UNANSWERED_MS:
            return Closed(Reason.UNANSWERED, f"command {command_id}")
    return None


def _concerns(stop: TradingStopped, state: PortfolioState, name: str, account: Account) -> bool:
    return stop.scope in ("all", f"portfolio:{state.portfolio}", f"account:{name}", f"venue:{account.venue}")
