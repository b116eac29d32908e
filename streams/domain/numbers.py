"""The one place where numbers are rounded: which way, and who keeps the rest.

Two contexts, always passed explicitly, since libraries change the thread's own: DECISION rounds to 28 digits (weights,
drifts, net asset value); MONEY never rounds (postings, fills): what does not fit raises.
"""

from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    Clamped,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
)

DECISION = Context(
    prec=28, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999, traps=[DivisionByZero, InvalidOperation, Overflow]
)
MONEY = Context(
    prec=80,
    rounding=ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    traps=[Clamped, DivisionByZero, Inexact, InvalidOperation, Overflow, Rounded],
)
# Named quantizing functions are the only ones that may round money.
_QUANTIZE = Context(prec=80, rounding=ROUND_FLOOR, Emin=-999_999, Emax=999_999, traps=[InvalidOperation, Overflow])
_ATTO = Decimal(1).scaleb(-18)


def floor_to_step(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` (> 0, any tick, not only powers of ten) that is not above `value`."""
    return _multiple(value, step, ROUND_FLOOR)


def price_down(value: Decimal, tick: Decimal) -> Decimal:
    """A price rounded down to the tick: a buyer's limit is never lifted."""
    return _multiple(value, tick, ROUND_FLOOR)


def price_up(value: Decimal, tick: Decimal) -> Decimal:
    """A price rounded up to the tick: a seller's limit is never lowered."""
    return _multiple(value, tick, ROUND_CEILING)


def wire(value: Decimal) -> Decimal:
    """A figure of a decision (weight, mark, net asset value) at the wire's 18 places, half to even; never for money."""
    return value.quantize(_ATTO, rounding=ROUND_HALF_EVEN, context=_QUANTIZE)


def _multiple(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    if step <= 0:
        raise ValueError(f"a step must be above zero, not {step}")
    ticks = _QUANTIZE.divide(value, step).to_integral_value(rounding=rounding)
    return _QUANTIZE.multiply(ticks, step)
