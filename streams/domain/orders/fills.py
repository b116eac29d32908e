"""Fills: money that moved, known by the venue's trade id, whichever way a trade came to be known and however often.

A trade of an order that ended is booked late and flagged. One of an attempt that provably never stood at the venue contradicts
the proof: it is booked as well, for the money moved, and the account halts.
"""

from schemas.orders import OrderFilled
from streams.domain import halts
from streams.domain.ids import digest_id
from streams.domain.orders.books import Ended, Order
from streams.domain.orders.lifecycle import REMEMBERED_MS
from streams.domain.orders.outcome import TradeView
from streams.domain.orders.stimuli import Remark
from streams.domain.orders.turn import Turn

CLOCK_TOLERANCE_MS = 1000


def take(turn: Turn, order: Order, trades: tuple[TradeView, ...]) -> None:
    """Book each of these trades that is the open order's own, once."""
    for trade in sorted(trades, key=lambda t: (t.venue_time_ms, len(t.trade_id), t.trade_id)):
        order = turn.books.orders[order.command_id]
        known = order.venue_order_id in (None, trade.venue_order_id) and trade.symbol == order.symbol
        if known and trade.trade_id not in order.traded:
            _book(turn, turn.about_attempt(order), trade)
    order = turn.books.orders[order.command_id]
    if order.intent is not None and order.intent.quantity_base is not None and order.filled_base > order.intent.quantity_base:
        turn.halt(order.portfolio, halts.OVERFILL, f"{order.filled_base} of {order.intent.quantity_base}", order.command_id)


def take_late(turn: Turn, ended: Ended, trade: TradeView) -> None:
    """Book a trade of an attempt that is over, once; so long after its end that it is forgotten, it belongs nowhere."""
    if trade.trade_id in ended.trade_ids or trade.symbol != ended.symbol:
        return
    if turn.now.wall_ms - ended.ended_at_ms > REMEMBERED_MS:
        take_nowhere(turn, ended.client_order_id, trade)
    else:
        _take_late(turn, ended, trade)


def _take_late(turn: Turn, ended: Ended, trade: TradeView) -> None:
    about = turn.common() | {
        "portfolio": ended.portfolio,
        "command_id": ended.command_id,
        "symbol": ended.symbol,
        "attempt": ended.attempt,
        "client_order_id": ended.client_order_id,
    }
    _book(turn, about, trade)
    turn.ask(Remark("late_fill", f"trade {trade.trade_id} of {ended.client_order_id} came after the order's end"))
    if ended.venue_order_id is None:
        detail = f"trade {trade.trade_id} of {ended.client_order_id}, which was proven not to stand at the venue"
        turn.halt(ended.portfolio, halts.FILL_OF_ABSENT_ORDER, detail, ended.client_order_id)


def take_nowhere(turn: Turn, client_order_id: str, trade: TradeView) -> None:
    """State a trade of an order with an id of ours that nobody remembers, once, as the fill of a command that never was: no
    books post it, and the account halts."""
    authority, seed = turn.state.authority, f"{trade.symbol} {trade.trade_id}"
    if turn.was_lifted(halts.FILL_NOWHERE, seed) or authority is None or authority.portfolio is None:
        return
    known = len(turn.books.halts)
    turn.halt_own(halts.FILL_NOWHERE, f"trade {trade.trade_id} of {client_order_id}", seed)
    if len(turn.books.halts) > known:
        nobody = digest_id("unplaced", turn.books.account, client_order_id)
        about = turn.common() | {"portfolio": authority.portfolio, "command_id": nobody, "symbol": trade.symbol}
        _book(turn, about | {"attempt": 1, "client_order_id": client_order_id}, trade)


def mismatch(order: Order, trade: TradeView) -> str | None:
    """Why a trade under the order's client id cannot be its own, or None: the id alone proves nothing."""
    intent = order.intent
    assert intent is not None
    if trade.symbol != order.symbol or trade.side is not intent.side:
        return f"trade {trade.trade_id}: {trade.side} {trade.symbol} instead of {intent.side} {order.symbol}"
    if trade.venue_time_ms < intent.timestamp_ms - CLOCK_TOLERANCE_MS:
        return f"trade {trade.trade_id} of {trade.venue_time_ms}, before its intent of {intent.timestamp_ms}"
    if order.venue_order_id not in (None, trade.venue_order_id):
        return f"trade {trade.trade_id} of venue order {trade.venue_order_id} instead of {order.venue_order_id}"
    return None


def _book(turn: Turn, about: dict[str, object], trade: TradeView) -> None:
    """State one fill."""
    turn.change(filled_at_boot_ms=turn.now.boot_ms)
    turn.say(
        OrderFilled.model_validate(
            about
            | {
                "venue": turn.state.rules.venue,
                "venue_order_id": trade.venue_order_id,
                "trade_id": trade.trade_id,
                "side": trade.side,
                "price_quote": trade.price_quote,
                "quantity_base": trade.quantity_base,
                "quote_amount": trade.quote_amount,
                "fee_asset": trade.fee_asset,
                "fee_amount": trade.fee_amount,
                "liquidity": trade.liquidity,
                "venue_time_ms": trade.venue_time_ms,
            }
        )
    )
