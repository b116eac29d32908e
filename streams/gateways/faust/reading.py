"""Whether the changelog was read, as the framework does not tell it.

Its callback at the end of a recovery comes also when a rebalance has cut the reading short, for partitions that were not
read or are no longer ours; the new assignment then has a recovery and a callback of its own.
"""

from typing import Any

from faust.types import TP


class Reading:
    """The reading of the changelog that the present assignment waits for. `tables` is the framework's table manager."""

    def __init__(self, tables: Any, changelog: str) -> None:
        self._tables = tables
        self._changelog = changelog
        self._awaited = False

    def expect(self) -> None:
        """Partitions were assigned: from now on their reading is awaited."""
        self._awaited = True

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
