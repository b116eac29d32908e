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
from streams.ports import Clock, ListeningVenue

log = logging.getLogger("trimtab.executor")

KEPT_MAX = 1000
_T = TypeVar("_T")


class Ear:
    """Follows the stream of one account during one tenure."""

    def __init__(self, account: str, venue: ListeningVenue, clock: Clock, inbox: Inbox, silence_ms: int) -> None:
        self._account = account
        self._venue = venue
        self._clock = clock
        self._inbox = inbox
        self._silence_ms = silence_ms
        self._since_wall_ms: int | None = None
        self._told: dict[tuple[str, str], None] = {}
        self._untold: dict[tuple[str, str], int] = {}

    async def listen(self) -> None:
        """Hand on news, and see to it that they come, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._venue.listen(self))
            group.create_task(self._watch())

    def connected(self) -> None:
        """See the port NewsSink."""
        self._since_wall_ms = self._clock.wall_ms() + self._silence_ms
        self._told.clear()
        self._untold.clear()

    def told(self, news: OrderNews) -> None:
        """See the port NewsSink."""
        if news.trade is not None:
            trade = (news.symbol, news.trade.trade_id)
            self._untold.pop(trade, None)
            _keep(self._told, trade, None)
        self._inbox.offer(OrderHeard, news=news)

    def booked(self, fill: OrderFilled) -> None:
        """A fill is in the books, by whichever way."""
        trade = (fill.symbol, fill.trade_id)
        if self._since_wall_ms is not None and fill.venue_time_ms >= self._since_wall_ms and trade not in self._told:
            _keep(self._untold, trade, self._clock.boot_ms())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._silence_ms / 5000)
            limit_boot_ms = self._clock.boot_ms() - self._silence_ms
            missed = next((trade for trade, boot_ms in self._untold.items() if boot_ms <= limit_boot_ms), None)
            if missed is not None:
                log.warning("account %s: the stream has not told of trade %s %s; dialling anew", self._account, *missed)
                self._since_wall_ms = None
                self._untold.clear()
                self._venue.hang_up("it has missed a trade")


def _keep(kept: dict[tuple[str, str], _T], key: tuple[str, str], value: _T) -> None:
    kept[key] = value
    if len(kept) > KEPT_MAX:
        del kept[next(iter(kept))]
