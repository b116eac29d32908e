"""Virtual time: one queue of what happens when, and coroutines that wait in it.

Production code that only awaits its ports runs here unchanged: the ports await a `Pause`, and the engine goes on with the
coroutine when the pause is over. Nothing reads a clock of this machine, so that a history depends on its seed alone.
"""

import heapq
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.ports.database import LeaseUnreachableError
from streams.ports.log import PositionLostError

PORT_ERRORS = (RefusedError, UnreachableError, UnknownOutcomeError, LeaseUnreachableError, PositionLostError)


class Pause:
    """Awaited inside a process: `delay_ms` later `act` happens, wherever that is and whatever became of the process by then;
    what it returns, or raises of the ports' errors, is what the process gets."""

    __slots__ = ("act", "delay_ms")

    def __init__(self, delay_ms: int, act: Callable[[], Any] | None = None) -> None:
        self.delay_ms = delay_ms
        self.act = act

    def __await__(self) -> Generator["Pause", Any, Any]:
        """The result of `act`."""
        return (yield self)


class Signal:
    """Awaited inside a process until somebody calls `fire`. It fires once, for all who wait then and whoever comes later."""

    __slots__ = ("_fired", "_waiting")

    def __init__(self) -> None:
        self._fired = False
        self._waiting: list[Callable[[], None]] = []

    def __await__(self) -> Generator["Signal", Any, None]:
        """Nothing."""
        if not self._fired:
            yield self

    def wake(self, call: Callable[[], None]) -> None:
        """Call when it fires."""
        self._waiting.append(call)

    def fire(self) -> None:
        """Let all who wait go on."""
        self._fired = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()


class Host(Protocol):
    """Something that runs code, sleeps, and may die: `life` counts its lives."""

    life: int

    def hear(self, call: Callable[..., None], *args: Any) -> None:
        """Do this now, or once awake."""
        ...


Work = Coroutine[Pause | Signal, Any, Any]


class Engine:
    """What happens, in the order of its time; at one instant in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._asked = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, when_ms: int, call: Callable[..., None], *args: Any) -> None:
        """Call at that time, or now if it is past."""
        self._asked += 1
        heapq.heappush(self._queue, (max(when_ms, self.now_ms), self._asked, call, args))

    def run(self, until_ms: int) -> None:
        """Let everything happen up to that time."""
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= until_ms:
            self.now_ms, _, call, args = pop(queue)
            call(*args)
        self.now_ms = until_ms

    def drive(self, host: Host, work: Work) -> None:
        """Run a coroutine in a process. It ends without a word when the process does."""
        self._go_on(host, host.life, work, None, None)

    def _go_on(self, host: Host, life: int, work: Work, value: Any, error: BaseException | None) -> None:
        if host.life != life:
            return work.close()
        try:
            pause = work.send(value) if error is None else work.throw(error)
        except StopIteration:
            return None
        if isinstance(pause, Signal):
            return pause.wake(lambda: self.at(self.now_ms, self._acted, host, life, work, None))
        return self.at(self.now_ms + pause.delay_ms, self._acted, host, life, work, pause.act)

    def _acted(self, host: Host, life: int, work: Work, act: Callable[[], Any] | None) -> None:
        value, error = None, None
        if act is not None:
            try:
                value = act()
            except PORT_ERRORS as failed:
                error = failed
        host.hear(self._go_on, host, life, work, value, error)
