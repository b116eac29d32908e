"""Who owns a shard's journal: when its lease may be taken, and what an owner checks before it appends.

The lease spares the sequencers from disturbing each other; it does not protect the journal. An owner that cannot reach the
database goes on, since only the log decides which records count; a taker is careful, since taking from a healthy owner
costs a pause.
"""

import asyncio
import logging

from streams.agents.sequencer.errors import OwnershipLostError
from streams.ports.database import Lease, LeaseStore, LeaseUnreachableError
from streams.ports.process import Clock

log = logging.getLogger("trimtab.sequencer")

# While the database is away its owner asks once a second, each time for half a second at most. After a question that began
# less than this ago an append does not ask again; after a pause of the process it does.
_ASKED_MS_MAX = 2_500
_ASK_AT_LEAST_EVERY_MS = 1_000


class LeaseWatch:
    """Decides when a foreign lease may be taken: expired, and unchanged for one TTL of our own clock.

    When the database comes back after an outage every lease is expired. Its owners renew within a second; seeing no renewal
    for a whole TTL, with the database reachable all the time, is what tells a dead owner from a healthy one.
    """

    def __init__(self, owner: str, ttl_ms: int) -> None:
        self._owner = owner
        self._ttl_ms = ttl_ms
        self._seen: tuple[str, int] | None = None
        self._expiry_ms = 0
        self._unchanged_since_ms = 0

    def unreachable(self) -> None:
        """The row could not be read: what was seen before is worth nothing."""
        self._seen = None

    def may_take(self, row: Lease | None, boot_ms: int) -> bool:
        """Judge the row as just read; `boot_ms` is our own clock."""
        if row is None or row.owner in ("", self._owner):
            return True
        expiry_ms, seen = boot_ms + row.expires_in_ms, (row.owner, row.epoch)
        renewed = abs(expiry_ms - self._expiry_ms) > self._ttl_ms // 10  # less is the jitter of the reading itself
        if seen != self._seen or renewed:
            self._seen, self._expiry_ms, self._unchanged_since_ms = seen, expiry_ms, boot_ms
            return False
        return row.expires_in_ms <= 0 and boot_ms - self._unchanged_since_ms >= self._ttl_ms


class Ownership:
    """A taken lease: renewed in the background, looked at before each append."""

    def __init__(self, leases: LeaseStore, clock: Clock, lease: Lease, taken_at_boot_ms: int, ttl_ms: int) -> None:
        self._leases = leases
        self._clock = clock
        self._lease = lease
        self._ttl_ms = ttl_ms
        self._deadline_ms = taken_at_boot_ms + ttl_ms
        self._asked_ms = taken_at_boot_ms
        self._asking = asyncio.Lock()
        self._lost = False
        self._reachable = True

    async def keep(self) -> None:
        """Renew for ever. Raises OwnershipLostError when the row is somebody else's."""
        while True:
            await asyncio.sleep(min(_ASK_AT_LEAST_EVERY_MS, self._ttl_ms // 5) / 1000)
            async with self._asking:
                await self._ask()

    async def check(self) -> None:
        """Before each append: past the lease's deadline, ask the database once. Raises OwnershipLostError.

        This shrinks the window in which a paused owner writes, it cannot close it.
        """
        if not self._lost and self._clock.boot_ms() <= self._deadline_ms:
            return
        if not self._lost and self._clock.boot_ms() - self._asked_ms > _ASKED_MS_MAX:
            async with self._asking:
                if self._clock.boot_ms() - self._asked_ms > _ASKED_MS_MAX:
                    await self._ask()
        if self._lost:
            raise OwnershipLostError(f"{self._lease.resource} is another's")

    async def release(self) -> None:
        """Give the lease up, so that a successor need not wait; if the database is away it expires by itself."""
        try:
            await self._leases.release(self._lease.resource, self._lease.owner, self._lease.epoch)
        except LeaseUnreachableError as error:
            log.warning("%s was not released: %s", self._lease.resource, error)

    async def _ask(self) -> None:
        started_ms = self._clock.boot_ms()
        try:
            renewed = await self._leases.renew(self._lease.resource, self._lease.owner, self._lease.epoch, self._ttl_ms)
        except LeaseUnreachableError as error:
            if self._reachable:
                log.warning("%s cannot be renewed, going on without: %s", self._lease.resource, error)
            self._reachable = False
            return
        finally:
            self._asked_ms = started_ms
        if not renewed:
            self._lost = True
            raise OwnershipLostError(f"{self._lease.resource} is another's")
        if not self._reachable:
            log.info("%s is renewed again", self._lease.resource)
        self._reachable = True
        self._deadline_ms = started_ms + self._ttl_ms
