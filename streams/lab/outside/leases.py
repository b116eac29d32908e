"""The lease rows, by compare-and-set; the database's clock is its own, and a row may be lost, as in a failover."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from streams.agents.executor.leasehold import resource_of
from streams.lab.engine import Pause
from streams.lab.history import History
from streams.lab.process import Process
from streams.ports.database import Lease, LeaseUnreachableError

_T = TypeVar("_T")
TIMEOUT_MS = 1000


@dataclass(slots=True)
class Row:
    """One row as it is stored."""

    owner: str
    epoch: int
    expires_ms: int
    checkpoint_offset: int | None = None


class Database:
    """The rows, by resource. `cheated_ms` is when it last gave an account away under its owner."""

    def __init__(self, history: History, accounts: Iterable[str]) -> None:
        self._history = history
        self.rows: dict[str, Row] = {}
        self.cheated_ms = dict.fromkeys(accounts, -1_000_000)

    def lose_row(self, account: str) -> None:
        """It fails over to a copy that never had the row: anybody may take the account."""
        self.rows.pop(resource_of(account), None)
        self.cheated_ms[account] = self._history.engine.now_ms

    def expire_row(self, account: str) -> None:
        """Its clock jumps: the row looks expired although its owner is well."""
        row = self.rows.get(resource_of(account))
        if row is not None:
            row.expires_ms = self._history.engine.now_ms - 1
            self.cheated_ms[account] = self._history.engine.now_ms


class Leases:
    """The port LeaseStore of one process."""

    def __init__(self, history: History, database: Database, process: Process) -> None:
        self._history = history
        self._rows = database.rows
        self._process = process
        self._asked = 0

    async def read(self, resource: str) -> Lease | None:
        """The row as it stands."""

        def look() -> Lease | None:
            row = self._rows.get(resource)
            if row is None:
                return None
            left_ms = row.expires_ms - self._history.engine.now_ms
            return Lease(resource, row.owner, row.epoch, left_ms, row.checkpoint_offset)

        return await self._ask(look)

    async def take(self, resource: str, owner: str, epoch_seen: int | None, epoch_new: int, ttl_ms: int) -> bool:
        """Raise the row, if it is as it was seen."""

        def swap() -> bool:
            row, now_ms = self._rows.get(resource), self._history.engine.now_ms
            if (row.epoch if row is not None else None) != epoch_seen:
                return False
            if row is not None and row.owner not in ("", owner) and row.expires_ms > now_ms:
                return False
            pointer = row.checkpoint_offset if row is not None else None
            self._rows[resource] = Row(owner, epoch_new, now_ms + ttl_ms, pointer)
            return True

        return await self._ask(swap)

    async def renew(self, resource: str, owner: str, epoch: int, ttl_ms: int) -> bool:
        """Extend one's own row."""

        def extend() -> bool:
            row = self._own(resource, owner, epoch)
            if row is not None:
                row.expires_ms = self._history.engine.now_ms + ttl_ms
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
        row = self._rows.get(resource)
        return row if row is not None and (row.owner, row.epoch) == (owner, epoch) else None

    async def _ask(self, act: Callable[[], _T]) -> _T:
        """There, and back. A database that is away answers nobody; an answer may be lost after the act was done."""
        history, self._asked = self._history, self._asked + 1
        about = (self._process.number, self._process.life, self._asked)
        if history.database_is_away:
            await Pause(TIMEOUT_MS)
            history.seen["database away"] += 1
            raise LeaseUnreachableError("the database does not answer")
        done = await Pause(history.chance.between(1, 3, "to the database", *about), act)
        if history.chance.strikes(1500, "answer of the database lost", *about):
            await Pause(TIMEOUT_MS)
            raise LeaseUnreachableError("the database did not answer in time")
        await Pause(history.chance.between(1, 3, "from the database", *about))
        return done
