"""`trimtab limits`, `unknown`, `reconcile`: what accounts may do, what nobody knows of them, whether their books are right."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeVar

import click
from rich.table import Table

from schemas.account import AccountBalances
from schemas.codec import DecodeError, decode
from schemas.control import AccountLimitsSet, LookRequested, PortfolioLimitsSet
from schemas.ledger import OrderState
from streams import settings
from streams.cli import output
from streams.cli.control import PATIENCE_S, check_account, read_control, spoken, stop_in_words, write_control
from streams.cli.inspect import as_json, query, say_file_stops
from streams.domain import halts
from streams.domain.control import Controls
from streams.domain.errors import RefusedError, TrimtabError
from streams.domain.orders.lifecycle import TERMINAL
from streams.gateways import views
from streams.gateways.kafka import KafkaLog
from streams.settings import Settings
from streams.topics import ACCOUNT_BALANCES, partition_of

WAIT_S = 60.0
POLL_S = 0.5
RECORDS_BACK = 200
Found = TypeVar("Found")


@click.group()
def limits() -> None:
    """What is allowed, how much of it is used, and which halts stand."""


@limits.command()
def show() -> None:
    """Limits as the control topic has them, what was used of them as the books have it, and every halt that stands, by a HALT
    file on this machine, too.

    Used are an account's turnover and its orders that have not ended, and a portfolio's turnover: of five minutes and of the
    day what was decided outside transitions, of an hour what was decided within, against its worth when last observed.
    """
    checked = settings.load()
    say_file_stops(checked)
    controls = asyncio.run(read_control(checked))
    accounts = {row.account: row for row in query(views.turnover)}
    portfolios = {row.portfolio: row for row in query(views.portfolio_turnover)}
    worth = {row.portfolio: row.nav_quote for row in query(views.portfolios)}
    screen = output.console()
    screen.print(account_table(controls, accounts, Counter(row.account for row in query(views.open_orders))))
    screen.print(portfolio_limits_table(controls, portfolios, worth))
    lines = [(halt.halt_id, output.clock(halt.at), halt.scope, halts.in_words(halt.cause)) for halt in query(views.halts)]
    lines += [
        (
            stop.halt_id,
            output.clock_ms(stop.at_ms),
            stop.scope,
            stop_in_words(stop),
        )
        for stop in controls.stops.values()
    ]
    screen.print(output.table("Halts that stand", ("halt id", "since", "scope", "cause"), lines, wrapped=("cause",)))


@click.group()
def unknown() -> None:
    """Orders of which nobody knows whether the venue has them."""


@unknown.command("list")
@as_json
def list_unknown(as_json: bool) -> None:
    """Each with its symbol, which is blocked, and since when; the executor asks its venue again and again by itself."""
    rows = query(views.unknown)
    if as_json:
        return output.json_lines(rows)
    lines = [
        (
            output.clock(row.last_at),
            row.account,
            row.side or "",
            row.symbol,
            output.amount(row.quantity_base),
            row.cause or "",
            row.client_order_id or "",
        )
        for row in rows
    ]
    columns = ("since", "account", "side", "symbol", "quantity", "why", "order")
    return output.console().print(output.table("Unknown orders", columns, lines, right=("quantity",)))


@unknown.command()
@click.argument("order")
@click.option("--why", default="", help="The reason that goes on record.")
def resolve(order: str, why: str) -> None:
    """Have the venue asked about ORDER now, and wait for the proof.

    The account's owner asks by client id, among open orders and behind own trades, in the venue's own time. ORDER is found, or
    it is absent once its time is over at the venue and repeated answers show nothing; there is no other way out, and nobody can
    say so instead of the venue. Exit 1 when it is still unknown.
    """
    checked = settings.load()
    found = query(lambda connection: views.order(connection, order))
    if found is None:
        raise RefusedError(f"there is no order {order!r} in the books; `trimtab unknown list` shows those that are unknown")
    if found.state != OrderState.UNKNOWN:
        raise RefusedError(f"order {order} is {found.state}, not unknown; there is nothing to resolve")
    account, command_id = found.account, found.command_id
    event = LookRequested(scope=f"account:{account}", **spoken(why), account=account, target_command_id=command_id)
    write_control(checked, event)
    after = _wait(lambda: query(lambda connection: _moved(connection, command_id)))
    if after is None:
        raise TrimtabError(f"order {order} is still unknown after {WAIT_S:g} s: the venue proves neither; it is asked again")
    ended = "" if OrderState(after.state) in TERMINAL else ", and goes on"
    click.echo(f"order {order} is {after.state}{ended}; {output.amount(after.filled_base)} filled")


@click.command()
@click.argument("account")
@click.option("--why", default="", help="The reason that goes on record.")
def reconcile(account: str, why: str) -> None:
    """Compare the books of ACCOUNT with its venue now.

    Its owner looks at once at orders, trades, deposits, withdrawals and totals, books what is new and halts for what it cannot
    explain. Shown are the feed's next snapshot and the books beside it; exit 1 where they differ. While orders are open or
    fills are fresh they may well differ for a moment.
    """
    checked = settings.load()
    check_account(checked, account)
    asked_ms = time.time_ns() // 1_000_000
    write_control(checked, LookRequested(scope=f"account:{account}", **spoken(why), account=account))
    seen = _wait(lambda: asyncio.run(_balances(checked, account, asked_ms)))
    if seen is None:
        raise TrimtabError(f"account {account}: no snapshot came within {WAIT_S:g} s; does the feed run?")
    theirs = {asset: balance.free + balance.used for asset, balance in seen.balances.items()}
    ours = {row.asset: row.amount for row in query(views.holdings) if row.account == account}
    zero = Decimal(0)
    lines = [
        (asset, output.amount(theirs.get(asset, zero)), output.amount(ours.get(asset, zero)), output.amount(difference or None))
        for asset in sorted({*theirs, *ours})
        for difference in (theirs.get(asset, zero) - ours.get(asset, zero),)
    ]
    columns = ("asset", "venue", "books", "difference")
    output.console().print(output.table(f"Account {account}", columns, lines, right=columns[1:]))
    differing = [line[0] for line in lines if line[3]]
    if differing:
        raise TrimtabError(f"account {account}: {', '.join(differing)} differ; `trimtab flows list` and `limits show` say more")


def account_table(controls: Controls, traded: Mapping[str, views.TurnoverView], standing: Mapping[str, int]) -> Table:
    """The limits of each account, with its turnover and the orders that have not ended beside theirs."""
    lines = []
    for event in controls.newest.values():
        if isinstance(event, AccountLimitsSet):
            used = traded.get(event.account)
            five, day = (used.turnover_5min_quote, used.turnover_day_quote) if used else (Decimal(0), Decimal(0))
            lines.append(
                (
                    event.account,
                    output.amount(event.order_notional_max_quote),
                    f"{output.amount(five, 2)} of {output.amount(event.turnover_5min_max_quote)}",
                    f"{output.amount(day, 2)} of {output.amount(event.turnover_day_max_quote)}",
                    f"{standing.get(event.account, 0)} of {event.open_orders_max}",
                    output.points(event.price_collar),
                    " ".join(event.symbols),
                )
            )
    columns = ("account", "order", "5 minutes", "day", "open orders", "collar", "symbols")
    title = "Accounts (quote units; collar in points)"
    return output.table(title, columns, sorted(lines), right=columns[1:6], wrapped=columns[6:])


def portfolio_limits_table(
    controls: Controls, traded: Mapping[str, views.PortfolioTurnoverView], worth_quote: Mapping[str, Decimal | None]
) -> Table:
    """The limits of each portfolio, with its turnover beside theirs, in points of what it was last worth.

    A limit stands alone where no table knows what was used of it: the loss of a day, and all of a portfolio of unknown worth.
    """

    def beside(portfolio: str, limit: Decimal, used_quote: Decimal) -> str:
        worth = worth_quote.get(portfolio)
        used = f"{output.points(used_quote / worth)} of " if worth is not None and worth > 0 else ""
        return f"{used}{output.points(limit)}"

    lines = []
    for event in controls.newest.values():
        if isinstance(event, PortfolioLimitsSet):
            name = event.portfolio
            used = traded.get(name) or views.PortfolioTurnoverView(name, Decimal(0), Decimal(0), Decimal(0))
            lines.append(
                (
                    name,
                    output.points(event.order_notional_max),
                    beside(name, event.turnover_5min_max, used.turnover_5min_quote),
                    beside(name, event.turnover_day_max, used.turnover_day_quote),
                    output.points(event.loss_day_max),
                    output.points(event.transition_order_max),
                    beside(name, event.transition_hour_max, used.transition_hour_quote),
                )
            )
    columns = ("portfolio", "order", "5 minutes", "day", "loss of a day", "transition, an order", "transition, an hour")
    return output.table("Portfolios (points of net asset value)", columns, sorted(lines), right=columns[1:])


async def _moved(connection: views.AsyncConnection, command_id: str) -> views.OrderView | None:
    after = await views.order(connection, command_id)
    return after if after is not None and after.state != OrderState.UNKNOWN else None


async def _balances(checked: Settings, account: str, since_ms: int) -> AccountBalances | None:
    """The newest snapshot of the account that the feed took after that moment."""
    log = KafkaLog(checked.kafka.connection(), patience_s=PATIENCE_S)
    await log.start()
    try:
        partition = partition_of(account.encode(), await log.partitions(ACCOUNT_BALANCES))
        begin = await log.begin_offset(ACCOUNT_BALANCES, partition)
        end = await log.end_offset(ACCOUNT_BALANCES, partition)
        records = await log.read(ACCOUNT_BALANCES, partition, max(begin, end - RECORDS_BACK), end)
    finally:
        await log.close()
    for record in reversed(records):
        try:
            seen = decode(AccountBalances.ce_type(), record.value)
        except DecodeError:
            continue  # the sequencer sets it aside; here it is no snapshot
        if isinstance(seen, AccountBalances) and seen.account == account and seen.received_at_ms > since_ms:
            return seen
    return None


def _wait(ask: Callable[[], Found | None]) -> Found | None:
    deadline = time.monotonic() + WAIT_S
    while (found := ask()) is None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return found
