"""Records whose headers have names that are no UTF-8: the protocol lets a name be any bytes, and the broker looks at none.

aiokafka fails on such a record before it says where it lies, so that nobody could read past it: one of them ended every reader
of its topic, at each start anew. Here the batch that holds it is read once more, by aiokafka's own slower reader, and what is
no UTF-8 in a name is replaced. The record then goes the way of every other that none of us wrote.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH_AT, _LENGTH_ENDS = 8, 12  # every batch begins with its first offset and the length of what follows


class _AnyNames(bytes):
    """Bytes that can always be taken for text, and so can their parts."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _AnyNames(part) if isinstance(part, bytes) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)


class _Batch:
    """A batch of aiokafka's, and the bytes that it was made of."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except UnicodeDecodeError:
            again = _DefaultRecordBatchPy(self._raw)
            again._maybe_uncompress()
            again._buffer = _AnyNames(again._buffer)  # pyright: ignore[reportAttributeAccessIssue]  read, never written
            yield from again  # those that came before it come again: the fetcher skips them by their offsets


class _Records:
    """What a fetch brought of one partition; like aiokafka's own, but for names."""

    def __init__(self, data: bytes) -> None:
        self._records: Any = MemoryRecords(data)
        self._data = memoryview(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        return self._records.size_in_bytes()

    def has_next(self) -> bool:
        return self._records.has_next()

    def next_batch(self) -> _Batch:
        batch, begin = self._records.next_batch(), self._at
        length = int.from_bytes(self._data[begin + _LENGTH_AT : begin + _LENGTH_ENDS], "big")
        self._at = begin + _LENGTH_ENDS + length
        return _Batch(batch, self._data[begin : self._at])


def read_any_names() -> None:
    """Let every consumer of this process read such records."""
    fetcher.MemoryRecords = _Records  # pyright: ignore[reportAttributeAccessIssue]  has what the fetcher asks for
