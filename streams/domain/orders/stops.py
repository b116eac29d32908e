"""Cancels that the executor decides itself: on a halt, at the end of an order's life, on an operator's word.

An order that did not leave yet needs none: the gate keeps it. A freeze, by control or by the HALT file, leaves what stands.
These cancels need nobody else to live: not the fold, not Kafka, not PostgreSQL once the lease is held. Each order gets one,
whose id comes from the order alone, so that a second owner decides the same cancel and not another. Under a halt by the HALT
file the log may be away: such a cancel is kept on this machine, leaves at once while the lease holds, and is published when
the log is back.
"""

from schemas.control import StopKind
from schemas.ledger import OrderState
from schemas.orders import CancelOrder, CommandAdmitted, PlaceOrder
from streams.domain.ids import digest_id
from streams.domain.orders.books import Order
from streams.domain.orders.turn import Turn

_AT_THE_VENUE = frozenset({OrderState.OPEN, OrderState.UNKNOWN})


def enforce(turn: Turn) -> None:
    """Decide a cancel for every order that stands, or may stand, and must not."""
    orders = turn.books.orders.values()
    standing = [order for order in orders if order.state in _AT_THE_VENUE and not order.is_cancel]
    if not standing:
        return
    halted, canceled = _halted(turn), {order.target_command_id for order in orders if order.own_cause}
    for order in standing:
        if order.command_id in canceled or _has_ended(turn, order):
            continue
        cause = halted or _unwanted(turn, order)
        if cause is not None:
            _cancel(turn, order, cause)


def _halted(turn: Turn) -> str | None:
    """Which halt wants every order of the account off the book, or None. A freeze leaves them."""
    if turn.now.halt_file is not None:
        return f"halt_file: {turn.now.halt_file}"
    if turn.books.halts:
        halt_id = min(turn.books.halts)
        return f"account_halted: {turn.books.halts[halt_id]} {halt_id}"
    authority = turn.state.authority
    return "halted" if authority is not None and authority.stop is StopKind.HALT else None


def _unwanted(turn: Turn, order: Order) -> str | None:
    command, authority = order.command, turn.state.authority
    if not isinstance(command, PlaceOrder):
        return "command_lost"  # and with it when it ends
    if turn.now.wall_ms > command.expires_at_ms:
        return "expired"
    if authority is not None and authority.withdraws(order.command_id, command.decided_at_ms):
        return "operator"
    return None


def _has_ended(turn: Turn, order: Order) -> bool:
    view = turn.care(order.command_id).view
    return view is not None and view.standing.ended


def _cancel(turn: Turn, order: Order, cause: str) -> None:
    turn.say(
        CommandAdmitted(
            **turn.common(),
            portfolio=order.portfolio,
            command_id=digest_id("own-cancel", order.command_id),
            symbol=order.symbol,
            command_type=CancelOrder.TYPE,
            incarnation=order.incarnation,
            decision_number=order.decision_number,
            ordinal=order.ordinal,
            target_command_id=order.command_id,
            decided_at_ms=turn.now.wall_ms,
            commands_offset=order.commands_offset,
            own_cause=cause[:500],
        )
    )
