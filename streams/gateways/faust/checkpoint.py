"""The form of a shard's checkpoint in its changelog: one atomic thing, whatever its size.

A checkpoint is one *header* record that is either the whole state (zstd) or names a *generation* of chunk records that
hold it. Keys carry the writer's epoch and a random nonce, so that two writers can never mix their records:

    <partition>/h/<epoch>/<nonce>                    header: one JSON line, then the state unless chunks hold it
    <partition>/c/<epoch>/<nonce>/<generation>/<i>   chunk i of a generation

The header is written last, after its chunks are durable, and a reader takes the complete header with the highest
`next_offset`. A paused former owner that wakes and finishes its write therefore leaves an older checkpoint, never a
mixed one. The nonce is needed besides the epoch: two owners that recover before either has written find the same epoch.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import cramjam

from streams.domain.errors import InvariantError

SCHEMA_VERSION = 1
# Half of the broker's usual record limit: a chunk and the batch around it always fit, with no limit raised.
CHUNK_BYTES = 512 * 1024
# Fast and within a few per cent of the higher levels on JSON.
ZSTD_LEVEL = 3

Entry = tuple[bytes, bytes]


class CheckpointError(InvariantError):
    """The changelog holds a checkpoint that cannot be read or does not match its own hash: do not go on from it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A shard's state after every record below `next_offset`, and the code and schema version that made it."""

    version: str
    next_offset: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What a shard's changelog held: the newest complete checkpoint if any, the highest epoch seen, and every key."""

    checkpoint: Checkpoint | None
    epoch_max: int
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Generation:
    """What to write for one checkpoint: first all chunks, then the header; when that is durable, tombstone `stale`."""

    chunks: tuple[Entry, ...]
    header: Entry
    stale: tuple[bytes, ...]
    size_bytes: int


class CheckpointWriter:
    """Encodes the checkpoints of one owner of one shard. A new owner, even in the same process, needs a new writer."""

    def __init__(self, partition: int, found: Found, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._partition = partition
        self._epoch = found.epoch_max + 1
        self._nonce = secrets.token_hex(8)
        self._chunk_bytes = chunk_bytes
        self._inherited = found.keys
        self._generation = 0
        self._chunks_of: dict[int, tuple[bytes, ...]] = {}

    def encode(self, checkpoint: Checkpoint) -> Generation:
        """The records of the next generation.

        `stale` names this writer's own chunks of two generations ago and, once (with the third generation), what the
        shard held at recovery: by then our own header has replaced it twice.
        """
        generation = self._generation
        state_zstd = bytes(cramjam.zstd.compress(checkpoint.state, level=ZSTD_LEVEL))
        parts = self._split(state_zstd)
        writer = f"{self._epoch}/{self._nonce}"
        chunks = tuple(
            (f"{self._partition}/c/{writer}/{generation}/{index}".encode(), part) for index, part in enumerate(parts)
        )
        meta = {
            "schema": SCHEMA_VERSION,
            "version": checkpoint.version,
            "next_offset": checkpoint.next_offset,
            "generation": generation,
            "chunks": len(chunks),
            "state_bytes": len(checkpoint.state),
            "state_hash": hashlib.sha256(checkpoint.state).hexdigest(),
        }
        line = json.dumps(meta, separators=(",", ":"), sort_keys=True).encode()
        header = (f"{self._partition}/h/{writer}".encode(), line + b"\n" + (b"" if chunks else state_zstd))
        stale = self._chunks_of.pop(generation - 2, ())
        if generation == 2:
            stale += self._inherited
            self._inherited = ()
        self._chunks_of[generation] = tuple(key for key, _ in chunks)
        self._generation += 1
        return Generation(chunks, header, stale, len(state_zstd))

    def _split(self, state_zstd: bytes) -> list[bytes]:
        if len(state_zstd) <= self._chunk_bytes:
            return []
        return [state_zstd[at : at + self._chunk_bytes] for at in range(0, len(state_zstd), self._chunk_bytes)]


@dataclass(frozen=True, slots=True)
class _Header:
    epoch: int
    nonce: str
    meta: Mapping[str, object]
    state_zstd: bytes

    @property
    def next_offset(self) -> int:
        return int(str(self.meta["next_offset"]))

    @property
    def chunk_count(self) -> int:
        return int(str(self.meta["chunks"]))

    def chunk_keys(self, partition: int) -> list[bytes]:
        prefix = f"{partition}/c/{self.epoch}/{self.nonce}/{self.meta['generation']}"
        return [f"{prefix}/{index}".encode() for index in range(self.chunk_count)]


def find_checkpoint(records: Mapping[bytes, bytes | None], partition: int) -> Found:
    """The newest complete checkpoint of `partition` in its changelog's compacted view (None values are tombstones).

    Raises CheckpointError on a header that cannot be read, a state that differs from its hash, and on headers of which
    not one is complete: each of these means lost or foreign data, which must not be mistaken for an empty shard.
    """
    prefix = f"{partition}/".encode()
    live = {key: value for key, value in records.items() if key.startswith(prefix) and value is not None}
    headers = [_parse_header(key, value) for key, value in live.items() if key.split(b"/")[1] == b"h"]
    epoch_max = max((int(key.split(b"/")[2]) for key in live), default=0)
    complete = [header for header in headers if all(key in live for key in header.chunk_keys(partition))]
    if headers and not complete:
        raise CheckpointError(f"partition {partition}: {len(headers)} checkpoint headers, none with all of its chunks")
    if not complete:
        return Found(None, epoch_max, tuple(live))
    newest = max(complete, key=lambda header: (header.next_offset, header.epoch))
    return Found(_read(newest, live, partition), epoch_max, tuple(live))


def _parse_header(key: bytes, value: bytes) -> _Header:
    try:
        _, _, epoch, nonce = key.decode().split("/")
        line, _, state_zstd = value.partition(b"\n")
        meta = json.loads(line)
        header = _Header(int(epoch), nonce, meta, state_zstd)
        if meta["schema"] != SCHEMA_VERSION:
            raise CheckpointError(f"checkpoint {key!r} has schema {meta['schema']}, this code reads {SCHEMA_VERSION}")
        _ = header.next_offset, header.chunk_count, meta["generation"], meta["version"], meta["state_hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint header {key!r} cannot be read: {error!r}") from error
    return header


def _read(header: _Header, live: Mapping[bytes, bytes], partition: int) -> Checkpoint:
    packed = b"".join(live[key] for key in header.chunk_keys(partition)) if header.chunk_count else header.state_zstd
    try:
        state = bytes(cramjam.zstd.decompress(packed))
    except cramjam.DecompressionError as error:
        raise CheckpointError(f"partition {partition}: checkpoint at {header.next_offset} is not zstd") from error
    if hashlib.sha256(state).hexdigest() != header.meta["state_hash"]:
        raise CheckpointError(f"partition {partition}: checkpoint at {header.next_offset} differs from its hash")
    return Checkpoint(str(header.meta["version"]), header.next_offset, state)
