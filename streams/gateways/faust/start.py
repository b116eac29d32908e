"""Whether a shard may start from what its topics hold, and its fold from what its checkpoint holds.

A deployment is a replay with other code: a shard left by another version may be taken over only if it was drained, since
records folded once already must not be folded again by code that may decide otherwise.

A shard without a checkpoint may start only if it has never produced an output. Refusing every journal that is not empty
would lock out the very first start, because the writer of the journal need not wait for us; as long as no output is
recorded nothing was ever decided, and folding from the journal's beginning is exact. A new shard writes a checkpoint of
its empty state before it folds its first record. So with outputs recorded, a missing checkpoint always means a lost
changelog: starting over would repeat old decisions, hence it is refused and the operator rebuilds.
"""

from streams.domain.errors import InvariantError, RefusedError
from streams.gateways.faust.checkpoint import Checkpoint, Found
from streams.gateways.faust.history import Extent, History
from streams.ports.folds import Fold, FoldFactory, FoldSpec


class VersionRefusedError(RefusedError):
    """Another version left the shard undrained."""


class CheckpointMissingError(RefusedError):
    """The shard has decided before and its checkpoint is gone."""


async def admit(spec: FoldSpec, history: History, partition: int, found: Found, source: Extent) -> None:
    """Return iff this worker may own the shard.

    Raises VersionRefusedError, CheckpointMissingError (both RefusedError) and InvariantError when the journal does not
    hold the checkpoint's next offset.
    """
    where = f"{spec.source_topic}:{partition}"
    if found.checkpoint is None:
        await _admit_first(spec, history, partition, source)
        return
    next_offset = found.checkpoint.next_offset
    if next_offset > source.end:
        raise InvariantError(f"{where} ends at {source.end}, its checkpoint wants {next_offset}: the journal was cut")
    if next_offset < source.begin:
        raise InvariantError(f"{where} begins at {source.begin}, its checkpoint wants {next_offset}: records are gone")
    if found.checkpoint.version == spec.version:
        return
    cause = await history.last_cause(spec, partition, next_offset)
    if cause is not None:
        raise VersionRefusedError(
            f"{where}: checkpoint of version {found.checkpoint.version} at {next_offset}, but outputs up to {cause} are"
            f" recorded; drain with the old version {found.checkpoint.version} first, then start {spec.version}"
        )


async def _admit_first(spec: FoldSpec, history: History, partition: int, source: Extent) -> None:
    where = f"{spec.source_topic}:{partition}"
    remedy = f"run `trimtab recover {partition}` to rebuild it"
    if source.begin > 0:
        raise CheckpointMissingError(f"{where} begins at {source.begin} and the shard has no checkpoint; {remedy}")
    cause = await history.last_cause(spec, partition, 0)
    if cause is not None:
        raise CheckpointMissingError(f"{where}: the shard has no checkpoint, but outputs up to {cause} are recorded; {remedy}")


def resume(spec: FoldSpec, factory: FoldFactory, partition: int, checkpoint: Checkpoint | None) -> Fold:
    """The fold as it stood at the checkpoint, or a new one.

    A restored fold must give the very bytes it was made from, or states would drift apart unseen from restart to
    restart; only another version may write its state differently. Raises InvariantError otherwise.
    """
    if checkpoint is None:
        return factory(partition, None)
    try:
        fold = factory(partition, checkpoint.state)
    except ValueError as error:
        raise InvariantError(
            f"partition {partition}: version {spec.version} cannot read the checkpoint of version {checkpoint.version}"
            f" at {checkpoint.next_offset}: {error}"
        ) from error
    if checkpoint.version == spec.version and fold.snapshot() != checkpoint.state:
        raise InvariantError(
            f"partition {partition}: the fold restored at {checkpoint.next_offset} differs from its checkpoint"
        )
    return fold
