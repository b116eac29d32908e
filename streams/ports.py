"""What the agents need from the outside world, as protocols.

Agents and gateways meet here and nowhere else: an agent never names Kafka, Faust, Postgres or ccxt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a topic partition as it was read: bytes, headers, position and broker timestamp (UTC ms)."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = 0

    def header(self, name: str) -> bytes | None:
        """The last header of that name, or None."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Output:
    """One record to be written. `partition` None lets the key decide (murmur2, as the Java client)."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class Fold(Protocol):
    """A pure fold over one partition: same records in, same outputs out, to the byte.

    `step` and `snapshot` never await. Raising from `step` means a broken invariant: the shell ends the process.
    """

    def step(self, record: Record) -> Sequence[Output]:
        """Fold one record and return what it causes, in order."""
        ...

    def snapshot(self) -> bytes:
        """The whole state as canonical bytes; equal states give equal bytes."""
        ...


class FoldFactory(Protocol):
    """Makes the fold of one partition, from nothing or from a snapshot.

    `snapshot` None means the journal's beginning. Raises ValueError on a snapshot it cannot read.
    """

    def __call__(self, partition: int, snapshot: bytes | None) -> Fold:
        """The fold of `partition` as of `snapshot`."""
        ...


@dataclass(frozen=True, slots=True)
class FoldSpec:
    """How one fold stands on its transport.

    `application` names the consumer group and, with `-checkpoints-changelog`, its changelog topic. `version` is code and
    schema version; a worker of another version starts only on a drained shard. `output_topics` are where the outputs of
    this fold go (the version rule reads their tails).
    """

    application: str
    source_topic: str
    partitions: int
    version: str
    output_topics: tuple[str, ...]
    instance: str = "0"
    checkpoint_seconds_min: float = 1.0
    checkpoint_events_max: int = 200
    watchdog_seconds: float = 60.0


# Header of every fold output: `topic:partition:offset` of the record that caused it. Never compared, so ids stay free of it.
CAUSE_HEADER = "trimtab-cause"


class Clock(Protocol):
    """Time as an argument. `wall_ms` is UTC; `boot_ms` counts in CLOCK_BOOTTIME and never steps."""

    def wall_ms(self) -> int:
        """UTC milliseconds; may step."""
        ...

    def boot_ms(self) -> int:
        """Milliseconds since boot, sleep included; never steps."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """One row of `control.leases`: who owns `resource`, under which epoch, until when by the database's clock."""

    resource: str
    owner: str
    epoch: int
    expires_in_ms: int
    checkpoint_offset: int | None = None


class LeaseUnreachableError(Exception):
    """The lease store did not answer: nothing is known about the row."""


class LeaseStore(Protocol):
    """Leases by compare-and-set. Every call raises LeaseUnreachableError when the store does not answer in time."""

    async def read(self, resource: str) -> Lease | None:
        """The row as it stands, or None."""
        ...

    async def take(self, resource: str, owner: str, epoch_seen: int | None, epoch_new: int, ttl_ms: int) -> bool:
        """Make `owner` the holder with `epoch_new` iff the row's epoch still is `epoch_seen` (None: no row) and the row
        is expired or already `owner`'s. True iff it worked."""
        ...

    async def renew(self, resource: str, owner: str, epoch: int, ttl_ms: int) -> bool:
        """Extend a row that still is (`owner`, `epoch`). False: somebody else's now."""
        ...

    async def release(self, resource: str, owner: str, epoch: int) -> None:
        """Expire one's own row at once, so that a successor need not wait."""
        ...

    async def point(self, resource: str, owner: str, epoch: int, checkpoint_offset: int) -> bool:
        """Store where the owner's newest checkpoint record lies, iff the row still is (`owner`, `epoch`)."""
        ...


class Log(Protocol):
    """Append and read whole partitions by explicit offsets; no consumer groups."""

    async def append(self, output: Output) -> int:
        """Append durably (acks=all) and return the offset; -1 when the broker recognised a duplicate."""
        ...

    async def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""
        ...

    async def begin_offset(self, topic: str, partition: int) -> int:
        """The oldest offset still kept."""
        ...

    async def read(self, topic: str, partition: int, offset_from: int, offset_to: int) -> Sequence[Record]:
        """All records with offset_from <= offset < offset_to that still exist."""
        ...
