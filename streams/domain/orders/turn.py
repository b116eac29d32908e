"""One step of the protocol under way: the state as it changes, the effects as they are asked for."""

from typing import Any

from schemas.orders import AccountHalted, CancelEnded, CommandEvent, ExecutionEvent
from streams.domain.frozen import changed
from streams.domain.ids import digest_id
from streams.domain.orders.books import Books, Order, evolve
from streams.domain.orders.state import Care, State
from streams.domain.orders.stimuli import Effect, Now, Publish

_NOTHING = Care()
_BACK_OFF_MS = (100, 200, 400, 800, 1600, 2000)


class Turn:
    """Collects what one input causes. The caller's state is never touched.

    `state.care` is brought up to date by `finish` alone: it changes too often to copy the state each time.
    """

    def __init__(self, state: State, now: Now) -> None:
        self.state = state
        self.now = now
        self.effects: list[Effect] = []
        self._care = dict(state.care)

    @property
    def books(self) -> Books:
        """The books as they stand within this step."""
        return self.state.books

    def change(self, **changes: Any) -> None:
        """Change fields of the state."""
        self.state = changed(self.state, **changes)

    def say(self, event: ExecutionEvent) -> None:
        """State a fact: the books advance by it and it is published. Of a cancel of our own it is kept on this machine as well,
        under the HALT file on disk: the log may be away, and the cancel does not wait for it. Only its end is not kept, which
        stands on the end of its order: that the log alone may know."""
        own = self._is_own(event)
        self.change(books=evolve(self.books, event))
        keep = own or self._is_own(event)
        self.effects.append(Publish(event, keep=keep, sync=keep and self.now.halt_file is not None))

    def _is_own(self, event: ExecutionEvent) -> bool:
        if not isinstance(event, CommandEvent) or isinstance(event, CancelEnded):
            return False
        order = self.books.orders.get(event.command_id)
        return order is not None and bool(order.own_cause)

    def ask(self, effect: Effect) -> None:
        """Ask for something to be done."""
        self.effects.append(effect)

    def care(self, command_id: str) -> Care:
        """What is under way for a command."""
        return self._care.get(command_id, _NOTHING)

    def is_due(self, command_id: str) -> bool:
        """Whether a command is to be looked at now: no answer is outstanding, and its time has come."""
        care = self._care.get(command_id, _NOTHING)
        return not care.busy and care.due_boot_ms <= self.now.boot_ms

    def tend(self, command_id: str, **changes: Any) -> None:
        """Change what is under way for a command; `finish` forgets what has ended."""
        self._care[command_id] = changed(self.care(command_id), **changes)

    def forget_care(self) -> None:
        """Nothing is under way any more: what was belonged to a former tenure."""
        self._care.clear()

    def later(self, command_id: str, delay_ms: int | None = None) -> None:
        """Look at a command again after `delay_ms`, or after a pause that grows with each try in a row."""
        care = self.care(command_id)
        pause = _BACK_OFF_MS[min(care.tries, len(_BACK_OFF_MS) - 1)] if delay_ms is None else delay_ms
        tries = care.tries + 1 if delay_ms is None else care.tries
        self.tend(command_id, due_boot_ms=self.now.boot_ms + pause, tries=tries)

    def common(self) -> dict[str, Any]:
        """The fields that every event has."""
        return {"account": self.books.account, "epoch": self.books.epoch, "at_ms": self.now.wall_ms}

    def about(self, order: Order) -> dict[str, Any]:
        """The fields of an event about a command."""
        fields = {"portfolio": order.portfolio, "command_id": order.command_id, "symbol": order.symbol}
        return self.common() | fields

    def about_attempt(self, order: Order) -> dict[str, Any]:
        """The fields of an event about the newest attempt of a command."""
        assert order.intent is not None
        fields = {"attempt": order.intent.attempt, "client_order_id": order.intent.client_order_id}
        return self.about(order) | fields

    def halt(self, portfolio: str, cause: str, detail: str, seed: str) -> None:
        """Halt the account by itself, once for each cause and seed; a halt that was lifted does not come back."""
        halt_id = self._halt_id(cause, seed)
        if halt_id in self.books.halts or self.was_lifted(cause, seed):
            return
        self.say(AccountHalted(**self.common(), portfolio=portfolio, halt_id=halt_id, cause=cause, detail=detail[:500]))

    def halt_own(self, cause: str, detail: str, seed: str) -> None:
        """Halt the account for something that concerns no single command. An account of no portfolio trades nothing anyway."""
        authority = self.state.authority
        if authority is not None and authority.portfolio is not None:
            self.halt(authority.portfolio, cause, detail, seed)

    def was_lifted(self, cause: str, seed: str) -> bool:
        """Whether an operator resumed exactly this halt."""
        authority = self.state.authority
        return authority is not None and self._halt_id(cause, seed) in authority.resumed

    def _halt_id(self, cause: str, seed: str) -> str:
        return digest_id("halt", self.books.account, cause, seed)

    def finish(self) -> tuple[State, tuple[Effect, ...]]:
        """The state after the step and its effects, in order."""
        for command_id in self._care.keys() - self.books.orders.keys():
            del self._care[command_id]
        if self._care != self.state.care:
            self.change(care=self._care)
        return self.state, tuple(self.effects)
