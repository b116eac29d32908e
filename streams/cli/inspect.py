"""`trimtab status`, `orders`, `ledger tail`: what the database shows, for people and for scripts."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import click
from rich.table import Table

from schemas.control import TradingStopped
from streams import settings
from streams.agents.executor.control import HaltFile
from streams.cli import output
from streams.cli.control import read_control, stop_in_words
from streams.domain import halts
from streams.domain.errors import RefusedError, UnreachableError
from streams.gateways import views
from streams.gateways.postgres import reading
from streams.settings import Settings

STOPS_PATIENCE_S = 3.0
_HALT_ID = re.compile(r"[0-9a-f]{32}")
Rows = TypeVar("Rows")
as_json = click.option("--json", "as_json", is_flag=True, help="JSON lines for scripts.")


@click.command()
@as_json
def status(as_json: bool) -> None:
    """How each portfolio stands, and why it does or does not trade. What a HALT file on this machine stops is said first."""
    say_file_stops(settings.load(), err=as_json)
    rows = query(views.portfolios)
    if as_json:
        return output.json_lines(rows)
    screen = output.console()
    screen.print(portfolio_table(rows, explained(rows, lambda: query(views.halts), _stops)))
    screen.print(venue_table(query(views.latencies)))
    screen.print(head_table(query(views.heads)))
    return None


@click.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--portfolio", help="Only this portfolio's.")
@as_json
def orders(limit: int, portfolio: str | None, as_json: bool) -> None:
    """The newest orders with their state and fills."""
    rows = query(lambda connection: views.orders(connection, limit=limit, portfolio=portfolio))
    if as_json:
        return output.json_lines(rows)
    return output.console().print(order_table(rows))


@click.group()
def ledger() -> None:
    """The books."""


@ledger.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--account", help="Only this account's.")
@as_json
def tail(limit: int, account: str | None, as_json: bool) -> None:
    """The newest ledger entries, oldest of them first."""
    rows = list(reversed(query(lambda connection: views.entries(connection, limit=limit, account=account))))
    if as_json:
        return output.json_lines(rows)
    return output.console().print(entry_table(rows))


def say_file_stops(checked: Settings, *, err: bool = False) -> None:
    """Say what the HALT file on this machine stops, line by line, whatever else is there; nothing where it is not."""
    file = HaltFile(checked.state_dir)
    for stop in file.stops():
        click.echo(f"HALT file {file.path} on this machine: {stop.kind} {stop.scope}: {stop.why}", err=err)


def query(read: Callable[[Any], Awaitable[Rows]]) -> Rows:
    """One read of the database. Raises UnreachableError, and RefusedError without tables."""
    return asyncio.run(ask(read))


async def ask(read: Callable[[Any], Awaitable[Rows]]) -> Rows:
    """The same where a loop runs already."""
    async with reading(settings.load().database.dsn()) as connection:
        return await read(connection)


def explained(
    rows: Sequence[views.PortfolioView],
    of_database: Callable[[], Sequence[views.HaltView]],
    of_control: Callable[[], Mapping[str, TradingStopped]],
) -> dict[str, str]:
    """What stands behind the halt ids that these rows name: a cause, or an operator's kind, name and reason.

    Control is read only for ids that the database does not know; what is away is said, and an id nobody knows is left out.
    """
    wanted = {row.detail for row in rows if _HALT_ID.fullmatch(row.detail)}
    known: dict[str, str] = {}
    try:
        if wanted:
            known |= {halt.halt_id: halts.in_words(halt.cause) for halt in of_database()}
        if wanted - known.keys():
            known |= {halt_id: stop_in_words(stop) for halt_id, stop in of_control().items()}
    except (UnreachableError, RefusedError) as error:
        click.echo(f"who stopped what cannot be told: {error}", err=True)
    return known


def portfolio_table(rows: Sequence[views.PortfolioView], known: Mapping[str, str] = MappingProxyType({})) -> Table:
    """One line for each asset of each portfolio: weight, target, drift in points, and why it does or does not trade.

    `known` has the words for the halt ids that are explained.
    """
    lines: list[Sequence[str]] = []
    for row in rows:
        why = f"{row.reason}{': ' if row.detail else ''}{known.get(row.detail, row.detail)}"
        within = f"{100 * row.time_in_band_ms / row.time_total_ms:.1f} %" if row.time_total_ms else ""
        first = [row.portfolio, output.amount(row.nav_quote, 2), output.points(row.band), output.points(row.threshold)]
        for asset, view in sorted(row.assets.items()) or [("", {})]:
            figures = [
                output.points(view.get("weight")),
                output.points(view.get("weight_target")),
                output.points(view.get("drift"), signed=True),
            ]
            lines.append([*first, asset, *figures, within, why])
            first, within, why = [""] * 4, "", ""
    columns = ("portfolio", "NAV", "band", "threshold", "asset", "weight", "target", "drift", "in band", "why")
    return output.table("Portfolios (points)", columns, lines, right=columns[1:4] + columns[5:9], wrapped=columns[-1:])


def _stops() -> Mapping[str, TradingStopped]:
    """What operators stopped, as the control topic says it. Raises UnreachableError, RefusedError."""
    return asyncio.run(read_control(settings.load(), patience_s=STOPS_PATIENCE_S)).stops


def order_table(rows: Sequence[views.OrderView]) -> Table:
    """One line for each order."""
    columns = ("time", "portfolio", "account", "side", "symbol", "quantity", "filled", "price", "bp", "state", "why", "order")
    lines = [
        (
            output.clock(row.first_at),
            row.portfolio,
            row.account,
            row.side or ("cancel" if row.target_command_id else ""),
            row.symbol,
            output.amount(row.quantity_base),
            output.amount(row.filled_base),
            output.amount(row.price_average_quote, 2),
            output.amount(row.shortfall_bp, 2),
            row.state,
            row.cause or "",
            row.client_order_id or "",
        )
        for row in rows
    ]
    return output.table("Orders (bp: against the mid at decision, above zero is worse)", columns, lines, right=columns[5:9])


def entry_table(rows: Sequence[views.EntryView]) -> Table:
    """One line for each ledger entry."""
    columns = ("time", "account", "sequence", "kind", "state", "side", "symbol", "flags", "why", "hash")
    lines = [
        (
            output.clock(row.at),
            row.account,
            str(row.sequence),
            row.kind,
            row.state or "",
            row.side or "",
            row.symbol or "",
            " ".join(row.flags),
            row.cause or "",
            row.entry_hash[:12],
        )
        for row in rows
    ]
    return output.table("Ledger", columns, lines, right=("sequence",))


def head_table(rows: Sequence[views.HeadView]) -> Table:
    """The head of each account's books."""
    lines = [(row.account, str(row.sequence), row.entry_hash[:16], output.clock(row.at)) for row in rows]
    return output.table("Ledger heads", ("account", "entries", "hash", "time"), lines, right=("entries",))


def venue_table(rows: Sequence[views.LatencyView]) -> Table:
    """The newest probe of each venue."""
    lines = [(row.venue, "failed" if row.probe_ms is None else f"{row.probe_ms} ms", output.clock(row.at)) for row in rows]
    return output.table("Venues", ("venue", "probe", "time"), lines, right=("probe",))
