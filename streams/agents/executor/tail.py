"""Follow many partitions of one topic with one reader: every follower has its own start and sees each record once.

Accounts share partitions, and come and go one by one. A new follower makes the reader start again from the lowest position
that anybody needs; followers skip what they have seen.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from streams.ports.log import LogReader, PositionLostError, Record

log = logging.getLogger("trimtab.executor")

POLL_MS = 100
RECORDS_MAX = 500
RETRY_S = 0.5
ASSIGN_EVERY_S = 0.25
"""Each assignment throws away what was fetched: followers that come one after the other must not keep all from reading."""

Taker = Callable[[Record], Awaitable[None]]


@dataclass(slots=True)
class _Follower:
    partition: int
    next_offset: int
    take: Taker
    lost: Callable[[PositionLostError], None]
    assigned: bool = False


class Tail:
    """One topic's reader and its followers. `run` must be running; `follow` and `unfollow` may be called at any time."""

    def __init__(self, reader: LogReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic
        self._followers: dict[str, _Follower] = {}
        self._changed = False
        self._assigned_s = -ASSIGN_EVERY_S

    def follow(self, name: str, partition: int, offset: int, take: Taker, lost: Callable[[PositionLostError], None]) -> None:
        """Give every record of `partition` from `offset` on to `take`, in order. `lost` is told when that is impossible."""
        self._followers[name] = _Follower(partition, offset, take, lost)
        self._changed = True

    def unfollow(self, name: str) -> None:
        """Stop giving records to that follower."""
        self._changed = self._followers.pop(name, None) is not None or self._changed

    def next_offset(self, name: str) -> int:
        """The offset that this follower sees next."""
        return self._followers[name].next_offset

    async def run(self) -> None:
        """Read for ever, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if self._changed and loop.time() - self._assigned_s >= ASSIGN_EVERY_S:
                self._changed = False
                await self._assign()
                self._assigned_s = loop.time()
            for record in await self._reader.poll(POLL_MS, RECORDS_MAX):
                await self._hand_out(record)

    async def _assign(self) -> None:
        positions: dict[tuple[str, int], int] = {}
        followers = tuple(self._followers.values())
        for follower in followers:
            place = (self._topic, follower.partition)
            positions[place] = min(follower.next_offset, positions.get(place, follower.next_offset))
        try:
            await self._reader.assign(positions)
            for follower in followers:
                follower.assigned = True
        except PositionLostError as error:
            for name, follower in tuple(self._followers.items()):
                if follower.partition == error.partition and not error.begin <= follower.next_offset <= error.end:
                    del self._followers[name]
                    follower.lost(error)
            self._changed = True
        except Exception as error:  # noqa: BLE001  whatever the client raises while the broker is away
            log.warning("%s cannot be read now (%s); trying on", self._topic, type(error).__name__)
            self._changed = True
            await asyncio.sleep(RETRY_S)

    async def _hand_out(self, record: Record) -> None:
        # A follower that came after this record was fetched would skip all that lies between its start and the record.
        for follower in tuple(self._followers.values()):
            if follower.assigned and follower.partition == record.partition and record.offset >= follower.next_offset:
                follower.next_offset = record.offset + 1
                await follower.take(record)
