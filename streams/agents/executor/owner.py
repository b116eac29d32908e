"""The one task of an account: stand by, take over, own, and stand by again when the lease is lost."""

import asyncio
import logging

from streams.agents.executor import looking
from streams.agents.executor.config import AccountConfig
from streams.agents.executor.fence import LostError
from streams.agents.executor.inbox import Inbox
from streams.agents.executor.leasehold import resource_of
from streams.agents.executor.surroundings import Surroundings
from streams.agents.executor.takeover import Past, Watch, announce, claim, publish_kept, read_past, with_texts
from streams.agents.executor.tenure import Tenure
from streams.agents.waiting import pause
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.ports.database import Lease, LeaseUnreachableError
from streams.ports.process import Point
from streams.ports.venue import ListeningVenue

log = logging.getLogger("trimtab.executor")

PARKED_S = 30.0


class AccountOwner:
    """Owns one account whenever the lease allows it."""

    def __init__(self, near: Surroundings, account: AccountConfig, venue: ListeningVenue) -> None:
        self._near = near
        self._account = account
        self._venue = venue
        self._tenure: Tenure | None = None
        self._stopped = asyncio.Event()
        self._silent = False

    @property
    def owning(self) -> bool:
        """Whether this process holds the account now."""
        return self._tenure is not None

    def stop(self) -> None:
        """End in order."""
        self._stopped.set()
        if self._tenure is not None:
            self._tenure.stop()

    def look_again(self) -> None:
        """The HALT file changed."""
        if self._tenure is not None:
            self._tenure.look_again()

    def authority_changed(self) -> None:
        """Control was read on."""
        if self._tenure is not None:
            self._tenure.authority_changed()

    async def run(self) -> None:
        """Own the account again and again until stopped. Raises InvariantError when its log cannot be what it is."""
        watch = Watch(self._near.config.lease_ttl_ms)
        while not self._stopped.is_set():
            try:
                sight = await self._near.leasehold.look(self._account.account)
                mine = sight.lease is not None and sight.lease.owner == self._near.config.owner
                free = mine or watch.free(sight.lease, sight.boot_ms, sight.took_ms)
                if free and self._near.control.current_at_boot_ms is not None:
                    await self._take_over(sight.lease)
                    self._reached()
                    watch.unanswered()
            except LeaseUnreachableError as error:
                log.debug("account %s waits for its lease row: %s", self._account.account, error)
                watch.unanswered()
            except RefusedError as error:
                log.error("account %s is not traded: %s", self._account.account, error)
                await pause(PARKED_S, self._stopped)
            except (UnreachableError, UnknownOutcomeError) as error:
                self._unreached(str(error))
                watch.unanswered()

    async def _take_over(self, lease: Lease | None) -> None:
        account = self._account.account
        await publish_kept(self._near, account)
        past = await read_past(self._near, account, lease)
        if not past.checkpointed and not self._account.adopted:
            await self._refuse_foreign_past(past)
        claimed = await claim(self._near, account, lease, past)
        if claimed is None:
            return
        tenure = Tenure(self._near, self._account, self._venue, claimed, Inbox())
        with self._near.leasehold.held(account, claimed, tenure) as lost:
            owning = asyncio.get_running_loop().create_task(self._own(tenure, past))
            try:
                await asyncio.wait([lost, owning], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._tenure = None
                lost.cancel()
                owning.cancel()
                ends = await asyncio.gather(lost, owning, return_exceptions=True)
        for end in ends:
            if isinstance(end, LostError):
                log.warning("account %s is lost: %s", account, end)
            elif isinstance(end, Exception):
                raise end
        if self._stopped.is_set():
            await self._release(claimed.epoch)

    async def _own(self, tenure: Tenure, past: Past) -> None:
        account, claimed = self._account.account, tenure.claimed
        settled = await announce(self._near, account, claimed, past)
        if settled is None:
            raise LostError(f"epoch {claimed.epoch} was overtaken")
        settled = Past(await with_texts(self._near, settled.books), settled.next_offset, settled.checkpointed)
        log.info("account %s is owned under epoch %d with %d open commands", account, claimed.epoch, len(settled.books.orders))
        self._near.points.reach(Point.PAST_READ)
        self._tenure = tenure
        if self._stopped.is_set():
            tenure.stop()
        await tenure.run(settled)

    async def _refuse_foreign_past(self, past: Past) -> None:
        """Without a checkpoint, orders at the venue that carry ids of ours must be explained by the log, or by an operator."""
        found = await looking.our_past(self._venue, self._account.symbols)
        foreign = sorted(client_order_id for client_order_id in found if not past.books.knows(client_order_id))
        if foreign:
            raise RefusedError(
                f"the venue shows orders with client ids in our format that its log does not explain, such as {foreign[0]}: "
                f"another installation may trade here. Find out, then set accounts.{self._account.account}.adopted = true"
            )

    async def _release(self, epoch: int) -> None:
        self._near.points.reach(Point.BEFORE_RELEASE)
        try:
            await self._near.leases.release(resource_of(self._account.account), self._near.config.owner, epoch)
        except LeaseUnreachableError as error:
            log.warning("account %s: its lease runs out by itself: %s", self._account.account, error)

    def _unreached(self, why: str) -> None:
        if not self._silent:
            log.error("account %s cannot be taken over: %s; trying on", self._account.account, why)
        self._silent = True

    def _reached(self) -> None:
        if self._silent:
            log.info("account %s could be taken over again", self._account.account)
        self._silent = False
