"""`trimtab verify`: proof from raw topics, database rows and the venue's own journal, by code that shares nothing with ours."""

import asyncio
import urllib.error
from collections.abc import Mapping
from pathlib import Path

import click
import psycopg
from aiokafka.errors import KafkaError

from streams import settings
from streams.domain.errors import RefusedError, UnreachableError
from streams.gateways.kafka_access import client_args
from streams.proof.verify import Sources
from streams.proof.verify import verify as check_all
from streams.proof.verify.authors import Key, trusted_keys

JOURNAL_VARIABLE = "TRIMTAB_VENUE_JOURNAL"


@click.command()
@click.option(
    "--journal",
    envvar=JOURNAL_VARIABLE,
    show_envvar=True,
    help="The venue's own journal: a file of JSON lines, or the address of the simulated venue's control port.",
)
@click.option(
    "--trusted",
    type=click.Path(path_type=Path),
    help="Public keys whose signatures count, as `trimtab keys` writes them; without it the settings' keys.trusted_file.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of the table.")
def verify(journal: str | None, trusted: Path | None, as_json: bool) -> None:
    """Check the invariants I1 to I6, I8 to I11, I14, I16 and I17, and that fills agree everywhere.

    It may run while all else does: it looks at everything up to now. Exit status: 0 all hold, 1 one is violated or had nothing
    to look at, 2 refused, 75 something could not be read.
    """
    loaded = settings.load()
    if not journal:
        raise RefusedError(f"verify: name the venue's journal with --journal or {JOURNAL_VARIABLE}")
    if not journal.startswith(("http://", "https://")) and not Path(journal).exists():
        raise RefusedError(f"verify: {journal} does not exist; name the venue's journal with --journal")
    connection = loaded.kafka.connection()
    sources = Sources(
        client_args(connection),
        loaded.database.dsn(),
        journal,
        connection.topic_prefix,
        environment=loaded.environment,
        dev=loaded.dev,
        trusted=_trusted(trusted or loaded.keys.trusted_file),
    )
    try:
        report = asyncio.run(check_all(sources))
    except (OSError, psycopg.Error, KafkaError, TimeoutError) as error:
        raise unreadable(journal, error) from None
    click.echo(report.json() if as_json else report.text())
    raise SystemExit(report.exit_code)


def unreadable(journal: str, error: Exception) -> UnreachableError:
    """What could not be read, and why, in one sentence."""
    match error:
        case urllib.error.HTTPError():
            words = f"the venue's journal {journal} cannot be read: it answers {error.code} {error.reason}"
        case urllib.error.URLError():
            words = f"the venue's journal {journal} cannot be read: {_reason(error.reason)}"
        case psycopg.Error():
            words = f"the database cannot be read: {_reason(error)}"
        case KafkaError():
            words = f"Kafka cannot be read: {_reason(error)}"
        case TimeoutError():
            words = "something gave no answer in time"
        case OSError(errno=None) if str(error):
            words = _reason(error)  # our own, a whole sentence
        case OSError():
            words = f"{error.filename or 'something'} cannot be read: {_reason(error)}"
        case _:
            words = f"something cannot be read: {_reason(error)}"
    return UnreachableError(f"verify: {words}")


def _reason(error: object) -> str:
    """The first line of what an error says of itself, in the system's words where these are its own."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (words.splitlines() or [type(error).__name__])[0]


def _trusted(path: Path | None) -> Mapping[str, Key] | None:
    if path is None:
        return None
    try:
        return trusted_keys(path.read_text())
    except (OSError, ValueError) as error:
        raise RefusedError(f"verify: {path} cannot be read: {error}") from None
