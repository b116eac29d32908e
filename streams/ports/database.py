"""What is shared by rows and not by a log: who owns what, until when nobody may ask, and the tables that people read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streams.domain.ledger.projection import Change, Head


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


class ManyLeases(LeaseStore, Protocol):
    """A LeaseStore for who holds many: what is asked for all of them again and again is one call, however many they are."""

    async def read_all(self, resources: Collection[str]) -> Mapping[str, Lease]:
        """`read` for many, as they stood at one moment: those that have a row, by resource."""
        ...

    async def renew_all(self, owner: str, epochs: Mapping[str, int], ttl_ms: int) -> Collection[str]:
        """`renew` for many, each under its own epoch, at one moment: those that still were (`owner`, its epoch)."""
        ...


class Pauses(Protocol):
    """Until when nobody may ask a venue anything: written by whoever was refused, read by all before each request.

    Every call raises UnreachableError when the store does not answer in time.
    """

    async def left_ms(self, venue: str) -> int:
        """How much longer requests to the venue are paused, in ms; 0 when they are not."""
        ...

    async def extend(self, venue: str, for_ms: int, cause: str) -> None:
        """Pause for that long from now, unless a longer pause stands."""
        ...


class ProjectionMovedError(Exception):
    """The tables do not stand where the caller last saw them: they were rebuilt, or somebody else projects too."""


class ProjectionStore(Protocol):
    """The tables that people read, and how far they follow the topics. Every call raises UnreachableError when the store
    does not answer in time, and RefusedError when its tables are not what they must be."""

    async def positions(self) -> dict[tuple[str, int], int]:
        """The next offset of each (topic, partition) that the tables follow."""
        ...

    async def heads(self) -> dict[str, Head]:
        """The newest projected entry of each account's books."""
        ...

    async def apply(
        self,
        changes: Sequence[Change],
        moves: Mapping[tuple[str, int], tuple[int | None, int]],
        repeats: Sequence[tuple[str, int, str]] = (),
    ) -> None:
        """Write all rows and move the positions, or nothing. `moves` are the next offsets as they were seen last (None: there
        was none) and as they shall be; raises ProjectionMovedError when one stands elsewhere.

        `repeats` are (account, sequence, digest of the value) of entries that lie behind: raises InvariantError when one of
        them, or a signal, was written before with other bytes. After UnreachableError nobody knows whether it happened: read
        `positions` back.
        """
        ...
