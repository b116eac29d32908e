"""The books as one message and back, so that a new owner reads one record and the tail after it."""

import hashlib
import json
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from schemas.codec import VALUE_BYTES_MAX, encode
from schemas.executor import EndedOrder, ExecutorCheckpoint, OpenCommand, OpenFlow
from schemas.ledger import OrderState
from streams.domain.errors import InvariantError
from streams.domain.frozen import changed
from streams.domain.orders.books import Books, Ended, Order, forgotten_ms

_ORDER = TypeAdapter(Order)
ENDED_KEPT = 500
_KEPT = (ENDED_KEPT, ENDED_KEPT // 2, ENDED_KEPT // 4, ENDED_KEPT // 8, ENDED_KEPT // 16, 0)
_NO_DIGEST = "0" * 64


class DoesNotFitError(ValueError):
    """There is more to say than a message may hold."""


def checkpoint(books: Books, owner: str, at_ms: int, events_next_offset: int) -> ExecutorCheckpoint:
    """The books as a message. `events_next_offset` is a lower bound of where the log goes on after it.

    Of orders that ended as many are kept as a message has room for. Raises DoesNotFitError when even without them it is larger
    than what anybody reads.
    """
    for kept in _KEPT:
        message = _message(books, list(books.ended.values())[-kept:] if kept else [], owner, at_ms, events_next_offset)
        if len(encode(message)) <= VALUE_BYTES_MAX:
            return message.model_copy(update={"state_sha256": _digest(message)})
    raise DoesNotFitError(f"account {books.account}: a checkpoint is larger than the {VALUE_BYTES_MAX} bytes that are read")


def _message(books: Books, ended: list[Ended], owner: str, at_ms: int, events_next_offset: int) -> ExecutorCheckpoint:
    names = {order.client_order_id: order for order in ended}
    return ExecutorCheckpoint(
        account=books.account,
        epoch=books.epoch,
        at_ms=at_ms,
        owner=owner,
        opened=books.opened,
        commands=tuple(
            OpenCommand(
                command_id=order.command_id,
                portfolio=order.portfolio,
                symbol=order.symbol,
                unknown=order.state is OrderState.UNKNOWN,
                state=_ORDER.dump_json(order).decode(),
            )
            for order in books.orders.values()
        ),
        client_order_ids_unexpired=tuple(names),
        ended=tuple(_ended(order) for order in ended if order.command_id),
        opened_at_ms=books.opened_at_ms,
        reconciled_ms=books.reconciled_ms,
        forgotten_ms=forgotten_ms(books, names),
        flows_open={flow_id: OpenFlow(asset=asset, amount=amount) for flow_id, (asset, amount) in books.flows_open.items()},
        flows_seen=dict(books.flows_seen),
        foreign_orders=dict(books.foreign_orders),
        answered=dict(books.answered),
        refused_early=dict(books.refused_early),
        halts=dict(books.halts),
        totals=dict(books.totals),
        turnover_quote={str(minute): amount for minute, amount in books.turnover.items()},
        commands_next_offset=books.commands_next_offset,
        events_next_offset=events_next_offset,
        state_sha256=_NO_DIGEST,
    )


def restore(message: ExecutorCheckpoint) -> Books:
    """The books that a checkpoint holds. Raises InvariantError when it is not what its writer wrote."""
    if _digest(message) != message.state_sha256:
        raise InvariantError(f"account {message.account}: the checkpoint's hash does not match its content")
    try:
        orders = {command.command_id: _ORDER.validate_json(command.state) for command in message.commands}
    except ValidationError as error:
        raise InvariantError(f"account {message.account}: the checkpoint cannot be read: {error}") from None
    ended = {known: Ended("", "", "", 0, known) for known in message.client_order_ids_unexpired}
    ended |= {order.client_order_id: _remembered(order) for order in message.ended}
    return Books(
        account=message.account,
        epoch=message.epoch,
        opened=message.opened,
        opened_at_ms=message.opened_at_ms,
        reconciled_ms=message.reconciled_ms,
        forgotten_ms=message.forgotten_ms,
        flows_open={flow_id: (flow.asset, flow.amount) for flow_id, flow in message.flows_open.items()},
        flows_seen=dict(message.flows_seen),
        foreign_orders=dict(message.foreign_orders),
        orders=orders,
        ended=ended,
        answered=dict(message.answered),
        refused_early=dict(message.refused_early),
        halts=dict(message.halts),
        totals=dict(message.totals),
        turnover={int(minute): amount for minute, amount in message.turnover_quote.items()},
        commands_next_offset=message.commands_next_offset,
    )


def without_commands(books: Books) -> dict[str, int]:
    """Open commands whose text is not known, with the offset at which it stands in `orders.commands`."""
    given = (order for order in books.orders.values() if not order.own_cause)
    return {order.command_id: order.commands_offset for order in given if order.command is None}


def with_command(books: Books, command_id: str, command: Any) -> Books:
    """The books with the text of an open command."""
    order = changed(books.orders[command_id], command=command)
    return changed(books, orders={**books.orders, command_id: order})


@lru_cache(maxsize=2 * ENDED_KEPT)
def _ended(order: Ended) -> EndedOrder:
    """Most of what a checkpoint says of ended orders, the one before said too."""
    return EndedOrder(
        command_id=order.command_id,
        portfolio=order.portfolio,
        symbol=order.symbol,
        attempt=order.attempt,
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        side=order.side,
        trade_ids=tuple(sorted(order.trade_ids)),
        filled_base=order.filled_base,
        ended_at_ms=order.ended_at_ms,
    )


def _remembered(order: EndedOrder) -> Ended:
    return Ended(
        order.command_id,
        order.portfolio,
        order.symbol,
        order.attempt,
        order.client_order_id,
        order.venue_order_id,
        order.side,
        frozenset(order.trade_ids),
        order.filled_base,
        order.ended_at_ms,
    )


def _digest(message: ExecutorCheckpoint) -> str:
    """What is left at its default counts as not said: a version that knows one field more finds the same digest."""
    said = message.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"state_sha256"})
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
