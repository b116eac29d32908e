"""One owner's ear at the venue: a stream of its orders and trades that repeats, delays, reorders and loses what it tells.

Each subscription has a character of its own: most are good, some lose much, some fall silent without a word. What it owes, and
when it is dialled anew, is decided by the agent's own `Hearing`.
"""

from typing import TYPE_CHECKING

from schemas.ledger import OrderState
from schemas.orders import OrderFilled
from streams.agents.executor.listening import Hearing
from streams.domain.orders.books import Order
from streams.domain.orders.outcome import OrderNews
from streams.domain.orders.state import State
from streams.domain.orders.stimuli import OrderHeard
from streams.lab.engine import Pause

if TYPE_CHECKING:
    from streams.lab.executor.tenure import Tenure
    from streams.lab.world import World

_CHARACTERS = {"silent": 120_000, "lossy": 200_000}
_LOST = {"silent": 1_000_000, "lossy": 400_000, "": 20_000}
_TWICE, _LATE = 50_000, 40_000


class Stream:
    """The subscriptions of one tenure, one after the other."""

    def __init__(self, world: "World", tenure: "Tenure") -> None:
        self._world = world
        self._tenure = tenure
        self._process = tenure.process
        self._account = tenure.seat.account.account
        self._hearing = Hearing(tenure.process.machine, tenure.seat.config.stream_silence_ms)
        self._character = ""
        self._told = 0

    async def listen(self) -> None:
        """Subscribe, and anew whenever a trade is owed for too long; until the tenure is over."""
        every_ms = self._tenure.seat.config.stream_silence_ms // 5
        while not self._tenure.over:
            await self._subscribe()
            while not self._tenure.over and self._hearing.missed() is None:
                await Pause(every_ms)
            self.close()
            if not self._tenure.over:
                self._world.seen["stream that missed a trade, dialled anew"] += 1

    async def _subscribe(self) -> None:
        about = (self._process.number, self._world.engine.now_ms)
        await Pause(self._world.chance.between(2, 300, "subscribe", *about))
        self._character = self._world.chance.which(_CHARACTERS, *about)
        self._hearing.connected()
        if not self._tenure.over:
            self._world.venue.streams[self._account].append(self)

    def close(self) -> None:
        """The subscription is over."""
        streams = self._world.venue.streams[self._account]
        if self in streams:
            streams.remove(self)

    def booked(self, fill: OrderFilled) -> None:
        """A fill is in the books, by whichever way."""
        self._hearing.booked(fill)

    def tell(self, news: OrderNews) -> None:
        """The venue has something to tell: it comes in a while, out of turn, twice, or never."""
        world, self._told = self._world, self._told + 1
        about = (*world.identity(news.client_order_id), self._process.number, self._told)
        if world.chance.strikes(_LOST[self._character], "news lost", *about):
            world.seen["news lost"] += 1
            return
        delay_ms = world.chance.between(1, 40, "news", *about)
        if world.chance.strikes(_LATE, "news late", *about):
            delay_ms += world.chance.between(100, 8000, "news late by", *about)
        world.engine.at(world.engine.now_ms + delay_ms, self._process.hear, self._heard, news)
        if world.chance.strikes(_TWICE, "news twice", *about):
            again_ms = world.chance.between(0, 3000, "news again", *about)
            world.engine.at(world.engine.now_ms + delay_ms + again_ms, self._process.hear, self._heard, news)

    def _heard(self, news: OrderNews) -> None:
        if self._tenure.over:
            return
        assert self._tenure.state is not None
        self._note(self._tenure.state, news)
        self._hearing.heard(news)
        self._tenure.hear(OrderHeard, news=news)

    def _note(self, state: State, news: OrderNews) -> None:
        """Count rare states by what is known when the news comes."""
        seen, trade = self._world.seen, news.trade
        ended = state.books.ended.get(news.client_order_id)
        order = _order_of(state, news.client_order_id)
        if ended is not None and trade is not None:
            seen[f"trade told {'again' if trade.trade_id in ended.trade_ids else 'late'}, after the end"] += 1
        elif order is None:
            return
        elif trade is not None and trade.trade_id in (*order.traded, *_early(state, order)):
            seen["trade told twice"] += 1
        elif order.state is OrderState.INTENDED and trade is not None:
            seen["fill overtook its reply"] += 1
        elif order.state is OrderState.INTENDED and news.ended:
            seen["end overtook its reply"] += 1
        elif order.state is OrderState.UNKNOWN and trade is not None:
            seen["UNKNOWN, then found by its trade"] += 1


def _order_of(state: State, client_order_id: str) -> Order | None:
    for order in state.books.orders.values():
        if not order.is_cancel and order.intent is not None and order.intent.client_order_id == client_order_id:
            return order
    return None


def _early(state: State, order: Order) -> tuple[str, ...]:
    """The trades of an order that came before its reply."""
    care = state.care.get(order.command_id)
    return () if care is None else tuple(trade.trade_id for trade in care.heard)
