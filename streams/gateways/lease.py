"""Leases in PostgreSQL: one row for each owned thing, changed by compare-and-set, judged by the database's clock.

Leases have an address and a small pool of their own, so that no load elsewhere can delay them, and every call is bounded:
an owner whose question hangs must be able to go on, or to stop, in time. A call is one statement that commits by itself: an
owner that falls asleep between two messages of a transaction would keep its row locked, and everybody out, until it wakes.

A statement is about as many rows as are asked for: calls of a kind that come while one of them is on its way leave together.
A hundred accounts that are taken over at the same moment would otherwise stand in a queue longer than a call may last.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any, Generic, Self, TypeVar

from psycopg_pool import AsyncConnectionPool, TooManyRequests

from streams.domain.errors import UnreachableError
from streams.gateways.postgres import AsyncConnection, make_pool, single
from streams.ports.database import Lease, LeaseUnreachableError

_T = TypeVar("_T")
_Tenure = tuple[str, str, int]
"""Resource, owner, epoch."""

CALL_MS_MAX = 500
POOL_SIZE_MAX = 4
CLOSE_S = 2.0

_READ = """
    SELECT resource, owner, epoch, ceil(extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint, checkpoint_offset
    FROM control.leases WHERE resource = ANY(%(resources)s)
"""
# Rows are locked in one order, so that two statements about the same rows never wait for each other.
_TAKE = """
    WITH wanted AS (
        SELECT * FROM unnest(
            %(resource)s::text[], %(owner)s::text[], %(epoch)s::bigint[], %(seen)s::bigint[], %(ttl_ms)s::bigint[]
        ) AS w (resource, owner, epoch, seen, ttl_ms)
    ), free AS (
        SELECT w.* FROM control.leases AS l JOIN wanted AS w ON w.resource = l.resource AND w.seen = l.epoch
        WHERE l.epoch < w.epoch AND (l.expires_at <= clock_timestamp() OR l.owner = w.owner)
        ORDER BY l.resource FOR UPDATE OF l
    ), made AS (
        INSERT INTO control.leases (resource, owner, epoch, expires_at)
        SELECT resource, owner, epoch, clock_timestamp() + ttl_ms * interval '1 millisecond'
        FROM wanted WHERE seen IS NULL ORDER BY resource
        ON CONFLICT (resource) DO NOTHING RETURNING resource, owner, epoch
    ), raised AS (
        UPDATE control.leases AS l
        SET owner = free.owner, epoch = free.epoch, expires_at = clock_timestamp() + free.ttl_ms * interval '1 millisecond'
        FROM free WHERE l.resource = free.resource RETURNING free.resource, free.owner, free.epoch
    )
    SELECT * FROM made UNION ALL SELECT * FROM raised
"""
_HELD = """
    WITH held AS (
        SELECT w.* FROM unnest(%(resource)s::text[], %(owner)s::text[], %(epoch)s::bigint[], %(value)s::bigint[])
            AS w (resource, owner, epoch, value)
        JOIN control.leases AS l ON l.resource = w.resource AND l.owner = w.owner AND l.epoch = w.epoch
        ORDER BY l.resource FOR UPDATE OF l
    )
    UPDATE control.leases AS l SET {change} FROM held WHERE l.resource = held.resource
    RETURNING held.resource, held.owner, held.epoch
"""
_RENEW = _HELD.format(change="expires_at = clock_timestamp() + held.value * interval '1 millisecond'")
_RELEASE = _HELD.format(change="owner = '', expires_at = clock_timestamp()")
_POINT = _HELD.format(change="checkpoint_offset = held.value")


class PostgresLeases:
    """The port ManyLeases on `control.leases`. Use as an async context manager, or `open` and `close`.

    A call that is not answered within `call_ms_max` raises LeaseUnreachableError; it may still take effect.
    """

    def __init__(self, dsn: str, *, call_ms_max: int = CALL_MS_MAX) -> None:
        self._dsn = dsn
        self._call_ms_max = call_ms_max
        self._pool = self._make_pool()
        self._turns = asyncio.Semaphore(POOL_SIZE_MAX)  # who waits in the pool's own queue cannot be called off
        self._given_up: set[asyncio.Task[Any]] = set()
        self._takes = _Together(self._take_all)
        self._releases: _Together[int] = _Together(partial(self._change, _RELEASE))
        self._points: _Together[int] = _Together(partial(self._change, _POINT))

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
        return (await self.read_all([resource])).get(resource)

    async def read_all(self, resources: Collection[str]) -> dict[str, Lease]:
        """See the port."""
        rows = await self._rows(_READ, resources, {"resources": list(resources)})
        return {row[0]: Lease(*row) for row in rows}

    async def take(self, resource: str, owner: str, epoch_seen: int | None, epoch_new: int, ttl_ms: int) -> bool:
        """See the port. An owner of "" is nobody and takes nothing."""
        if not owner:
            raise ValueError("a lease's owner has a name")
        return await self._takes.ask((resource, owner, epoch_new), (epoch_seen, ttl_ms))

    async def renew(self, resource: str, owner: str, epoch: int, ttl_ms: int) -> bool:
        """See the port."""
        return resource in await self.renew_all(owner, {resource: epoch}, ttl_ms)

    async def renew_all(self, owner: str, epochs: Mapping[str, int], ttl_ms: int) -> frozenset[str]:
        """See the port."""
        tenures = {(resource, owner, epoch): ttl_ms for resource, epoch in epochs.items()}
        return frozenset(resource for resource, _, _ in await self._change(_RENEW, tenures))

    async def release(self, resource: str, owner: str, epoch: int) -> None:
        """See the port. The row's owner becomes "": nobody has to be waited for."""
        await self._releases.ask((resource, owner, epoch), 0)

    async def point(self, resource: str, owner: str, epoch: int, checkpoint_offset: int) -> bool:
        """See the port."""
        return await self._points.ask((resource, owner, epoch), checkpoint_offset)

    async def _take_all(self, tenures: Mapping[_Tenure, tuple[int | None, int]]) -> set[_Tenure]:
        seen, ttl_ms = zip(*tenures.values(), strict=True)
        return await self._tenures(_TAKE, tenures, seen=list(seen), ttl_ms=list(ttl_ms))

    async def _change(self, statement: str, tenures: Mapping[_Tenure, int]) -> set[_Tenure]:
        return await self._tenures(statement, tenures, value=list(tenures.values()))

    async def _tenures(self, statement: str, tenures: Collection[_Tenure], **values: list[Any]) -> set[_Tenure]:
        """Which of these tenures the statement changed."""
        if not tenures:
            return set()
        resource, owner, epoch = (list(column) for column in zip(*tenures, strict=True))
        rows = await self._rows(statement, resource, {"resource": resource, "owner": owner, "epoch": epoch, **values})
        return {(row[0], row[1], row[2]) for row in rows}

    async def _rows(self, statement: str, resources: Collection[str], values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        async def fetch(connection: AsyncConnection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement.encode(), values)).fetchall()

        return await self._bounded(next(iter(resources)) if len(resources) == 1 else f"{len(resources)} leases", fetch)

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


_V = TypeVar("_V")


class _Together(Generic[_V]):
    """Calls about single tenures that leave together: the first at once, those that come meanwhile when it is back.

    Of two calls about one tenure that wait, the later one's value counts. `send` says which tenures it worked for.
    """

    def __init__(self, send: Callable[[Mapping[_Tenure, _V]], Awaitable[Collection[_Tenure]]]) -> None:
        self._send = send
        self._values: dict[_Tenure, _V] = {}
        self._callers: dict[_Tenure, list[asyncio.Future[bool]]] = {}
        self._sending: asyncio.Task[None] | None = None

    async def ask(self, tenure: _Tenure, value: _V) -> bool:
        """Whether it worked. Raises what `send` raises."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._values[tenure] = value
        self._callers.setdefault(tenure, []).append(answer)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._send_on())
        return await answer

    async def _send_on(self) -> None:
        while self._values:
            values, self._values = self._values, {}
            callers, self._callers = self._callers, {}
            waiting = [(tenure, answer) for tenure, answers in callers.items() for answer in answers]
            try:
                worked = await self._send(values)
            except Exception as error:  # noqa: BLE001  it is the callers' answer, whatever it is
                for _, answer in waiting:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for tenure, answer in waiting:
                    if not answer.done():
                        answer.set_result(tenure in worked)


async def _exchange(full: AsyncConnectionPool[AsyncConnection], fresh: AsyncConnectionPool[AsyncConnection]) -> None:
    await fresh.open()
    await full.close(CLOSE_S)
