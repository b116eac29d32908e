"""How owning a journal ends without anything being wrong with the journal."""

from streams.domain.errors import UnreachableError


class OwnershipLostError(Exception):
    """Another process owns the shard now; this one stands by again."""


class WriterFailedError(Exception):
    """An append failed or its outcome is not known: its producer and its epoch are never used again."""


class StuckError(UnreachableError):
    """An append has not become durable for too long: the process ends, and the supervisor starts another."""
