"""`trimtab recover`: a fold whose checkpoints are gone, rebuilt from its journal without sending anything twice."""

import asyncio

import click

from streams import app, settings
from streams.gateways.faust import recover_shard


@click.command()
@click.argument("shard", type=click.IntRange(min=0))
@click.option("--fold", type=click.Choice(["portfolio", "ledger"]), default="portfolio", show_default=True)
def recover(shard: int, fold: str) -> None:
    """Rebuild SHARD (a partition of the fold's source) of a stopped fold and write its checkpoint."""
    loaded = settings.load()
    spec, factory = app.portfolio_fold(loaded) if fold == "portfolio" else app.ledger_fold(loaded)
    done = asyncio.run(recover_shard(spec, factory, loaded.kafka.connection(), shard))
    click.echo(f"{fold} shard {shard}: folded {done.records_folded} records and sent nothing; it resumes at {done.next_offset}")
