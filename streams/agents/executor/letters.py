"""The executor's events in their envelopes, with ids that come from their cause."""

from schemas.envelope import trace_child
from schemas.executor import ExecutorCheckpoint
from schemas.orders import (
    AccountHalted,
    AccountOpened,
    AccountResumed,
    AttemptEvent,
    CommandAdmitted,
    CommandEvent,
    CommandNotAdmitted,
    CommandsDistrusted,
    ExecutionEvent,
    FlowClassified,
    FlowObserved,
    ForeignOrderGone,
    ForeignOrderSeen,
    OrderFilled,
    OwnerStarted,
)
from streams.agents.envelopes import enveloped
from streams.domain.errors import InvariantError
from streams.domain.ids import digest_id
from streams.ports.log import Output
from streams.topics import ORDERS_EVENTS


def event_id(event: ExecutionEvent) -> str:
    """The id of an event, from its cause. It names the owner's epoch: what a former owner says is another event."""
    return digest_id("event", event.account, str(event.epoch), event.TYPE, *_cause(event))


def _cause(event: ExecutionEvent) -> tuple[str, ...]:
    match event:
        case OrderFilled():
            return (event.command_id, event.client_order_id, event.trade_id)
        case AttemptEvent():
            return (event.command_id, str(event.attempt), event.client_order_id)
        case CommandAdmitted() | CommandNotAdmitted():
            return (event.command_id, str(event.commands_offset))
        case CommandEvent():
            return (event.command_id,)
        case CommandsDistrusted():
            return (str(event.offset_from), str(event.offset_to))
        case AccountHalted():
            return (event.halt_id,)
        case AccountResumed():
            return event.halt_ids
        case FlowObserved():
            return (event.flow_id,)
        case FlowClassified():
            return (event.flow_id, event.control_id)
        case ForeignOrderSeen() | ForeignOrderGone():
            return (event.flow_id, str(event.venue_time_ms))  # what a look at that time showed
        case AccountOpened():
            return ()  # once in an account's life
        case OwnerStarted():
            return (event.owner,)
        case ExecutorCheckpoint():
            return (str(event.at_ms), event.state_sha256)
        case _:
            raise InvariantError(f"a {type(event).__name__} has no cause to make an id of")


def event_output(event: ExecutionEvent, traceparent: str = "") -> tuple[str, Output]:
    """The event's id, and its record for `orders.events`."""
    ce_id = event_id(event)
    account, trace = event.account, trace_child(traceparent, ce_id)
    source = f"executor/{account}"
    return ce_id, enveloped(ORDERS_EVENTS, account, event, ce_id=ce_id, source=source, time_ms=event.at_ms, traceparent=trace)
