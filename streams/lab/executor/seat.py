"""One process's place at one account: stand by, take over by the agent's own rules, own, stand by again."""

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.agents.executor.config import AccountConfig, ExecutorConfig
from streams.agents.executor.takeover import (
    Past,
    Watch,
    announce,
    claim,
    publish_kept,
    read_past,
    resource_of,
    with_texts,
)
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.lab.engine import Pause, Signal
from streams.lab.executor.process import Process
from streams.lab.executor.tenure import Tenure
from streams.lab.outside.leases import Leases
from streams.lab.outside.log import AccountLog, LogClient, Producer
from streams.ports import LeaseUnreachableError, Point

if TYPE_CHECKING:
    from streams.lab.world import World

_VENUE_ERRORS = (UnreachableError, UnknownOutcomeError, RefusedError)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a take-over stands on."""

    config: ExecutorConfig
    log: LogClient
    leases: Leases
    clock: Any
    spool: Process
    points: Process


class Seat:
    """One process's place at one account: it owns it whenever the lease allows."""

    def __init__(self, world: "World", process: Process, account: AccountConfig, log: AccountLog) -> None:
        self.world = world
        self.process = process
        self.account = account
        self.log = log
        self.producer = Producer(world, process, log)
        self.tenure: Tenure | None = None
        self.config = ExecutorConfig(owner="", accounts=(account,), state_dir=Path("/nowhere"))
        self.leases = Leases(world, process)
        process.producers[account.account] = self.producer
        process.seats.append(self)

    def begin(self) -> None:
        """The process started: it is another owner than in any former life."""
        owner = f"{self.process.name}.{self.process.life}"
        self.config = ExecutorConfig(
            owner=owner,
            accounts=(self.account,),
            state_dir=Path("/nowhere"),
            control_every_ms=1500,
            checkpoint_every_ms=20_000,
            reconcile_every_ms=6_000,
            clock_offset_ms_max=1000,  # a venue 0.9 s off is traded at: that is where timestamps and windows are hardest
        )
        self.world.engine.drive(self.process, self._live())

    def end(self) -> None:
        """The process died."""
        if self.tenure is not None:
            self.tenure.end()
            self.tenure = None

    def spawn(self, work: Coroutine[Pause | Signal, Any, Any]) -> None:
        """Run beside whatever else this process does."""
        self.world.engine.drive(self.process, work)

    async def _live(self) -> None:
        watch = Watch(self.config.lease_ttl_ms)
        pause_ms = self.config.lease_renew_ms // 2
        resource, owner = resource_of(self.account.account), self.config.owner
        while True:
            try:
                lease = await self.leases.read(resource)
                mine = lease is not None and lease.owner == owner
                free = mine or watch.free(lease, self.process.machine.boot_ms())
                if free and self.process.control_at_boot_ms is not None:
                    await self._take_over(lease)
                    watch = Watch(self.config.lease_ttl_ms)
            except LeaseUnreachableError:
                watch = Watch(self.config.lease_ttl_ms)
            except _VENUE_ERRORS:
                pass
            await Pause(pause_ms)

    async def _take_over(self, lease: Any) -> None:
        account, process, world = self.account.account, self.process, self.world
        ground = Ground(
            self.config, LogClient(world, process, self.log, self.producer), self.leases, process.machine, process, process
        )
        left = len(process.left(account))
        await publish_kept(ground, account)
        world.seen["kept events settled at a take-over"] += bool(left)
        past = await read_past(ground, account, lease)
        claimed = await claim(ground, account, lease, past)
        if claimed is None:
            world.seen["another executor was faster"] += 1
            return
        tenure = Tenure(self, claimed)
        self.spawn(tenure.keep_lease())
        settled = await announce(ground, account, claimed, past)
        if settled is None:
            tenure.end()
            return
        books = await with_texts(ground, settled.books)
        process.reach(Point.PAST_READ)
        world.seen["restored from a checkpoint" if settled.checkpointed else "read from the log's beginning"] += 1
        self.tenure = tenure
        tenure.begin(Past(books, settled.next_offset, settled.checkpointed))
        await tenure.ended
        self.tenure = None
