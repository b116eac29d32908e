"""What stands between an intent and its bytes: its place in the log, and the last look before they leave.

Plain decisions without waiting, so that the simulation in virtual time performs effects by the very same rules.
"""

from schemas.orders import CancelIntended, OrderIntended, OwnerStarted, PlaceOrder
from streams.domain.orders import gate
from streams.domain.orders.state import State
from streams.domain.orders.stimuli import Now, SendCancel, SendOrder


class LostError(Exception):
    """The tenure is over: the lease is somebody else's, or what it stands on failed."""


class Fence:
    """What an owner of `epoch` learns from its own tail of the account's events."""

    def __init__(self, epoch: int, owner: str) -> None:
        self._epoch = epoch
        self._owner = owner
        self._intents: dict[str, tuple[str, int]] = {}

    def intend(self, ce_id: str, intent: OrderIntended | CancelIntended) -> None:
        """An own INTENT was given to the log under that id: its request waits until it is read back."""
        self._intents[ce_id] = (intent.command_id, intent.attempt)

    def proven(self, ce_id: str) -> tuple[str, int] | None:
        """(command id, attempt) of the own INTENT that was just read back, once; None for any other record."""
        return self._intents.pop(ce_id, None)

    def overtaken(self, started: OwnerStarted) -> bool:
        """Whether an OwnerStarted that was just read ends this tenure: all of its intents behind that record are void."""
        ours = started.epoch == self._epoch and started.owner == self._owner
        return started.epoch >= self._epoch and not ours


def acknowledged(error: object | None) -> None:
    """An append came to its end. Raises LostError when it failed: this owner went on as if the event stood in the log, and only
    one that reads the log anew knows what really does."""
    if error is not None:
        raise LostError(f"an event could not be appended: {error!r}")


def last_look(state: State | None, now: Now, sending: SendOrder) -> None:
    """Nothing is left to do but to write the bytes of an order. Raises LostError when they must not leave: for what time alone
    changes, and for what was heard since the request was let go, such as a halt."""
    state = _may_still(state, now, sending.deadline_boot_ms)
    order = state.books.orders.get(sending.command_id)
    if order is None or not isinstance(order.command, PlaceOrder):
        raise LostError("not_open")
    cause = gate.closed(order.command, state, now)
    if cause is not None:
        raise LostError(cause)


def last_look_at_cancel(state: State | None, now: Now, sending: SendCancel) -> None:
    """The same for a cancel: it passes while the lease is held, whatever was halted."""
    _may_still(state, now, sending.deadline_boot_ms)


def _may_still(state: State | None, now: Now, deadline_boot_ms: int) -> State:
    if state is None or not state.owner or now.boot_ms >= deadline_boot_ms:
        raise LostError("deadline_passed")
    if gate.lease_deadline(state, now) is None:
        raise LostError("lease_unproven")
    return state
