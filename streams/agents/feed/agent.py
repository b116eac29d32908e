"""The feed of one venue: it publishes what the venue says and decides nothing.

At start it waits for a venue that is away, and refuses what only a person can mend: a wrong key, a key that may withdraw, an
unknown symbol, unusable rules. After that every question has its own loop, and a failed answer is a log line and the next
round; only a log that does not take our records ends the role.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from schemas.venue import TradingStatus, VenueLatency, VenueRules, VenueStatus
from streams import topics
from streams.agents.feed import messages
from streams.agents.feed.config import FeedConfig
from streams.agents.feed.publish import Publisher
from streams.agents.feed.quotes import Quotes
from streams.agents.feed.rulebook import Rulebook
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.ports.log import Log
from streams.ports.process import Clock
from streams.ports.venue import KeyRights, VenueReads, VenueStreams

REFUSED_PAUSE_MS = 60_000
START_PAUSE_S_MAX = 8.0
LOG_CHECK_MS = 500

log = logging.getLogger("trimtab.feed")
Answer = TypeVar("Answer")
_NO_ANSWER = (UnreachableError, UnknownOutcomeError)


class Feed:
    """One venue's feed. `run` ends after `stop`, with RefusedError at start, or with UnreachableError when the log is away.

    It closes `reads` (and with it the streams) at the end; the log belongs to its maker.
    """

    def __init__(self, config: FeedConfig, reads: VenueReads, streams: VenueStreams, log_: Log, clock: Clock) -> None:
        self._config = config
        self._reads = reads
        self._streams = streams
        self._log = log_
        self._clock = clock
        self._publisher = Publisher(log_, config.outstanding_max, config.dead_letters_max, config.unacked_ms_max)
        self._rulebook = Rulebook(config.venue, config.symbols)
        self._rights: dict[str, KeyRights | None] = dict.fromkeys(config.accounts)
        self._status_said: dict[str | None, tuple[VenueStatus, int]] = {}
        self._rights_at_ms = 0
        self._troubles: dict[str, int] = {}
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()

    async def run(self) -> None:
        """Start, publish until stopped, close the venue's connections."""
        work, stop = asyncio.create_task(self._work()), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            for task in (work, stop):
                task.cancel()
            await asyncio.gather(work, stop, return_exceptions=True)
            await self._reads.close()

    async def _work(self) -> None:
        await self._begin()
        config = self._config
        quotes = Quotes(config, self._reads, self._streams, self._publisher, self._clock)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._streams.run(quotes))
                group.create_task(self._watch_log())
                group.create_task(self._every(1000 // config.polls_per_second_max, "quote", quotes.poll_one))
                group.create_task(self._every(config.books_every_ms, "books", _calling(quotes.publish_books)))
                group.create_task(self._every(config.probe_every_ms, "probe", self._probe))
                group.create_task(self._every(config.status_check_ms, "status", self._say_status))
                group.create_task(self._every(config.rules_check_ms, "rules", self._sync_rules))
                for account in config.accounts:
                    group.create_task(
                        self._every(config.balances_every_ms, f"balances of {account}", self._balances_of(account))
                    )
        except BaseExceptionGroup as failures:
            raise _first(failures) from None

    async def _begin(self) -> None:
        venue = self._config.venue
        await self._patiently(lambda: self._reads.open(self._config.symbols))
        for account in self._config.accounts:
            await self._check_key(account)
            await self._patiently(self._balances_of(account))
        await self._rulebook.restore(self._log)
        for rules in self._rulebook.begin(await self._patiently(self._reads.rules), self._clock.wall_ms()):
            self._publish_rules(rules)
        log.info("venue %s: open with %s", venue, ", ".join(self._config.symbols))

    async def _check_key(self, account: str) -> None:
        try:
            rights = await self._patiently(lambda: self._reads.rights(account))
        except RefusedError as error:
            raise RefusedError(
                f"account {account}: the venue refuses the feed's key: {error}; correct its credentials"
            ) from None
        if rights.withdraw:
            raise RefusedError(f"account {account}: the feed's key may withdraw; make one that may only read")
        if not rights.read:
            raise RefusedError(f"account {account}: the feed's key may not read; grant it reading")
        if rights.trade:
            log.warning("account %s: the feed's key may trade; one that may only read is enough", account)
        self._rights[account] = rights
        self._rights_at_ms = self._clock.boot_ms()

    async def _patiently(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer, however long the venue is away; refusals pass. One line for each doubling of the pause."""
        pause_s, said = 1.0, 0.0
        while True:
            try:
                return await ask()
            except _NO_ANSWER as error:
                if pause_s != said:
                    log.warning("%s; waiting for the venue", error)
                    said = pause_s
                await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))
                pause_s = min(pause_s * 2, START_PAUSE_S_MAX)

    async def _every(self, interval_ms: int, what: str, act: Callable[[], Awaitable[None]]) -> None:
        """Act for ever. What fails is told once, and once more when it works again."""
        while True:
            pause_ms = interval_ms
            try:
                await act()
            except (*_NO_ANSWER, RefusedError) as error:
                self._troubles[what] = self._troubles.get(what, 0) + 1
                if self._troubles[what] == 1:
                    log.warning("venue %s: no %s: %s", self._config.venue, what, error)
                if isinstance(error, RefusedError):
                    pause_ms = max(pause_ms, REFUSED_PAUSE_MS)
            else:
                failed = self._troubles.pop(what, 0)
                if failed:
                    log.info("venue %s: %s again, after %d failures", self._config.venue, what, failed)
            await asyncio.sleep(pause_ms / 1000)

    async def _watch_log(self) -> None:
        while True:
            self._publisher.check()
            await asyncio.sleep(LOG_CHECK_MS / 1000)

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(self._config.probe_timeout_ms / 1000):
                probe = await self._reads.probe()
        except (*_NO_ANSWER, RefusedError, TimeoutError) as error:
            self._publish_latency(None, None, None)
            # Not a refusal, whatever it was: silence for a minute would hide how the venue is.
            reason = str(error) or f"no answer in {self._config.probe_timeout_ms} ms"
            raise UnknownOutcomeError(reason) from None
        self._publish_latency(probe.round_trip_ms, probe.clock_offset_ms, probe.budget_left)

    def _publish_latency(self, probe_ms: int | None, clock_offset_ms: int | None, budget_left: int | None) -> None:
        now_ms = self._clock.wall_ms()
        message = VenueLatency(
            venue=self._config.venue,
            probe_ms=probe_ms,
            socket_age_ms=self._streams.socket_age_ms(),
            budget_left=budget_left,
            clock_offset_ms=clock_offset_ms,
            observed_at_ms=now_ms,
        )
        self._publisher.publish(messages.output(topics.VENUE_LATENCY, message.venue, message, now_ms, str(now_ms)))

    async def _say_status(self) -> None:
        """Publish what changed at once, and everything now and then."""
        closed = await self._reads.maintenance()
        if self._clock.boot_ms() - self._rights_at_ms >= self._config.status_every_ms:
            await self._ask_rights()
        status = TradingStatus.MAINTENANCE if closed else TradingStatus.TRADING
        for account in self._config.accounts or (None,):
            self._publish_status(account, status)

    async def _ask_rights(self) -> None:
        for account in self._config.accounts:
            try:
                self._rights[account] = await self._reads.rights(account)
            except RefusedError as error:
                if self._rights[account] != KeyRights(read=False, trade=False, withdraw=False):
                    log.error("account %s: the venue no longer takes the feed's key: %s", account, error)
                self._rights[account] = KeyRights(read=False, trade=False, withdraw=False)
        self._rights_at_ms = self._clock.boot_ms()

    def _publish_status(self, account: str | None, status: TradingStatus) -> None:
        rights, now_ms = self._rights.get(account) if account else None, self._clock.wall_ms()
        message = VenueStatus(
            venue=self._config.venue,
            account=account,
            status=status,
            key_may_read=rights.read if rights else None,
            key_may_trade=rights.trade if rights else None,
            key_may_withdraw=rights.withdraw if rights else None,
            observed_at_ms=now_ms,
        )
        said, said_at_ms = self._status_said.get(account, (None, 0))
        same = said is not None and said.model_copy(update={"observed_at_ms": now_ms}) == message
        if same and self._clock.boot_ms() - said_at_ms < self._config.status_every_ms:
            return
        if said is not None and not same:
            log.warning("venue %s: status is now %s", message.venue, message.model_dump(mode="json", exclude_none=True))
        self._status_said[account] = message, self._clock.boot_ms()
        cause = account or "", str(now_ms)
        self._publisher.publish(
            messages.output(topics.VENUE_STATUS, message.venue, message, now_ms, *cause), slot=account or ""
        )

    async def _sync_rules(self) -> None:
        found, now_ms = await self._reads.rules(), self._clock.wall_ms()
        for rules in self._rulebook.update(found, now_ms, self._config.rules_every_ms):
            self._publish_rules(rules)

    def _publish_rules(self, rules: VenueRules) -> None:
        key, cause = f"{rules.venue}:{rules.symbol}", (str(rules.rules_version), str(rules.observed_at_ms))
        self._publisher.publish(messages.output(topics.VENUE_RULES, key, rules, rules.observed_at_ms, *cause))

    def _balances_of(self, account: str) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            self._publish_balances(account, await self._reads.balances(account))

        return ask

    def _publish_balances(self, account: str, fields: messages.Fields) -> None:
        try:
            message = messages.balances(self._config.venue, account, fields)
        except messages.Refused as error:
            raise UnknownOutcomeError(f"account {account}: a balance snapshot makes no sense: {error}") from None
        cause = (str(message.received_at_ms),)
        self._publisher.publish(messages.output(topics.ACCOUNT_BALANCES, account, message, message.received_at_ms, *cause))


def _calling(act: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        act()

    return call


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = failures.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
