"""Exact, finite, bounded values and the names of things: the words every message is made of.

Decimals travel as plain text, never as JSON numbers: a JSON number becomes a binary float in most readers. Equal values
have equal text (no exponent, no trailing zeros, no minus zero), so that equal messages are equal bytes.
"""

import re
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema

INTEGER_DIGITS_MAX = 20
FRACTION_DIGITS_MAX = 18
TEXT_MAX = INTEGER_DIGITS_MAX + FRACTION_DIGITS_MAX + 2  # sign and point
TIME_MS_MAX = 253_402_300_799_999  # 9999-12-31, the last instant of RFC 3339
COUNT_MAX = 2**53 - 1  # the largest integer that every JSON reader keeps exact

# Its own context, never the thread's: libraries are known to change that one.
# A value that does not fit is refused, never rounded.
_WIRE = Context(prec=INTEGER_DIGITS_MAX + FRACTION_DIGITS_MAX, traps=[Inexact, InvalidOperation, Overflow])
_TEXT = r"^-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"
_CANONICAL = re.compile(r"(0|-?[1-9][0-9]{0,19}|-?0(?=\.))(\.[0-9]{0,17}[1-9])?")


def plain(value: Decimal) -> str:
    """The one text of a decimal: no exponent, no trailing zeros, "0" for every zero."""
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def exact(value: Any) -> Decimal:
    """A decimal within the wire's bounds from its text (or a Decimal), in canonical form.

    Raises ValueError for anything else: JSON numbers, NaN, infinity, more than 20 integer or 18 fractional digits.
    """
    if isinstance(value, str):
        if _CANONICAL.fullmatch(value):  # what our own writers write, and so nearly everything that is read
            return Decimal(value)
        if len(value) > TEXT_MAX:
            raise ValueError("a decimal has at most 20 integer and 18 fractional digits")
        if not value.isascii() or "_" in value or value != value.strip():
            raise ValueError("a decimal is plain text such as '0.125'")
        try:
            value = Decimal(value)
        except DecimalException as error:
            raise ValueError("a decimal is plain text such as '0.125'") from error
    if not isinstance(value, Decimal):
        raise ValueError(f"a decimal is text such as '0.125', not a JSON {type(value).__name__}")
    if not value.is_finite():
        raise ValueError("a decimal is finite: NaN and infinity are refused")
    return _canonical(value)


@lru_cache(maxsize=4096)
def _canonical(value: Decimal) -> Decimal:
    """The same figures come again and again: in an order's events, its entries, its checkpoints."""
    if not value:
        return Decimal(0)
    if value.adjusted() >= INTEGER_DIGITS_MAX:
        raise ValueError("a decimal has at most 20 integer digits")
    try:
        value = value.normalize(_WIRE)
    except DecimalException as error:
        raise ValueError("a decimal has at most 20 integer and 18 fractional digits") from error
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -FRACTION_DIGITS_MAX:
        raise ValueError("a decimal has at most 18 fractional digits")
    return value if not isinstance(exponent, int) or exponent <= 0 else value.quantize(Decimal(1), context=_WIRE)


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("must be above zero")
    return value


def _nonnegative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _fraction(value: Decimal) -> Decimal:
    if not 0 <= value <= 1:
        raise ValueError("must lie between 0 and 1")
    return value


_SERIAL = PlainSerializer(plain, return_type=str)
_SIGNED = WithJsonSchema({"type": "string", "pattern": _TEXT})
_UNSIGNED = WithJsonSchema({"type": "string", "pattern": _TEXT.replace("-?", "")})

Amount = Annotated[Decimal, BeforeValidator(exact), _SERIAL, _SIGNED]
"""Any signed quantity of an asset, or a signed fraction (a drift)."""
Price = Annotated[Decimal, BeforeValidator(lambda v: _positive(exact(v))), _SERIAL, _UNSIGNED]
"""Quote units for one base unit, above zero."""
Quantity = Annotated[Decimal, BeforeValidator(lambda v: _positive(exact(v))), _SERIAL, _UNSIGNED]
"""Units of the base asset, above zero."""
Holding = Annotated[Decimal, BeforeValidator(lambda v: _nonnegative(exact(v))), _SERIAL, _UNSIGNED]
"""Units of an asset, zero allowed."""
Weight = Annotated[Decimal, BeforeValidator(lambda v: _fraction(exact(v))), _SERIAL, _UNSIGNED]
"""A fraction of net asset value between 0 and 1."""

TimeMs = Annotated[int, Field(strict=True, ge=0, le=TIME_MS_MAX)]
"""UTC milliseconds since 1970."""
DurationMs = Annotated[int, Field(strict=True, ge=0, le=10 * 366 * 86_400_000)]
"""Milliseconds."""
Count = Annotated[int, Field(strict=True, ge=0, le=COUNT_MAX)]
"""A number of things, an offset, an epoch or a sequence."""
SignedMs = Annotated[int, Field(strict=True, ge=-TIME_MS_MAX, le=TIME_MS_MAX)]
"""A difference of two times, in milliseconds."""

Name = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""A portfolio, account, venue or person, as the operator wrote it."""
Asset = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z0-9]{1,20}$")]
"""An asset's ticker, for example BTC."""
Symbol = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z0-9]{1,20}/[A-Z0-9]{1,20}$")]
"""A pair as base/quote, for example BTC/USDT."""
VenueSymbol = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9][a-z0-9_-]{0,63}:[A-Z0-9/]{3,41}$")]
"""venue:symbol, the key of market topics."""
Scope = Annotated[str, StringConstraints(strict=True, pattern=r"^(all|(portfolio|account|venue):[a-z0-9][a-z0-9_-]{0,63})$")]
"""What a control event is about: `portfolio:x`, `account:y`, `venue:z` or `all`."""
Id = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{32}$")]
"""A 128-bit id in hexadecimal, derived from its cause."""
Digest = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal."""
ClientOrderId = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z2-7]{26}$")]
"""The order id that we give a venue: base32 of 128 bits, legal on every certified venue."""
Text = Annotated[str, StringConstraints(strict=True, max_length=500)]
"""Words for people, or an id that somebody else made."""
Version = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100)]
"""The version of code or of a state's shape."""
