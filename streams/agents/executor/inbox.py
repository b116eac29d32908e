"""What waits to be handled for one account: inputs without their instant, which is taken when they are handled."""

import asyncio
from collections import deque
from typing import Any

from streams.domain.orders.stimuli import Input

WAITING_MAX = 2000


class Inbox:
    """A bounded queue with a time limit on waiting. One task reads it."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[type[Input], dict[str, Any]]] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False

    def close(self) -> None:
        """Nobody reads any more: what waits is dropped, and so is what comes, so that nobody waits for room."""
        self._closed = True
        self._waiting.clear()
        self._room.set()

    def put(self, kind: type[Input], **fields: Any) -> None:
        """Add an input. Answers to our own questions come this way: their number is bounded by the questions."""
        if self._closed:
            return
        self._waiting.append((kind, fields))
        self._news.set()
        if len(self._waiting) >= WAITING_MAX:
            self._room.clear()

    def offer(self, kind: type[Input], **fields: Any) -> bool:
        """Add an input that nothing depends on, unless too many are waiting already; whether it was added."""
        room = self._room.is_set()
        if room:
            self.put(kind, **fields)
        return room

    async def put_when_room(self, kind: type[Input], **fields: Any) -> None:
        """Add an input that others produce, waiting while too many are waiting already."""
        await self._room.wait()
        self.put(kind, **fields)

    def take(self) -> tuple[type[Input], dict[str, Any]] | None:
        """The next input, or None."""
        if not self._waiting:
            self._news.clear()
            return None
        item = self._waiting.popleft()
        if len(self._waiting) < WAITING_MAX:
            self._room.set()
        return item

    async def wait(self, seconds: float) -> None:
        """Until something waits, or that much time went by."""
        if self._waiting or seconds <= 0:
            # Let others run all the same: a busy account must not starve the lease of another.
            await asyncio.sleep(0)
            return
        timer = asyncio.get_running_loop().call_later(seconds, self._news.set)
        try:
            await self._news.wait()
        finally:
            timer.cancel()
            self._news.clear()
