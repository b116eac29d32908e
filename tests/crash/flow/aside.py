"""An event loop in a thread of its own, for what goes on while the story waits: the witness, and the ways to the broker."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

Result = TypeVar("Result")


class Aside:
    """Runs coroutines beside the caller until `close`."""

    def __init__(self, name: str) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def ask(self, question: Coroutine[Any, Any, Result], timeout_s: float = 60.0) -> Result:
        """Run a coroutine to its end; its result."""
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(timeout_s)

    def close(self) -> None:
        """End what still runs, and the thread."""
        self.ask(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
