"""Transitions: moves to targets that no drift of prices caused. First funding, new targets, a flow larger than the band.

    preview = sum over risky assets of |drift| x NAV at the begin             what all trades to the targets are worth
    budget  = 1.05 x preview                                                  what the transition may trade in all

Such a move is wanted, may be most of the portfolio, and says nothing of a machine that runs wild. So what it trades counts
against its budget and against its own hour, not against the turnover of five minutes and of a day that halts a portfolio; what
goes beyond the budget counts there. It is patient: small orders, and no more than so much in an hour (`PortfolioLimitsSet`).
A move of less than one such order is none; nor is what is left of one: ordinary rules finish it. The account's own limits in
the executor know nothing of transitions, and hold.
"""

from dataclasses import replace
from decimal import Decimal

from schemas.rebalance import TransitionCause, TransitionView
from streams.domain.numbers import DECISION, MONEY, wire
from streams.domain.portfolio.limits import transition_left_quote, with_trade
from streams.domain.portfolio.state import PortfolioState, Transition
from streams.domain.portfolio.valuation import Valuation, drift_max, risky

BUDGET = Decimal("1.05")
_ZERO = Decimal(0)


def turned(state: PortfolioState, fills: Valuation, now_ms: int) -> PortfolioState:
    """The state with a transition where one is due, and without one that has arrived or used its budget up.

    Needs open gates and no order at work.
    """
    assert state.policy is not None
    assert state.limits is not None
    if not pending(state):
        return state
    running = state.transition
    traded = state.transitioned if running is None else running.traded
    cause = state.transition_due or (TransitionCause.FLOW if _is_large(state, fills) else None)
    if cause is not None:
        budget = wire(DECISION.multiply(BUDGET, _preview_quote(state, fills)))
        running = Transition(cause, now_ms, budget, traded=traded)
    if running is not None:
        order_quote = DECISION.multiply(state.limits.transition_order_max, fills.nav_quote)
        if drift_max(fills) < state.policy.threshold or transition_left_quote(running) < order_quote:
            running = None
    ended = traded if running is None else ()
    return replace(state, transition=running, transition_due=None, transitioned=ended, flowed={})


def pending(state: PortfolioState) -> bool:
    """Whether a look would still begin or end a transition, or find out that there is none."""
    return state.transition is not None or state.transition_due is not None or bool(state.flowed)


def with_flow(state: PortfolioState, asset: str, amount: Decimal) -> PortfolioState:
    """The state after something came in, or went out, by itself."""
    return replace(state, flowed={**state.flowed, asset: MONEY.add(state.flowed.get(asset, _ZERO), amount)})


def with_fill(
    state: PortfolioState, command_id: str | None, now_ms: int, notional_quote: Decimal
) -> tuple[PortfolioState, Decimal]:
    """The state after a fill, and what of it is ordinary turnover: all that no transition's budget covers. An order whose
    outcome was unknown may outlive its transition: it was within that budget."""
    running, order = state.transition, state.orders.get(command_id or "")
    if order is None or not order.in_transition:
        return state, notional_quote
    if running is None:
        return replace(state, transitioned=with_trade(state.transitioned, now_ms, notional_quote, _ZERO)), _ZERO
    covered = min(notional_quote, transition_left_quote(running))
    spent, traded = MONEY.add(running.spent_quote, covered), with_trade(running.traded, now_ms, covered, _ZERO)
    after = replace(state, transition=replace(running, spent_quote=spent, traded=traded))
    return after, MONEY.subtract(notional_quote, covered)


def view(state: PortfolioState) -> TransitionView | None:
    """The transition under way, as signals carry it."""
    running = state.transition
    if running is None:
        return None
    return TransitionView(
        cause=running.cause, since_ms=running.since_ms, budget_quote=running.budget_quote, spent_quote=running.spent_quote
    )


def _preview_quote(state: PortfolioState, fills: Valuation) -> Decimal:
    total = _ZERO
    for asset in risky(state):
        total = DECISION.add(total, DECISION.multiply(abs(fills.drifts[asset]), fills.nav_quote))
    return total


def _is_large(state: PortfolioState, fills: Valuation) -> bool:
    """Whether what flowed since the last look is worth more than the band, in any one asset."""
    assert state.policy is not None
    band_quote = DECISION.multiply(state.policy.band, fills.nav_quote)
    worths = (DECISION.multiply(abs(amount), fills.marks.get(asset, _ZERO)) for asset, amount in state.flowed.items())
    return any(worth > band_quote for worth in worths)
