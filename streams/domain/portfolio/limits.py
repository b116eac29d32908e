"""Limits that only the fold can check, because they are fractions of net asset value.

Turnover is the filled notional of both sides. A plan is cut down to the turnover that is left, less a little, so a limit is
not crossed by deciding; a fill that crosses one all the same (net asset value fell by more than that, the venue filled more
than was left) halts the portfolio.
What a transition trades within its budget counts there instead, and in an hour of its own (`transition`).
So does a day's loss against holding the targets (`holding`), and a move of net asset value that no mark explains: what fills
of five minutes cost, or brought, against the mids at their decisions, fees included.

Trades are summed in buckets, so that a busy day stays small: 10 s wide for the last five minutes, ten minutes before that.
A bucket counts as long as any part of it lies in the window.
"""

from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal

from schemas.control import PortfolioLimitsSet
from schemas.values import plain
from streams.domain.numbers import DECISION, MONEY, wire
from streams.domain.portfolio import reasons
from streams.domain.portfolio.holding import loss_day_quote
from streams.domain.portfolio.state import Alarm, OpenOrder, PortfolioState, Traded, Transition, remaining_base
from streams.domain.portfolio.valuation import Valuation

FIVE_MINUTES_MS = 300_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
NAV_MOVE_MAX = Decimal("0.01")
"""Fills of five minutes may move this part of net asset value, either way, without an explanation by marks."""
PLANNED = Decimal("0.95")
"""What of a turnover limit plans use. Fees alone make a portfolio worth less than when it was planned for; used up to the last
bit, the limit was crossed by its own plan."""
_FINE_MS = 10_000
_COARSE_MS = 600_000
_ZERO = Decimal(0)


def with_trade(traded: tuple[Traded, ...], now_ms: int, notional_quote: Decimal, cost_quote: Decimal) -> tuple[Traded, ...]:
    """The buckets after one more fill, oldest first; what no window reaches any more is dropped."""
    buckets: dict[int, tuple[Decimal, Decimal]] = {}
    for entry in (*traded, Traded(now_ms, notional_quote, cost_quote)):
        width = _FINE_MS if entry.bucket_ms > now_ms - FIVE_MINUTES_MS - _FINE_MS else _COARSE_MS
        start = entry.bucket_ms - entry.bucket_ms % width
        if start > now_ms - DAY_MS - _COARSE_MS:
            notional, cost = buckets.get(start, (_ZERO, _ZERO))
            buckets[start] = MONEY.add(notional, entry.notional_quote), MONEY.add(cost, entry.cost_quote)
    return tuple(Traded(start, *sums) for start, sums in sorted(buckets.items()))


def counted_anew(traded: tuple[Traded, ...], causes: Collection[str], now_ms: int) -> tuple[Traded, ...]:
    """The buckets without what these causes halted for: of five minutes, of the day, or what fills cost."""
    kept: list[Traded] = []
    for entry in traded:
        seen = reasons.TURNOVER_DAY in causes or (reasons.TURNOVER_5MIN in causes and _within(entry, now_ms, FIVE_MINUTES_MS))
        notional_quote = _ZERO if seen else entry.notional_quote
        cost_quote = _ZERO if reasons.NAV_MOVE in causes else entry.cost_quote
        if notional_quote or cost_quote:
            kept.append(Traded(entry.bucket_ms, notional_quote, cost_quote))
    return tuple(kept)


def turnover_room_quote(state: PortfolioState, limits: PortfolioLimitsSet, now_ms: int, nav_quote: Decimal) -> Decimal:
    """How much notional may still be traded now, by the tighter of the two turnover limits, or by a transition's hour and
    budget; not below zero. What open orders and those of unknown outcome may still trade counts as traded."""
    running = state.transition
    if running is not None:
        hour = _left(limits.transition_hour_max, nav_quote, running.traded, now_ms, HOUR_MS)
        outstanding = _outstanding_quote(order for order in state.orders.values() if order.in_transition)
        return max(DECISION.subtract(min(hour, transition_left_quote(running)), outstanding), _ZERO)
    planned_quote = DECISION.multiply(PLANNED, nav_quote)
    five = _left(limits.turnover_5min_max, planned_quote, state.traded, now_ms, FIVE_MINUTES_MS)
    day = _left(limits.turnover_day_max, planned_quote, state.traded, now_ms, DAY_MS)
    return max(DECISION.subtract(min(five, day), _outstanding_quote(state.orders.values())), _ZERO)


def order_quote_max(state: PortfolioState, limits: PortfolioLimitsSet, nav_quote: Decimal) -> Decimal:
    """The largest order that may be decided now, in quote units."""
    largest = limits.order_notional_max
    if state.transition is not None:
        largest = min(largest, limits.transition_order_max)
    return DECISION.multiply(largest, nav_quote)


def transition_left_quote(transition: Transition) -> Decimal:
    """What a transition may still trade; never below zero, since no fill is counted beyond its budget."""
    return MONEY.subtract(transition.budget_quote, transition.spent_quote)


def crossed(state: PortfolioState, limits: PortfolioLimitsSet, now_ms: int, fills: Valuation) -> Iterator[Alarm]:
    """The limits that were crossed, as the alarms that halt the portfolio, in the order of their weight. Without a fill since
    they were looked at last, only the day's loss can be: what was traded is a larger part of what a withdrawal leaves, too."""
    recent = [entry for entry in state.traded if _within(entry, now_ms, FIVE_MINUTES_MS)]
    moved = abs(sum((entry.cost_quote for entry in recent), _ZERO))
    for cause, amount, limit in (
        (reasons.TURNOVER_5MIN, _turnover(state.traded, now_ms, FIVE_MINUTES_MS), limits.turnover_5min_max),
        (reasons.TURNOVER_DAY, _turnover(state.traded, now_ms, DAY_MS), limits.turnover_day_max),
        (reasons.NAV_MOVE, moved, NAV_MOVE_MAX),
        (reasons.LOSS_DAY, loss_day_quote(state, fills, now_ms), limits.loss_day_max),
    ):
        fraction = DECISION.divide(amount, fills.nav_quote)
        if fraction > limit and (state.limits_due or cause == reasons.LOSS_DAY):
            yield Alarm(cause, f"{plain(wire(fraction))} of net asset value, limit {plain(limit)}")


def _outstanding_quote(orders: Iterable[OpenOrder]) -> Decimal:
    total = _ZERO
    for order in orders:
        command = order.command
        price = max(command.price_limit_quote or _ZERO, command.price_mid_quote)
        total = MONEY.add(total, MONEY.multiply(remaining_base(order), price))
    return total


def _left(limit: Decimal, nav_quote: Decimal, traded: Iterable[Traded], now_ms: int, window_ms: int) -> Decimal:
    return DECISION.subtract(DECISION.multiply(limit, nav_quote), _turnover(traded, now_ms, window_ms))


def _turnover(traded: Iterable[Traded], now_ms: int, window_ms: int) -> Decimal:
    total = _ZERO
    for entry in traded:
        if _within(entry, now_ms, window_ms):
            total = MONEY.add(total, entry.notional_quote)
    return total


def _within(entry: Traded, now_ms: int, window_ms: int) -> bool:
    width = _FINE_MS if window_ms == FIVE_MINUTES_MS else _COARSE_MS
    return entry.bucket_ms > now_ms - window_ms - width
