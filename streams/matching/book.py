"""The order book of one symbol: price first, then time.

Each side is a ladder of price levels; the orders of a level stand in the order of their arrival. The prices of a ladder
are kept sorted with the best at the end, so that taking from the best is cheap and adding costs one binary search.

Every change of a level raises `update_id` by one and marks the level, so that a stream of differences can be built that
fits a snapshot exactly.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from streams.matching.amounts import ZERO, converted
from streams.matching.orders import Order, Side

Level = tuple[Decimal, Decimal]
"""Price in quote and total quantity in base."""


@dataclass(frozen=True, slots=True)
class Match:
    """One planned trade: so much of this resting order."""

    maker: Order
    quantity_base: Decimal


@dataclass(frozen=True, slots=True)
class Changes:
    """Levels that changed with the update ids first to last; a quantity of zero removes the level."""

    update_id_first: int
    update_id_last: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(slots=True)
class _Queue:
    orders: dict[int, Order] = field(default_factory=dict)
    total_base: Decimal = ZERO


class _Ladder:
    def __init__(self, side: Side):
        self._side = side
        self._queues: dict[Decimal, _Queue] = {}
        self._ranks: list[Decimal] = []

    def _rank(self, price: Decimal) -> Decimal:
        return price if self._side is Side.BUY else price.copy_negate()

    def add(self, order: Order) -> None:
        queue = self._queues.get(order.price_quote)
        if queue is None:
            queue = self._queues[order.price_quote] = _Queue()
            rank = self._rank(order.price_quote)
            self._ranks.insert(bisect_left(self._ranks, rank), rank)
        queue.orders[order.order_id] = order
        queue.total_base += order.remaining_base

    def remove(self, order: Order) -> None:
        queue = self._queues[order.price_quote]
        del queue.orders[order.order_id]
        queue.total_base -= order.remaining_base
        if not queue.orders:
            del self._queues[order.price_quote]
            del self._ranks[bisect_left(self._ranks, self._rank(order.price_quote))]

    def reduce(self, price: Decimal, quantity_base: Decimal) -> None:
        self._queues[price].total_base -= quantity_base

    def best(self) -> Decimal | None:
        return self._ranks[-1].copy_abs() if self._ranks else None

    def total(self, price: Decimal) -> Decimal:
        queue = self._queues.get(price)
        return queue.total_base if queue else ZERO

    def levels(self, count: int | None) -> Iterator[Level]:
        ranks = self._ranks if count is None else self._ranks[-count:]
        for rank in reversed(ranks):
            price = rank.copy_abs()
            yield price, self._queues[price].total_base

    def orders(self) -> Iterator[Order]:
        for rank in reversed(self._ranks):
            yield from self._queues[rank.copy_abs()].orders.values()

    def accepts(self, price_resting: Decimal, price_limit: Decimal) -> bool:
        return price_resting >= price_limit if self._side is Side.BUY else price_resting <= price_limit


class Book:
    """Both ladders of one symbol."""

    def __init__(self, ids_from: int = 0):
        self._ladders = {side: _Ladder(side) for side in Side}
        self._changed: dict[tuple[Side, Decimal], None] = {}
        self._published_id = ids_from
        self.update_id = ids_from

    def add(self, order: Order) -> None:
        """Let an order rest behind all others of its price."""
        self._ladders[order.side].add(order)
        self._mark(order)

    def remove(self, order: Order) -> None:
        """Take an order out, with what remains of it."""
        self._ladders[order.side].remove(order)
        self._mark(order)

    def reduce(self, order: Order, quantity_base: Decimal) -> None:
        """A resting order traded a part (its `filled_base` already counts it) and keeps its place."""
        self._ladders[order.side].reduce(order.price_quote, quantity_base)
        self._mark(order)

    def best(self, side: Side) -> Decimal | None:
        """The best price of a side, None when it is empty."""
        return self._ladders[side].best()

    def levels(self, side: Side, count: int | None = None) -> list[Level]:
        """Price and total of the best `count` levels (all when None), best first."""
        return list(self._ladders[side].levels(count))

    def drain_changes(self) -> Changes | None:
        """What changed since the last call, None when nothing did."""
        if not self._changed:
            return None
        sides = {
            side: tuple((price, self._ladders[side].total(price)) for changed, price in self._changed if changed is side)
            for side in Side
        }
        changes = Changes(self._published_id + 1, self.update_id, sides[Side.BUY], sides[Side.SELL])
        self._published_id = self.update_id
        self._changed = {}
        return changes

    def plan(self, side: Side, quantity_base: Decimal, price_limit: Decimal | None) -> list[Match]:
        """The trades that an order of this side would make now, best price and oldest first."""
        ladder = self._ladders[side.opposite]
        matches: list[Match] = []
        for maker in ladder.orders():
            if quantity_base <= 0 or (price_limit is not None and not ladder.accepts(maker.price_quote, price_limit)):
                break
            quantity = min(quantity_base, maker.remaining_base)
            matches.append(Match(maker, quantity))
            quantity_base -= quantity
        return matches

    def plan_amount(self, side: Side, amount_quote: Decimal, step_size: Decimal) -> list[Match]:
        """The trades of a market order that pays or receives at most `amount_quote`, in whole steps."""
        matches: list[Match] = []
        for maker in self._ladders[side.opposite].orders():
            quantity = min(maker.remaining_base, converted(amount_quote, maker.price_quote, step_size))
            if quantity <= 0:
                break
            matches.append(Match(maker, quantity))
            amount_quote -= quantity * maker.price_quote
        return matches

    def _mark(self, order: Order) -> None:
        self.update_id += 1
        self._changed[(order.side, order.price_quote)] = None
