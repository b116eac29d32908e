"""What a portfolio lost against holding its targets.

The measure is a portfolio of the same worth that was put on the target weights w at t0, for nothing, and then left alone:

    B(t) = NAV(t0) x sum over assets of w(a) x p(a, t) / p(a, t0)            the quote asset's p is 1
    loss(t) = B(t) - (NAV(t) - sum over assets of flow(a) x p(a, t))         above zero: less than holding

The sums and NAV(t) are over the assets that had a mark at t0: one that gets a target later is neither won nor lost. flow(a) is
what came in (or went out, below zero) by itself since t0; it is nobody's gain or loss. So fees, spreads, bad fills and time off
the target all count, price moves alone do not. In a transition w are the portfolio's own weights at t0: what the targets win
before it has arrived is not lost. t0 moves on with each hour of journal time, and whenever targets change, a transition begins
or ends, or an operator resumes what this halted; the losses of the hours that ended are kept, so that the day's loss is the sum
of the last 24 and of the present one. It is measured whenever a portfolio says how it stands, and after each fill.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from streams.domain.numbers import DECISION, MONEY, wire
from streams.domain.portfolio.state import Benchmark, PortfolioState, Shortfall
from streams.domain.portfolio.valuation import Valuation

HOUR_MS = 3_600_000
HOURS = 24
LOSS_MAX_QUOTE = Decimal(10) ** 18
"""Of what an absurd price makes lost or won no more is kept: a checkpoint must be able to say it."""
_ZERO = Decimal(0)


def loss_day_quote(state: PortfolioState, fills: Valuation, now_ms: int) -> Decimal:
    """The loss of the last day in quote units; below zero the portfolio is ahead."""
    loss = (_loss(state.benchmark, fills) if state.benchmark is not None else None) or _ZERO
    for hour in _kept(state, now_ms):
        loss = MONEY.add(loss, hour.loss_quote)
    return loss


def measured(state: PortfolioState, fills: Valuation, now_ms: int) -> PortfolioState:
    """The state with its measure as of now: begun, or begun anew where an hour ended or the targets are others."""
    assert state.targets is not None
    known = state.benchmark
    if known is not None and fits(state) and known.since_ms // HOUR_MS == now_ms // HOUR_MS:
        return state
    hours = _kept(state, now_ms)
    loss = _loss(known, fills) if known is not None else None
    if known is not None and loss is not None:
        hours = (*hours, Shortfall(known.since_ms, loss))
    moving = state.transition is not None
    weights = fills.weights if moving else state.targets.weights
    fresh = Benchmark(now_ms, fills.nav_quote, dict(weights), dict(fills.marks), in_transition=moving)
    return replace(state, benchmark=fresh, shortfalls=hours)


def fits(state: PortfolioState) -> bool:
    """Whether there is a measure, and of what the portfolio is to be measured by now."""
    assert state.targets is not None
    known = state.benchmark
    if known is None or known.in_transition != (state.transition is not None):
        return False
    return known.in_transition or known.weights == state.targets.weights


def with_flow(benchmark: Benchmark | None, asset: str, amount: Decimal) -> Benchmark | None:
    """The measure after something came in, or went out, by itself."""
    if benchmark is None:
        return None
    flows = {**benchmark.flows, asset: MONEY.add(benchmark.flows.get(asset, _ZERO), amount)}
    return replace(benchmark, flows=flows)


def _kept(state: PortfolioState, now_ms: int) -> tuple[Shortfall, ...]:
    return tuple(hour for hour in state.shortfalls if hour.since_ms > now_ms - HOURS * HOUR_MS)


def _loss(benchmark: Benchmark, fills: Valuation) -> Decimal | None:
    """None: an asset of the measure has no mark any more, since it left the targets. One that came to them is not of it yet.

    Sums go by name: they are rounded, and a checkpoint gives dictionaries another order.
    """
    if any(asset not in fills.marks for asset in benchmark.marks):
        return None
    grown = _ZERO
    for asset, weight in sorted(benchmark.weights.items()):
        growth = DECISION.divide(fills.marks[asset], benchmark.marks[asset])
        grown = DECISION.add(grown, DECISION.multiply(weight, growth))
    held = DECISION.multiply(benchmark.nav_quote, grown)
    own = wire(_worth(fills.holdings, benchmark, fills.marks))
    loss = wire(DECISION.subtract(held, DECISION.subtract(own, _worth(benchmark.flows, benchmark, fills.marks))))
    return max(min(loss, LOSS_MAX_QUOTE), -LOSS_MAX_QUOTE)


def _worth(units: Mapping[str, Decimal], benchmark: Benchmark, marks: Mapping[str, Decimal]) -> Decimal:
    """What units of the measure's assets are worth now."""
    worth = _ZERO
    for asset, amount in sorted(units.items()):
        if asset in benchmark.marks:
            worth = DECISION.add(worth, DECISION.multiply(amount, marks[asset]))
    return worth
