"""Snapshots of a whole account: its opening, once, and from then on the regular comparison with the books."""

import re

from schemas.orders import AccountOpened
from streams.domain import halts
from streams.domain.frozen import changed
from streams.domain.orders import alarms, fills, flows
from streams.domain.orders.outcome import TradeView
from streams.domain.orders.stimuli import Snapshot, SnapshotRead
from streams.domain.orders.turn import Turn

OUR_CLIENT_ID = re.compile(r"[a-z2-7]{26}")
"""What our client order ids look like: base32 of 128 bits."""
FORGOTTEN_MARGIN_MS = 2000
"""The end of an order is known by our clock, a trade by the venue's."""


def snapshot_read(turn: Turn, event: SnapshotRead) -> None:
    """Open the account when two snapshots agree, or compare an opened one with what the venue shows."""
    if turn.books.opened:
        _reconcile(turn, event)
    else:
        _open(turn, event)


def _open(turn: Turn, event: SnapshotRead) -> None:
    """Two equal snapshots far enough apart, with no open order and no trade between them, are the start of books."""
    snapshot, first, authority = event.snapshot, turn.state.first_snapshot, turn.state.authority
    if snapshot.open_orders or authority is None or authority.portfolio is None:
        return turn.change(first_snapshot=None)
    moved = first is not None and (
        dict(first.totals) != dict(snapshot.totals)
        or snapshot.since_ms > first.venue_time_ms
        or any(trade.venue_time_ms >= first.venue_time_ms for trade in snapshot.trades)
    )
    if first is None or moved:
        return turn.change(first_snapshot=snapshot, first_snapshot_boot_ms=turn.now.boot_ms)
    # The first one's answers and this one's questions are what must lie apart.
    if event.asked_boot_ms - turn.state.first_snapshot_boot_ms < turn.state.rules.opening_gap_ms:
        return None
    turn.change(first_snapshot=None, compared_boot_ms=turn.now.boot_ms)
    return turn.say(
        AccountOpened(
            **turn.common(),
            portfolio=authority.portfolio,
            venue=turn.state.rules.venue,
            totals={asset: amount for asset, amount in snapshot.totals.items() if amount},
            venue_time_ms=snapshot.venue_time_ms,
        )
    )


def _reconcile(turn: Turn, event: SnapshotRead) -> None:
    snapshot, booked = event.snapshot, turn.books.totals
    _check_open_orders(turn, snapshot)
    for flow in snapshot.flows:
        flows.observe(turn, flow)
    for trade in snapshot.trades:
        _check_trade(turn, snapshot, trade)
    flows.classify(turn)
    judged_ms = snapshot.venue_time_ms if snapshot.judged_ms is None else snapshot.judged_ms
    turn.change(books=changed(turn.books, reconciled_ms=max(turn.books.reconciled_ms, judged_ms)))
    quiet = not turn.books.orders and event.asked_boot_ms - turn.state.filled_at_boot_ms > turn.state.rules.quiet_ms
    if quiet and turn.books.totals == booked:
        alarms.compare(turn, snapshot)
        if not turn.state.differences:
            flows.release(turn, snapshot)


def _check_open_orders(turn: Turn, snapshot: Snapshot) -> None:
    """An order that carries an id of ours and that we do not know halts the account, once it is seen a second time."""
    for order in snapshot.open_orders:
        if not OUR_CLIENT_ID.fullmatch(order.client_order_id):
            flows.observe_order(turn, order, snapshot.venue_time_ms)
    foreign = frozenset(
        order.client_order_id
        for order in snapshot.open_orders
        if OUR_CLIENT_ID.fullmatch(order.client_order_id) and not turn.books.knows(order.client_order_id)
    )
    for client_order_id in sorted(foreign & turn.state.suspects):
        turn.halt_own(halts.UNKNOWN_CLIENT_ORDER_ID, client_order_id, client_order_id)
    turn.change(suspects=foreign)


def _check_trade(turn: Turn, snapshot: Snapshot, trade: TradeView) -> None:
    """A trade of an order of ours that is not booked yet is booked, late or not; one made by hand is a flow.

    What the venue does not explain yet is left to later looks and to the comparison of totals: taking it for a flow could count
    money twice.
    """
    of_trade = (trade.symbol, trade.venue_order_id)
    for order in turn.books.orders.values():
        if (order.symbol, order.venue_order_id) == of_trade and not order.is_cancel:
            return fills.take(turn, order, (trade,))
    for ended in turn.books.ended.values():
        if (ended.symbol, ended.venue_order_id) == of_trade:
            return fills.take_late(turn, ended, trade)
    client_order_id = snapshot.strangers.get(of_trade)
    if client_order_id is None:
        return None
    if (ended := turn.books.ended.get(client_order_id)) is not None and ended.command_id:
        return fills.take_late(turn, ended, trade)
    if OUR_CLIENT_ID.fullmatch(client_order_id):
        return _check_forgotten(turn, client_order_id, trade)
    for flow in flows.of_trade(trade):
        flows.observe(turn, flow)
    return None


def _check_forgotten(turn: Turn, client_order_id: str, trade: TradeView) -> None:
    """A trade under an id in our format. It may have been booked to an order that is forgotten here, and is left alone; else it
    came after its order's end, or is of no order of ours: it belongs nowhere."""
    books = turn.books
    maybe_booked = trade.venue_time_ms <= books.forgotten_ms + FORGOTTEN_MARGIN_MS
    if not maybe_booked and trade.venue_time_ms >= books.opened_at_ms and not books.knows(client_order_id):
        fills.take_nowhere(turn, client_order_id, trade)
