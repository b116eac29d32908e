"""A real Apache Kafka broker (KRaft, one process) on free ports of 127.0.0.1.

    with Broker(directory) as broker:
        AIOKafkaProducer(bootstrap_servers=broker.bootstrap)

It is ready when a consumer group can be joined: the port opens about a second before the group coordinator has loaded.
Several brokers form a cluster when each gets its `node_id` and the same `voters`.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from streams.local.child import Child
from streams.local.install import KAFKA_VERSION, Installed, read_installed
from streams.local.server import HOST, LocalStackError, Server, free_port, port_open

log = logging.getLogger(__name__)

CLUSTER_ID = "dHJpbXRhYi1sb2NhbC0wMQ"  # 16 bytes in base64; nodes of one cluster share it
READY_TOPIC = "local.ready"
JOIN_TIMEOUT_S = 10.0

# What a single-node development broker needs to differ in from Kafka's defaults. Compaction runs within seconds, so that
# tests meet it, and its buffer (128 MiB by default) leaves room in a small heap.
SETTINGS: Mapping[str, str] = {
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker may register again only when the session of its former life is over (9 s by default).
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
    "log.cleaner.backoff.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "log.retention.check.interval.ms": "10000",
}


class Broker(Server):
    """One Kafka node that is broker and controller.

    `voters` maps each node id of the quorum to its controller port; None makes a quorum of this node alone.
    `heap_mb` is the largest Java heap in MiB. `settings` are added to the broker's own or replace them, `format_options` are
    added when the data directory is formatted: what a broker with logins needs. `doors` are more ports to listen on, each with
    the port that its clients are told to use: whatever lies between the two is on the way of all that they say.
    """

    name = "kafka"

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int | None = None,
        node_id: int = 1,
        voters: Mapping[int, int] | None = None,
        heap_mb: int = 512,
        settings: Mapping[str, str] | None = None,
        format_options: Sequence[str] = (),
        doors: Mapping[int, int] | None = None,
        installed: Installed | None = None,
    ) -> None:
        super().__init__(state_dir, port=port)
        self.node_id = node_id
        self.heap_mb = heap_mb
        self._added = settings or {}
        self._format_options = format_options
        self._doors = doors or {}
        self._voters_given = voters is not None
        self.voters = dict(voters) if voters is not None else {node_id: free_port()}
        installed = installed or read_installed()
        if installed.java is None or installed.kafka_libs is None:
            raise LocalStackError("this machine was set up with KAFKA=host:port: unset it and run `make setup`")
        self._java = installed.java
        self._classpath = str(Path(installed.kafka_libs) / "*")

    @property
    def bootstrap(self) -> str:
        """Where clients connect, `host:port`."""
        return f"{HOST}:{self.port}"

    def choose_ports(self) -> None:
        """Other ports for clients and, in a quorum of one, for the controller."""
        super().choose_ports()
        if not self._voters_given:
            self.voters = {self.node_id: free_port()}

    def prepare(self) -> None:
        """Write the settings; format the data directory if it is new or of another Kafka."""
        data, mark = self.state_dir / "data", self.state_dir / "version"
        settings = self.state_dir / "server.properties"
        settings.write_text("".join(f"{key}={value}\n" for key, value in self._settings(data).items()))
        identity = f"kafka {KAFKA_VERSION} node {self.node_id}\n"
        if mark.exists() and mark.read_text() == identity:
            return
        if data.exists():
            was = mark.read_text().strip() if mark.exists() else "an unfinished set-up"
            log.warning("cleared %s: it holds %s, this is %s", data, was, identity.strip())
            shutil.rmtree(data)
        mark.unlink(missing_ok=True)
        java = [self._java, "-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", self._classpath]
        done = subprocess.run(
            [
                *java,
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={CLUSTER_ID}",
                "-c",
                str(settings),
                *self._format_options,
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0:
            raise LocalStackError(f"kafka could not format {data}: {(done.stderr or done.stdout).strip()}")
        mark.write_text(identity)

    def child(self) -> Child:
        """The Java process."""
        java = [
            self._java,
            f"-Xms{min(256, self.heap_mb)}m",
            f"-Xmx{self.heap_mb}m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
            "-cp",
            self._classpath,
        ]
        return Child(
            self.name,
            [*java, "kafka.Kafka", str(self.state_dir / "server.properties")],
            log=self.log_path,
            env={key: value for key, value in os.environ.items() if key not in ("KAFKA_OPTS", "JAVA_TOOL_OPTIONS")},
        )

    def probe(self) -> bool:
        """Whether a consumer group can be joined now."""
        return port_open(self.port) and can_join_group(self.bootstrap)

    def _settings(self, data: Path) -> dict[str, str]:
        copies = str(min(3, len(self.voters)))
        in_sync = "2" if len(self.voters) >= 3 else "1"
        broker = f"PLAINTEXT://{self.bootstrap}"
        inner = [f"DOOR{port}://{HOST}:{port}" for port in self._doors]
        outer = [f"DOOR{port}://{HOST}:{told}" for port, told in self._doors.items()]
        protocols = ["PLAINTEXT", "CONTROLLER", *(f"DOOR{port}" for port in self._doors)]
        maps = {"listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in protocols)} if inner else {}
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": ",".join(f"{node}@{HOST}:{port}" for node, port in self.voters.items()),
            "listeners": ",".join([broker, f"CONTROLLER://{HOST}:{self.voters[self.node_id]}", *inner]),
            "advertised.listeners": ",".join([broker, *outer]),
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(data),
            "default.replication.factor": copies,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_sync,
            **maps,
            **SETTINGS,
            **self._added,
        }


def can_join_group(bootstrap: str) -> bool:
    """Whether the broker at `bootstrap` lets a new consumer group form within 10 s; blocks."""
    return _run_apart(_join_group(bootstrap))


class _Joined(ConsumerRebalanceListener):
    def __init__(self) -> None:
        self.done = asyncio.Event()

    def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        pass

    def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        if assigned:
            self.done.set()


async def _join_group(bootstrap: str) -> bool:
    try:
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
            try:
                await admin.start()
                if READY_TOPIC not in await admin.list_topics():
                    await admin.create_topics([NewTopic(READY_TOPIC, num_partitions=1, replication_factor=1)])
            finally:
                await admin.close()
            joined = _Joined()
            consumer = AIOKafkaConsumer(
                bootstrap_servers=bootstrap, group_id=f"local-ready-{uuid.uuid4()}", enable_auto_commit=False
            )
            consumer.subscribe([READY_TOPIC], listener=joined)
            try:
                await consumer.start()
                await joined.done.wait()
            finally:
                await consumer.stop()
    except (KafkaError, OSError, TimeoutError):
        return False
    return True


def _run_apart(work: Coroutine[Any, Any, bool]) -> bool:
    """Run a coroutine on a loop of its own in a thread of its own, so that a caller inside a loop may block on it.

    The client's complaints about a broker that is still coming up are not logged: they are the question being asked.
    """
    result: list[bool | BaseException] = []

    def run() -> None:
        with _quiet(threading.get_ident()):
            try:
                result.append(asyncio.run(work))
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                result.append(error)

    thread = threading.Thread(target=run, name="broker-probe")
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


@contextlib.contextmanager
def _quiet(thread_id: int) -> Iterator[None]:
    """Drop what the Kafka client logs in that thread."""

    def keep(record: logging.LogRecord) -> bool:
        return record.thread != thread_id

    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("aiokafka")]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(keep)
