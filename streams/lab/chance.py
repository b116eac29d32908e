"""Chance without a sequence: every question is answered by the seed and by what it is about.

So a command that is left out, or a mishap that is spared, changes nobody else's luck; that is what makes a failing history
shrink. Mishaps that struck are remembered by their keys.
"""

from collections.abc import Mapping
from zlib import crc32

_MASK = (1 << 64) - 1
_MILLION = 1_000_000

Key = tuple[str, tuple[int, ...]]


def identity(client_order_id: str) -> tuple[int, ...]:
    """What chance knows an order by."""
    return (crc32(client_order_id.encode()),)


class Chance:
    """Answers for one seed. Mishaps in `spared` do not happen; once `quiet`, none does."""

    def __init__(self, seed: int, spared: frozenset[Key] = frozenset()) -> None:
        self._seed = (seed * 0x9E3779B97F4A7C15 + 0x1234567) & _MASK
        self._spared = spared
        self._words: dict[str, int] = {}
        self.struck: dict[Key, None] = {}
        self.quiet = False

    def number(self, word: str, *about: int) -> int:
        """A number of 32 bits."""
        mixed = self._words.get(word)
        if mixed is None:
            mixed = self._words[word] = self._seed ^ crc32(word.encode())
        for part in about:
            mixed = ((mixed ^ part) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & _MASK
            mixed ^= mixed >> 29
        mixed = (mixed * 0xD6E8FEB86659FD93) & _MASK
        return mixed >> 32

    def between(self, low: int, high: int, word: str, *about: int) -> int:
        """A whole number from low to high, both included."""
        return low + self.number(word, *about) % (high - low + 1)

    def which(self, mishaps: Mapping[str, int], *about: int) -> str:
        """At most one of several mishaps, each as often in a million as it says; "" for none."""
        if self.quiet:
            return ""
        left = self.number(next(iter(mishaps)), *about) % _MILLION
        for mishap, per_million in mishaps.items():
            if left < per_million:
                return mishap if self._struck((mishap, about)) else ""
            left -= per_million
        return ""

    def strikes(self, per_million: int, mishap: str, *about: int) -> bool:
        """Whether this mishap happens here."""
        if self.quiet or self.number(mishap, *about) % _MILLION >= per_million:
            return False
        return self._struck((mishap, about))

    def _struck(self, key: Key) -> bool:
        if key in self._spared:
            return False
        self.struck[key] = None
        return True
