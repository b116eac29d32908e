"""An account's limits in quote units, counted from its own fills; what is intended or unknown counts as filled."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext

from schemas.control import AccountLimitsSet
from schemas.orders import PlaceOrder
from streams.domain.numbers import DECISION, MONEY
from streams.domain.orders.prices import worse_by

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS

Turnover = Mapping[int, Decimal]
"""Quote units traded in each minute, by the minute's start in UTC milliseconds."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What counts against the limits besides the order in question: fills by minute, and what may still become fills."""

    turnover: Turnover
    reserved_quote: Decimal
    orders_open: int


def notional_quote(command: PlaceOrder) -> Decimal:
    """What the order can trade at most: its limit, or the mid at decision for an order without one or a dearer mid."""
    price = command.price_mid_quote
    if command.price_limit_quote is not None:
        price = max(price, command.price_limit_quote)
    return MONEY.multiply(price, command.quantity_base)


def booked(turnover: Turnover, at_ms: int, quote_amount: Decimal) -> Turnover:
    """The turnover after a fill; minutes older than a day are forgotten."""
    minute = at_ms - at_ms % MINUTE_MS
    kept = {start: amount for start, amount in turnover.items() if start > minute - DAY_MS - MINUTE_MS}
    kept[minute] = MONEY.add(kept.get(minute, Decimal(0)), quote_amount)
    return kept


def exceeded(limits: AccountLimitsSet, command: PlaceOrder, exposure: Exposure, now_ms: int) -> str | None:
    """The name of the first limit that this order would break, or None."""
    notional = notional_quote(command)
    pending = MONEY.add(exposure.reserved_quote, notional)
    if command.symbol not in limits.symbols:
        return "symbols"
    if notional > limits.order_notional_max_quote:
        return "order_notional_max_quote"
    if exposure.orders_open + 1 > limits.open_orders_max:
        return "open_orders_max"
    if MONEY.add(_traded(exposure.turnover, now_ms - 5 * MINUTE_MS), pending) > limits.turnover_5min_max_quote:
        return "turnover_5min_max_quote"
    if MONEY.add(_traded(exposure.turnover, now_ms - DAY_MS), pending) > limits.turnover_day_max_quote:
        return "turnover_day_max_quote"
    return "price_collar" if _outside_collar(limits, command) else None


def _traded(turnover: Turnover, since_ms: int) -> Decimal:
    """Quote units traded since; the minute that `since_ms` falls into counts whole."""
    return _sum(amount for start, amount in turnover.items() if start > since_ms - MINUTE_MS)


def _outside_collar(limits: AccountLimitsSet, command: PlaceOrder) -> bool:
    """Whether a limit price is worse than the decision's mid by more than the collar; an order without one is unbounded."""
    if command.price_limit_quote is None:
        return True
    worse = worse_by(command.side, command.price_limit_quote, command.price_mid_quote)
    return worse > DECISION.multiply(command.price_mid_quote, limits.price_collar)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum; a day's minutes are added up before every request."""
    with localcontext(MONEY):
        return sum(amounts, Decimal(0))
