"""Money that moves without an order of ours: deposits, withdrawals, and trades that somebody made by hand.

Each becomes FlowObserved, once, and is in the books from then on; nothing new is sent until it is classified, by a transfer
that an operator announced before or by what he says afterwards. A foreign trade is its flows: what it gave, what it took, its
fee. An order by hand that still stands is a flow of nothing, and holds as well; besides, it binds funds that the books count as
free, for as long as it stands and whatever was said of it. What it binds is stated at first sight, and is lowered or lifted
only by a look at a quiet account whose books explain all that it holds: so no part of it counts as free before it is traded.
"""

from decimal import Decimal

from schemas.control import FlowClassificationSet, FlowKind, TransferAnnounced
from schemas.orders import FlowClassified, FlowObserved, ForeignOrderGone, ForeignOrderSeen, Side
from streams.domain.numbers import MONEY
from streams.domain.orders.books import foreign_order
from streams.domain.orders.outcome import FlowView, OrderView, TradeView
from streams.domain.orders.stimuli import Snapshot
from streams.domain.orders.turn import Turn

ANNOUNCED_MS = 7 * 24 * 3_600_000
"""For how long an announced transfer is expected; shorter than flows are remembered, so that it never explains a second one."""


def observe(turn: Turn, flow: FlowView) -> None:
    """State a flow that is not in the books yet; what happened before the opening is part of it."""
    portfolio, books = _portfolio(turn), turn.books
    if not books.opened or portfolio is None:
        return
    if flow.flow_id in books.flows_seen or flow.venue_time_ms < books.opened_at_ms:
        return
    if flow.returns is not None and flow.returns not in books.flows_seen:
        return
    turn.say(
        FlowObserved(
            **turn.common(),
            portfolio=portfolio,
            flow_id=flow.flow_id,
            asset=flow.asset,
            amount=flow.amount,
            venue_time_ms=flow.venue_time_ms,
        )
    )


def of_trade(trade: TradeView) -> tuple[FlowView, ...]:
    """What a trade by hand moved: base, quote, and a fee in whatever asset it was taken."""
    base, quote = trade.symbol.split("/")
    sign = Decimal(1 if trade.side is Side.BUY else -1)
    moved = {base: MONEY.multiply(trade.quantity_base, sign), quote: MONEY.multiply(trade.quote_amount, -sign)}
    moved[trade.fee_asset] = MONEY.subtract(moved.get(trade.fee_asset, Decimal(0)), trade.fee_amount)
    return tuple(
        FlowView(f"trade/{trade.symbol}/{trade.trade_id}/{asset}", asset, amount, trade.venue_time_ms)
        for asset, amount in moved.items()
        if amount
    )


def observe_order(turn: Turn, order: OrderView, venue_time_ms: int) -> None:
    """State an order by hand that stands on the book, once: its flow, and what it binds."""
    flow_id, portfolio = _flow_id(order), _portfolio(turn)
    if portfolio is None or flow_id in turn.books.foreign_orders:
        return
    asset = order.symbol.split("/")[0 if order.side is Side.SELL else 1]
    observe(turn, FlowView(flow_id, asset, Decimal(0), order.venue_time_ms))
    turn.say(_seen(turn, portfolio, order, venue_time_ms))


def release(turn: Turn, snapshot: Snapshot) -> None:
    """State what orders by hand bind now, where it changed. Needs a quiet account, equal to its books."""
    portfolio, at_ms = _portfolio(turn), snapshot.venue_time_ms
    if portfolio is None:
        return
    standing = {_flow_id(order): order for order in snapshot.open_orders}
    for flow_id, known in tuple(turn.books.foreign_orders.items()):
        order = standing.get(flow_id)
        if order is None and known.symbol in snapshot.symbols:
            turn.say(ForeignOrderGone(**turn.common(), portfolio=portfolio, flow_id=flow_id, venue_time_ms=at_ms))
        elif order is not None and known != foreign_order(seen := _seen(turn, portfolio, order, at_ms)):
            turn.say(seen)


def _seen(turn: Turn, portfolio: str, order: OrderView, venue_time_ms: int) -> ForeignOrderSeen:
    return ForeignOrderSeen(
        **turn.common(),
        portfolio=portfolio,
        flow_id=_flow_id(order),
        venue_order_id=order.venue_order_id,
        symbol=order.symbol,
        side=order.side,
        quantity_base=order.quantity_base,
        filled_base=order.filled_base,
        price_limit_quote=order.price_limit_quote,
        venue_time_ms=venue_time_ms,
    )


def _flow_id(order: OrderView) -> str:
    return f"order/{order.symbol}/{order.venue_order_id}"


def _portfolio(turn: Turn) -> str | None:
    authority = turn.state.authority
    return None if authority is None else authority.portfolio


def classify(turn: Turn) -> None:
    """Carry out what operators said about open flows, and match the rest with transfers that were announced."""
    authority, portfolio = turn.state.authority, _portfolio(turn)
    if authority is None or portfolio is None:
        return
    for flow_id, (asset, amount) in tuple(turn.books.flows_open.items()):
        said = authority.classified.get(flow_id)
        announced = None if said is not None else _announced(turn, authority.announced, asset, amount)
        if said is None and announced is None:
            continue
        turn.say(
            FlowClassified(
                **turn.common(),
                portfolio=portfolio,
                flow_id=flow_id,
                asset=asset,
                amount=amount,
                flow_kind=said.flow_kind if said is not None else FlowKind.EXTERNAL,
                control_id=_control_id(said or announced),
            )
        )


def _announced(turn: Turn, transfers: tuple[TransferAnnounced, ...], asset: str, amount: Decimal) -> TransferAnnounced | None:
    """The first announcement of exactly this transfer that is not too old and has explained no other."""
    for transfer in transfers:
        unused = _control_id(transfer) not in turn.books.flows_seen and transfer.at_ms >= turn.now.wall_ms - ANNOUNCED_MS
        if unused and (transfer.asset, transfer.amount) == (asset, amount):
            return transfer
    return None


def _control_id(event: FlowClassificationSet | TransferAnnounced | None) -> str:
    assert event is not None
    what = event.flow_id if isinstance(event, FlowClassificationSet) else f"{event.amount} {event.asset}"
    return f"{event.TYPE}/{event.at_ms}/{what}"
