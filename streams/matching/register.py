"""Where accepted orders and fills are found again: by order id, by client id, open ones, own fills in order.

Open orders are always kept. Of the closed ones and of the fills at least the newest `kept_max` of each account stay. Fills
are recorded with times that never fall.
"""

from bisect import bisect_left
from collections import deque

from streams.matching.orders import Fill, Order


class Register:
    """The memory of one venue; look-ups cost no scan."""

    def __init__(self, kept_max: int):
        self._kept_max = kept_max
        self._orders: dict[int, Order] = {}
        self._by_client_id: dict[tuple[str, str, str], Order] = {}
        self._open: dict[str, dict[int, Order]] = {}
        self._closed: dict[str, deque[Order]] = {}
        self._fills: dict[tuple[str, str], list[Fill]] = {}

    def add(self, order: Order) -> None:
        """Remember a new open order; its client id now means this order."""
        self._orders[order.order_id] = order
        self._by_client_id[(order.account, order.symbol, order.client_order_id)] = order
        self._open.setdefault(order.account, {})[order.order_id] = order

    def close(self, order: Order) -> None:
        """The order is final; the oldest final order of the account may be forgotten."""
        del self._open[order.account][order.order_id]
        closed = self._closed.setdefault(order.account, deque())
        closed.append(order)
        if len(closed) > self._kept_max:
            self._forget(closed.popleft())

    def record(self, fill: Fill) -> None:
        """Remember a fill."""
        fills = self._fills.setdefault((fill.account, fill.symbol), [])
        fills.append(fill)
        if len(fills) > 2 * self._kept_max:
            del fills[: -self._kept_max]

    def by_id(self, account: str, symbol: str, order_id: int) -> Order | None:
        """The account's order on that symbol, if it is its own."""
        order = self._orders.get(order_id)
        return order if order and (order.account, order.symbol) == (account, symbol) else None

    def by_client_id(self, account: str, symbol: str, client_order_id: str) -> Order | None:
        """The newest order under that client id."""
        return self._by_client_id.get((account, symbol, client_order_id))

    def open(self, account: str, symbol: str | None) -> list[Order]:
        """Open orders, oldest first; of all symbols when None."""
        orders = self._open.get(account, {}).values()
        return [order for order in orders if symbol is None or order.symbol == symbol]

    def all(self, account: str, symbol: str, count: int) -> list[Order]:
        """The newest `count` orders of a symbol, open or closed, oldest first."""
        orders = [*self._closed.get(account, ()), *self._open.get(account, {}).values()]
        chosen = sorted((order for order in orders if order.symbol == symbol), key=lambda order: order.order_id)
        return chosen[-count:]

    def fills(
        self, account: str, symbol: str, count: int, *, trade_id_from: int | None = None, at_ms_from: int | None = None
    ) -> list[Fill]:
        """The newest `count` fills, or the first `count` from a trade id or a time on; oldest first."""
        fills = self._fills.get((account, symbol), [])
        if trade_id_from is not None:
            first = bisect_left(fills, trade_id_from, key=lambda fill: fill.trade_id)
        elif at_ms_from is not None:
            first = bisect_left(fills, at_ms_from, key=lambda fill: fill.at_ms)
        else:
            first = max(0, len(fills) - count)
        return fills[first : first + count]

    def _forget(self, order: Order) -> None:
        del self._orders[order.order_id]
        key = (order.account, order.symbol, order.client_order_id)
        if self._by_client_id.get(key) is order:
            del self._by_client_id[key]
