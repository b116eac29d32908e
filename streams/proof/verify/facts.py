"""What the checker looks at, as plain JSON and nothing more: raw records, database rows, the venue's own journal.

Nothing here is shared with the program: fields are read by name out of the bytes, amounts are plain decimal text.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Rounded
from typing import Any

import orjson

EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, Overflow, Rounded])
"""The checker's own arithmetic: it never rounds; what does not fit raises."""


_ENTRY_FIELDS = {"account", "sequence", "kind", "at_ms", "postings", "flags", "halt_ids", "entry_hash"}


@dataclass(frozen=True, slots=True)
class Raw:
    """One record of a topic partition: its bytes, and its value as JSON ({} when it is none)."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    ce_type: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """topic:partition:offset."""
        return f"{self.topic}:{self.partition}:{self.offset}"

    @classmethod
    def of(cls, topic: str, partition: int, offset: int, key: bytes, value: bytes, ce_type: str) -> "Raw":
        """The record with its value read, as far as it can be."""
        try:
            fields = orjson.loads(value)
        except orjson.JSONDecodeError:
            fields = {}
        return cls(topic, partition, offset, key, value, ce_type, fields if isinstance(fields, dict) else {})


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a verification looks at.

    `events` and `ledger` are whole topics in offset order within a partition; `journal` is the venue's, in its order.
    `tables` are rows of the schema `ledger` by table, amounts as plain text and times as UTC milliseconds; `projected` says
    up to which offset of each ledger partition they follow the topic. `balances` are the venue's own closing totals by
    account and asset, when it was asked. `venue_accounts` names our account on the venue where the names differ.
    """

    events: tuple[Raw, ...] = ()
    ledger: tuple[Raw, ...] = ()
    journal: tuple[Mapping[str, Any], ...] = ()
    tables: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    projected: Mapping[int, int] = field(default_factory=dict)
    balances: Mapping[str, Mapping[str, Decimal]] | None = None
    venue_accounts: Mapping[str, str] = field(default_factory=dict)

    def venue_account(self, account: str) -> str:
        """What the venue calls our account."""
        return self.venue_accounts.get(account, account)

    def our_accounts(self) -> dict[str, str]:
        """Our accounts by the venue's name: those that have books, or events."""
        names = sorted({raw.fields.get("account", "") for raw in (*self.ledger, *self.events)} - {""})
        return {self.venue_account(name): name for name in names}


def entries(facts: Facts) -> Iterator[Raw]:
    """The ledger without repeats: the first record of each (account, sequence). What is no entry at all is I17's matter."""
    seen: set[tuple[str, int]] = set()
    for raw in facts.ledger:
        if not raw.fields.keys() >= _ENTRY_FIELDS:
            continue
        key = (raw.fields["account"], raw.fields["sequence"])
        if key not in seen:
            seen.add(key)
            yield raw


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
    result = Decimal(0)
    for value in amounts:
        result = EXACT.add(result, value)
    return result


def event_kind(raw: Raw) -> str:
    """The kind of an execution event without prefix and version, for example `intended`."""
    return raw.ce_type.removeprefix("trimtab.orders.").rpartition(".v")[0]
