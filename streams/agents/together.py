"""Several agents as one: they run side by side, and the first that cannot go on ends all."""

import asyncio
from collections.abc import Sequence
from typing import Protocol


class Runs(Protocol):
    """What can be run and stopped."""

    async def run(self) -> None:
        """Run until `stop`."""
        ...

    def stop(self) -> None:
        """Ask `run` to end in order."""
        ...


class Together:
    """Runs agents side by side in one process."""

    def __init__(self, agents: Sequence[Runs]) -> None:
        self._agents = agents

    def stop(self) -> None:
        """Ask all of them to end."""
        for agent in self._agents:
            agent.stop()

    async def run(self) -> None:
        """Until all have ended; when one fails the others are stopped in order and its error is raised."""
        tasks = [asyncio.create_task(agent.run()) for agent in self._agents]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        self.stop()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
