"""`trimtab flows`: money that moved without an order of ours, and what it was."""

import re
from decimal import Decimal

import click

from schemas.control import FlowClassificationSet, FlowKind, TransferAnnounced
from schemas.values import exact
from streams import settings
from streams.cli import output
from streams.cli.control import check_account, spoken, write_control
from streams.cli.inspect import as_json, query
from streams.domain.errors import RefusedError
from streams.gateways import views

_ASSET = re.compile(r"[A-Z0-9]{1,20}")


@click.group()
def flows() -> None:
    """Deposits, withdrawals and trades by hand: list them, say what they were, announce the next."""


@flows.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are classified, too.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@as_json
def list_flows(everything: bool, limit: int, as_json: bool) -> None:
    """What holds portfolios back until somebody says what it was."""
    rows = query(lambda connection: views.flows(connection, limit=limit, everything=everything))
    if as_json:
        return output.json_lines(rows)
    lines = [(output.clock(flow.at), flow.portfolio, flow.account, *_what(flow)) for flow in rows]
    columns = ("time", "portfolio", "account", "asset", "amount", "what", "flow")
    return output.console().print(output.table("Flows", columns, lines, right=("amount",)))


@flows.command()
@click.argument("account")
@click.argument("flow_id")
@click.option("--as", "kind", type=click.Choice([kind.value for kind in FlowKind]), required=True)
@click.option("--why", default="", help="The reason that goes on record.")
def ack(account: str, flow_id: str, kind: str, why: str) -> None:
    """Say what FLOW_ID of ACCOUNT was: external (a transfer of yours) or foreign (somebody traded by hand)."""
    checked = settings.load()
    check_account(checked, account)
    known = {(row.account, row.flow_id): row for row in query(lambda c: views.flows(c, limit=10_000, everything=True))}
    flow = known.get((account, flow_id))
    if flow is None:
        raise RefusedError(f"account {account} has no flow {flow_id!r} in its books; `trimtab flows list` shows them")
    if flow.classified:
        raise RefusedError(f"flow {flow_id} of account {account} is classified already: {flow.classified}")
    event = FlowClassificationSet(
        scope=f"account:{account}", **spoken(why), account=account, flow_id=flow_id, flow_kind=FlowKind(kind)
    )
    write_control(checked, event)
    click.echo(f"{account}: {output.amount(flow.amount)} {flow.asset} of {flow_id} was {kind}")


@flows.command()
@click.argument("account")
@click.argument("asset")
@click.argument("amount")
@click.option("--why", default="", help="The reason that goes on record.")
def announce(account: str, asset: str, amount: str, why: str) -> None:
    """Say before it happens that AMOUNT of ASSET comes in (or, with --, goes out as a negative AMOUNT, its fee included)."""
    checked = settings.load()
    check_account(checked, account)
    if not _ASSET.fullmatch(asset):
        raise RefusedError(f"{asset!r} is not an asset; give it in capitals, as USDT")
    event = TransferAnnounced(scope=f"account:{account}", **spoken(why), account=account, asset=asset, amount=_amount(amount))
    write_control(checked, event)
    click.echo(f"{account}: a transfer of {amount} {asset} is expected and will hold nothing back")


def _what(flow: views.FlowView) -> tuple[str, str, str, str]:
    return flow.asset, output.amount(flow.amount), flow.classified or "?", flow.flow_id


def _amount(text: str) -> Decimal:
    try:
        amount = exact(text)
    except ValueError as error:
        raise RefusedError(f"{text!r} is not an amount: {error}") from None
    if not amount:
        raise RefusedError("a transfer of nothing needs no announcement")
    return amount
