"""The leases of one process: their rows are read together and renewed together, in one statement each.

A statement for each account and second would miss its own time limit as soon as a machine is busy, all of them at once. What
a row means for an account is the account's own affair. That the database is away is the process's, and said once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from streams.agents.executor.config import ExecutorConfig
from streams.agents.executor.fence import LostError
from streams.ports.database import Lease, LeaseUnreachableError, ManyLeases
from streams.ports.process import Clock

log = logging.getLogger("trimtab.executor")

FAILURES_SAID = 2
"""One late answer is no outage: a lease outlasts it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease that was taken: under which epoch, and the moment (own clocks) before it was asked for."""

    epoch: int
    asked_wall_ms: int
    asked_boot_ms: int


class Holder(Protocol):
    """Who trades under a lease."""

    def renewed(self, asked_wall_ms: int, asked_boot_ms: int) -> None:
        """The lease is ours, by an answer to a question that was asked at that moment (own clocks)."""
        ...

    def superseded(self) -> None:
        """The lease is somebody else's."""
        ...


@dataclass(frozen=True, slots=True)
class Sight:
    """A lease row (None: there is none), read `took_ms` or less before `boot_ms`."""

    lease: Lease | None
    boot_ms: int
    took_ms: int


@dataclass(slots=True, eq=False)
class _Held:
    epoch: int
    holder: Holder
    lost: "asyncio.Future[None]"


class Leasehold:
    """Reads the rows that accounts of this process wait for, and renews those that they hold. `run` must be running."""

    def __init__(self, leases: ManyLeases, clock: Clock, config: ExecutorConfig) -> None:
        self._leases = leases
        self._clock = clock
        self._config = config
        self._held: dict[str, _Held] = {}
        self._looking: dict[str, asyncio.Future[Sight]] = {}
        self._failures: dict[str, int] = {}
        self._failing_since_boot_ms = 0
        self._said = False

    async def run(self) -> None:
        """Read twice as often as renewed, for ever, until cancelled."""
        renew_s = self._config.lease_renew_ms / 1000
        async with asyncio.TaskGroup() as group:
            group.create_task(_each(renew_s, self._renew))
            group.create_task(_each(renew_s / 2, self._look))

    async def look(self, account: str) -> Sight:
        """The row of an account, when rows are read next. Raises LeaseUnreachableError."""
        looking = self._looking.get(account)
        if looking is None:
            looking = self._looking[account] = asyncio.get_running_loop().create_future()
        return await looking

    @contextmanager
    def held(self, account: str, claimed: Claim, holder: Holder) -> "Iterator[asyncio.Future[None]]":
        """Renew the lease of an account as long as this lasts. The future ends by LostError when it is somebody else's."""
        held = _Held(claimed.epoch, holder, asyncio.get_running_loop().create_future())
        self._held[account] = held
        holder.renewed(claimed.asked_wall_ms, claimed.asked_boot_ms)
        try:
            yield held.lost
        finally:
            del self._held[account]

    async def _renew(self) -> None:
        held = dict(self._held)
        if not held:
            return self._answered("renewals")
        asked_wall_ms, asked_boot_ms = self._clock.wall_ms(), self._clock.boot_ms()
        epochs = {resource_of(account): entry.epoch for account, entry in held.items()}
        try:
            ours = await self._leases.renew_all(self._config.owner, epochs, self._config.lease_ttl_ms)
        except LeaseUnreachableError as error:
            return self._failed("renewals", error)
        self._answered("renewals")
        for account, entry in held.items():
            if self._held.get(account) is not entry or entry.lost.done():
                continue
            if resource_of(account) in ours:
                entry.holder.renewed(asked_wall_ms, asked_boot_ms)
            else:
                entry.holder.superseded()
                entry.lost.set_exception(LostError("the lease row is somebody else's"))
        return None

    async def _look(self) -> None:
        looking, self._looking = self._looking, {}
        if not looking:
            return self._answered("questions")
        asked_boot_ms = self._clock.boot_ms()
        try:
            rows = await self._leases.read_all([resource_of(account) for account in looking])
        except LeaseUnreachableError as error:
            self._failed("questions", error)
            for waiting in looking.values():
                if not waiting.done():
                    waiting.set_exception(error)
            return None
        self._answered("questions")
        boot_ms = self._clock.boot_ms()
        for account, waiting in looking.items():
            if not waiting.done():
                waiting.set_result(Sight(rows.get(resource_of(account)), boot_ms, boot_ms - asked_boot_ms))
        return None

    def _failed(self, what: str, error: LeaseUnreachableError) -> None:
        if not self._failures:
            self._failing_since_boot_ms = self._clock.boot_ms()
        self._failures[what] = self._failures.get(what, 0) + 1
        if self._failures[what] >= FAILURES_SAID and not self._said:
            self._said = True
            log.error(
                "leases cannot be renewed or taken (%s): nothing is sent once the lease runs out; %d accounts are held",
                error,
                len(self._held),
            )

    def _answered(self, what: str) -> None:
        self._failures.pop(what, None)
        if self._said and not self._failures:
            self._said = False
            away_s = (self._clock.boot_ms() - self._failing_since_boot_ms) / 1000
            log.info("leases are reachable again after %.1f s; %d accounts are held", away_s, len(self._held))


def resource_of(account: str) -> str:
    """The name of an account's lease row."""
    return f"executor/{account}"


async def _each(period_s: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do it at that pace, whatever it takes."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await work()
        await asyncio.sleep(max(0.0, period_s - (loop.time() - began)))
