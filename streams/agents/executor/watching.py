"""What an owner asks its venue again and again: the time, what the key may do, the whole account. The answers become inputs."""

import asyncio
import logging
from collections.abc import Callable

from streams.agents.executor import looking
from streams.agents.executor.config import AccountConfig
from streams.agents.executor.inbox import Inbox
from streams.agents.executor.surroundings import Surroundings
from streams.agents.waiting import pause
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.domain.orders.books import Books
from streams.domain.orders.stimuli import RightsRead, SnapshotRead, VenueTimeRead
from streams.ports.venue import TradingVenue

log = logging.getLogger("trimtab.executor")

AGAIN_S = 2.0
TIME_AGAIN_S = 0.5
_VENUE_ERRORS = (UnreachableError, UnknownOutcomeError, RefusedError)


class VenueWatch:
    """Asks about one account during one tenure. `time`, `rights` and `totals` ask until cancelled."""

    def __init__(self, near: Surroundings, account: AccountConfig, venue: TradingVenue, inbox: Inbox) -> None:
        self._near = near
        self._account = account
        self._venue = venue
        self._inbox = inbox
        self._due = asyncio.Event()

    def look_soon(self) -> None:
        """Do not wait any longer before the next look at the account."""
        self._due.set()

    async def time(self) -> None:
        """Read the venue's time; connections are kept warm on the way."""
        every_s = self._near.config.time_every_ms / 1000
        while True:
            known = await self.read_time()
            if known:
                await self._venue.warm(self._near.config.connections_warm)
            await asyncio.sleep(every_s if known else TIME_AGAIN_S)

    async def read_time(self) -> bool:
        """Read the venue's time once; whether it answered."""
        asked_boot_ms = self._near.clock.boot_ms()
        try:
            venue_time_ms = await self._venue.time_ms()
        except _VENUE_ERRORS as error:
            log.info("account %s: the venue's time is not known: %s", self._account.account, error)
            return False
        answered_boot_ms = self._near.clock.boot_ms()
        self._venue.synchronize(venue_time_ms, answered_boot_ms)
        self._inbox.put(
            VenueTimeRead, venue_time_ms=venue_time_ms, asked_boot_ms=asked_boot_ms, answered_boot_ms=answered_boot_ms
        )
        return True

    async def rights(self) -> None:
        """Read again what the key may do. Refused once it may have met a limiter; refused twice in a row, it is refused."""
        every_s, refusals = self._near.config.rights_every_ms / 1000, 0
        while True:
            await asyncio.sleep(min(every_s, AGAIN_S) if refusals == 1 else every_s)
            try:
                rights = await self._venue.rights()
            except RefusedError as error:
                refusals += 1
                log.warning("account %s: the venue does not say what its key may do: %s", self._account.account, error)
                if refusals > 1:
                    self._inbox.put(RightsRead, read=False, trade=False, withdraw=False, refused=True)
            except (UnreachableError, UnknownOutcomeError) as error:
                log.info("account %s: what its key may do is not known: %s", self._account.account, error)
            else:
                refusals = 0
                self._inbox.put(RightsRead, read=rights.read, trade=rights.trade, withdraw=rights.withdraw)

    async def totals(self, books: Callable[[], Books]) -> None:
        """Compare the account with its books as they then are; at most so many accounts of a process at once."""
        config = self._near.config
        rounds = looking.Rounds(self._venue, self._account.symbols, config.opening_gap_ms, config.reconcile_every_ms)
        while True:
            async with self._near.comparing:
                asked_boot_ms = self._near.clock.boot_ms()
                taken, pause_ms = await rounds.next(books())
            if taken is not None:
                self._inbox.put(SnapshotRead, snapshot=taken, asked_boot_ms=asked_boot_ms)
            await pause(pause_ms / 1000, self._due)
            self._due.clear()
