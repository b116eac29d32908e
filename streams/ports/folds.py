"""A pure fold over one partition, and what carries it: between the agents that fold and the framework that feeds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from streams.ports.log import Output, Record

# Header of every fold output: `topic:partition:offset` of the record that caused it. Never compared, so ids stay free of it.
CAUSE_HEADER = "trimtab-cause"


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
