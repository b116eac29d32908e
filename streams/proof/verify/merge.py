"""Sources side by side, in slices of time: so that what belongs together is seen together, and little has to wait.

Times of different clocks do not order causes. Where one is needed, the item that names it waits until its cause's source has
been read past that offset.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

SLICE_MS = 1000


@dataclass(slots=True, eq=False)
class Source:
    """One source in its own order: batches of items, the time of each, and who takes them.

    `needs` says for an item up to which offset `cause` must have been taken before it, None for most; `offset` is an item's
    own.
    """

    batches: AsyncIterator[Sequence[Any]]
    at_ms: Callable[[Any], int]
    take: Callable[[Any], None]
    offset: Callable[[Any], int] | None = None
    cause: "Source | None" = None
    needs: Callable[[Any], int | None] | None = None
    _batch: Sequence[Any] = field(default=(), init=False)
    _next: int = field(default=0, init=False)

    async def time_ms(self) -> int | None:
        """The time of the next item, None after the last."""
        return self.at_ms(self._batch[self._next]) if await self._ready() else None

    async def take_until(self, until_ms: int) -> None:
        """Take items as long as they are not later."""
        while await self._ready():
            while self._next < len(self._batch):
                item = self._batch[self._next]
                if self.at_ms(item) > until_ms:
                    return
                if self.cause is not None and self.needs is not None and (needed := self.needs(item)) is not None:
                    await self.cause.take_past(needed)
                self._next += 1
                self.take(item)

    async def take_past(self, offset: int) -> None:
        """Take every item up to that offset, whatever its time."""
        assert self.offset is not None
        while await self._ready() and self.offset(self._batch[self._next]) <= offset:
            self._next += 1
            self.take(self._batch[self._next - 1])

    async def _ready(self) -> bool:
        """Fetch on when all is taken; whether there is a next item."""
        while self._next >= len(self._batch):
            batch = await anext(self.batches, None)
            if batch is None:
                return False
            self._batch, self._next = batch, 0
        return True


async def merge(sources: Sequence[Source]) -> None:
    """Take everything of all sources, slice by slice, in each slice the sources as they are given."""
    while True:
        times = [time_ms for source in sources if (time_ms := await source.time_ms()) is not None]
        if not times:
            return
        for source in sources:
            await source.take_until(min(times) + SLICE_MS)
