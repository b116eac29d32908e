"""I6: the tables are the fold of the ledger, row for row and column for column, computed here a second time from raw bytes."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

from streams.proof.verify.compact import Waiting
from streams.proof.verify.facts import EXACT, Place, Raw, amount, plain
from streams.proof.verify.lives import ENDED
from streams.proof.verify.report import Tally

TableRow = Mapping[str, Any]
Key = tuple[Any, ...]

KEYS: dict[str, tuple[str, ...]] = {
    "heads": ("account",),
    "entries": ("account", "sequence"),
    "postings": ("account", "sequence", "line"),
    "fills": ("account", "sequence"),
    "orders": ("command_id",),
    "balances": ("account", "ledger_account", "asset"),
}
"""The tables that are recomputed, and what tells their rows apart."""

_KEY_OF = {table: itemgetter(*names) for table, names in KEYS.items()}

_TEXTS = ("kind", "event_id", "portfolio", "command_id", "target_command_id", "client_order_id", "attempt", "symbol", "side",
          "state", "flow_id", "cause", "previous_hash", "entry_hash")  # fmt: skip
_KEPT = ("target_command_id", "side", "quantity_base", "price_limit_quote", "price_mid_quote")
_WAITING_MAX = 100_000
_DIFFERING_MAX = 10_000


def i6(table: str, key: Key, expected: TableRow | None, found: TableRow | None) -> Iterator[str]:
    """What is wrong with one row of a recomputed table."""
    name = f"ledger.{table} {key}"
    if found is None:
        yield f"{name}: the row is missing"
    elif expected is None:
        yield f"{name}: no ledger entry explains the row"
    elif not expected.items() <= found.items():
        for column, value in expected.items():
            if found.get(column) != value:
                yield f"{name}: {column} is {found.get(column)!r}, should be {value!r}"


class Projection:
    """The tables beside the fold of the ledger, both in the order of their times, so that few rows wait for their like.

    `projected` says up to which offset of each ledger partition the tables follow the topic.
    """

    def __init__(self, projected: Mapping[int, int], ended_kept: int) -> None:
        self.tally = Tally("I6", "tables in Postgres = fold of the ledger topic")
        self._projected = projected
        self._fold = Fold()
        self._ended_kept = ended_kept
        self._differing = 0
        self._expected: Waiting[tuple[str, Key], tuple[Place, TableRow]] = Waiting(_WAITING_MAX, self._missing)
        self._found: Waiting[tuple[str, Key], TableRow] = Waiting(_WAITING_MAX, self._unexplained)

    def take(self, raw: Raw) -> None:
        """One entry of the ledger, the first of its account and sequence."""
        if raw.offset < self._projected.get(raw.partition, 0):
            place = raw.place
            for table, row in self._fold.take(raw):
                self._expect(table, row, place)
            self._settle()

    def row(self, table: str, found: TableRow) -> None:
        """One row as the database has it."""
        key = _key(table, found)
        waiting = self._expected.pop((table, key))
        if waiting is not None:
            self._compare(table, key, waiting[0], waiting[1], found)
        elif self._found.pop((table, key)) is not None:
            self.tally.elsewhere(f"ledger.{table} {key}", "the row stands there twice")
        else:
            self._found.put((table, key), found)

    def close(self) -> None:
        """Nothing comes any more: what the fold still holds is final, and what waits stays alone."""
        for table, row, place in self._fold.close():
            self._expect(table, row, place)
        self._expected.close()
        self._found.close()

    def _settle(self) -> None:
        """Forget the rows of commands that ended a while ago and that the database has as the fold does.

        One that differs stays: an entry that is still to come may change it.
        """
        for key, row in self._fold.ripe(self._ended_kept):
            found = self._found.get(("orders", key))
            is_equal = found is not None and not any(i6("orders", key, row, found))
            if is_equal or self._differing >= _DIFFERING_MAX:
                self._expect("orders", row, self._fold.drop(key))
            else:
                self._differing += 1

    def _expect(self, table: str, row: TableRow, place: Place) -> None:
        self.tally.items += 1
        key = _key(table, row)
        found = self._found.pop((table, key))
        if found is None:
            self._expected.put((table, key), (place, row))
        else:
            self._compare(table, key, place, row, found)

    def _compare(self, table: str, key: Key, place: Place, expected: TableRow, found: TableRow) -> None:
        for what in i6(table, key, expected, found):
            self.tally.at(place, what)

    def _missing(self, name: tuple[str, Key], waiting: tuple[Place, TableRow]) -> None:
        for what in i6(*name, waiting[1], None):
            self.tally.at(waiting[0], what)

    def _unexplained(self, name: tuple[str, Key], found: TableRow) -> None:
        for what in i6(*name, None, found):
            self.tally.elsewhere("postgres", what)


class Fold:
    """The rows that entries make: those of one entry alone at once, those that change when somebody asks or drops them."""

    def __init__(self) -> None:
        self._changing: dict[tuple[str, Key], tuple[dict[str, Any], Place]] = {}
        self._ended: deque[Key] = deque()

    def take(self, raw: Raw) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows that one more entry makes for good."""
        for table, line in _lines(raw):
            merge = _MERGES.get(table)
            if merge is None:
                yield table, line
                continue
            key = _key(table, line)
            if table == "orders" and raw.fields["kind"] != "filled" and line["ended_at"] is not None:
                self._ended.append(key)
            known = self._changing.get((table, key))
            self._changing[table, key] = merge(known[0] if known is not None else None, line), raw.place

    def ripe(self, ended_kept: int) -> Iterator[tuple[Key, dict[str, Any]]]:
        """The rows of commands that ended before the last `ended_kept`, each once."""
        while len(self._ended) > ended_kept:
            key = self._ended.popleft()
            known = self._changing.get(("orders", key))
            if known is not None:
                yield key, known[0]

    def drop(self, key: Key) -> Place:
        """Forget a command's row; the entry that changed it last."""
        return self._changing.pop(("orders", key))[1]

    def close(self) -> Iterator[tuple[str, dict[str, Any], Place]]:
        """All rows that may change, as they are now, each with the entry that changed it last."""
        for (table, _), (row, place) in self._changing.items():
            yield table, row, place


def _lines(raw: Raw) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows that one entry says, before they meet what is there."""
    fields = raw.fields
    place = {"account": fields["account"], "sequence": fields["sequence"], "at": fields["at_ms"]}
    yield "heads", place | {"entry_hash": fields["entry_hash"]}
    yield "entries", place | _entry(raw)
    for number, posting in enumerate(fields["postings"]):
        line = {"ledger_account": posting["ledger_account"], "asset": posting["asset"], "amount": _plain(posting["amount"])}
        yield "postings", place | line | {"line": number}
        yield "balances", line | {"account": fields["account"]}
    if fields["kind"] in ("filled", "fill_unplaced"):
        yield "fills", place | _fill(fields)
    if "command_id" in fields and fields["kind"] != "fill_unplaced":
        yield "orders", place | _order(fields)


def _entry(raw: Raw) -> dict[str, Any]:
    return {
        **{name: _clean(raw.fields.get(name)) for name in _TEXTS},
        "halt_ids": raw.fields["halt_ids"],
        "flags": raw.fields["flags"],
        "value_sha256": hashlib.sha256(raw.value).hexdigest(),
        "source_partition": raw.partition,
        "source_offset": raw.offset,
    }


def _fill(fields: Mapping[str, Any]) -> dict[str, Any]:
    texts = ("kind", "portfolio", "command_id", "client_order_id", "venue_order_id", "symbol", "side", "trade_id", "fee_asset")
    amounts = {
        "price_quote": "fill_price_quote",
        "quantity_base": "fill_quantity_base",
        "quote_amount": "fill_quote_amount",
        "fee_amount": "fee_amount",
    }
    figures = {column: _plain(fields[name]) for column, name in amounts.items()}
    return {name: _clean(fields.get(name)) for name in texts} | figures | {"flags": fields["flags"]}


def _order(fields: Mapping[str, Any]) -> dict[str, Any]:
    kind, at_ms = fields["kind"], fields["at_ms"]
    filled = kind == "filled"
    amounts = ("quantity_base", "price_limit_quote", "price_mid_quote", "filled_base", "filled_quote")
    return {
        **{name: fields.get(name) for name in ("command_id", "portfolio", "symbol", "target_command_id", "side", "state")},
        **{name: _plain(fields.get(name)) for name in amounts},
        "attempt": None if filled else fields.get("attempt"),
        "client_order_id": None if filled else fields.get("client_order_id"),
        "venue_order_id": _clean(fields.get("venue_order_id")),
        "fills": 1 if filled else 0,
        "cause": _clean(fields.get("cause")),
        "flags": fields["flags"],
        "intended_at": at_ms if kind in ("intended", "cancel_intended") else None,
        "accepted_at": at_ms if kind in ("accepted", "found") else None,
        "first_fill_at": at_ms if filled else None,
        "last_fill_at": at_ms if filled else None,
        "ended_at": at_ms if fields.get("state") in ENDED else None,
    }


def _newest(_old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    return new


def _add(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    if old is None:
        return new
    return new | {"amount": plain(EXACT.add(amount(old["amount"]), amount(new["amount"])))}


def _merge_order(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """A command's row after one more entry: the newest word counts, but the first time of each thing stays."""
    at_ms, sequence = new.pop("at"), new.pop("sequence")
    if old is None:
        times = {"first_at": at_ms, "last_at": at_ms, "first_sequence": sequence, "last_sequence": sequence}
        return new | times
    merged = dict(old)
    for name, value in new.items():
        first = name in ("intended_at", "accepted_at", "first_fill_at", "ended_at", *_KEPT)
        if value is not None and not (first and old[name] is not None):
            merged[name] = value
    merged["fills"] = old["fills"] + new["fills"]
    merged["flags"] = old["flags"] + new["flags"]
    return merged | {"last_at": at_ms, "last_sequence": sequence}


_MERGES: dict[str, Callable[[dict[str, Any] | None, dict[str, Any]], dict[str, Any]]] = {
    "heads": _newest,
    "balances": _add,
    "orders": _merge_order,
}


def _key(table: str, line: TableRow) -> Key:
    found = _KEY_OF[table](line)
    return found if isinstance(found, tuple) else (found,)


@lru_cache(1 << 14)
def _plain(text: str | None) -> str | None:
    return None if text is None else plain(amount(text))


def _clean(value: Any) -> Any:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
