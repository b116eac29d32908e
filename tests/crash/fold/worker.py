"""One fold worker as the crash tests run it: the real process entry, the reference fold, and ways to die at a point.

    python -m tests.crash.fold.worker '<JSON of Plan>'

What happens is printed, one line each, for the test to read: RECOVERED, CHECKPOINT, REVOKED, FOLDED, KILLED.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from faust.types import TP

from streams.gateways.faust import FoldObserver, run_fold
from streams.gateways.faust.transport import Consumer
from streams.ports.folds import Fold, FoldSpec
from streams.ports.log import KafkaConnection, Record
from tests.crash.fold.reference import ReferenceFold


@dataclass(frozen=True)
class Plan:
    """What one worker runs.

    `kill_at` N: SIGKILL to itself when the outputs of its N-th checkpoint are durable and the checkpoint is not. `stop_at`
    N: SIGSTOP then, or when the chunks are durable and the header is not. `commit_ahead`: committed offsets follow what
    was folded, not what was checkpointed. `without_seek`: resume at the committed offset.
    """

    bootstrap: str
    prefix: str
    partitions: int
    instance: str = "0"
    version: str = "1"
    padding_bytes: int = 0
    kill_at: int | None = None
    stop_at: int | None = None
    stop_between_chunks_and_header: bool = False
    commit_ahead: bool = False
    without_seek: bool = False
    checkpoint_seconds_min: float = 1.0
    checkpoint_events_max: int = 200
    watchdog_seconds: float = 60.0

    def spec(self) -> FoldSpec:
        return FoldSpec(
            application="fold",
            source_topic="journal",
            partitions=self.partitions,
            version=self.version,
            output_topics=("outputs",),
            instance=self.instance,
            checkpoint_seconds_min=self.checkpoint_seconds_min,
            checkpoint_events_max=self.checkpoint_events_max,
            watchdog_seconds=self.watchdog_seconds,
        )

    def kafka(self) -> KafkaConnection:
        return KafkaConnection(self.bootstrap, topic_prefix=self.prefix)

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Saboteur(FoldObserver):
    """Reports every step on stdout and dies where the plan says."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._checkpoints = 0
        self._outputs = 0
        self.folded: dict[int, int] = {}

    def on_record(self, record: Record, outputs: int) -> None:
        self.folded[record.partition] = record.offset + 1
        if self._outputs == 0 and outputs:
            say("FOLDED", record.partition, record.offset)
        self._outputs += outputs

    def on_outputs_acked(self, partition: int, next_offset: int) -> None:
        self._checkpoints += 1
        if self._checkpoints == self._plan.kill_at:
            say("KILLED", partition, next_offset)
            os.kill(os.getpid(), signal.SIGKILL)
        if self._checkpoints == self._plan.stop_at and not self._plan.stop_between_chunks_and_header:
            self._stop(partition, next_offset)

    def on_chunks_acked(self, partition: int, next_offset: int) -> None:
        if self._checkpoints == self._plan.stop_at and self._plan.stop_between_chunks_and_header:
            self._stop(partition, next_offset)

    def _stop(self, partition: int, next_offset: int) -> None:
        say("STOPPED", partition, next_offset)
        os.kill(os.getpid(), signal.SIGSTOP)

    def on_checkpoint(self, partition: int, next_offset: int, size_bytes: int, seconds: float) -> None:
        say("CHECKPOINT", partition, next_offset, size_bytes, round(seconds * 1000))

    def on_recovered(self, partition: int, next_offset: int) -> None:
        say("RECOVERED", partition, next_offset)

    def on_revoked(self, partition: int, next_offset: int) -> None:
        say("REVOKED", partition, next_offset)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def commit_what_was_folded(saboteur: Saboteur) -> None:
    """What the framework does by itself: the committed offset is then past the checkpoint whenever a worker dies."""

    def folded(self: Consumer, tp: TP) -> int | None:
        return saboteur.folded.get(tp.partition)

    Consumer._new_offset = folded


def resume_where_committed() -> None:
    """What the framework does by itself: the consumer stays where the committed offset put it."""

    async def stay(self: Consumer, positions: Mapping[TP, int]) -> None:
        """No seek."""

    Consumer.seek_to_checkpoints = stay


def main() -> int:
    plan = Plan(**json.loads(sys.argv[1]))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    saboteur = Saboteur(plan)
    if plan.commit_ahead:
        commit_what_was_folded(saboteur)
    if plan.without_seek:
        resume_where_committed()

    def make_fold(partition: int, snapshot: bytes | None) -> Fold:
        return ReferenceFold("outputs", snapshot, plan.padding_bytes)

    return run_fold(plan.spec(), make_fold, plan.kafka(), saboteur)


if __name__ == "__main__":
    sys.exit(main())
