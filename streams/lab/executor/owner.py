"""One process at one account: stand by, take over by the agent's own rules, own, stand by again."""

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
from streams.lab.engine import Pause
from streams.lab.executor.seat import Seat
from streams.lab.executor.tenure import Tenure
from streams.ports.database import Lease, LeaseUnreachableError
from streams.ports.process import Point

_VENUE_ERRORS = (UnreachableError, UnknownOutcomeError, RefusedError)


class AccountOwner:
    """It owns the account of its seat whenever the lease allows; a Resident of its process."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._tenure: Tenure | None = None

    # The process

    def begin(self) -> None:
        """The process started."""
        self._seat.begin()
        self._seat.spawn(self._live())

    def wake(self) -> None:
        """The process goes on after a sleep."""
        if self._tenure is not None:
            self._seat.witness.woke(self._tenure)
        self._seat.producer.wake()

    def end(self) -> None:
        """The process died."""
        if self._tenure is not None:
            self._seat.witness.killed(self._tenure)
            self._tenure.end()
            self._tenure = None
        self._seat.producer.die()

    def look_again(self) -> None:
        """The HALT file was laid."""
        if self._tenure is not None:
            self._seat.process.hear(self._tenure.look_again)

    def authority_changed(self) -> None:
        """Control was read on."""
        if self._tenure is not None:
            self._tenure.authority_changed()

    # The account

    async def _live(self) -> None:
        seat, config, process = self._seat, self._seat.config, self._seat.process
        watch = Watch(config.lease_ttl_ms)
        pause_ms = config.lease_renew_ms // 2
        while True:
            try:
                lease = await seat.leases.read(resource_of(seat.account.account))
                mine = lease is not None and lease.owner == config.owner
                free = mine or watch.free(lease, process.machine.boot_ms())
                if free and process.control_at_boot_ms is not None:
                    await self._take_over(lease)
                    watch = Watch(config.lease_ttl_ms)
            except LeaseUnreachableError:
                watch = Watch(config.lease_ttl_ms)
            except _VENUE_ERRORS:
                pass
            await Pause(pause_ms)

    async def _take_over(self, lease: Lease | None) -> None:
        seat, account, process, seen = self._seat, self._seat.account.account, self._seat.process, self._seat.history.seen
        left = len(process.left(account))
        await publish_kept(seat, account)
        seen["kept events settled at a take-over"] += bool(left)
        past = await read_past(seat, account, lease)
        claimed = await claim(seat, account, lease, past)
        if claimed is None:
            seen["another executor was faster"] += 1
            return
        tenure = Tenure(seat, claimed)
        seat.spawn(tenure.keep_lease())
        settled = await announce(seat, account, claimed, past)
        if settled is None:
            tenure.end()
            return
        books = await with_texts(seat, settled.books)
        process.reach(Point.PAST_READ)
        seen["restored from a checkpoint" if settled.checkpointed else "read from the log's beginning"] += 1
        self._tenure = tenure
        tenure.begin(Past(books, settled.next_offset, settled.checkpointed))
        await tenure.ended
        self._tenure = None
