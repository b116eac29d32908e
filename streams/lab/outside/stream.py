"""One owner's ear at the venue: a stream of its orders and trades that repeats, delays, reorders and loses what it tells.

Each subscription has a character of its own: most are good, some lose much, some fall silent without a word. What it owes, and
when it is dialled anew, is decided by the agent's own `Hearing`.
"""

from collections.abc import Callable

from schemas.orders import OrderFilled
from streams.agents.executor.listening import Hearing
from streams.domain.orders.outcome import OrderNews
from streams.lab.chance import identity
from streams.lab.engine import Pause
from streams.lab.history import History
from streams.lab.outside.venue import Venue
from streams.lab.process import Process

_CHARACTERS = {"silent": 120_000, "lossy": 200_000}
_LOST = {"silent": 1_000_000, "lossy": 400_000, "": 20_000}
_TWICE, _LATE = 50_000, 40_000


class Stream:
    """The subscriptions of one tenure, one after the other. `hear` is told what they tell."""

    def __init__(
        self,
        history: History,
        venue: Venue,
        process: Process,
        account: str,
        silence_ms: int,
        hear: Callable[[OrderNews], None],
    ) -> None:
        self._history = history
        self._followers = venue.followers[account]
        self._process = process
        self._silence_ms = silence_ms
        self._hear = hear
        self._hearing = Hearing(process.machine, silence_ms)
        self._over = False
        self._character = ""
        self._told = 0

    async def listen(self) -> None:
        """Subscribe, and anew whenever a trade is owed for too long; until the tenure is over."""
        while not self._over:
            await self._subscribe()
            while not self._over and self._hearing.missed() is None:
                await Pause(self._silence_ms // 5)
            self._unsubscribe()
            if not self._over:
                self._history.seen["stream that missed a trade, dialled anew"] += 1

    async def _subscribe(self) -> None:
        about = (self._process.number, self._history.engine.now_ms)
        await Pause(self._history.chance.between(2, 300, "subscribe", *about))
        self._character = self._history.chance.which(_CHARACTERS, *about)
        self._hearing.connected()
        if not self._over:
            self._followers.append(self._tell)

    def _unsubscribe(self) -> None:
        if self._tell in self._followers:
            self._followers.remove(self._tell)

    def close(self) -> None:
        """The tenure is over."""
        self._over = True
        self._unsubscribe()

    def booked(self, fill: OrderFilled) -> None:
        """A fill is in the books, by whichever way."""
        self._hearing.booked(fill)

    def _tell(self, news: OrderNews) -> None:
        """The venue has something to tell: it comes in a while, out of turn, twice, or never."""
        history, self._told = self._history, self._told + 1
        about = (*identity(news.client_order_id), self._process.number, self._told)
        if history.chance.strikes(_LOST[self._character], "news lost", *about):
            history.seen["news lost"] += 1
            return
        delay_ms = history.chance.between(1, 40, "news", *about)
        if history.chance.strikes(_LATE, "news late", *about):
            delay_ms += history.chance.between(100, 8000, "news late by", *about)
        history.engine.at(history.engine.now_ms + delay_ms, self._process.hear, self._heard, news)
        if history.chance.strikes(_TWICE, "news twice", *about):
            again_ms = history.chance.between(0, 3000, "news again", *about)
            history.engine.at(history.engine.now_ms + delay_ms + again_ms, self._process.hear, self._heard, news)

    def _heard(self, news: OrderNews) -> None:
        if not self._over:
            self._hearing.heard(news)
            self._hear(news)
