"""Every worker's own door to the broker, with a wire before it that can be cut.

Kafka tells its clients where to connect, so a proxy before the broker's one address would be left after the first answer. Each
door is a listener of its own that tells the wire's port.
"""

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack

from streams.local.server import HOST, free_port
from tests.crash.flow.aside import Aside
from tests.wire import Wire


class Doors:
    """Wires for named workers; `ports` is what the broker has to know (see `streams.local.broker.Broker`)."""

    def __init__(self, workers: Iterable[str]) -> None:
        self._aside = Aside("doors")
        self._exits = AsyncExitStack()
        self._wires: dict[str, Wire] = {}
        self.ports: dict[int, int] = {}
        for worker in workers:
            inner = free_port()
            wire = self._wires[worker] = self._aside.ask(self._exits.enter_async_context(Wire(HOST, inner)))
            self.ports[inner] = wire.port

    def bootstrap(self, worker: str) -> str:
        """Where this worker finds the broker."""
        return f"{HOST}:{self._wires[worker].port}"

    def cut(self, worker: str) -> None:
        """Lose everything between the worker and the broker from now on, silently."""
        self._aside.ask(self._do(self._wires[worker].cut))

    def mend(self, worker: str) -> None:
        """Undo `cut`."""
        self._aside.ask(self._do(self._wires[worker].mend))

    def close(self) -> None:
        """Close all of them."""
        self._aside.ask(self._exits.aclose())
        self._aside.close()

    @staticmethod
    async def _do(act: Callable[[], None]) -> None:
        act()
