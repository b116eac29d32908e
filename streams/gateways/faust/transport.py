"""Faust's Kafka driver with its commit, seek and failure paths replaced by ours.

Stock Faust acknowledges an event whose handler raised, may commit past an event in flight, resumes where the committed
offset says, and marks an offset as committed although the commit failed. Here only one thing moves a committed offset:
`cap`, the next offset that a durable checkpoint covers; and nothing but the checkpoint says where to resume.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import faust
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.consumer import ensure_TPset
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.gateways.faust.ending import EXIT_FAILED, end_process
from streams.gateways.kafka_access import client_args
from streams.ports.folds import FoldSpec
from streams.ports.log import KafkaConnection

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 40.0
RECOVERY_POLL_S = 0.05
# Above every watchdog: while the broker is away a send waits, and only the watchdog may give it up.
PRODUCE_TIMEOUT_S = 90.0
SESSION_TIMEOUT_S = 6.0
# One record of a checkpoint must fit into a batch, and a batch below the broker's usual limit of 1 MiB.
BATCH_BYTES = 900_000


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Commits in the consumer's thread; a commit that fails is a stale hint, never a reason to stop the fold."""

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        assigned = self.assignment()
        positions = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in assigned
        }
        # The framework's own look after livelocks goes by this, and would else say each few minutes that nothing is committed.
        self.tp_last_committed_at.update(dict.fromkeys(offsets, time.monotonic()))
        try:
            await self._ensure_consumer().commit(positions)
        except CommitFailedError:
            return False
        except KafkaError as error:
            logger.warning("offsets were not committed, the next checkpoint tries again: %r", error)
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach the framework
            end_process(EXIT_FAILED, f"commit failed: {error!r}")
        return True


class Consumer(driver.Consumer):
    """Commits up to `cap` and nothing else; never seeks on its own."""

    cap: dict[TP, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cap = {}
        self._held: set[TP] = set()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _new_offset(self, tp: TP) -> int | None:
        # The framework's own bookkeeping of acknowledgements is not used and would grow without bound.
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.cap.get(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """A gap is for the fold to judge, from the offsets it was given."""

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        assigned = self.assignment()
        current = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        if not current or not await self._commit(current):
            return False
        self._committed_offset.update(current)
        return True

    async def perform_seek(self) -> None:
        """Not here: the shell seeks to its checkpoints before the partitions resume."""

    async def seek_to_checkpoints(self, positions: Mapping[TP, int]) -> None:
        """Move to each shard's next offset and wait until the fetcher stands there."""
        await self._thread.seek_wait(dict(positions))
        for tp, offset in positions.items():
            self._read_offset[tp] = offset or None

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Stop delivering these, whether or not they were about to be resumed."""
        paused = ensure_TPset(tps)
        self._held -= paused
        super().pause_partitions(paused)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Resume changelogs at once, the journal together with the flow.

        After recovery the framework resumes partitions first, yields, and then resumes the flow, which empties every
        queue: what was delivered in between would be gone.
        """
        resumed = ensure_TPset(tps)
        held = {tp for tp in resumed if not self._is_changelog_tp(tp)}
        self._held |= held
        super().resume_partitions(resumed - held)

    def resume_flow(self) -> None:
        """Resume the flow, and with it the journal partitions that waited for it."""
        super().resume_flow()
        held, self._held = self._held, set()
        super().resume_partitions(held)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        """Fetch from a copy of the active partitions.

        The framework passes the set that it goes on changing. A fetch of the changelog that is under way when recovery ends
        would see it empty, which the client reads as "all": it would hand out journal records, and the framework would throw
        them away because the journal is not resumed yet. The wait is short in recovery, since the journal waits for this fetch.
        """
        if active_partitions is not None and not active_partitions:
            return {}
        wanted = None if active_partitions is None else set(active_partitions)
        return await super()._getmany(wanted, RECOVERY_POLL_S if self.app.in_recovery else timeout)

    async def _wait_next_records(self, timeout: float) -> Any:
        # Stock Faust sleeps a whole second while no partition is active, which is most of a restart's idle time.
        if self.flow_active and not self._get_active_partitions():
            await self.sleep(0.02)
            return {}, set()
        return await super()._wait_next_records(timeout)

    def failure(self) -> str | None:
        """Why the group membership is dead or refused, if it is: the framework itself never looks."""
        consumer = self._thread._consumer
        if consumer is None or consumer._coordinator is None:
            return None
        coordinator = consumer._coordinator
        pending = getattr(coordinator, "_pending_exception", None)
        if pending is not None:
            return f"the group coordinator reports {pending!r}"
        task = getattr(coordinator, "_coordination_task", None)
        if task is not None and task.done() and not consumer._closed:
            return "the group coordination task has ended"
        return None


class Producer(driver.Producer):
    """An idempotent producer: a retried request cannot write twice."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"enable_idempotence": True}


class Transport(driver.Transport):
    """Faust's Kafka transport with the two classes above."""

    Consumer = Consumer
    Producer = Producer


class FoldApp(faust.App):
    """A Faust application that stands on our transport, writes no directory, and reports a crash instead of unwinding."""

    on_crash: Callable[[BaseException], None] | None = None

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Transport:
        return Transport(self.conf.broker_producer, self)

    def _create_directories(self) -> None:
        """The checkpoints live in Kafka; there is nothing to keep on disk."""

    def _crash(self, reason: BaseException) -> None:
        if self.on_crash is not None:
            self.on_crash(reason)
        super()._crash(reason)


def make_app(spec: FoldSpec, kafka: KafkaConnection) -> FoldApp:
    """The application of one fold worker, configured so that nothing but the shell produces, commits or seeks."""
    name = kafka.topic_prefix + spec.application
    return FoldApp(
        name,
        broker=[f"kafka://{server.strip()}" for server in kafka.bootstrap.split(",")],
        broker_credentials=_credentials(kafka),
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=1.0,
        broker_request_timeout=REQUEST_TIMEOUT_S,
        broker_rebalance_timeout=20.0,
        broker_commit_interval=0.5,
        broker_max_poll_records=500,
        broker_client_id=f"{name}-{spec.instance}",
        consumer_group_instance_id=f"{name}-{spec.instance}",
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        producer_linger=0,
        producer_max_batch_size=BATCH_BYTES,
        producer_request_timeout=max(PRODUCE_TIMEOUT_S, 2 * spec.watchdog_seconds),
        processing_guarantee="at_least_once",
        stream_wait_empty=True,
        stream_publish_on_commit=False,
        stream_buffer_maxsize=512,
        store="memory://",
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        autodiscover=False,
        web_enabled=False,
        canonical_url=f"http://{spec.instance}",
        datadir=Path("/nonexistent"),
        worker_redirect_stdouts=False,
    )


def _credentials(kafka: KafkaConnection) -> Any:
    arguments = client_args(kafka)
    context = arguments.get("ssl_context")
    if "sasl_oauth_token_provider" in arguments:
        return faust.OAuthCredentials(oauth_cb=arguments["sasl_oauth_token_provider"], ssl_context=context)
    if "sasl_mechanism" in arguments:
        return faust.SASLCredentials(
            username=arguments["sasl_plain_username"],
            password=arguments["sasl_plain_password"],
            mechanism=arguments["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None
