"""Leases in PostgreSQL: one row for each owned thing, changed by compare-and-set, judged by the database's clock.

Leases have an address and a small pool of their own, so that no load elsewhere can delay them, and every call is bounded:
an owner whose question hangs must be able to go on, or to stop, in time. A call is one statement that commits by itself: an
owner that falls asleep between two messages of a transaction would keep its row locked, and everybody out, until it wakes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

from psycopg_pool import AsyncConnectionPool, TooManyRequests

from streams.domain.errors import UnreachableError
from streams.gateways.postgres import AsyncConnection, make_pool, single
from streams.ports import Lease, LeaseUnreachableError

_T = TypeVar("_T")

CALL_MS_MAX = 500
POOL_SIZE_MAX = 4
CLOSE_S = 2.0

_READ = """
    SELECT owner, epoch, ceil(extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint, checkpoint_offset
    FROM control.leases WHERE resource = %(resource)s
"""
_INSERT = """
    INSERT INTO control.leases (resource, owner, epoch, expires_at)
    VALUES (%(resource)s, %(owner)s, %(epoch)s, clock_timestamp() + %(ttl_ms)s * interval '1 millisecond')
    ON CONFLICT (resource) DO NOTHING
"""
_TAKE = """
    UPDATE control.leases
    SET owner = %(owner)s, epoch = %(epoch)s, expires_at = clock_timestamp() + %(ttl_ms)s * interval '1 millisecond'
    WHERE resource = %(resource)s AND epoch = %(epoch_seen)s AND epoch < %(epoch)s
      AND (expires_at <= clock_timestamp() OR owner = %(owner)s)
"""
_RENEW = """
    UPDATE control.leases SET expires_at = clock_timestamp() + %(ttl_ms)s * interval '1 millisecond'
    WHERE resource = %(resource)s AND owner = %(owner)s AND epoch = %(epoch)s
"""
_RELEASE = """
    UPDATE control.leases SET owner = '', expires_at = clock_timestamp()
    WHERE resource = %(resource)s AND owner = %(owner)s AND epoch = %(epoch)s
"""
_POINT = """
    UPDATE control.leases SET checkpoint_offset = %(checkpoint_offset)s
    WHERE resource = %(resource)s AND owner = %(owner)s AND epoch = %(epoch)s
"""


class PostgresLeases:
    """The port LeaseStore on `control.leases`. Use as an async context manager, or `open` and `close`.

    A call that is not answered within `call_ms_max` raises LeaseUnreachableError; it may still take effect.
    """

    def __init__(self, dsn: str, *, call_ms_max: int = CALL_MS_MAX) -> None:
        self._dsn = dsn
        self._call_ms_max = call_ms_max
        self._pool = self._make_pool()
        self._turns = asyncio.Semaphore(POOL_SIZE_MAX)  # who waits in the pool's own queue cannot be called off
        self._given_up: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Start the pool; the database need not be there yet."""
        await self._pool.open()

    async def close(self) -> None:
        """Close the pool, waiting a bounded time for calls that were given up."""
        if self._given_up:
            await asyncio.wait(self._given_up, timeout=CLOSE_S)
        await self._pool.close(CLOSE_S)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read(self, resource: str) -> Lease | None:
        """See the port."""

        async def fetch(connection: AsyncConnection) -> Lease | None:
            row = await (await connection.execute(_READ, {"resource": resource})).fetchone()
            return None if row is None else Lease(resource, row[0], row[1], row[2], row[3])

        return await self._bounded(resource, fetch)

    async def take(self, resource: str, owner: str, epoch_seen: int | None, epoch_new: int, ttl_ms: int) -> bool:
        """See the port. An owner of "" is nobody and takes nothing."""
        statement = _INSERT if epoch_seen is None else _TAKE
        return await self._changes(statement, resource, owner, epoch_new, ttl_ms=ttl_ms, epoch_seen=epoch_seen)

    async def renew(self, resource: str, owner: str, epoch: int, ttl_ms: int) -> bool:
        """See the port."""
        return await self._changes(_RENEW, resource, owner, epoch, ttl_ms=ttl_ms)

    async def release(self, resource: str, owner: str, epoch: int) -> None:
        """See the port. The row's owner becomes "": nobody has to be waited for."""
        await self._changes(_RELEASE, resource, owner, epoch)

    async def point(self, resource: str, owner: str, epoch: int, checkpoint_offset: int) -> bool:
        """See the port."""
        return await self._changes(_POINT, resource, owner, epoch, checkpoint_offset=checkpoint_offset)

    async def _changes(self, statement: str, resource: str, owner: str, epoch: int, **more: int | None) -> bool:
        if not owner:
            raise ValueError("a lease's owner has a name")

        async def change(connection: AsyncConnection) -> bool:
            values = {"resource": resource, "owner": owner, "epoch": epoch, **more}
            return (await connection.execute(statement.encode(), values)).rowcount == 1

        return await self._bounded(resource, change)

    async def _bounded(self, resource: str, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """Run `work`, a single statement. A call that hangs is left behind: cancelling it waits for the server, too."""
        task = asyncio.ensure_future(self._call(work))
        try:
            await asyncio.wait([task], timeout=self._call_ms_max / 1000)
        finally:
            if not task.done():
                task.cancel()
                self._given_up.add(task)
                task.add_done_callback(self._forget)
        if not task.done():
            raise LeaseUnreachableError(f"{resource}: the lease database did not answer within {self._call_ms_max} ms")
        try:
            return task.result()
        except UnreachableError as error:
            raise LeaseUnreachableError(f"{resource}: {error}") from error

    async def _call(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        async with self._turns:
            return await self._in_turn(work)

    async def _in_turn(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        pool = self._pool
        try:
            async with single(pool) as connection:
                return await work(connection)
        except UnreachableError as error:
            if isinstance(error.__cause__, TooManyRequests) and pool is self._pool:
                self._start_anew()
            raise

    def _make_pool(self) -> AsyncConnectionPool[AsyncConnection]:
        return make_pool(
            self._dsn,
            name="leases",
            size_max=POOL_SIZE_MAX,
            patience_s=self._call_ms_max / 1000,
            statement_ms_max=self._call_ms_max,
        )

    def _start_anew(self) -> None:
        """Replace a pool whose queue is full. Who stopped waiting stays in its queue until a connection comes up for him,
        and a pool with a full queue refuses everybody before it would make one: it could stay so for ever."""
        full, self._pool = self._pool, self._make_pool()
        task = asyncio.ensure_future(_exchange(full, self._pool))
        self._given_up.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._given_up.discard(task)
        if not task.cancelled():
            task.exception()  # asked for: nobody waits for this outcome any more


async def _exchange(full: AsyncConnectionPool[AsyncConnection], fresh: AsyncConnectionPool[AsyncConnection]) -> None:
    await fresh.open()
    await full.close(CLOSE_S)
