"""`trimtab demo`: the whole flow here, on real Kafka and PostgreSQL with a simulated venue, and what it did."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from schemas.ledger import OrderState
from streams import settings
from streams.cli import output
from streams.cli.inspect import head_table, order_table, portfolio_table, venue_table
from streams.domain.errors import TrimtabError
from streams.domain.orders.lifecycle import TERMINAL
from streams.gateways import views
from streams.gateways.postgres import AsyncConnection
from streams.local.flow import Flow, VenuePlan
from streams.local.install import read_installed
from streams.local.server import LocalStackError
from streams.simulator.tapes.tape import price_at

NOT_READY = {"waiting_opening", "no_targets", "no_rules", "no_price"}
START = "2024-08-05T06:10Z"
SPEED = 30
ORDERS_SHOWN = 8
PLAIN_EVERY_S = 10.0
SETTLE_S = 20.0


class Stopped(Exception):
    """The user ends the demo."""


@click.command()
@click.option("--for", "seconds", type=click.IntRange(5), help="End after so many seconds of prices; without it, Ctrl-C.")
@click.option("--start", default=START, show_default=True, help="Where on the tape of 5 August 2024 prices begin (UTC).")
@click.option("--speed", default=SPEED, show_default=True, type=click.IntRange(1, 1000), help="How fast prices move.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=settings.FILE_DEFAULT)
def demo(seconds: int | None, start: str, speed: int, config: Path) -> None:
    """Start everything on this machine, let real prices move, show what happens, and end with a summary."""
    plan = VenuePlan(start_ms=_milliseconds(start), speed=speed)
    directory = Path(read_installed().state_dir) / "demo"
    try:
        with _stoppable(), Flow(directory, config, plan, say=_say) as flow:
            try:
                _start(flow)
                _watch(flow, seconds)
            except Stopped:
                if not flow.ready:
                    raise
                _say("stopping")
            ended = datetime.now(UTC)
            _settle(flow)
            _summarise(flow, plan, ended)
    except Stopped:
        _say("stopped before it was ready")
        sys.exit(130)
    except LocalStackError as error:
        raise TrimtabError(str(error)) from None


def _start(flow: Flow) -> None:
    flow.start_servers()
    flow.prepare()
    flow.start_roles()
    _say("opening the accounts: two equal snapshots, 5 s apart")
    expected = len(flow.settings.portfolios)
    flow.wait_until(lambda: _observed(flow) == expected, "not every portfolio is open and observed")
    flow.ready = True
    environment = flow.write_environment()
    _say(f"ready; in another terminal: . {environment} && trimtab status (or orders, ledger tail, halt all, verify)")
    if flow.database is not None:
        _say(f"tables: {flow.database.psql_command}")
    _say(f"logs: {flow.roles.directory}")
    flow.go()
    _say("prices move")


def _observed(flow: Flow) -> int:
    try:
        rows = flow.read(views.portfolios)
    except TrimtabError:
        return 0
    return sum(row.reason not in NOT_READY for row in rows)


def _watch(flow: Flow, seconds: int | None) -> None:
    """Show the flow until the time is over; a table that renews itself on a terminal, lines elsewhere."""
    deadline = time.monotonic() + seconds if seconds else float("inf")
    screen = output.console()
    if screen.is_terminal:
        with Live(console=screen, refresh_per_second=4, screen=False) as live:
            while time.monotonic() < deadline:
                live.update(_picture(flow))
                time.sleep(0.5)
        return
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(PLAIN_EVERY_S, left))
        for row in flow.read(views.portfolios):
            drifts = ", ".join(
                f"{asset} {output.points(view['drift'], signed=True)}" for asset, view in sorted(row.assets.items())
            )
            _say(f"{row.portfolio:<10} {row.reason:<14} decisions {row.decision_number}; drift {drifts}")


def _picture(flow: Flow) -> Group:
    async def read(connection: AsyncConnection):
        return (
            await views.portfolios(connection),
            await views.orders(connection, limit=ORDERS_SHOWN),
            await views.latencies(connection),
            await views.heads(connection),
        )

    try:
        portfolios, orders, latencies, heads = flow.read(read)
    except TrimtabError as error:
        return Group(Text(f"the tables cannot be read just now: {error}", style="yellow"))
    roles = "  ".join(f"{status.name} {status.state}" for status in flow.roles.statuses())
    return Group(
        portfolio_table(portfolios),
        Text(),
        order_table(orders),
        Text(),
        venue_table(latencies),
        Text(),
        head_table(heads),
        Text(f"roles: {roles}", style="dim"),
        Text("simulated fills on a real tape; Ctrl-C ends with a summary", style="dim"),
    )


def _settle(flow: Flow) -> None:
    """Freeze, so that nothing new begins, and wait until what was begun has ended and is in the tables."""
    flow.trimtab("freeze", "all", "--why", "end of the demo")

    def quiet() -> bool:
        orders = flow.read(lambda connection: views.orders(connection, limit=200))
        return all(OrderState(order.state) in TERMINAL for order in orders)

    try:
        flow.wait_until(quiet, "orders are still open", SETTLE_S)
    except LocalStackError:
        _say("some orders are still open; the summary counts them as they stand")


def _summarise(flow: Flow, plan: VenuePlan, ended: datetime) -> None:
    async def read(connection: AsyncConnection):
        first = await views.first_decision(connection)
        return await views.summary(connection), await views.portfolios(connection), first

    summary, portfolios, first = flow.read(read)
    click.echo(f"\nSummary at {ended:%H:%M:%S} UTC: simulated fills, prices of 5 August 2024 at {plan.speed}x")
    if first is not None:
        click.echo(f"  first decision   {_cause(first, flow.settings.portfolios[first.portfolio].quote, plan)}")
    click.echo(f"  decisions        {summary.decisions}")
    click.echo(f"  orders           {summary.orders}, of them with fills {summary.orders_filled}; fills {summary.fills}")
    if summary.shortfall_bp is not None:
        cost = f"{summary.shortfall_bp:+.2f} bp of the traded amount ({output.amount(summary.shortfall_quote, 2)} in quote)"
        click.echo(f"  shortfall        {cost} against the mid at decision, n = {summary.orders_filled} orders")
    fees = ", ".join(f"{output.amount(amount)} {asset}" for asset, amount in summary.fees.items())
    click.echo(f"  fees             {fees or 'none'}")
    for row in portfolios:
        within = f"{Decimal(100) * row.time_in_band_ms / row.time_total_ms:.2f} %" if row.time_total_ms else "no time"
        filled = summary.filled_by_portfolio.get(row.portfolio, 0)
        standing = f"in its band {within} of {row.time_total_ms / 1000:.0f} s"
        click.echo(f"  {row.portfolio:<16} {row.decision_number} decisions, {filled} filled orders, {standing}")
    held = ", ".join(f"{reason} {count}" for reason, count in summary.held_back.items())
    click.echo(f"  held back        {held or 'nothing'}")
    click.echo(f"  verified         {flow.trimtab('verify').splitlines()[-1]}: venue's journal, topics and tables agree")


def _cause(first: views.SignalView, quote: str, plan: VenuePlan) -> str:
    """The price move that made the first decision: marks then against the tape's prices at START."""
    moves: list[str] = []
    for asset, view in sorted(first.body["assets"].items()):
        if asset != quote:
            begin, now = price_at(f"{asset}/{quote}", plan.start_ms), Decimal(view["mark_quote"])
            moves.append(f"{asset} {100 * (now / begin - 1):+.2f} % to {output.amount(now, 2)}")
    asset = first.body["trigger_asset"]
    drift = output.points(first.body["assets"][asset]["drift"], signed=True)
    return f"{', '.join(moves)} since START: {first.portfolio} drifted {drift} points in {asset}"


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM end in order; a second one while ending does too, since the servers stop in bounded time."""

    def stop(_number: int, _frame: object) -> None:
        raise Stopped

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _milliseconds(start: str) -> int:
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        raise click.BadParameter(f"{start!r} is not a time such as {START}", param_hint="--start") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _say(line: str) -> None:
    click.echo(f"{datetime.now(UTC):%H:%M:%S}  {line}")
