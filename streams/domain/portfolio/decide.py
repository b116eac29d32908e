"""What a portfolio does after each thing that happened: look, and say what follows.

In this order: halt itself if something demands it, cancel what a halt wants cancelled, look at the gates and the drift,
release buys that a sell has funded, then decide anew, hold back or leave things alone, and now and then say how it stands.
Every message said goes through `evolve.told`, so the state is what was read and what was said, and nothing else. Looking
twice at the same instant says nothing the second time.
"""

from collections.abc import Iterable
from dataclasses import replace

from schemas.control import StopKind
from schemas.envelope import Message
from schemas.ledger import OrderState
from schemas.rebalance import Reason
from streams.domain.portfolio import evolve, limits, reasons, signals, transition
from streams.domain.portfolio.gates import UNANSWERED_MS, Closed, first_closed, is_priced, stale_from_ms, stopped_accounts
from streams.domain.portfolio.holding import fits, measured
from streams.domain.portfolio.plan import make_plan, release
from streams.domain.portfolio.screen import Watch, bounds
from streams.domain.portfolio.state import Alarm, OpenOrder, PortfolioState, World
from streams.domain.portfolio.threshold import triggered
from streams.domain.portfolio.timing import seen
from streams.domain.portfolio.valuation import (
    Sight,
    drift_in_words,
    drift_max,
    look,
    mark_keys,
    quote_keys,
    unknown_orders,
)

UNKNOWN_MS_MAX = 60_000
"""An order's outcome may stay unknown for this long."""


def consider(world: World, state: PortfolioState) -> tuple[PortfolioState, list[Message], Watch | None]:
    """The state after one look at `world.time_ms`, what is said, and until when another look can be spared."""
    said: list[Message] = []
    state = _forget_voided(world, state)
    state = _changed_to(_say(said, state, _alarmed(world, state)), alarms=())
    state = _say(said, state, _halt_cancels(world, state))
    sight = look(world, state)
    if sight is not None and state.limits is not None:
        state = _changed_to(state, limits_due=False)
    closed = first_closed(world, state, sight)
    if closed is None and sight is not None and _busy(world, state) is None:
        state = transition.turned(state, sight.fills, world.time_ms)
    if sight is not None and _measures(world, state) and is_priced(world, state):
        state = measured(state, sight.fills, world.time_ms)
    if state.waiting:
        state = _say(said, state, _released(world, state, sight, closed))
        state = _plan_over(state, closed)
        sight = look(world, state)
    within = None if sight is None or state.policy is None else drift_max(sight.fills) <= state.policy.band
    state = _changed_to(state, time_in_band=seen(state.time_in_band, world.time_ms, within))
    why = closed
    if why is None and sight is not None:
        why, messages = _decided(world, state, sight)
        state = _say(said, state, messages)
    assert why is not None
    if sight is not None:
        state = _say(said, state, _held_back(world, state, why, sight))
    if why.reason is Reason.WITHIN_BAND:
        state = _changed_to(state, rounds=0, held_back=None)
    if _observes(world, state):
        state = _say(said, state, [signals.observed(world, state, why, sight)])
    return state, said, _watch(world, state, sight, why)


def _say(said: list[Message], state: PortfolioState, messages: Iterable[Message]) -> PortfolioState:
    for message in messages:
        state = evolve.told(state, message)
        said.append(message)
    return state


def _alarmed(world: World, state: PortfolioState) -> list[Message]:
    """One halt for the first cause that this portfolio is not halted for already."""
    known = {halt.cause for halt in state.halts.values() if halt.account is None}
    for alarm in _alarms(world, state):
        if alarm.cause not in known:
            return signals.halted(world, state, alarm)
    return []


def _alarms(world: World, state: PortfolioState) -> Iterable[Alarm]:
    yield from state.alarms
    for order in unknown_orders(state):
        if world.time_ms > order.since_ms + UNKNOWN_MS_MAX:
            yield Alarm(reasons.UNKNOWN_TOO_LONG, f"command {order.command.command_id}")
    if state.limits is not None and (state.limits_due or _observes(world, state)):
        sight = look(world, state)
        if sight is not None and (state.limits_due or is_priced(world, state)):
            yield from limits.crossed(state, state.limits, world.time_ms, sight.fills)


def _halt_cancels(world: World, state: PortfolioState) -> list[Message]:
    stopped = stopped_accounts(world, state, (StopKind.HALT,)) if state.orders else {}
    orders = [order for order in state.orders.values() if order.command.account in stopped and not order.cancel_sent]
    return signals.cancelled(world, state, orders, stopped[min(stopped)]) if orders else []


def _released(world: World, state: PortfolioState, sight: Sight | None, closed: Closed | None) -> list[Message]:
    if closed is not None or sight is None:
        return []
    sent, waiting = release(world, state, sight.fills.nav_quote)
    return signals.decided(world, state, sight, Reason.SELL_FILLED, sent, waiting) if sent else []


def _plan_over(state: PortfolioState, closed: Closed | None) -> PortfolioState:
    """Without open orders nothing will fund what still waits, and under a halt nothing may: the next plan starts from
    holdings."""
    stopped = closed is not None and closed.reason in (Reason.HALTED, Reason.QUARANTINED)
    return replace(state, waiting=()) if stopped or not _at_work(state) else state


def _decided(world: World, state: PortfolioState, sight: Sight) -> tuple[Closed, list[Message]]:
    """With all gates open: why nothing is done, or a plan."""
    assert state.policy is not None
    busy = _busy(world, state)
    if busy is not None:
        return busy, []
    unknown = unknown_orders(state)
    blocked = {order.command.symbol.split("/")[0] for order in unknown}
    assets = triggered(sight.fills, sight.outcomes, state.policy.threshold, blocked)
    if not assets:
        return _quiet(unknown), []
    plan = make_plan(world, state, sight, assets, blocked)
    if not plan.send and not plan.debts:
        return _quiet(unknown), []
    if not plan.send:
        limited = any(debt.cause == reasons.LIMIT for debt in plan.debts)
        detail = ", ".join(f"{debt.asset} {debt.cause}" for debt in plan.debts)
        return Closed(Reason.LIMIT if limited else Reason.BELOW_MINIMUM, detail), []
    messages = signals.decided(world, state, sight, Reason.DRIFT, plan.send, plan.waiting, plan.debts, assets[0])
    return Closed(Reason.DRIFT, drift_in_words(sight.fills)), messages


def _quiet(unknown: list[OpenOrder]) -> Closed:
    """Why nothing is wanted: at rest, or what is wanted is blocked by an order whose outcome is unknown."""
    return Closed(Reason.UNKNOWN_ORDER, unknown[0].command.symbol) if unknown else Closed(Reason.WITHIN_BAND)


def _busy(world: World, state: PortfolioState) -> Closed | None:
    at_work = _at_work(state)
    if at_work or state.waiting:
        return Closed(Reason.IN_WORK, f"{len(at_work)} orders open, {len(state.waiting)} buys waiting")
    if world.time_ms < state.paused_until_ms:
        return Closed(Reason.IN_WORK, f"the last {state.fruitless} plans filled nothing, next try at {state.paused_until_ms}")
    return None


def _at_work(state: PortfolioState) -> list[OpenOrder]:
    """Orders whose end is awaited. UNKNOWN ones only block their symbol. A voided one may have been admitted before the halt
    was heard, with the books behind: it is awaited until it is forgotten."""
    return [order for order in state.orders.values() if order.state is not OrderState.UNKNOWN]


def _held_back(world: World, state: PortfolioState, why: Closed, sight: Sight) -> list[Message]:
    """Says once for each change of the reason that a trigger is not acted on, or that a command has no answer."""
    assert state.policy is not None
    if why.reason in (Reason.DRIFT, Reason.WITHIN_BAND) or why.reason is state.held_back:
        return []
    exists = triggered(sight.fills, (sight.pending,), state.policy.threshold)
    return [signals.held_back(world, state, why, sight)] if exists or why.reason is Reason.UNANSWERED else []


def _forget_voided(world: World, state: PortfolioState) -> PortfolioState:
    """Without the voided commands whose answer has not come and cannot be expected any more."""
    if not state.orders and not state.cancels:
        return state
    orders = {
        key: order for key, order in state.orders.items() if not _forgotten(world, order.voided, order.command.admit_by_ms)
    }
    cancels = {
        key: cancel for key, cancel in state.cancels.items() if not _forgotten(world, cancel.voided, cancel.command.admit_by_ms)
    }
    return _changed_to(state, orders=orders, cancels=cancels)


def _forgotten(world: World, voided: bool, admit_by_ms: int) -> bool:
    return voided and world.time_ms > admit_by_ms + UNANSWERED_MS


def _changed_to(state: PortfolioState, **changes: object) -> PortfolioState:
    """`replace`, but the very same object when nothing changes."""
    if all(getattr(state, name) == value for name, value in changes.items()):
        return state
    return replace(state, **changes)  # type: ignore[arg-type]


def _observes(world: World, state: PortfolioState) -> bool:
    """Whether it is time to say how the portfolio stands; what is measured now and then is measured then."""
    return state.policy is not None and world.time_ms >= _observe_at_ms(state)


def _measures(world: World, state: PortfolioState) -> bool:
    """Whether the measure of holding the targets is to be looked at: it is of other weights, or it is time."""
    return not fits(state) or _observes(world, state)


def _observe_at_ms(state: PortfolioState) -> int:
    assert state.policy is not None
    return state.observed_at_ms + max(state.policy.observe_every_ms, 1)


def _watch(world: World, state: PortfolioState, sight: Sight | None, why: Closed) -> Watch | None:
    """Only a portfolio at rest can be left alone."""
    if why.reason is not Reason.WITHIN_BAND or sight is None or state.orders or state.cancels or transition.pending(state):
        return None
    assert state.policy is not None
    keys = mark_keys(state)
    marks = {key: sight.fills.marks[asset] for asset, key in keys.items()}
    figures = [(sight.fills.weights[asset], drift) for asset, drift in sight.fills.drifts.items()]
    within = bounds(marks, figures, min(state.policy.threshold, state.policy.band))
    if within is None:
        return None
    edges = (edge for window in world.maintenance for edge in (window.from_ms, window.to_ms) if edge > world.time_ms)
    due_at_ms = min(_observe_at_ms(state), stale_from_ms(state, sight.oldest_received_at_ms), *edges)
    return Watch(due_at_ms, frozenset(quote_keys(state)), within)
