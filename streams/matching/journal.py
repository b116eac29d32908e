"""What the venue accepted, in order, never changed: the truth that proofs compare with.

Kinds of entries and their bodies (amounts are plain decimal text, times UTC milliseconds):

    balance_set      account, asset, change, free, locked            money entered or left the venue
    order_accepted   account, symbol, order_id, client_order_id, side, order_kind, time_in_force, price_quote,
                     quantity_base, quantity_quote
    fill             trade_id and one side of the trade: account, symbol, order_id, client_order_id, side, price_quote,
                     quantity_base, amount_quote, fee_amount, fee_asset, is_maker, filled_base, filled_quote, status
                     (both after this fill), counterparty
    order_closed     account, symbol, order_id, client_order_id, status, filled_base, filled_quote, cancel_id (the
                     canceller's own id, empty unless canceled)

A trade with the venue's background liquidity has one fill, a trade between customers has two with one trade id. What
was refused is not here: it changed nothing.
"""

import json
from collections import deque
from dataclasses import dataclass
from itertools import islice

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted fact. Sequences begin at 1 and have no gap."""

    sequence: int
    at_ms: int
    kind: str
    body: dict[str, Value]

    def line(self) -> bytes:
        """The entry as one line of JSON with its newline; equal entries give equal bytes."""
        document = {"sequence": self.sequence, "at_ms": self.at_ms, "kind": self.kind, **self.body}
        return json.dumps(document, separators=(",", ":")).encode() + b"\n"


class Journal:
    """Append-only entries; the newest `kept_max` stay readable here, older ones live where they were written to."""

    def __init__(self, kept_max: int = 1_000_000):
        self._entries: deque[Entry] = deque(maxlen=kept_max)
        self.sequence = 0

    @property
    def sequence_first(self) -> int:
        """The oldest sequence that can still be read here (one past the newest when there is none)."""
        return self._entries[0].sequence if self._entries else self.sequence + 1

    def append(self, at_ms: int, kind: str, **body: Value) -> Entry:
        """Write one entry under the next sequence."""
        self.sequence += 1
        entry = Entry(self.sequence, at_ms, kind, body)
        self._entries.append(entry)
        return entry

    def since(self, sequence: int, limit: int | None = None) -> list[Entry]:
        """Entries with a sequence at or above the given one, oldest first.

        Raises LookupError when some of them are no longer kept here.
        """
        sequence = max(1, sequence)
        if sequence < self.sequence_first:
            raise LookupError(f"entries before {self.sequence_first} are no longer in memory")
        count = max(0, self.sequence - sequence + 1)
        newest_first = islice(reversed(self._entries), count)
        entries = list(newest_first)
        entries.reverse()
        return entries if limit is None else entries[:limit]
