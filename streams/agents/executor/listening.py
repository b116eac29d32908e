"""The venue's stream of the account: a quicker ear for what requests would show anyway, and our own clock over it.

Nothing depends on it. What it tells goes to the protocol, or is dropped when too much waits; a trade that requests have shown
and the stream has not told for `silence_ms` proves that it lost something, whatever its pongs say: it is dialled anew.
"""

import asyncio
import logging
from typing import TypeVar

from schemas.orders import OrderFilled
from streams.agents.executor.inbox import Inbox
from streams.domain.orders.outcome import OrderNews
from streams.domain.orders.stimuli import OrderHeard
from streams.ports.process import Clock
from streams.ports.venue import ListeningVenue

log = logging.getLogger("trimtab.executor")

KEPT_MAX = 1000
Trade = tuple[str, str]
"""(symbol, the venue's trade id)."""
_T = TypeVar("_T")


class Hearing:
    """What one subscription has told, and what it owes: trades that were booked by other ways and that it has not told."""

    def __init__(self, clock: Clock, silence_ms: int) -> None:
        self._clock = clock
        self._silence_ms = silence_ms
        self._since_wall_ms: int | None = None
        self.told: dict[Trade, None] = {}
        self.untold: dict[Trade, int] = {}

    def connected(self) -> None:
        """Subscribed anew: it owes nothing yet."""
        self._since_wall_ms = self._clock.wall_ms() + self._silence_ms
        self.told.clear()
        self.untold.clear()

    def heard(self, news: OrderNews) -> None:
        """The stream told something."""
        if news.trade is not None:
            trade = (news.symbol, news.trade.trade_id)
            self.untold.pop(trade, None)
            _keep(self.told, trade, None)

    def booked(self, fill: OrderFilled) -> None:
        """A fill is in the books, by whichever way."""
        trade = (fill.symbol, fill.trade_id)
        if self._since_wall_ms is not None and fill.venue_time_ms >= self._since_wall_ms and trade not in self.told:
            _keep(self.untold, trade, self._clock.boot_ms())

    def missed(self) -> Trade | None:
        """A trade that it has owed for too long, once; from there on it owes nothing until it is subscribed anew."""
        limit_boot_ms = self._clock.boot_ms() - self._silence_ms
        missed = next((trade for trade, boot_ms in self.untold.items() if boot_ms <= limit_boot_ms), None)
        if missed is not None:
            self._since_wall_ms = None
            self.untold.clear()
        return missed


class Ear:
    """Follows the stream of one account during one tenure."""

    def __init__(self, account: str, venue: ListeningVenue, clock: Clock, inbox: Inbox, silence_ms: int) -> None:
        self._account = account
        self._venue = venue
        self._inbox = inbox
        self._silence_ms = silence_ms
        self.hearing = Hearing(clock, silence_ms)

    async def listen(self) -> None:
        """Hand on news, and see to it that they come, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._venue.listen(self))
            group.create_task(self._watch())

    def connected(self) -> None:
        """See the port NewsSink."""
        self.hearing.connected()

    def told(self, news: OrderNews) -> None:
        """See the port NewsSink."""
        self.hearing.heard(news)
        self._inbox.offer(OrderHeard, news=news)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._silence_ms / 5000)
            missed = self.hearing.missed()
            if missed is not None:
                log.warning("account %s: the stream has not told of trade %s %s; dialling anew", self._account, *missed)
                self._venue.hang_up("it has missed a trade")


def _keep(kept: dict[Trade, _T], key: Trade, value: _T) -> None:
    kept[key] = value
    if len(kept) > KEPT_MAX:
        del kept[next(iter(kept))]
