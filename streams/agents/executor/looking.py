"""Asking the venue: one order in every way there is, the whole account, its past. Only questions, so that all may repeat."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.domain.orders.books import Books
from streams.domain.orders.opening import OUR_CLIENT_ID
from streams.domain.orders.outcome import OrderView, TradeView
from streams.domain.orders.stimuli import Look, LookUp, Scope, Snapshot
from streams.ports.venue import TradingVenue

log = logging.getLogger("trimtab.executor")

STRANGERS_MAX = 10
AGAIN_AFTER_MS = 2000
HISTORY_TRADES = 50
AGAIN_MS = 60_000
"""Trades of the last minute are read again: a venue may show one late."""
DAY_MS = 24 * 3_600_000
FLOWS_BACK_MS = 7 * DAY_MS


async def look(venue: TradingVenue, wanted: LookUp) -> Look | None:
    """What the venue shows of one order; None when it did not answer."""
    try:
        return await _look(venue, wanted)
    except (UnreachableError, UnknownOutcomeError) as error:
        log.info("%s: %s could not be looked up: %s", wanted.symbol, wanted.client_order_id, error)
    except RefusedError as error:
        log.warning("%s: the venue refuses to show %s: %s", wanted.symbol, wanted.client_order_id, error)
    return None


async def _look(venue: TradingVenue, wanted: LookUp) -> Look:
    if wanted.scope is Scope.TRADES:
        trades = await venue.trades(wanted.symbol, wanted.since_ms, wanted.venue_order_id)
        return Look(0, None, tuple(trades), True)
    # The venue's time is read before the questions: what they deny was absent at that time or later.
    venue_time_ms = await venue.time_ms() if wanted.scope is Scope.PROOF else 0
    found = Look(venue_time_ms, await venue.order(wanted.symbol, wanted.client_order_id), (), True)
    if found.order is None and wanted.scope is Scope.PROOF:
        found = await _search(venue, wanted, found)
    if found.order is None or not found.order.filled_base:
        return found
    trades = await venue.trades(wanted.symbol, wanted.since_ms, found.order.venue_order_id)
    return replace(found, trades=tuple(trades))


async def _search(venue: TradingVenue, wanted: LookUp, nothing: Look) -> Look:
    """Look for the order among open orders and behind own trades that nothing else explains."""
    for order in await venue.open_orders(wanted.symbol):
        if order.client_order_id == wanted.client_order_id:
            return replace(nothing, order=order)
    trades = await venue.trades(wanted.symbol, wanted.since_ms)
    unexplained = sorted({trade.venue_order_id for trade in trades} - wanted.known_order_ids)
    others: set[str] = set()
    for venue_order_id in unexplained[:STRANGERS_MAX]:
        order = await venue.order_by_venue_id(wanted.symbol, venue_order_id)
        if order is None:
            continue
        if order.client_order_id == wanted.client_order_id:
            return replace(nothing, order=order)
        others.add(venue_order_id)
    return replace(nothing, conclusive=len(others) == len(unexplained), strangers=frozenset(others))


class Rounds:
    """Snapshots of an account, one after the other: until it is opened an opening's gap apart, then one each round."""

    def __init__(self, venue: TradingVenue, symbols: Sequence[str], opening_gap_ms: int, every_ms: int) -> None:
        self._venue = venue
        self._symbols = symbols
        self._opening_gap_ms = opening_gap_ms
        self._every_ms = every_ms
        self._since_ms: int | None = None

    async def next(self, books: Books) -> tuple[Snapshot | None, int]:
        """A snapshot, None when the venue gave none; and the pause after it in milliseconds."""
        opened = books.opened
        try:
            taken = await snapshot(self._venue, self._symbols, self._since_ms, books)
        except (UnreachableError, UnknownOutcomeError, RefusedError) as error:
            log.warning("account %s: no snapshot: %s", books.account, error)
            return None, AGAIN_AFTER_MS
        self._since_ms = taken.venue_time_ms - (AGAIN_MS if opened else 0)
        if taken.judged_ms is not None:
            self._since_ms = min(self._since_ms, taken.judged_ms)
        return taken, self._every_ms if opened else self._opening_gap_ms + 50


async def snapshot(venue: TradingVenue, symbols: Sequence[str], since_ms: int | None, books: Books) -> Snapshot:
    """The whole account now; trades from `since_ms` on, or from where `books` were compared last. Raises as reads do."""
    venue_time_ms = await venue.time_ms()
    since_ms = _compared_until(books, venue_time_ms) if since_ms is None else since_ms
    flows = await venue.flows(max(books.opened_at_ms, venue_time_ms - FLOWS_BACK_MS)) if books.opened else ()
    orders: list[OrderView] = []
    trades: list[TradeView] = []
    totals = await venue.totals()
    for symbol in symbols:
        orders += await venue.open_orders(symbol)
        trades += await venue.trades(symbol, since_ms)
    taken = Snapshot(venue_time_ms, since_ms, totals, tuple(orders), tuple(trades), {}, tuple(flows), frozenset(symbols))
    return await _with_strangers(venue, taken, books) if books.opened else taken


def _compared_until(books: Books, venue_time_ms: int) -> int:
    if not books.opened:
        return venue_time_ms - 1000
    # Books that no checkpoint calls compared, were not: a trade of any time since their opening may be missing.
    return max(books.opened_at_ms, books.reconciled_ms - AGAIN_MS, venue_time_ms - FLOWS_BACK_MS)


async def _with_strangers(venue: TradingVenue, taken: Snapshot, books: Books) -> Snapshot:
    """Ask for some of the orders behind trades that no order of ours explains.

    An order of ours whose venue id is not known yet explains itself when it is found: nothing is asked for its symbol. Trades
    that are not judged now are read again: for a day, since the venue may never say whose they are.
    """
    undecided = {order.symbol for order in books.orders.values() if order.venue_order_id is None and not order.is_cancel}
    known = {(order.symbol, order.venue_order_id) for order in (*books.orders.values(), *books.ended.values())}
    seen = {flow_id for flow_id in books.flows_seen if flow_id.startswith("trade/")}
    asked: dict[tuple[str, str], str | None] = {}
    left: list[int] = []
    for trade in taken.trades:
        counted = any(flow_id.startswith(f"trade/{trade.symbol}/{trade.trade_id}/") for flow_id in seen)
        its_order = (trade.symbol, trade.venue_order_id)
        if its_order in known or counted:
            continue
        if its_order not in asked and trade.symbol not in undecided and len(asked) < STRANGERS_MAX:
            order = await venue.order_by_venue_id(trade.symbol, trade.venue_order_id)
            asked[its_order] = None if order is None else order.client_order_id
        if asked.get(its_order) is None:
            left.append(trade.venue_time_ms)
    judged_ms = max(min(left), taken.venue_time_ms - DAY_MS) if left else None
    strangers = {its_order: client for its_order, client in asked.items() if client is not None}
    return replace(taken, strangers=strangers, judged_ms=judged_ms)


async def our_past(venue: TradingVenue, symbols: Sequence[str]) -> frozenset[str]:
    """Client ids in our format among open orders and behind the newest own trades. Raises as the venue's reads do."""
    found: set[str] = set()
    for symbol in symbols:
        orders = list(await venue.open_orders(symbol))
        seen = {order.venue_order_id for order in orders}
        trades = await venue.last_trades(symbol, HISTORY_TRADES)
        wanted = sorted({trade.venue_order_id for trade in trades} - seen)
        for venue_order_id in wanted:
            order = await venue.order_by_venue_id(symbol, venue_order_id)
            orders += [order] if order is not None else []
        found |= {order.client_order_id for order in orders if OUR_CLIENT_ID.fullmatch(order.client_order_id)}
    return frozenset(found)
