"""I6: the tables are the fold of the ledger, row for row and column for column, computed here a second time from raw bytes."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from streams.proof.verify.facts import EXACT, Facts, Raw, amount, entries, plain
from streams.proof.verify.report import Row, Violation, row

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

_TEXTS = ("kind", "event_id", "portfolio", "command_id", "target_command_id", "client_order_id", "attempt", "symbol", "side",
          "state", "flow_id", "cause", "previous_hash", "entry_hash")  # fmt: skip
_KEPT = ("target_command_id", "side", "quantity_base", "price_limit_quote", "price_mid_quote")
_ENDED = ("filled", "canceled", "expired", "rejected", "not_admitted", "expired_unsent", "cancel_ended")


def i6(facts: Facts) -> Row:
    """Every row of every recomputed table against the database."""
    expected = fold(raw for raw in entries(facts) if raw.offset < facts.projected.get(raw.partition, 0))
    violations: list[Violation] = []
    for table in KEYS:
        found = {_key(table, line): line for line in facts.tables.get(table, ())}
        if len(found) != len(facts.tables.get(table, ())):
            violations.append(Violation(f"ledger.{table}", "a row stands there twice"))
        violations += _compare(table, expected[table], found)
    items = sum(len(rows) for rows in expected.values())
    return row("I6", "tables in Postgres = fold of the ledger topic", items, violations)


def _compare(table: str, expected: Mapping[Key, TableRow], found: Mapping[Key, TableRow]) -> Iterator[Violation]:
    for key in expected.keys() - found.keys():
        yield Violation(f"ledger.{table} {key}", "the row is missing")
    for key in found.keys() - expected.keys():
        yield Violation(f"ledger.{table} {key}", "no ledger entry explains the row")
    for key in expected.keys() & found.keys():
        off = {name for name, value in expected[key].items() if found[key].get(name) != value}
        for name in sorted(off):
            yield Violation(f"ledger.{table} {key}", f"{name} is {found[key].get(name)!r}, should be {expected[key][name]!r}")


def fold(records: Iterator[Raw]) -> dict[str, dict[Key, dict[str, Any]]]:
    """The rows of every recomputed table by their key, as these entries make them."""
    tables: dict[str, dict[Key, dict[str, Any]]] = {table: {} for table in KEYS}
    for raw in records:
        for table, line in _lines(raw):
            rows, key = tables[table], _key(table, line)
            rows[key] = _MERGES.get(table, _replace)(rows.get(key), line)
    return tables


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
        "ended_at": at_ms if fields.get("state") in _ENDED else None,
    }


def _replace(_old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
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
    "balances": _add,
    "orders": _merge_order,
}


def _key(table: str, line: TableRow) -> Key:
    return tuple(line[name] for name in KEYS[table])


def _plain(text: str | None) -> str | None:
    return None if text is None else plain(amount(text))


def _clean(value: Any) -> Any:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
