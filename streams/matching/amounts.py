"""Exact amounts: one arithmetic for the whole venue.

Prices, quantities and balances are `Decimal`. Sums and products run in a context of 80 digits that raises instead of
rounding; the two roundings that a venue does have are named here.
"""

from collections.abc import Callable
from decimal import ROUND_DOWN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

ZERO = Decimal(0)
BALANCE_UNIT = Decimal("0.00000001")
"""The smallest part of an asset that the venue keeps."""

_EXACT = Context(prec=80, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_ROUNDING = Context(prec=80, rounding=ROUND_DOWN, traps=[InvalidOperation, DivisionByZero, Overflow])

_P = ParamSpec("_P")
_R = TypeVar("_R")


def exactly(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run a function with arithmetic that raises `decimal.Inexact` rather than lose a digit.

    The thread's own context is left alone: libraries around us are known to change it.
    """

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with localcontext(_EXACT):
            return function(*args, **kwargs)

    return run


def floor_to(amount: Decimal, unit: Decimal) -> Decimal:
    """The largest multiple of `unit` that is not above `amount` (both at or above zero)."""
    return _ROUNDING.multiply(_ROUNDING.divide_int(amount, unit), unit)


def share_of(amount: Decimal, rate: Decimal) -> Decimal:
    """`amount` times `rate`, cut to the balance unit: the venue gives away what it cannot book."""
    return floor_to(_ROUNDING.multiply(amount, rate), BALANCE_UNIT)


def converted(amount: Decimal, price: Decimal) -> Decimal:
    """`amount` in units of an asset that costs `price` each, cut to the balance unit."""
    return floor_to(_ROUNDING.divide(amount, price), BALANCE_UNIT)


def is_multiple(amount: Decimal, unit: Decimal) -> bool:
    """Whether `amount` is a whole number of `unit`."""
    return not _EXACT.remainder(amount, unit)
