"""Pauses in PostgreSQL: until when no request may be made to a venue, by the database's clock. Rows only move forward.

Read before requests, orders among them: one warm connection of its own, one statement, one round trip.
"""

import asyncio
import contextlib
from typing import Any

import psycopg

from streams.domain.errors import UnreachableError
from streams.gateways.postgres import AsyncConnection, connect_warm

CALL_MS_MAX = 200

_LEFT = b"""
    SELECT greatest(0, ceil(extract(epoch FROM paused_until - clock_timestamp()) * 1000))::bigint
    FROM control.budgets WHERE venue = %(venue)s
"""
_EXTEND = b"""
    INSERT INTO control.budgets (venue, paused_until, cause)
    VALUES (%(venue)s, clock_timestamp() + %(for_ms)s * interval '1 millisecond', %(cause)s)
    ON CONFLICT (venue) DO UPDATE SET paused_until = excluded.paused_until, cause = excluded.cause
    WHERE control.budgets.paused_until < excluded.paused_until
    RETURNING 0
"""


class PostgresPauses:
    """The port Pauses on `control.budgets`. The database need not be there yet; a connection that fails is made anew."""

    def __init__(self, dsn: str, *, call_ms_max: int = CALL_MS_MAX) -> None:
        self._dsn = dsn
        self._call_ms_max = call_ms_max
        self._connection: AsyncConnection | None = None
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def left_ms(self, venue: str) -> int:
        """See the port."""
        return await self._ask(_LEFT, {"venue": venue})

    async def extend(self, venue: str, for_ms: int, cause: str) -> None:
        """See the port."""
        await self._ask(_EXTEND, {"venue": venue, "for_ms": for_ms, "cause": cause[:500]})

    async def _ask(self, statement: bytes, values: dict[str, Any]) -> int:
        try:
            async with asyncio.timeout(self._call_ms_max / 1000), self._turn:
                return await self._ask_in_turn(statement, values)
        except (TimeoutError, psycopg.Error) as error:
            raise UnreachableError(f"database: {type(error).__name__}: {error}") from error

    async def _ask_in_turn(self, statement: bytes, values: dict[str, Any]) -> int:
        """Whoever has the turn, and nobody else, closes a connection that failed him: the loop watches it for him."""
        try:
            if self._connection is None:
                self._connection = await connect_warm(self._dsn, name="pauses", statement_timeout_ms=self._call_ms_max)
            row = await (await self._connection.execute(statement, values)).fetchone()
        except BaseException:
            broken, self._connection = self._connection, None
            if broken is not None:
                with contextlib.suppress(psycopg.Error):
                    await broken.close()
            raise
        return int(row[0]) if row is not None else 0
