"""The executor: the only role that can send an order. It owns the accounts whose leases it holds.

Order at the start: the keys' rights, the control topic up to its end, then each account by itself. Reading is by explicit
assignment from own positions, never by a consumer group: a group hands partitions to whoever it likes, whatever a lease says.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from streams.agents.executor.config import AccountConfig, ExecutorConfig
from streams.agents.executor.control import ControlWatch, HaltFile
from streams.agents.executor.leasehold import Leasehold
from streams.agents.executor.owner import AccountOwner
from streams.agents.executor.prices import PriceWatch
from streams.agents.executor.spool import Spool
from streams.agents.executor.surroundings import Stamp, Surroundings
from streams.agents.executor.tail import Tail
from streams.agents.waiting import pause
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.ports.database import ManyLeases
from streams.ports.log import Log, LogReader, Verifier
from streams.ports.process import NO_CRASH_POINTS, Clock, CrashPoints
from streams.ports.venue import ListeningVenue
from streams.topics import MARKET_TICKERS, OPERATOR_CONTROL, ORDERS_COMMANDS, ORDERS_EVENTS

log = logging.getLogger("trimtab.executor")

VENUE_RETRY_S = 2.0
WATCHDOG_S = 1.0
HALT_FILE_S = 0.1
CONNECTING_MAX = 8
"""Accounts that learn the markets at the same time: a hundred at once would all run into their timeouts."""


class Executor:
    """Trades the configured accounts, each whenever its lease is held.

    `venues` gives each account its own connection with its own key. `readers` makes a new LogReader for each call; four are
    used. `verifier` knows whose commands and control events to believe. `stamp` receives monotonic times of commands on their
    way, for benchmarks.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        log_: Log,
        readers: Callable[[], LogReader],
        leases: ManyLeases,
        venues: Mapping[str, ListeningVenue],
        clock: Clock,
        verifier: Verifier,
        stamp: Stamp | None = None,
        points: CrashPoints = NO_CRASH_POINTS,
    ) -> None:
        missing = [account.account for account in config.accounts if account.account not in venues]
        if missing:
            raise RefusedError(f"accounts {', '.join(missing)} have no venue connection")
        self._config = config
        self._log = log_
        self._venues = venues
        topics = (ORDERS_COMMANDS, ORDERS_EVENTS, OPERATOR_CONTROL, MARKET_TICKERS)
        self._readers = [readers() for _ in topics]
        self._tails = [Tail(reader, topic) for reader, topic in zip(self._readers, topics, strict=True)]
        commands, events, control, tickers = self._tails
        symbols = [(account.venue, symbol) for account in config.accounts for symbol in account.symbols]
        watch = ControlWatch(log_, control, clock, verifier, config.control_every_ms, self._authority_changed)
        leasehold = Leasehold(leases, clock, config)
        self._near = Surroundings(
            config=config,
            log=log_,
            commands=commands,
            events=events,
            control=watch,
            prices=PriceWatch(log_, tickers, clock, symbols, config.collar_window_ms),
            halt_file=HaltFile(config.state_dir),
            spool=Spool(config.state_dir),
            leases=leases,
            leasehold=leasehold,
            clock=clock,
            verifier=verifier,
            stamp=stamp,
            points=points,
        )
        self._owners: list[AccountOwner] = []
        self._connecting = asyncio.Semaphore(CONNECTING_MAX)
        self._stopped = asyncio.Event()

    @property
    def owned(self) -> int:
        """How many accounts this process holds now."""
        return sum(owner.owning for owner in self._owners)

    def stop(self) -> None:
        """End in order: answers that are out are awaited for a moment, checkpoints written, leases released."""
        self._stopped.set()
        for owner in self._owners:
            owner.stop()

    async def run(self) -> None:
        """Trade until stopped. Raises RefusedError for keys and settings that must not be used, InvariantError for a log
        that contradicts itself, UnreachableError when the broker took nothing for too long."""
        reading = [asyncio.create_task(tail.run()) for tail in self._tails]
        runs = (self._near.control.run, self._near.prices.run, self._near.leasehold.run)
        reading += [asyncio.create_task(run()) for run in runs]
        reading.append(asyncio.create_task(self._watch_appends()))
        reading.append(asyncio.create_task(self._watch_halt_file()))
        trading = [asyncio.create_task(self._trade(account)) for account in self._config.accounts]
        try:
            waiting: set[asyncio.Task[None]] = {*reading, *trading}
            while any(not task.done() for task in trading):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in (*reading, *trading):
                task.cancel()
            await asyncio.gather(*reading, *trading, return_exceptions=True)
            for reader in self._readers:
                await reader.close()
            for venue in self._venues.values():
                await venue.close()

    async def _trade(self, account: AccountConfig) -> None:
        venue = self._venues[account.account]
        if not await self._connect(account, venue):
            return
        owner = AccountOwner(self._near, account, venue)
        self._owners.append(owner)
        if self._stopped.is_set():
            owner.stop()
        await owner.run()

    async def _connect(self, account: AccountConfig, venue: ListeningVenue) -> bool:
        """Learn the markets and check the key, waiting for a venue that is away; False when stopped before."""
        silent = False
        while not self._stopped.is_set():
            try:
                async with self._connecting:
                    await venue.open(account.symbols)
                    await self._check_key(account, venue)
            except (UnreachableError, UnknownOutcomeError) as error:
                if not silent:
                    log.error("account %s waits for its venue: %s", account.account, error)
                silent = True
                await pause(VENUE_RETRY_S, self._stopped)
            else:
                return True
        return False

    async def _check_key(self, account: AccountConfig, venue: ListeningVenue) -> None:
        where = f"accounts.{account.account}.trade"
        try:
            rights = await venue.rights()
        except RefusedError as error:
            raise RefusedError(f"{where}: the venue does not take this key; check api_key and api_secret ({error})") from None
        if rights.withdraw:
            raise RefusedError(f"{where}: this key may withdraw; make one that may trade and may not withdraw")
        if not rights.trade or not rights.read:
            lacking = "trade" if not rights.trade else "read"
            raise RefusedError(f"{where}: this key lacks the right to {lacking}; grant it at the venue")

    async def _watch_appends(self) -> None:
        while True:
            await asyncio.sleep(WATCHDOG_S)
            age_ms = self._log.unacked_age_ms()
            if age_ms > self._config.unacked_ms_max:
                raise UnreachableError(f"the broker acknowledged nothing for {age_ms} ms; ending, to be started again")

    async def _watch_halt_file(self) -> None:
        known = self._near.halt_file.stamp()
        while True:
            await asyncio.sleep(HALT_FILE_S)
            stamp = self._near.halt_file.stamp()
            if stamp != known:
                known = stamp
                log.warning("the HALT file is %s", "gone" if stamp is None else "there")
                for owner in self._owners:
                    owner.look_again()

    def _authority_changed(self) -> None:
        for owner in self._owners:
            owner.authority_changed()
