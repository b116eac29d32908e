"""How the command line shows rows: tables for people, JSON lines for scripts."""

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.values import plain

POINTS = Decimal(100)  # points for each fraction of net asset value
WIDTH_WITHOUT_TERMINAL = 150


def console() -> Console:
    """The console: as wide as the terminal, or wide enough for every table where there is none."""
    made = Console()
    return made if made.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)


def json_lines(rows: Iterable[Any]) -> None:
    """One JSON object a line; amounts are text, times RFC 3339."""
    for row in rows:
        click.echo(orjson.dumps(dataclasses.asdict(row), default=_default, option=orjson.OPT_PASSTHROUGH_DATETIME).decode())


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    right: Iterable[str] = (),
    wrapped: Iterable[str] = (),
) -> Table:
    """A table; the columns named in `right` are right-aligned, those in `wrapped` give way so that the others stay whole. What
    stands in brackets is text, and no markup."""
    right, wrapped = set(right), set(wrapped)
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        fold = column in wrapped
        made.add_column(
            column, justify="right" if column in right else "left", no_wrap=not fold, overflow="fold" if fold else "ellipsis"
        )
    for row in rows:
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return made


def amount(value: Decimal | None, places: int | None = None) -> str:
    """An amount as plain text, cut to `places` for the eye; nothing for None."""
    if value is None:
        return ""
    return plain(value) if places is None else f"{value:.{places}f}"


def points(fraction: Decimal | str | None, signed: bool = False) -> str:
    """A fraction of net asset value as points (1 point = 0.01)."""
    if fraction is None:
        return ""
    return f"{Decimal(fraction) * POINTS:{'+' if signed else ''}.3f}"


def clock_ms(moment_ms: int) -> str:
    """The same for UTC milliseconds."""
    return clock(datetime.fromtimestamp(moment_ms / 1000, UTC))


def clock(moment: datetime) -> str:
    """The time of day in UTC, to the millisecond."""
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def _default(value: Any) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(type(value).__name__)
