"""`trimtab db`: the tables that are derived, and the few that are not."""

import click

from streams import settings
from streams.gateways import postgres


@click.group()
def db() -> None:
    """Migrate, rebuild and dump the database."""


@db.command()
def migrate() -> None:
    """Apply the numbered SQL files that the database lacks; refuse a database that is newer."""
    applied = postgres.migrate(settings.load().database.dsn())
    for name in applied:
        click.echo(f"applied {name}")
    click.echo(f"{len(applied)} files applied, {len(postgres.migrations())} in all")


@db.command()
@click.confirmation_option("--yes", prompt="Drop the schema `ledger`? The projector rebuilds it from the topics.")
def rebuild() -> None:
    """Drop the derived schema `ledger` and make it anew, empty; a running projector then fills it from the topics."""
    postgres.recreate_ledger(settings.load().database.dsn())
    click.echo("the schema ledger is empty; the projector fills it from the beginning of the topics")


@db.command()
def dump() -> None:
    """Print rows and SHA-256 of each derived table in one canonical form: equal databases print equal lines."""
    with postgres.connect(settings.load().database.dsn(), statement_timeout_ms=600_000) as connection:
        for table, (rows, digest) in postgres.canonical_dump(connection).items():
            click.echo(f"{table:<24} {rows:>9} {digest}")
