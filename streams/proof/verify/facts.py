"""What the checker looks at, as plain JSON and nothing more: records as they lie in topics, and exact amounts.

Nothing here is shared with the program: fields are read by name out of the bytes, amounts are plain decimal text.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Rounded
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, Overflow, Rounded])
"""The checker's own arithmetic: it never rounds; what does not fit raises."""

ZERO = Decimal(0)


class Place(NamedTuple):
    """Where a message lies; topics are named without the installation's prefix."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(slots=True)
class Raw:
    """One record of a topic partition: its bytes, and its value as JSON ({} when it is none).

    `at_ms` is the record's own timestamp. Never changed once made; not frozen, since ten millions are made.
    """

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    ce_type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    at_ms: int = 0
    ce_id: str = ""
    signature: bytes = b""
    key_id: str = ""

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(self.topic, self.partition, self.offset)

    @property
    def kind(self) -> str:
        """Its kind without family and version: `intended` for `trimtab.orders.intended.v1`."""
        return _kind(self.ce_type)


@lru_cache(1024)
def _kind(ce_type: str) -> str:
    return ce_type.rpartition(".v")[0].rpartition(".")[2]


def read_value(value: bytes) -> Mapping[str, Any]:
    """The JSON document of a value, {} when it is none."""
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


@lru_cache(1 << 14)
def amount(text: Any) -> Decimal:
    """A decimal from its text. Raises InvalidOperation, or TypeError for anything that is not text."""
    if not isinstance(text, str):
        raise TypeError(f"an amount is text, not {text!r}")
    return EXACT.create_decimal(text)


def plain(value: Decimal) -> str:
    """The plain text of a decimal: no exponent, no trailing zeros, "0" for every zero."""
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum."""
    result = ZERO
    for value in amounts:
        result = EXACT.add(result, value)
    return result
