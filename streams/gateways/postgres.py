"""PostgreSQL as every role meets it: connections, migrations, monthly partitions.

No prepared statements by name: behind a pooler in transaction mode another client's statement would answer, silently wrong.
For the same reason no session locks and no session settings: locks end with their transaction, limits are set in it.

Migrations are numbered files `NNNN_<schema>[_what].sql`, applied in order in one transaction and recorded with their digest
in `control.migrations`. A file that changed after it was applied, and a database that knows more than this program, are
refused. The schema `ledger` is derived: where it was dropped, its files are applied again and the projection fills it.
"""

import hashlib
import logging
import re
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from streams.domain.errors import RefusedError, UnreachableError
from streams.domain.ledger.projection import MONTHLY

log = logging.getLogger("trimtab.postgres")
# The pool warns at every try to connect; the role that waits says it once.
logging.getLogger("psycopg").setLevel(logging.ERROR)

DERIVED = "ledger"
ADVISORY_LOCK = 0x7472696D746162  # "trimtab"
LOCK_TIMEOUT_MS = 10_000
STATEMENT_TIMEOUT_MS = 30_000
IDLE_TIMEOUT_MS = 10_000
"""A process that stands still in the middle of a transaction keeps its locks no longer than this; others wait for them."""
MIGRATION_TIMEOUT_MS = 600_000
MONTHS_AHEAD = 3

_CONNECT: dict[str, Any] = {
    "prepare_threshold": None,
    "connect_timeout": 5,
    # A peer that vanished without a word is noticed within seconds, not hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_FILE_NAME = re.compile(r"^(\d{4})_([a-z]+)(?:_[a-z0-9_]+)?\.sql$")

_AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
)

AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]
Connection = psycopg.Connection[tuple[Any, ...]]


def make_pool(
    dsn: str, *, name: str, size_max: int = 4, patience_s: float = 10.0, statement_ms_max: int | None = None
) -> AsyncConnectionPool[AsyncConnection]:
    """A closed pool of at most `size_max` connections; `await pool.open()` starts it. `name` is seen in the server's views.

    With `statement_ms_max` its connections are for single statements that commit by themselves (`single`).
    """
    kwargs: dict[str, Any] = {**_CONNECT, "application_name": f"trimtab-{name}"}
    if statement_ms_max is not None:
        kwargs |= _alone(statement_ms_max)
    return AsyncConnectionPool(
        dsn,
        kwargs=kwargs,
        min_size=0,
        max_size=size_max,
        open=False,
        name=name,
        timeout=patience_s,
        reconnect_timeout=patience_s,
        max_waiting=100,
        check=AsyncConnectionPool.check_connection,
    )


@asynccontextmanager
async def transaction(
    pool: AsyncConnectionPool[AsyncConnection],
    *,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
    idle_timeout_ms: int = IDLE_TIMEOUT_MS,
) -> AsyncIterator[AsyncConnection]:
    """One transaction with bounded waits, in UTC; the server ends it when we say nothing for `idle_timeout_ms`. Raises
    UnreachableError when the database did not answer in time, or has ended it.

    After an error at the commit itself nobody knows whether it happened: read back before going on.
    """
    async with single(pool) as connection, connection.transaction():
        await connection.execute(_limits(lock_timeout_ms, statement_timeout_ms, idle_timeout_ms))
        yield connection


@asynccontextmanager
async def single(pool: AsyncConnectionPool[AsyncConnection]) -> AsyncIterator[AsyncConnection]:
    """A connection of the pool. Raises UnreachableError when the database did not answer in time, or takes no writes: it became
    a standby, and the next connection may lead to the one that is none."""
    try:
        async with pool.connection() as connection:
            try:
                yield connection
            except psycopg.errors.ReadOnlySqlTransaction:
                await connection.close()
                raise
    except (*_AWAY, PoolTimeout) as error:
        raise UnreachableError(f"database: {_first_line(error)}") from error


async def connect_warm(dsn: str, *, name: str, statement_timeout_ms: int) -> AsyncConnection:
    """One connection to keep, for single statements that commit by themselves: one round trip each. Raises psycopg.Error."""
    kwargs: dict[str, Any] = {**_CONNECT, "application_name": f"trimtab-{name}", **_alone(statement_timeout_ms)}
    return await psycopg.AsyncConnection.connect(dsn, **kwargs)


def _alone(statement_ms_max: int) -> dict[str, Any]:
    return {"autocommit": True, "options": f"-c statement_timeout={statement_ms_max} -c lock_timeout={statement_ms_max}"}


@asynccontextmanager
async def reading(dsn: str, *, statement_timeout_ms: int = STATEMENT_TIMEOUT_MS) -> AsyncIterator[AsyncConnection]:
    """One read-only transaction on a connection of its own, for people's questions.

    Raises UnreachableError, and RefusedError when the tables are not there yet.
    """
    try:
        async with await psycopg.AsyncConnection.connect(dsn, **_CONNECT) as connection:
            await connection.set_read_only(True)
            await connection.execute(_limits(LOCK_TIMEOUT_MS, statement_timeout_ms))
            yield connection
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise UnreachableError(f"database: {_first_line(error)}") from error
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise RefusedError(f"database: {_first_line(error)}; run `trimtab db migrate`") from error


@contextmanager
def connect(
    dsn: str, *, lock_timeout_ms: int = LOCK_TIMEOUT_MS, statement_timeout_ms: int = STATEMENT_TIMEOUT_MS
) -> Iterator[Connection]:
    """One blocking connection with one transaction, for the command line and start-up. Raises UnreachableError."""
    try:
        with psycopg.connect(dsn, **_CONNECT) as connection:
            connection.execute(_limits(lock_timeout_ms, statement_timeout_ms))
            yield connection
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise UnreachableError(f"database: {_first_line(error)}") from error


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file: the schema that it makes or changes, and the digest of its text."""

    number: int
    name: str
    schema: str
    text: str
    sha256: str


@cache
def migrations(directory: Path | None = None) -> tuple[Migration, ...]:
    """The migrations of this program, in order. Raises RefusedError on a name or numbering that is not as it must be."""
    directory = directory or _directory()
    found: list[Migration] = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.match(path.name)
        if match is None:
            raise RefusedError(f"{path}: a migration is named NNNN_<schema>[_what].sql")
        text = path.read_text()
        found.append(Migration(int(match[1]), path.name, match[2], text, hashlib.sha256(text.encode()).hexdigest()))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)) or not found:
        raise RefusedError(f"{directory}: migrations must be numbered from 0001 without gaps")
    return tuple(found)


def migrate(dsn: str, directory: Path | None = None) -> tuple[str, ...]:
    """Bring the database to this program's schemas and return the names of the files applied now.

    Raises RefusedError when the database is newer or a file was edited after it was applied, UnreachableError.
    """
    with connect(dsn, statement_timeout_ms=MIGRATION_TIMEOUT_MS) as connection:
        _lock(connection)
        applied = _apply(connection, migrations(directory))
        ensure_partitions(connection, months_ahead(datetime.now(UTC), MONTHS_AHEAD))
    for name in applied:
        log.info("database: applied %s", name)
    return applied


def require_schema(dsn: str, directory: Path | None = None) -> None:
    """Raise RefusedError unless the database has exactly this program's schemas; changes nothing."""
    with connect(dsn) as connection:
        missing = _missing(connection, migrations(directory))
    if missing:
        names = ", ".join(migration.name for migration in missing)
        raise RefusedError(f"the database lacks {names}; run `trimtab db migrate`")


def recreate_ledger(dsn: str, directory: Path | None = None) -> None:
    """Drop the derived schema `ledger` with its offsets and make it anew, empty: the projection then starts over."""
    with connect(dsn, statement_timeout_ms=MIGRATION_TIMEOUT_MS) as connection:
        _lock(connection)
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(DERIVED)))
        _apply(connection, migrations(directory))
        ensure_partitions(connection, months_ahead(datetime.now(UTC), MONTHS_AHEAD))
    log.info("database: schema %s dropped and made anew", DERIVED)


def months_ahead(now: datetime, count: int) -> tuple[tuple[int, int], ...]:
    """The (year, month) of `now` and of the `count` months after it, in UTC."""
    first = now.astimezone(UTC)
    months = range(first.year * 12 + first.month - 1, first.year * 12 + first.month + count)
    return tuple((month // 12, month % 12 + 1) for month in months)


def ensure_partitions(connection: Connection, months: Collection[tuple[int, int]]) -> None:
    """Make the monthly partitions of these (year, month) where they are missing; old months too, as a replay needs them."""
    for statement in partition_statements(months):
        connection.execute(statement)


def partition_statements(months: Collection[tuple[int, int]]) -> Iterator[sql.Composed]:
    """The statements that make the partitions of these months, each safe to repeat."""
    for year, month in sorted(months):
        after = (year + month // 12, month % 12 + 1)
        for table in MONTHLY:
            yield sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(DERIVED, f"{table}_{year:04}_{month:02}"),
                sql.Identifier(DERIVED, table),
                sql.Literal(f"{year:04}-{month:02}-01 00:00:00+00"),
                sql.Literal(f"{after[0]:04}-{after[1]:02}-01 00:00:00+00" if after[0] < 10_000 else "infinity"),
            )


def canonical_dump(connection: Connection) -> dict[str, tuple[int, str]]:
    """Each table of the schema `ledger` as (row count, SHA-256 over its rows as text, in one order): equal iff equal."""
    connection.execute("SET LOCAL datestyle = 'ISO, YMD'")
    tables = connection.execute(
        """
        SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname COLLATE "C"
        """,
        (DERIVED,),
    ).fetchall()
    return {table: _digest(connection, table) for (table,) in tables}


def _digest(connection: Connection, table: str) -> tuple[int, str]:
    sha, rows = hashlib.sha256(), 0
    query = sql.SQL('SELECT t::text FROM {} AS t ORDER BY t::text COLLATE "C"').format(sql.Identifier(DERIVED, table))
    with connection.cursor(name="dump") as cursor:
        cursor.itersize = 5_000
        cursor.execute(query)
        for (text,) in cursor:
            sha.update(text.encode() + b"\n")
            rows += 1
    return rows, sha.hexdigest()


def _directory() -> Path:
    """Where the files are: beside this package in the wheel, in `infra/postgres` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "_sql"
    return shipped if shipped.is_dir() else package.parent / "infra" / "postgres"


def _limits(lock_timeout_ms: int, statement_timeout_ms: int, idle_timeout_ms: int = 0) -> sql.Composed:
    """The bounds of this transaction alone, so that a pooler may stand between; 0 is none."""
    return sql.SQL(
        "SELECT set_config('lock_timeout', {}, true), set_config('statement_timeout', {}, true),"
        " set_config('idle_in_transaction_session_timeout', {}, true), set_config('timezone', 'UTC', true)"
    ).format(*(sql.Literal(f"{bound_ms}ms") for bound_ms in (lock_timeout_ms, statement_timeout_ms, idle_timeout_ms)))


def _lock(connection: Connection) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))


def _apply(connection: Connection, wanted: tuple[Migration, ...]) -> tuple[str, ...]:
    connection.execute("CREATE SCHEMA IF NOT EXISTS control")
    connection.execute(
        """
        CREATE TABLE IF NOT EXISTS control.migrations (
            number integer PRIMARY KEY,
            name text NOT NULL,
            sha256 text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    missing = _missing(connection, wanted)
    for migration in missing:
        connection.execute(migration.text.encode())
        connection.execute(
            "INSERT INTO control.migrations (number, name, sha256) VALUES (%s, %s, %s)"
            " ON CONFLICT (number) DO UPDATE SET applied_at = now()",
            (migration.number, migration.name, migration.sha256),
        )
    return tuple(migration.name for migration in missing)


def _missing(connection: Connection, wanted: tuple[Migration, ...]) -> tuple[Migration, ...]:
    """The migrations to apply: those never applied, and those of a derived schema that was dropped."""
    known = connection.execute("SELECT to_regclass('control.migrations'), to_regnamespace(%s)", (DERIVED,)).fetchone()
    table, derived = known if known else (None, None)
    rows = connection.execute("SELECT number, name, sha256 FROM control.migrations").fetchall() if table else []
    applied = {number: (name, sha256) for number, name, sha256 in rows}
    newest = max(applied, default=0)
    if newest > len(wanted):
        raise RefusedError(
            f"the database has migration {applied[newest][0]}, this program knows {wanted[-1].name}: "
            "it is newer than this program; run the newer version"
        )
    for migration in wanted:
        if migration.number in applied and applied[migration.number][1] != migration.sha256:
            raise RefusedError(f"{migration.name} was edited after it was applied; restore it and add a new file instead")
    dropped = derived is None
    return tuple(m for m in wanted if m.number not in applied or (dropped and m.schema == DERIVED))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
