"""Commands to cancel: they end when their target has ended, whatever the venue answered to the cancel itself.

A cancel can only ever hit the one order that it names, so that asking again after an unproven answer does no harm; its outcome
is read from the target. An attempt is repeated only when its own validity is over and the target still stands; as long as it
does, whatever the venue is doing meanwhile, but after a while more patiently.
"""

from schemas.ledger import OrderState
from schemas.orders import CancelEnded, CancelIntended, CommandExpiredUnsent, OrderUnknown, OrderUnsent
from streams.domain.ids import client_order_id
from streams.domain.orders import gate
from streams.domain.orders.attempts import WAIT_MS, heed, send_before, suffer, too_old
from streams.domain.orders.books import Order
from streams.domain.orders.outcome import Proof, VenueReply, judge
from streams.domain.orders.stimuli import CancelRequest, SendCancel
from streams.domain.orders.turn import Turn

_EAGER_ATTEMPTS = 60
_PATIENT_MS = 10_000


def end_with_targets(turn: Turn) -> None:
    """End every cancel whose target is not, or no longer, open."""
    orders = turn.books.orders
    for cancel in [order for order in orders.values() if order.is_cancel and order.target_command_id not in orders]:
        _end(turn, cancel, "target_ended" if cancel.intent is not None else "not_open")


def advance(turn: Turn, cancel: Order) -> None:
    """Do what is due for a cancel: intend its next attempt, unless its target was never sent at all."""
    target = turn.books.orders.get(cancel.target_command_id or "")
    if target is None:
        return None  # another cancel ended it in this very step: `end_with_targets` ends this one too
    if target.state in (OrderState.ADMITTED, OrderState.ABSENT):
        turn.say(CommandExpiredUnsent(**turn.about(target), cause="canceled"))
        return _end(turn, cancel, "never_sent")
    attempt = cancel.intent.attempt + 1 if cancel.intent is not None else 1
    if target.state is not OrderState.OPEN or _must_wait(turn):
        return turn.later(cancel.command_id, WAIT_MS)
    if cancel.state is OrderState.INTENDED:
        turn.say(OrderUnknown(**turn.about_attempt(cancel), cause="target still stands"))
    return _intend(turn, turn.books.orders[cancel.command_id], target, attempt)


def let_go(turn: Turn) -> None:
    """Under the HALT file the log may be away: our own cancels, which are kept on this machine, do not wait for it any more."""
    if turn.now.halt_file is None:
        return
    for cancel in [order for order in turn.books.orders.values() if order.own_cause]:
        care = turn.care(cancel.command_id)
        if cancel.state is OrderState.INTENDED and care.busy and not care.cleared:
            release(turn, cancel)


def _must_wait(turn: Turn) -> bool:
    return (gate.paused(turn.state, turn.now) or gate.unproven_for_cancels(turn.state, turn.now)) is not None


def _end(turn: Turn, cancel: Order, cause: str) -> None:
    target_command_id = cancel.target_command_id
    assert target_command_id is not None
    intent = cancel.intent
    turn.say(
        CancelEnded(
            **turn.about(cancel),
            attempt=intent.attempt if intent is not None else 1,
            client_order_id=intent.client_order_id if intent is not None else client_order_id(target_command_id, 1),
            target_command_id=target_command_id,
            cause=cause,
        )
    )


def _intend(turn: Turn, cancel: Order, target: Order, attempt: int) -> None:
    assert turn.state.venue_time is not None
    assert target.intent is not None
    turn.say(
        CancelIntended(
            **turn.about(cancel),
            attempt=attempt,
            client_order_id=target.intent.client_order_id,
            target_command_id=target.command_id,
            timestamp_ms=turn.state.venue_time.estimate_ms(turn.now.boot_ms),
            window_ms=turn.state.rules.window_ms,
        )
    )
    turn.tend(cancel.command_id, busy=True, cleared=False)
    if cancel.own_cause and turn.now.halt_file is not None:
        release(turn, turn.books.orders[cancel.command_id])  # kept on this machine: the log may be away


def release(turn: Turn, cancel: Order) -> None:
    """The INTENT of a cancel was read back: its request leaves if the target still stands and the lease is ours."""
    intent = cancel.intent
    assert intent is not None
    target = turn.books.orders.get(cancel.target_command_id or "")
    turn.tend(cancel.command_id, cleared=True)
    if target is None or target.venue_order_id is None:
        cause: str | None = "target_ended"
    else:
        cause = gate.unproven_for_cancels(turn.state, turn.now) or gate.paused(turn.state, turn.now) or too_old(turn, intent)
    if cause is not None or target is None or target.venue_order_id is None:
        return _unsent(turn, cancel, cause or "target_ended")
    request = CancelRequest(
        client_order_id=intent.client_order_id,
        venue_order_id=target.venue_order_id,
        symbol=cancel.symbol,
        timestamp_ms=intent.timestamp_ms,
        window_ms=intent.window_ms,
    )
    return turn.ask(SendCancel(cancel.command_id, intent.attempt, request, send_before(turn, intent)))


def _unsent(turn: Turn, cancel: Order, cause: str) -> None:
    turn.tend(cancel.command_id, busy=False)
    turn.say(OrderUnsent(**turn.about_attempt(cancel), cause=cause))
    turn.later(cancel.command_id, _PATIENT_MS if _is_patient(cancel) else None)


def _is_patient(cancel: Order) -> bool:
    return cancel.intent is not None and cancel.intent.attempt >= _EAGER_ATTEMPTS


def replied(turn: Turn, cancel: Order, reply: VenueReply) -> None:
    """The cancel's one request ended; what it did is read from the target, at once."""
    intent = cancel.intent
    assert intent is not None
    outcome = judge(turn.state.rules.dialect, reply, cancel.symbol, intent.client_order_id)
    if outcome.proof is Proof.UNREACHABLE:
        return _unsent(turn, cancel, outcome.cause)
    rules = turn.state.rules
    heed(turn, outcome, reply)
    turn.tend(cancel.command_id, busy=False)
    turn.later(cancel.command_id, max(rules.window_ms + rules.margin_ms, _PATIENT_MS if _is_patient(cancel) else 0))
    if outcome.proof is Proof.REFUSED:
        suffer(turn, cancel, outcome)
    elif outcome.proof is Proof.UNKNOWN:
        turn.say(OrderUnknown(**turn.about_attempt(cancel), cause=outcome.cause[:500]))
    target = turn.books.orders.get(cancel.target_command_id or "")
    if target is not None and not turn.care(target.command_id).busy:
        turn.tend(target.command_id, due_boot_ms=turn.now.boot_ms)
    return None
