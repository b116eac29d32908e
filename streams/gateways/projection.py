"""The projection in PostgreSQL (the port ProjectionStore): how each table of the schema `ledger` takes a row.

Rows and source positions are written in one transaction: after a crash, a restore or a failover the positions say exactly
what the tables hold. Amounts are added up here only for entries that are new, so adding is safe.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Any, LiteralString

import psycopg
from psycopg import errors
from psycopg_pool import AsyncConnectionPool

from streams.domain.errors import InvariantError, RefusedError
from streams.domain.ledger.projection import MONTHLY, Change, Head
from streams.gateways.postgres import ADVISORY_LOCK, AsyncConnection, make_pool, partition_statements, transaction
from streams.ports.database import ProjectionMovedError

_ENTRY = (
    "account", "sequence", "at", "kind", "event_id", "portfolio", "command_id", "target_command_id", "client_order_id",
    "attempt", "symbol", "side", "state", "flow_id", "halt_ids", "cause", "flags", "previous_hash", "entry_hash",
    "value_sha256", "source_partition", "source_offset", "trace_id",
)  # fmt: skip
_POSTING = ("account", "sequence", "line", "at", "ledger_account", "asset", "amount")
_FILL = (
    "account", "sequence", "at", "kind", "portfolio", "command_id", "client_order_id", "venue_order_id", "symbol", "side",
    "trade_id", "price_quote", "quantity_base", "quote_amount", "fee_asset", "fee_amount", "flags",
)  # fmt: skip
_SIGNAL = (
    "event_id", "at", "kind", "portfolio", "signal_id", "decision_number", "reason", "nav_quote", "body", "value_sha256",
    "source_partition", "source_offset", "trace_id",
)  # fmt: skip
_LEG = (
    "command_id", "event_id", "signal_id", "portfolio", "account", "symbol", "side", "quantity_base", "price_mid_quote",
    "price_cap_quote",
)  # fmt: skip
_STATE = (
    "portfolio", "at", "incarnation", "decision_number", "reason", "detail", "nav_quote", "band", "threshold", "assets",
    "time_total_ms", "time_in_band_ms",
)  # fmt: skip
_LATENCY = ("venue", "at", "probe_ms", "order_ms", "socket_age_ms", "budget_left", "clock_offset_ms")


def _insert(table: str, columns: Sequence[str], conflict: str = "") -> str:
    values = ", ".join(f"%({column})s" for column in columns)
    return f"INSERT INTO ledger.{table} ({', '.join(columns)}) VALUES ({values}) {conflict}"


def _latest(key: str, table: str, columns: Sequence[str]) -> str:
    """On conflict the row of the later time wins; at equal times the one that came later."""
    sets = ", ".join(f"{column} = EXCLUDED.{column}" for column in columns if column != key)
    return _insert(table, columns, f"ON CONFLICT ({key}) DO UPDATE SET {sets} WHERE {table}.at <= EXCLUDED.at")


_ORDERS = """
INSERT INTO ledger.orders AS o (
    command_id, account, portfolio, symbol, target_command_id, side, quantity_base, price_limit_quote, price_mid_quote,
    state, attempt, client_order_id, venue_order_id, filled_base, filled_quote, fills, cause, flags, first_at,
    intended_at, accepted_at, first_fill_at, last_fill_at, ended_at, last_at, first_sequence, last_sequence, trace_id
) VALUES (
    %(command_id)s, %(account)s, %(portfolio)s, %(symbol)s, %(target_command_id)s, %(side)s, %(quantity_base)s,
    %(price_limit_quote)s, %(price_mid_quote)s, %(state)s, %(attempt)s, %(client_order_id)s, %(venue_order_id)s,
    %(filled_base)s, %(filled_quote)s, %(fills)s, %(cause)s, %(flags)s, %(at)s, %(intended_at)s, %(accepted_at)s,
    %(fill_at)s, %(fill_at)s, %(ended_at)s, %(at)s, %(sequence)s, %(sequence)s, %(trace_id)s
)
ON CONFLICT (command_id) DO UPDATE SET
    state = EXCLUDED.state,
    attempt = COALESCE(EXCLUDED.attempt, o.attempt),
    client_order_id = COALESCE(EXCLUDED.client_order_id, o.client_order_id),
    venue_order_id = COALESCE(EXCLUDED.venue_order_id, o.venue_order_id),
    filled_base = EXCLUDED.filled_base,
    filled_quote = EXCLUDED.filled_quote,
    fills = o.fills + EXCLUDED.fills,
    cause = COALESCE(EXCLUDED.cause, o.cause),
    flags = o.flags || EXCLUDED.flags,
    intended_at = COALESCE(o.intended_at, EXCLUDED.intended_at),
    accepted_at = COALESCE(o.accepted_at, EXCLUDED.accepted_at),
    first_fill_at = COALESCE(o.first_fill_at, EXCLUDED.first_fill_at),
    last_fill_at = COALESCE(EXCLUDED.last_fill_at, o.last_fill_at),
    ended_at = COALESCE(o.ended_at, EXCLUDED.ended_at),
    last_at = EXCLUDED.last_at,
    last_sequence = EXCLUDED.last_sequence,
    trace_id = COALESCE(o.trace_id, EXCLUDED.trace_id)
"""

_STATEMENTS: dict[str, str] = {
    "heads": _insert(
        "heads",
        ("account", "sequence", "entry_hash", "at"),
        "ON CONFLICT (account) DO UPDATE SET sequence = EXCLUDED.sequence, entry_hash = EXCLUDED.entry_hash, at = EXCLUDED.at",
    ),
    "entries": _insert("entries", _ENTRY),
    "postings": _insert("postings", _POSTING),
    "fills": _insert("fills", _FILL),
    "orders": _ORDERS,
    "balances": _insert(
        "balances",
        ("account", "ledger_account", "asset", "amount"),
        "ON CONFLICT (account, ledger_account, asset) DO UPDATE SET amount = balances.amount + EXCLUDED.amount",
    ),
    "signals": _insert("signals", _SIGNAL, "ON CONFLICT (event_id, at) DO NOTHING"),
    "legs": _insert("legs", _LEG, "ON CONFLICT (command_id) DO NOTHING"),
    "portfolio_state": _latest("portfolio", "portfolio_state", _STATE),
    "venue_latency": _latest("venue", "venue_latency", _LATENCY),
}
"""How each table takes a row, in the order in which tables are locked."""

_FIRST_MOVE = _insert("projection_offsets", ("topic", "partition", "next_offset"), "ON CONFLICT DO NOTHING").encode()
_MOVE = (
    b"UPDATE ledger.projection_offsets SET next_offset = %(next_offset)s"
    b" WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(seen)s"
)


class PostgresProjection:
    """The port ProjectionStore. Made closed; `open` starts its pool."""

    def __init__(self, dsn: str, *, patience_s: float = 10.0) -> None:
        self._dsn = dsn
        self._patience_s = patience_s
        self._pool: AsyncConnectionPool[AsyncConnection] | None = None
        self._months: set[tuple[int, int]] = set()

    async def open(self) -> None:
        """Start the pool; it connects when it is first used."""
        self._pool = make_pool(self._dsn, name="projector", size_max=2, patience_s=self._patience_s)
        await self._pool.open()

    async def close(self) -> None:
        """Let go of the connections."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def positions(self) -> dict[tuple[str, int], int]:
        """See the port."""
        self._months.clear()  # the schema may have been made anew since
        async with transaction(self._opened()) as connection:
            cursor = await _checked(connection, "SELECT topic, partition, next_offset FROM ledger.projection_offsets")
            return {(topic, partition): next_offset for topic, partition, next_offset in await cursor.fetchall()}

    async def heads(self) -> dict[str, Head]:
        """See the port."""
        async with transaction(self._opened()) as connection:
            cursor = await _checked(connection, "SELECT account, sequence, entry_hash FROM ledger.heads")
            return {account: Head(sequence, entry_hash) for account, sequence, entry_hash in await cursor.fetchall()}

    async def apply(
        self,
        changes: Sequence[Change],
        moves: Mapping[tuple[str, int], tuple[int | None, int]],
        repeats: Sequence[tuple[str, int, str]] = (),
    ) -> None:
        """See the port."""
        months = {(change.row["at"].year, change.row["at"].month) for change in changes if change.table in MONTHLY}
        rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for change in changes:
            rows[change.table].append(change.row)
        try:
            async with transaction(self._opened()) as connection, connection.cursor() as cursor:
                await _move(cursor, moves)
                # A first position fits tables that were made anew as well: what months they have is not known then.
                known = set() if any(seen is None for seen, _ in moves.values()) else self._months
                await _ensure_months(connection, months - known)
                for table, statement in _STATEMENTS.items():
                    if table in rows:
                        await cursor.executemany(statement.encode(), rows[table])
                await _check_signals(cursor, rows.get("signals", ()))
                await _check_repeats(cursor, repeats)
        except (errors.ProgrammingError, errors.NotSupportedError) as error:
            raise _drifted(error) from error
        except (errors.DataError, errors.IntegrityError) as error:
            raise InvariantError(f"projection: the database does not take a row: {error}") from error
        self._months |= months

    def _opened(self) -> AsyncConnectionPool[AsyncConnection]:
        if self._pool is None:
            raise RuntimeError("open() the projection first")
        return self._pool


async def _ensure_months(connection: AsyncConnection, months: Set[tuple[int, int]]) -> None:
    """Make the partitions of these months, one projector after the other."""
    if not months:
        return
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
    for statement in partition_statements(months):
        await connection.execute(statement)


async def _checked(connection: AsyncConnection, statement: LiteralString) -> psycopg.AsyncCursor[tuple[Any, ...]]:
    try:
        return await connection.execute(statement)
    except errors.ProgrammingError as error:
        raise _drifted(error) from error


async def _move(cursor: psycopg.AsyncCursor[Any], moves: Mapping[tuple[str, int], tuple[int | None, int]]) -> None:
    """Move the positions first: their rows are then locked, and whoever else projects finds them moved."""
    for (topic, partition), (seen, next_offset) in sorted(moves.items()):
        row = {"topic": topic, "partition": partition, "next_offset": next_offset, "seen": seen}
        await cursor.execute(_FIRST_MOVE if seen is None else _MOVE, row)
        if cursor.rowcount != 1:
            raise ProjectionMovedError(f"{topic}:{partition} does not stand at {seen} in the tables")


async def _check_signals(cursor: psycopg.AsyncCursor[Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """A signal that was there already must have been there with the same bytes."""
    if not rows:
        return
    await cursor.execute(
        "SELECT s.event_id FROM ledger.signals AS s"
        " JOIN unnest(%s::text[], %s::timestamptz[], %s::text[]) AS n (event_id, at, value_sha256)"
        " ON s.event_id = n.event_id AND s.at = n.at WHERE s.value_sha256 <> n.value_sha256 LIMIT 1",
        tuple([row[column] for row in rows] for column in ("event_id", "at", "value_sha256")),
    )
    if found := await cursor.fetchone():
        raise InvariantError(f"signal {found[0]} was written twice with different bytes")


async def _check_repeats(cursor: psycopg.AsyncCursor[Any], repeats: Sequence[tuple[str, int, str]]) -> None:
    """An entry that was projected before must have had the same bytes."""
    if not repeats:
        return
    await cursor.execute(
        "SELECT n.account, n.sequence FROM unnest(%s::text[], %s::bigint[], %s::text[]) AS n (account, sequence, value_sha256)"
        " LEFT JOIN ledger.entries AS e ON e.account = n.account AND e.sequence = n.sequence"
        " WHERE e.value_sha256 IS DISTINCT FROM n.value_sha256 LIMIT 1",
        tuple(list(column) for column in zip(*repeats, strict=True)),
    )
    if found := await cursor.fetchone():
        raise InvariantError(f"ledger of {found[0]}: entry {found[1]} was written twice with different bytes")


def _drifted(error: Exception) -> RefusedError:
    return RefusedError(
        f"projection: the schema `ledger` is not what this program made: {str(error).splitlines()[0]}; "
        "run `trimtab db migrate`, or drop the schema and let it be rebuilt"
    )
