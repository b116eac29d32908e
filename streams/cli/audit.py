"""`trimtab verify`: proof from raw topics, database rows and the venue's own journal, by code that shares nothing with ours."""

import asyncio
from pathlib import Path

import click
import psycopg
from aiokafka.errors import KafkaError

from streams import settings
from streams.domain.errors import RefusedError, UnreachableError
from streams.gateways.kafka_access import client_args
from streams.proof.verify import verify as check_all
from streams.proof.verify.sources import Sources, gather

JOURNAL_VARIABLE = "TRIMTAB_VENUE_JOURNAL"


@click.command()
@click.option(
    "--journal",
    envvar=JOURNAL_VARIABLE,
    show_envvar=True,
    help="The venue's own journal: a file of JSON lines, or the address of the simulated venue's control port.",
)
def verify(journal: str | None) -> None:
    """Check the invariants I1, I3, I4, I6, I17 and that fills agree everywhere; exit 1 on a violation or an empty check."""
    loaded = settings.load()
    if not journal:
        raise RefusedError(f"verify: name the venue's journal with --journal or {JOURNAL_VARIABLE}")
    if not journal.startswith(("http://", "https://")) and not Path(journal).exists():
        raise RefusedError(f"verify: {journal} does not exist; name the venue's journal with --journal")
    connection = loaded.kafka.connection()
    sources = Sources(client_args(connection), loaded.database.dsn(), journal, connection.topic_prefix)
    try:
        report = check_all(asyncio.run(gather(sources)))
    except (OSError, psycopg.Error, KafkaError, TimeoutError) as error:
        raise UnreachableError(f"verify: something could not be read: {type(error).__name__}: {error}") from None
    click.echo(report.text())
    raise SystemExit(report.exit_code)
