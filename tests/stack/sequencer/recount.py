"""A recount of a journal against its sources, written apart from the code that it judges.

Reads raw JSON, knows its own rule of which records count, and compares each journalled value with the bytes at its source
offset. Returns problems as sentences; an empty list with `checked` above zero is a pass.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import orjson

from streams.ports.log import Record

PARTS = ("journalled", "conflated", "stale", "repeated", "not_needed", "dead_lettered")
QUOTED = ("bid_price_quote", "bid_quantity_base", "ask_price_quote", "ask_quantity_base", "venue_sequence")


@dataclass
class Recount:
    """What was found in one shard's journal."""

    problems: list[str] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    accepted: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    ignored: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    ledger: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


def recount(journal: list[Record], sources: dict[str, dict[int, Record]]) -> Recount:
    """Judge a whole journal partition; `sources` holds every record of every source by offset."""
    found = Recount()
    current: tuple[int, str] = (0, "")
    highest = 0
    for record in journal:
        kind, value = _type(record), orjson.loads(record.value or b"")
        who = (value["epoch"], value["writer"])
        if kind == "writer-started" and value["epoch"] > highest:
            highest, current = value["epoch"], who
            found.accepted.append((record.offset, kind, value))
        elif kind != "writer-started" and who == current:
            found.accepted.append((record.offset, kind, value))
            _accepted(found, record.offset, kind, value, sources)
        else:
            found.ignored.append((record.offset, kind, value))
            if value["epoch"] > highest:
                found.problems.append(f"{record.offset}: epoch {value['epoch']} was never started")
    return found


def _accepted(found: Recount, offset: int, kind: str, value: dict[str, Any], sources: dict[str, dict[int, Record]]) -> None:
    for source, taken in value["ranges"].items():
        begin, end = taken["offset_from"], taken["offset_to"]
        if found.positions.setdefault(source, begin) != begin:
            found.problems.append(f"{offset}: {source} goes on at {begin}, counted up to {found.positions[source]}")
        if sum(taken[part] for part in PARTS) != end - begin:
            found.problems.append(f"{offset}: {source} counts do not sum to {end - begin}")
        found.positions[source] = end
        found.totals.update({part: taken[part] for part in PARTS})
        found.checked["ranges"] += 1
    if kind == "positions":
        for source, position in value["positions"].items():
            if found.positions.setdefault(source, position) != position:
                found.problems.append(f"{offset}: Positions says {source} {position}, counted {found.positions[source]}")
        found.checked["positions"] += 1
    elif kind == "source-gap":
        if found.positions.get(value["source"]) != value["gap_from"]:
            found.problems.append(f"{offset}: gap of {value['source']} begins at {value['gap_from']}")
        found.positions[value["source"]] = value["gap_to"]
    elif kind == "input":
        _input(found, offset, value, sources)
    elif kind == "market-batch":
        for symbol, quote in value["quotes"].items():
            _quote(found, offset, symbol, quote, sources)


def _input(found: Recount, offset: int, value: dict[str, Any], sources: dict[str, dict[int, Record]]) -> None:
    source = sources[value["source"]].get(value["source_offset"])
    if source is None or source.value is None or source.value.decode() != value["source_value"]:
        found.problems.append(f"{offset}: input differs from {value['source']}@{value['source_offset']}")
    elif value["source"].startswith("orders.ledger"):
        entry = orjson.loads(source.value)
        found.ledger[entry["account"]].append(entry["sequence"])
    found.checked["inputs"] += 1


def _quote(found: Recount, offset: int, symbol: str, quote: dict[str, Any], sources: dict[str, dict[int, Record]]) -> None:
    source = sources[quote["source"]].get(quote["source_offset"])
    said = orjson.loads(source.value) if source is not None and source.value is not None else {}
    if any(said.get(name) != quote[name] for name in QUOTED) or f"{said.get('venue')}:{said.get('symbol')}" != symbol:
        found.problems.append(f"{offset}: quote of {symbol} differs from {quote['source']}@{quote['source_offset']}")
    found.checked["quotes"] += 1


def _type(record: Record) -> str:
    name = (record.header("ce_type") or b"").decode()
    return name.removeprefix("trimtab.journal.").removesuffix(".v1")
