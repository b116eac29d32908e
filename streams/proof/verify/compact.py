"""How ten million messages fit: what must be remembered for ever takes eight bytes, all else is forgotten in its time.

A digest of 64 bits stands for an id. Two different ids of ten million meet in one by a chance of three in a million: then a
check would name a violation that is none; none is ever hidden by it but with the same chance.
"""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Hashable
from heapq import merge
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

YOUNG_MAX = 1 << 17


def digest(data: bytes) -> int:
    """64 bits of it."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


class Digests:
    """A set of texts that only grows: the newest as they come, older ones as sorted runs of eight bytes each."""

    def __init__(self, young_max: int = YOUNG_MAX) -> None:
        self._young_max = young_max
        self._young: set[int] = set()
        self._runs: list[array[int]] = []

    def __contains__(self, text: str) -> bool:
        return self._has(digest(text.encode()))

    def add(self, text: str) -> bool:
        """Put it in; whether it is new."""
        value = digest(text.encode())
        if self._has(value):
            return False
        self._young.add(value)
        if len(self._young) >= self._young_max:
            self._settle()
        return True

    def _has(self, value: int) -> bool:
        if value in self._young:
            return True
        for run in self._runs:
            place = bisect_left(run, value)
            if place < len(run) and run[place] == value:
                return True
        return False

    def _settle(self) -> None:
        """Sort what is young into a run, and merge runs of one size: few runs, each item moved only a few times."""
        self._runs.append(array("Q", sorted(self._young)))
        self._young = set()
        while len(self._runs) > 1 and len(self._runs[-1]) >= len(self._runs[-2]):
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(array("Q", merge(before, last)))


class Recent:
    """The last `kept` texts."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._seen: dict[int, None] = {}

    def add(self, text: str) -> bool:
        """Put it in; whether it is not among the last ones."""
        value = digest(text.encode())
        if value in self._seen:
            return False
        self._seen[value] = None
        if len(self._seen) > self._kept:
            del self._seen[next(iter(self._seen))]
        return True


class Waiting(Generic[Key, Value]):
    """Things that wait for their counterpart; the oldest goes to `alone` when too many wait."""

    def __init__(self, kept: int, alone: Callable[[Key, Value], None]) -> None:
        self._kept = kept
        self._alone = alone
        self._items: dict[Key, Value] = {}

    def put(self, key: Key, value: Value) -> None:
        """Let it wait."""
        self._items[key] = value
        if len(self._items) > self._kept:
            oldest = next(iter(self._items))
            self._alone(oldest, self._items.pop(oldest))

    def get(self, key: Key) -> Value | None:
        """What waits under this key, which goes on waiting; or None."""
        return self._items.get(key)

    def pop(self, key: Key) -> Value | None:
        """What waits under this key, which waits no longer; or None."""
        return self._items.pop(key, None)

    def close(self) -> None:
        """Nothing comes any more: all that wait stay alone."""
        while self._items:
            oldest = next(iter(self._items))
            self._alone(oldest, self._items.pop(oldest))
