"""Exact amounts: one arithmetic for the whole venue.

Prices, quantities and balances are `Decimal`. Sums and products run in the money context, which raises instead of
rounding; the venue's two roundings, always down to what it can book, are named here.
"""

from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

from streams.domain.numbers import MONEY, floor_to_step

ZERO = Decimal(0)
BALANCE_UNIT = Decimal("0.00000001")
"""The smallest part of an asset that the venue keeps."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def exactly(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run a function with arithmetic that raises `decimal.Inexact` rather than lose a digit.

    The thread's own context is left as it was: libraries around us are known to change it.
    """

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with localcontext(MONEY):
            return function(*args, **kwargs)

    return run


def share_of(amount: Decimal, rate: Decimal) -> Decimal:
    """`amount` times `rate`, cut to the balance unit: the venue gives away what it cannot book."""
    return floor_to_step(MONEY.multiply(amount, rate), BALANCE_UNIT)


def converted(amount: Decimal, price: Decimal, unit: Decimal = BALANCE_UNIT) -> Decimal:
    """How many whole `unit` of an asset that costs `price` each `amount` is worth."""
    return MONEY.divide(floor_to_step(amount, MONEY.multiply(price, unit)), price)


def is_multiple(amount: Decimal, unit: Decimal) -> bool:
    """Whether `amount` is a whole number of `unit`."""
    return not MONEY.remainder(amount, unit)
