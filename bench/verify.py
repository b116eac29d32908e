"""How long `trimtab verify` takes for a long history, and how little memory: VERIFY=10000000 is how many messages.

Each figure comes from a process of its own, which makes the history while it reads it: once for nothing, as the baseline,
and once with every check.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from bench.history import LATE_TABLES, LINES, SETTING, History
from bench.report import ROOT, Line
from bench.stack import say
from streams.domain.errors import TrimtabError
from streams.proof.verify.facts import Raw
from streams.proof.verify.merge import Source, merge
from streams.proof.verify.report import Report
from streams.proof.verify.sources import name_cause, record_source
from streams.proof.verify.verification import COMMANDS, CONTROL, EVENTS, Verification

SHORT, A_SECOND = 100_000, 20_000


def measure(seconds: int) -> list[Line]:
    """As many messages as VERIFY says, else what `seconds` are enough for."""
    messages = int(os.environ.get("VERIFY", max(SHORT, seconds * A_SECOND)))
    say(f"verifying a history of {messages:,} messages")
    bare, checked = _run(messages, "bare"), _run(messages, "verify")
    if not checked["passed"]:
        raise TrimtabError(f"the history does not verify:\n{checked['text']}")
    items = ", ".join(f"{check} {count:,}" for check, count in checked["items"].items())
    read = f"{checked['records']:,} records, {checked['lines']:,} lines of the venue's journal and {checked['rows']:,} rows"
    own_us = 1e6 * (checked["cpu"] - bare["cpu"]) / checked["records"]
    return [
        Line(
            name=f"verify: a history of {messages:,} messages",
            figure=f"{_figures(checked)}: {read}",
            baseline=f"the same records made and read (JSON decoded), nothing checked: {_figures(bare)}",
            details=(
                f"checking alone: {own_us:.1f} us of CPU a record, its rows and lines with it",
                f"items checked: {items}",
            ),
            limit="one core: JSON, exact decimals, one SHA-256 of each entry and one Ed25519 signature of each command.",
            not_shown="Kafka and PostgreSQL: the records are generated in the process and enter by the interface through "
            "which topics, tables and journal are read.",
        )
    ]


def _figures(found: Mapping[str, Any]) -> str:
    rate = found["records"] / found["seconds"]
    took = f"{found['seconds']:.1f} s ({found['cpu']:.1f} s of CPU, {rate:,.0f} records/s)"
    return f"{took}, peak memory {found['peak_mib']:.0f} MiB"


def _run(messages: int, mode: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.verify", str(messages), mode]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise TrimtabError(f"bench.verify {mode} failed:\n{done.stderr}")
    return json.loads(done.stdout)


async def _verify(history: History) -> Report:
    verification = Verification(SETTING)
    await merge([record_source(history.batches((CONTROL, 0)), verification)])
    named: dict[Any, Source] = {}
    for name in history.sources():
        if isinstance(name, tuple):
            named[name] = record_source(history.batches(name), verification)
        elif name == LINES:
            named[name] = Source(history.batches(name), _time_of(name), verification.line)
        else:
            named[name] = _rows(history, name, verification)
    for (topic, partition), source in [(name, source) for name, source in named.items() if name[0] == EVENTS]:
        assert topic == EVENTS
        name_cause(source, named[COMMANDS, partition])
    await merge([*named.values()])
    await merge([_rows(history, table, verification) for table in LATE_TABLES])
    return verification.close()


def _rows(history: History, table: str, verification: Verification) -> Source:
    return Source(history.batches(table), _time_of(table), lambda row: verification.row(table, row))


def _time_of(name: Any) -> Callable[[Any], int]:
    """How the items of a source tell their time."""
    if isinstance(name, tuple):
        return lambda raw: raw.at_ms
    if name == LINES:
        return lambda line: line["at_ms"]
    return lambda row: row.get("at") or row.get("first_at") or 0


async def _read(history: History) -> None:
    await merge([Source(history.batches(name), _time_of(name), _nothing) for name in history.sources()])


def _nothing(_item: Raw) -> None:
    return None


def main() -> None:
    """Make and read a history of argv[1] messages, in the mode argv[2] (`bare` or `verify`), and print what it took."""
    messages, mode = int(sys.argv[1]), sys.argv[2]
    history, began = History(messages), time.monotonic()
    report = asyncio.run(_verify(history)) if mode == "verify" else None
    if report is None:
        asyncio.run(_read(history))
    found = {
        "seconds": time.monotonic() - began,
        "cpu": time.process_time(),
        "records": history.records,
        "lines": history.lines,
        "rows": history.rows,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "passed": report is not None and report.passed,
        "text": "" if report is None else report.text(),
        "items": {} if report is None else {row.check: row.items for row in report.rows},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
