"""An executor that dies at a named step, in this process: from then on nothing of it is written, renewed or sent.

What was given to the log's client and not acknowledged is kept or lost at death, as the story wants.
"""

import asyncio
from collections.abc import Awaitable

from streams.ports.database import LeaseUnreachableError
from streams.ports.log import Output
from streams.ports.process import Point
from tests.unit.executor.memory import Broker, MemoryLeases, MemoryLog


class DiedError(BaseException):
    """Nothing in the program catches this, as nothing survives SIGKILL."""


class Death:
    """The port CrashPoints: the process ends where it first reaches `at`, and every later step of it as well."""

    def __init__(self, at: Point, unacked_is_kept: bool) -> None:
        self.at = at
        self.unacked_is_kept = unacked_is_kept
        self.come = asyncio.Event()
        self.logs: list[MortalLog] = []

    def reach(self, point: Point) -> None:
        if point is self.at and not self.come.is_set():
            self.come.set()
            for log in self.logs:
                log.die(self.unacked_is_kept)
        if self.come.is_set():
            raise DiedError(point)


class MortalLog(MemoryLog):
    """Appends are acknowledged one turn of the loop later; after death nothing is appended."""

    def __init__(self, broker: Broker, death: Death) -> None:
        super().__init__(broker)
        self._death = death
        self._unacked: list[tuple[Output, asyncio.Future[int]]] = []
        death.logs.append(self)

    async def append(self, output: Output) -> int:
        return await self.append_nowait(output)

    def append_nowait(self, output: Output) -> Awaitable[int]:
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[int] = loop.create_future()
        if not self._death.come.is_set():
            self._unacked.append((output, acknowledged))
            loop.call_soon(self._acknowledge)
        return acknowledged

    def die(self, unacked_is_kept: bool) -> None:
        for output, _ in self._unacked if unacked_is_kept else ():
            self.broker.append(output)
        self._unacked.clear()

    def _acknowledge(self) -> None:
        while self._unacked:
            output, acknowledged = self._unacked.pop(0)
            offset = self.broker.append(output)
            if not acknowledged.done():
                acknowledged.set_result(offset)


class MortalLeases(MemoryLeases):
    """The leases of a living process, as a dying one sees them."""

    def __init__(self, leases: MemoryLeases, death: Death) -> None:
        super().__init__(leases.clock)
        self.rows = leases.rows
        self._death = death

    def _there(self) -> None:
        if self._death.come.is_set():
            raise LeaseUnreachableError("dead")

    async def release(self, resource: str, owner: str, epoch: int) -> None:
        self._there()
        await super().release(resource, owner, epoch)
