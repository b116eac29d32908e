"""The lease rows, by compare-and-set; the database's clock is its own, and a row may be lost, as in a failover."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from streams.lab.engine import Pause
from streams.ports import Lease, LeaseUnreachableError

if TYPE_CHECKING:
    from streams.lab.executor.process import Process
    from streams.lab.world import World

_T = TypeVar("_T")
TIMEOUT_MS = 1000


@dataclass(slots=True)
class Row:
    """One row as it is stored."""

    owner: str
    epoch: int
    expires_ms: int
    checkpoint_offset: int | None = None


class Leases:
    """The port LeaseStore of one process."""

    def __init__(self, world: "World", process: "Process") -> None:
        self._world = world
        self._process = process
        self._asked = 0

    async def read(self, resource: str) -> Lease | None:
        """The row as it stands."""

        def look() -> Lease | None:
            row = self._world.rows.get(resource)
            if row is None:
                return None
            left_ms = row.expires_ms - self._world.engine.now_ms
            return Lease(resource, row.owner, row.epoch, left_ms, row.checkpoint_offset)

        return await self._ask(look)

    async def take(self, resource: str, owner: str, epoch_seen: int | None, epoch_new: int, ttl_ms: int) -> bool:
        """Raise the row, if it is as it was seen."""

        def swap() -> bool:
            row, now_ms = self._world.rows.get(resource), self._world.engine.now_ms
            if (row.epoch if row is not None else None) != epoch_seen:
                return False
            if row is not None and row.owner not in ("", owner) and row.expires_ms > now_ms:
                return False
            pointer = row.checkpoint_offset if row is not None else None
            self._world.rows[resource] = Row(owner, epoch_new, now_ms + ttl_ms, pointer)
            return True

        return await self._ask(swap)

    async def renew(self, resource: str, owner: str, epoch: int, ttl_ms: int) -> bool:
        """Extend one's own row."""

        def extend() -> bool:
            row = self._own(resource, owner, epoch)
            if row is not None:
                row.expires_ms = self._world.engine.now_ms + ttl_ms
            return row is not None

        return await self._ask(extend)

    async def release(self, resource: str, owner: str, epoch: int) -> None:
        """Expire one's own row."""

        def expire() -> None:
            row = self._own(resource, owner, epoch)
            if row is not None:
                row.owner = ""

        await self._ask(expire)

    async def point(self, resource: str, owner: str, epoch: int, checkpoint_offset: int) -> bool:
        """Store where the newest checkpoint lies."""

        def point() -> bool:
            row = self._own(resource, owner, epoch)
            if row is not None:
                row.checkpoint_offset = checkpoint_offset
            return row is not None

        return await self._ask(point)

    def _own(self, resource: str, owner: str, epoch: int) -> Row | None:
        row = self._world.rows.get(resource)
        return row if row is not None and (row.owner, row.epoch) == (owner, epoch) else None

    async def _ask(self, act: Callable[[], _T]) -> _T:
        """There, and back. A database that is away answers nobody; an answer may be lost after the act was done."""
        world, self._asked = self._world, self._asked + 1
        about = (self._process.number, self._process.life, self._asked)
        if world.database_is_away:
            await Pause(TIMEOUT_MS)
            world.seen["database away"] += 1
            raise LeaseUnreachableError("the database does not answer")
        done = await Pause(world.chance.between(1, 3, "to the database", *about), act)
        if world.chance.strikes(1500, "answer of the database lost", *about):
            await Pause(TIMEOUT_MS)
            raise LeaseUnreachableError("the database did not answer in time")
        await Pause(world.chance.between(1, 3, "from the database", *about))
        return done
