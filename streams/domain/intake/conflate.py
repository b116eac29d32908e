"""Which price is news. A price that hardly moved moves no portfolio out of its band, and need not be journalled."""

from decimal import Decimal

from schemas.market import Ticker
from streams.domain.intake.acceptance import Mark
from streams.domain.numbers import MONEY

STEP_DEFAULT = Decimal("0.00025")
"""A fortieth of a band of one point (0.01)."""


def moved(mark: Mark | None, ticker: Ticker, step: Decimal) -> bool:
    """Whether bid or ask moved by at least `step`, as a fraction of its last journalled price.

    Both sides count, so that a spread that opens around an unmoved mid is seen too; if neither moved, the mid did not.
    """
    if mark is None:
        return True
    return _side_moved(mark.bid_price_quote, ticker.bid_price_quote, step) or _side_moved(
        mark.ask_price_quote, ticker.ask_price_quote, step
    )


def _side_moved(last: Decimal, now: Decimal, step: Decimal) -> bool:
    return MONEY.abs(MONEY.subtract(now, last)) >= MONEY.multiply(step, last)
