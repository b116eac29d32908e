"""`trimtab topics` and `trimtab contracts`: what is said, and where."""

import asyncio
from pathlib import Path

import click

from schemas import publish
from streams import settings
from streams.cli.control import PATIENCE_S
from streams.gateways import kafka_admin
from streams.topics import all_topics


@click.group()
def topics() -> None:
    """Create and check topics."""


@topics.command()
def create() -> None:
    """Create every topic of the table that does not exist yet."""
    config = settings.load()
    floors = kafka_admin.Floors(config.kafka.replication_floor, config.kafka.min_insync_floor)
    created = asyncio.run(kafka_admin.create_topics(config.kafka.connection(), all_topics(config.shards), floors, PATIENCE_S))
    for name in created:
        click.echo(f"created {name}")
    click.echo(f"{len(created)} topics created, {len(all_topics(config.shards)) - len(created)} were there")


@topics.command("check")
def check_topics() -> None:
    """Compare the topics with the table; exit 2 when a role would refuse to start."""
    config = settings.load()
    floors = kafka_admin.Floors(config.kafka.replication_floor, config.kafka.min_insync_floor)
    problems = asyncio.run(kafka_admin.check_topics(config.kafka.connection(), all_topics(config.shards), floors, PATIENCE_S))
    for problem in problems:
        click.echo(f"{'refused' if problem.fatal else 'warning'}: {problem}")
    fatal = sum(problem.fatal for problem in problems)
    click.echo(f"{len(all_topics(config.shards))} topics checked, {fatal} refused, {len(problems) - fatal} warnings")
    raise SystemExit(2 if fatal else 0)


@click.group()
def contracts() -> None:
    """Write and check the published schemas."""


@contracts.command()
def write() -> None:
    """Generate schemas/published from the messages."""
    for path in publish.write(Path.cwd()):
        click.echo(f"wrote {path.relative_to(Path.cwd())}")


@contracts.command("check")
def check_contracts() -> None:
    """Compare schemas/published with the messages; exit 1 when they differ."""
    problems = publish.differences(Path.cwd())
    for problem in problems:
        click.echo(problem)
    click.echo(f"{len(publish.documents())} schemas checked, {len(problems)} differ")
    raise SystemExit(1 if problems else 0)
