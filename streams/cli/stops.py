"""`trimtab halt`, `freeze`, `cancel`, `resume`: what stops trading, at once, and what lets it go on.

halt: no new orders, and open ones are taken off the book. freeze: no new orders. Both go by the control topic, and by the
local HALT file with Kafka and the database down.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

from schemas.control import CancelRequested, ControlEvent, StopKind, TradingResumed, TradingStopped
from schemas.ledger import OrderState
from streams import settings
from streams.agents.executor.control import HALT_FILE, FileStop, HaltFile
from streams.cli.control import ControlTopic, accounts_within, check_concerned, check_scope, spoken, write_control
from streams.cli.inspect import ask, query
from streams.cli.watch import watched, within
from streams.domain.control import Controls
from streams.domain.errors import RefusedError, TrimtabError, UnknownOutcomeError, UnreachableError
from streams.domain.orders.lifecycle import TERMINAL
from streams.gateways import views
from streams.gateways.views import HaltView, OrderView
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.cli import offline

_COMMAND_ID = re.compile(r"[0-9a-f]{32}")
_offline = click.option("--offline", is_flag=True, help="By the local HALT file: works with Kafka and the database down.")
_no_wait = click.option("--no-wait", "wait", is_flag=True, flag_value=False, default=True, help="Do not watch open orders go.")
_why = click.option("--why", default="", help="The reason that goes on record.")


class Topic(Protocol):
    """What a resume needs of the control topic."""

    async def controls(self) -> Controls:
        """What it says up to now."""
        ...

    async def append(self, events: Sequence[ControlEvent]) -> None:
        """Say it."""
        ...


@click.command()
@click.argument("scope")
@_why
@_offline
@_no_wait
def halt(scope: str, why: str, offline: bool, wait: bool) -> None:
    """Stop new orders within SCOPE (all, portfolio:NAME, account:NAME, venue:NAME) and cancel the open ones.

    With --offline it writes the HALT file, waits until the executor's cancels are out or its lease has run out, and lists what
    still stands at the venues: `trimtab cancel --all --offline` takes that off the book. Without it, once the halt is on
    record, the tables are watched for some seconds: how many orders stood, and whether they went.

    Exit codes: 0 it is on record (with --offline: and no order of ours stands), 1 with --offline: the HALT file is written, and
    orders stand, or may stand where a venue cannot be asked, 2 refused, nothing is halted, 75 the broker is away, so that
    nobody may have heard it: use --offline.
    """
    checked = settings.load()
    check_concerned(checked, scope)
    if offline:
        return _halt_offline(checked, scope, why)
    with _another_way("halt", scope):
        _stop(checked, scope, why, StopKind.HALT)
    return _watch(checked, scope, within(checked, scope), grows=True) if wait else None


@click.command()
@click.argument("scope")
@_why
@_offline
def freeze(scope: str, why: str, offline: bool) -> None:
    """Stop new orders within SCOPE (all, portfolio:NAME, account:NAME, venue:NAME); open ones stay on the book.

    With --offline it writes the HALT file, as a line `freeze SCOPE REASON`. A halt of the same account goes before.
    """
    checked = settings.load()
    check_concerned(checked, scope)
    if offline:
        return _write_file(checked, StopKind.FREEZE, scope, why)
    with _another_way("freeze", scope):
        return _stop(checked, scope, why, StopKind.FREEZE)


@click.command()
@click.argument("order", required=False)
@click.option("--all", "everything", is_flag=True, help="Every order decided up to now within --scope.")
@click.option("--scope", default="all", show_default=True, help="With --all: all, portfolio:NAME, account:NAME or venue:NAME.")
@click.option("--offline", is_flag=True, help="Ask the venues directly, without Kafka and database; asks before it does.")
@click.option("--yes", is_flag=True, help="With --offline: do not ask.")
@_no_wait
@_why
def cancel(order: str | None, everything: bool, scope: str, offline: bool, yes: bool, wait: bool, why: str) -> None:
    """Take ORDER (a client order id or command id), or all orders, off the book.

    Nothing is stopped: a portfolio may well decide to trade again; `trimtab halt` stops it. With --offline only orders that
    carry ids of ours are canceled, with the trading keys of the settings, and only while the HALT file stops every account
    within --scope; each order is tried, whatever becomes of the others.

    Exit codes: 0 asked for (with --offline: no order of ours stands any more), 1 with --offline: orders stand, or may stand
    where a venue cannot be asked or its answer proves nothing, 2 refused, nothing was asked for, 75 broker or database is away.
    """
    checked = settings.load()
    check_concerned(checked, scope)
    if (order is not None) is everything:
        raise RefusedError("name one order, or say --all; `trimtab orders` shows them")
    if offline:
        if not everything:
            raise RefusedError("--offline goes with --all: without the database nobody knows which order that is")
        return _cancel_offline(checked, scope, yes)
    with _another_way("halt", scope if order is None else "SCOPE"):
        event = CancelRequested(scope=scope, **spoken(why)) if order is None else _cancel_of(order, why)
        write_control(checked, event)
    click.echo(f"asked to cancel {f'every open order within {scope}' if order is None else order}")
    target = event.target_command_id
    concerns = within(checked, scope) if target is None else lambda row: row.command_id == target
    return _watch(checked, event.scope, concerns, grows=False) if wait else None


@click.command()
@click.argument("scope")
@click.option("--halt-id", "halt_ids", multiple=True, help="Lift this halt (repeatable); without it what operators stopped.")
@_why
def resume(scope: str, halt_ids: tuple[str, ...], why: str) -> None:
    """Lift halts of SCOPE by name, and void the commands that were decided before.

    A halt that happened by itself is lifted only by its --halt-id: `trimtab limits show` lists it with its cause. What the HALT
    file stops is lifted by removing its line, or the file; this command says so where it is the case.
    """
    checked = settings.load()
    check_scope(scope)
    for halt_id in halt_ids:
        if not _COMMAND_ID.fullmatch(halt_id):
            raise RefusedError(f"{halt_id!r} is not a halt id; `trimtab limits show` lists those that stand")
    try:
        named = asyncio.run(_resume(checked, scope, halt_ids, why))
        click.echo(f"resumed {scope}: {', '.join(named)}")
    finally:
        _say_still_stopped(checked, scope)


def _say_still_stopped(checked: Settings, scope: str) -> None:
    """The HALT file knows of no resume: say what it goes on stopping within the scope, if anything."""
    file, portfolio_of = HaltFile(checked.state_dir), _portfolios(checked)
    stopped: dict[FileStop, list[str]] = {stop: [] for stop in file.stops()}
    try:
        accounts = accounts_within(checked, scope)
    except RefusedError:
        accounts = []  # the settings do not know the scope: then every line may concern it
    for account in accounts:
        if (stop := file.stop(account, checked.accounts[account].venue, portfolio_of.get(account))) is not None:
            stopped.setdefault(stop, []).append(account)
    for stop, names in stopped.items():
        if names or not accounts:
            still = f"{', '.join(names) or scope} ({stop.kind} {stop.scope}: {stop.why})"
            click.echo(f"but the HALT file {file.path} still stops {still}: remove that line, or the file, to let orders out")


def _portfolios(checked: Settings) -> dict[str, str]:
    """The portfolio of each account, by the settings."""
    return {account: name for name, portfolio in checked.portfolios.items() for account in portfolio.accounts}


@contextmanager
def _another_way(word: str, scope: str) -> Iterator[None]:
    """Say beside what is away how the same is done without it."""
    try:
        yield
    except (UnreachableError, UnknownOutcomeError) as error:
        raise type(error)(f"{error}; `trimtab {word} {scope} --offline` works without Kafka and database") from None


def _stop(checked: Settings, scope: str, why: str, kind: StopKind) -> None:
    stop = TradingStopped(scope=scope, **spoken(why), halt_id=secrets.token_hex(16), kind=kind)
    write_control(checked, stop)
    click.echo(f"{stop.kind} {stop.halt_id} within {scope}; lift it with: trimtab resume {scope}")


def _watch(checked: Settings, scope: str, concerns: Callable[[OrderView], bool], *, grows: bool) -> None:
    """Say what becomes of open orders; never before what was asked is on record, and no error of what was asked."""
    click.echo(asyncio.run(watched(lambda: ask(views.open_orders), concerns, scope, grows=grows)))


def _write_file(checked: Settings, kind: StopKind, scope: str, why: str) -> None:
    accounts_within(checked, scope)
    place = checked.state_dir / HALT_FILE
    try:
        HaltFile(checked.state_dir).add(kind, scope, why or "operator")
    except OSError as error:
        raise RefusedError(f"{place} cannot be written ({error}): nothing is stopped by it") from None
    click.echo(f"wrote {place}: no new order within {scope} until that line is removed, or the file")


def _halt_offline(checked: Settings, scope: str, why: str) -> None:
    from streams.cli import offline

    _write_file(checked, StopKind.HALT, scope, why)
    found = asyncio.run(offline.drained(checked, scope))
    for account, seen in sorted(found.items()):
        for order in seen.orders:
            click.echo(f"account {account}: {offline.in_words(order)} still stands")
    _say_untold(found)
    if all(seen.clear for seen in found.values()):
        return click.echo("no order of ours stands at the venues")
    raise TrimtabError(f"orders may still stand: take them off the book with: trimtab cancel --all --offline --scope {scope}")


def _cancel_offline(checked: Settings, scope: str, yes: bool) -> None:
    from streams.cli import offline

    running = _not_stopped(checked, scope)
    if running:
        raise RefusedError(
            f"the HALT file does not stop {', '.join(running)}: first `trimtab halt {scope} --offline`, so that nothing new is "
            "sent meanwhile"
        )
    found = asyncio.run(offline.standing(checked, scope))
    mine = {account: seen.orders for account, seen in found.items() if seen.orders}
    for account, orders in sorted(mine.items()):
        for order in orders:
            click.echo(f"account {account}: {offline.in_words(order)}")
    _say_untold(found)
    if all(seen.clear for seen in found.values()):
        return click.echo("no order of ours stands at the venues")
    if mine and not (yes or click.confirm("cancel these orders at their venues now?")):
        raise TrimtabError("nothing was canceled: these orders stand")

    def tell(answer: offline.Answer) -> None:
        click.echo(f"account {answer.account}: {answer.client_order_id}: {answer.words}")

    ended = asyncio.run(offline.cancel(checked, mine, tell))
    if not ended or any(seen.untold for seen in found.values()):
        raise TrimtabError("orders may still stand: say this again, or look at them at their venues")
    return None


def _not_stopped(checked: Settings, scope: str) -> list[str]:
    """The accounts within the scope for which the HALT file lets new orders out."""
    file, portfolio_of = HaltFile(checked.state_dir), _portfolios(checked)
    accounts = accounts_within(checked, scope)
    return [name for name in accounts if file.stop(name, checked.accounts[name].venue, portfolio_of.get(name)) is None]


def _say_untold(found: "Mapping[str, offline.Seen]") -> None:
    for account, seen in sorted(found.items()):
        for why in seen.untold:
            click.echo(f"account {account}: its venue cannot be asked: {why}; look at its open orders there")


def _cancel_of(order: str, why: str) -> CancelRequested:
    found = query(lambda connection: views.order(connection, order))
    if found is None:
        raise RefusedError(f"there is no order {order!r} in the books; `trimtab orders` shows them")
    if OrderState(found.state) in TERMINAL:
        raise RefusedError(f"order {order} is {found.state} already; there is nothing to cancel")
    return CancelRequested(scope=f"account:{found.account}", **spoken(why), target_command_id=found.command_id)


async def _resume(checked: Settings, scope: str, halt_ids: Sequence[str], why: str) -> list[str]:
    async with ControlTopic(checked) as topic:
        return await lift(topic, scope, halt_ids, why, lambda: ask(views.halts))


async def lift(
    topic: Topic, scope: str, halt_ids: Sequence[str], why: str, happened: Callable[[], Awaitable[Sequence[HaltView]]]
) -> list[str]:
    """Resume the halts named, or those of operators on that very scope, and return which these are.

    `happened` are those that stand without an operator, as the database has them. Raises RefusedError for a halt that does not
    stand, and where there is none; what the database cannot tell, since it is away, is said and resumed.
    """
    stops = (await topic.controls()).stops
    named = list(halt_ids) or [stop.halt_id for stop in stops.values() if stop.scope == scope]
    if not named:
        raise RefusedError(
            f"{scope}: nothing is stopped by an operator there; `trimtab limits show` lists the halts that happened by "
            "themselves: name them with --halt-id"
        )
    if others := [halt_id for halt_id in named if halt_id not in stops]:
        await _check_standing(others, happened)
    await topic.append([TradingResumed(scope=scope, **spoken(why), halt_ids=tuple(named))])
    return named


async def _check_standing(halt_ids: Sequence[str], happened: Callable[[], Awaitable[Sequence[HaltView]]]) -> None:
    try:
        standing = {halt.halt_id for halt in await happened()}
    except (UnreachableError, RefusedError) as error:
        return click.echo(f"whether {', '.join(halt_ids)} stands could not be checked: {error}", err=True)
    if unknown := [halt_id for halt_id in halt_ids if halt_id not in standing]:
        raise RefusedError(
            f"no halt {', '.join(unknown)} stands, by control and by what is projected up to now; nothing is resumed; "
            "`trimtab limits show` lists those that stand"
        )
    return None
