"""The life cycle of a command: every legal step, in one table, with what venues really do.

A step that is not in the table cannot happen: whoever meets it stops. What a venue does to us against all expectation (a
fill after the order's end, or of an attempt that was proven absent) is money that moved: it is in the table, with a flag.
An attempt that provably never reached the venue (unsent, or absent) leaves the command in ABSENT, from where alone a next
attempt starts. Cancel commands walk the same graph and end in CANCEL_ENDED.
"""

from dataclasses import dataclass
from enum import StrEnum

from schemas.ledger import Flag, OrderState
from schemas.orders import (
    CancelEnded,
    CancelIntended,
    ClosedAs,
    CommandAdmitted,
    CommandEvent,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    OrderAbsent,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderFound,
    OrderIntended,
    OrderRejected,
    OrderUnknown,
    OrderUnsent,
)
from streams.domain.errors import InvariantError

REMEMBERED_MS = 48 * 3_600_000
"""How long after its end a command finds its late fills. One that comes later is posted nowhere, and the account halts."""


class Happened(StrEnum):
    """What can happen to a command: one word for each event, the end at the venue told apart by how it ended."""

    ADMITTED = "admitted"
    NOT_ADMITTED = "not_admitted"
    INTENDED = "intended"
    UNSENT = "unsent"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    FOUND = "found"
    ABSENT = "absent"
    FILL = "fill"
    CLOSED_FILLED = "closed_filled"
    CLOSED_CANCELED = "closed_canceled"
    CLOSED_EXPIRED = "closed_expired"
    EXPIRED_UNSENT = "expired_unsent"
    CANCEL_INTENDED = "cancel_intended"
    CANCEL_ENDED = "cancel_ended"


@dataclass(frozen=True, slots=True)
class Step:
    """Where a step leads, and what was odd about it."""

    state: OrderState
    flag: Flag | None = None


class IllegalStepError(InvariantError):
    """Something happened to a command that cannot happen in its state."""


_S, _H = OrderState, Happened

TERMINAL: frozenset[OrderState] = frozenset(
    {_S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REJECTED, _S.NOT_ADMITTED, _S.EXPIRED_UNSENT, _S.CANCEL_ENDED}
)
"""States that a command never leaves."""

LEGAL: dict[tuple[OrderState | None, Happened], Step] = {
    # Admission. Every command is answered, the refused ones too.
    (None, _H.ADMITTED): Step(_S.ADMITTED),
    (None, _H.NOT_ADMITTED): Step(_S.NOT_ADMITTED),
    # The first attempt, or none.
    (_S.ADMITTED, _H.INTENDED): Step(_S.INTENDED),
    (_S.ADMITTED, _H.EXPIRED_UNSENT): Step(_S.EXPIRED_UNSENT),
    # One request. A fill may overtake the reply: it proves presence as well as the reply does.
    (_S.INTENDED, _H.UNSENT): Step(_S.ABSENT),
    (_S.INTENDED, _H.ACCEPTED): Step(_S.OPEN),
    (_S.INTENDED, _H.REJECTED): Step(_S.REJECTED),
    (_S.INTENDED, _H.UNKNOWN): Step(_S.UNKNOWN),
    (_S.INTENDED, _H.FILL): Step(_S.OPEN),
    # UNKNOWN ends only by proof; a late reply that proves itself is one, and a new owner may say UNKNOWN again.
    (_S.UNKNOWN, _H.UNKNOWN): Step(_S.UNKNOWN),
    (_S.UNKNOWN, _H.ACCEPTED): Step(_S.OPEN),
    (_S.UNKNOWN, _H.FOUND): Step(_S.OPEN),
    (_S.UNKNOWN, _H.FILL): Step(_S.OPEN),
    (_S.UNKNOWN, _H.ABSENT): Step(_S.ABSENT),
    # Proof of absence: one more attempt, or the end.
    (_S.ABSENT, _H.INTENDED): Step(_S.INTENDED),
    (_S.ABSENT, _H.EXPIRED_UNSENT): Step(_S.EXPIRED_UNSENT),
    # On the venue's book.
    (_S.OPEN, _H.ACCEPTED): Step(_S.OPEN),
    (_S.OPEN, _H.FOUND): Step(_S.OPEN),
    (_S.OPEN, _H.FILL): Step(_S.OPEN),
    (_S.OPEN, _H.CLOSED_FILLED): Step(_S.FILLED),
    (_S.OPEN, _H.CLOSED_CANCELED): Step(_S.CANCELED),
    (_S.OPEN, _H.CLOSED_EXPIRED): Step(_S.EXPIRED),
    # Money that moved against all expectation is booked and flagged, never dropped.
    (_S.FILLED, _H.FILL): Step(_S.FILLED, Flag.LATE_FILL),
    (_S.CANCELED, _H.FILL): Step(_S.CANCELED, Flag.LATE_FILL),
    (_S.EXPIRED, _H.FILL): Step(_S.EXPIRED, Flag.LATE_FILL),
    (_S.REJECTED, _H.FILL): Step(_S.REJECTED, Flag.LATE_FILL),
    (_S.ABSENT, _H.FILL): Step(_S.ABSENT, Flag.LATE_FILL),
    (_S.EXPIRED_UNSENT, _H.FILL): Step(_S.EXPIRED_UNSENT, Flag.LATE_FILL),
    # Cancels. A target that is closed already needs no request.
    (_S.ADMITTED, _H.CANCEL_INTENDED): Step(_S.INTENDED),
    (_S.UNKNOWN, _H.CANCEL_INTENDED): Step(_S.INTENDED),
    (_S.ABSENT, _H.CANCEL_INTENDED): Step(_S.INTENDED),
    (_S.ADMITTED, _H.CANCEL_ENDED): Step(_S.CANCEL_ENDED),
    (_S.INTENDED, _H.CANCEL_ENDED): Step(_S.CANCEL_ENDED),
    (_S.UNKNOWN, _H.CANCEL_ENDED): Step(_S.CANCEL_ENDED),
    (_S.ABSENT, _H.CANCEL_ENDED): Step(_S.CANCEL_ENDED),
}
"""(state, what happened) to the step it makes; state None is a command nobody has heard of."""

_HAPPENED: dict[type[CommandEvent], Happened] = {
    CommandAdmitted: _H.ADMITTED,
    CommandNotAdmitted: _H.NOT_ADMITTED,
    OrderIntended: _H.INTENDED,
    OrderUnsent: _H.UNSENT,
    OrderAccepted: _H.ACCEPTED,
    OrderRejected: _H.REJECTED,
    OrderUnknown: _H.UNKNOWN,
    OrderFound: _H.FOUND,
    OrderAbsent: _H.ABSENT,
    OrderFilled: _H.FILL,
    CommandExpiredUnsent: _H.EXPIRED_UNSENT,
    CancelIntended: _H.CANCEL_INTENDED,
    CancelEnded: _H.CANCEL_ENDED,
}
_CLOSED: dict[ClosedAs, Happened] = {
    ClosedAs.FILLED: _H.CLOSED_FILLED,
    ClosedAs.CANCELED: _H.CLOSED_CANCELED,
    ClosedAs.EXPIRED: _H.CLOSED_EXPIRED,
}


def happened(event: CommandEvent) -> Happened:
    """What an execution event says has happened to its command."""
    if isinstance(event, OrderClosed):
        return _CLOSED[event.closed_as]
    return _HAPPENED[type(event)]


def advance(state: OrderState | None, what: Happened) -> Step:
    """The step that `what` makes from `state`. Raises IllegalStepError for a step that is not in the table."""
    step = LEGAL.get((state, what))
    if step is None:
        raise IllegalStepError(f"a command that is {state.value if state else 'unheard of'} cannot be {what.value}")
    return step


def as_mermaid() -> str:
    """The table as a Mermaid state diagram: steps that carry a flag name it, and terminal states lead to the end."""
    lines = ["stateDiagram-v2"]
    for (state, what), step in LEGAL.items():
        flag = f" ({step.flag.value})" if step.flag else ""
        lines.append(f"    {state.value if state else '[*]'} --> {step.state.value}: {what.value}{flag}")
    lines += [f"    {state.value} --> [*]" for state in OrderState if state in TERMINAL]
    return "\n".join(lines) + "\n"
