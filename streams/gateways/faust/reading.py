"""Whether the changelog was read, as the framework does not tell it.

Its callback at the end of a recovery comes also when a rebalance has cut the reading short, for partitions that were not
read or are no longer ours; the new assignment then has a recovery and a callback of its own. And it may never come: after
one of its own timeouts the recovery task ends without a word, while the membership stays alive.
"""

import time
from collections.abc import Callable
from typing import Any

from faust.types import TP


class Reading:
    """The reading of the changelog that the present assignment waits for. `tables` is the framework's table manager."""

    def __init__(self, tables: Any, changelog: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._tables = tables
        self._changelog = changelog
        self._clock = clock
        self._awaited = False
        self._offsets: dict[TP, int | None] = {}
        self._moved_at = 0.0

    def expect(self) -> None:
        """Partitions were assigned: from now on their reading is awaited."""
        self._awaited = True
        self._moved_at = self._clock()

    def forget(self) -> None:
        """The partitions were revoked: a callback that comes before the next assignment is none of ours."""
        self._awaited = False

    def finish(self) -> bool:
        """Called back by the framework: True iff this is the end of the awaited reading.

        The framework's signal for another recovery is set from a new assignment until that recovery has begun.
        """
        if not self._awaited or self._tables.recovery.signal_recovery_start.is_set():
            return False
        self._awaited = False
        return True

    def check(self, partition: int) -> None:
        """Raise TimeoutError unless the partition was read to its end: what was not is no empty changelog."""
        recovery = self._tables.recovery
        tp = TP(self._changelog, partition)
        offset, highwater = recovery.active_offsets.get(tp), recovery.active_highwaters.get(tp)
        if highwater is None or (highwater >= 0 and (offset is None or offset < highwater)):
            raise TimeoutError(f"changelog of partition {partition} read to {offset}, its last record is {highwater}")

    def waiting_seconds(self) -> float:
        """How long the awaited reading has not moved. A long changelog may take its time as long as records come."""
        if not self._awaited:
            return 0.0
        offsets = dict(self._tables.recovery.active_offsets)
        if offsets != self._offsets:
            self._offsets, self._moved_at = offsets, self._clock()
        return self._clock() - self._moved_at
