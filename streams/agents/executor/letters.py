"""Records on the executor's way out: its events in their envelopes, and dead letters with their original bytes."""

from schemas.codec import encode
from schemas.envelope import Envelope, trace_child
from schemas.orders import (
    AccountHalted,
    AccountResumed,
    AttemptEvent,
    CommandAdmitted,
    CommandEvent,
    CommandNotAdmitted,
    ExecutionEvent,
    ExecutorCheckpoint,
    OrderFilled,
    OwnerStarted,
)
from streams.domain.ids import digest_id
from streams.ports import Output, Record
from streams.topics import ORDERS_EVENTS, dead_letter

READER = "executor"


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
        case AccountHalted():
            return (event.halt_id,)
        case AccountResumed():
            return event.halt_ids
        case OwnerStarted():
            return (event.owner,)
        case ExecutorCheckpoint():
            return (str(event.at_ms), event.state_sha256)
        case _:
            return ()


def event_output(event: ExecutionEvent, traceparent: str = "") -> tuple[str, Output]:
    """The event's id, and its record for `orders.events`."""
    ce_id = event_id(event)
    envelope = Envelope(
        id=ce_id,
        type=event.ce_type(),
        source=f"executor/{event.account}",
        time_ms=event.at_ms,
        traceparent=trace_child(traceparent, ce_id),
    )
    output = Output(
        topic=ORDERS_EVENTS,
        key=event.account.encode(),
        value=encode(event),
        headers=envelope.headers(),
        timestamp_ms=event.at_ms,
    )
    return ce_id, output


def dead_letter_of(record: Record, reason: str) -> Output:
    """A record that cannot be read: its bytes and headers untouched, and where and why in headers of ours."""
    headers = (
        *record.headers,
        ("trimtab-dlq-source", f"{record.topic}:{record.partition}:{record.offset}".encode()),
        ("trimtab-dlq-reason", reason[:500].encode()),
    )
    return Output(dead_letter(record.topic, READER), record.key or b"", record.value or b"", headers)
