"""1.3: broker and database start, are ready, survive a crash with their data, and never outlive who started them."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from psycopg.conninfo import conninfo_to_dict

from streams.local.broker import Broker
from streams.local.database import Database, can_query
from streams.local.server import HOST, LocalStackError, clear_directory, free_port
from tests.wire import Wire

GONE_WITHIN_S = 15.0

pytestmark = pytest.mark.timeout(300)  # each starts servers several times: five times what that takes


async def _write(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def _read(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        return [(await consumer.getone()).value for _ in range(count)]


async def test_broker_keeps_port_and_records_over_a_crash_and_a_restart(own_broker: Broker) -> None:
    bootstrap = own_broker.bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
    await admin.close()
    await _write(bootstrap, "kept", b"before the crash")

    own_broker.kill()
    assert not own_broker.running
    own_broker.start()
    await _write(bootstrap, "kept", b"after the crash")
    own_broker.restart()

    assert own_broker.bootstrap == bootstrap
    assert await _read(bootstrap, "kept", 2) == [b"before the crash", b"after the crash"]


async def test_who_enters_by_a_door_stays_on_its_way(tmp_stack_dir: Path) -> None:
    """What lies between a door and the port that it tells sees all that is said, so that it can cut a client off."""
    inner = free_port()
    async with Wire(HOST, inner) as wire:
        broker = await asyncio.to_thread(Broker(tmp_stack_dir / "kafka", doors={inner: wire.port}).start)
        try:
            admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
            await admin.start()
            await admin.create_topics([NewTopic("told", num_partitions=1, replication_factor=1)])
            await admin.close()
            async with AIOKafkaProducer(bootstrap_servers=f"{HOST}:{wire.port}", acks="all") as producer:
                await producer.send_and_wait("told", b"before", partition=0)
                wire.cut()
                kept = await producer.send("told", b"cut off", partition=0)
                await _write(broker.bootstrap, "told", b"by the main entrance")
                assert not kept.done()
                wire.mend()
                await kept
            assert await _read(broker.bootstrap, "told", 3) == [b"before", b"by the main entrance", b"cut off"]
        finally:
            await asyncio.to_thread(broker.stop)


async def test_topics_are_never_created_by_accident(broker: Broker) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.describe_topics(["nobody-declared-me"])
    topics = await admin.list_topics()
    await admin.close()
    assert "nobody-declared-me" not in topics


def test_database_keeps_port_and_rows_over_a_crash_and_a_restart(own_database: Database) -> None:
    url = own_database.url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (what text)")
        connection.execute("INSERT INTO kept VALUES ('before the crash')")

    own_database.kill()
    assert not can_query(url)
    own_database.start()
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO kept VALUES ('after the crash')")
    own_database.restart()

    assert own_database.url == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT what FROM kept ORDER BY what DESC").fetchall() == [
            ("before the crash",),
            ("after the crash",),
        ]


def test_database_copies_a_template_and_asks_for_the_password(own_database: Database) -> None:
    template = own_database.create_database("template_of_test")
    with psycopg.connect(template) as connection:
        connection.execute("CREATE TABLE migrated (n int)")

    copy = own_database.create_database("copy_of_test", template="template_of_test")

    with psycopg.connect(copy) as connection:
        assert connection.execute("SELECT count(*) FROM migrated").fetchone() == (0,)
    password = conninfo_to_dict(copy)["password"]
    assert isinstance(password, str)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(copy.replace(password, "guessed"))


def test_server_data_of_another_version_are_cleared_with_a_word(tmp_stack_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = tmp_stack_dir / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    with Database(tmp_stack_dir / "postgres") as database:
        assert can_query(database.url)
    assert f"cleared {data}: it holds 9" in caplog.text


def test_directory_of_a_living_owner_is_refused(own_database: Database) -> None:
    with pytest.raises(LocalStackError, match=f"in use by process {os.getpid()}"):
        Database(own_database.state_dir).start()
    with pytest.raises(LocalStackError, match=f"in use by process {os.getpid()}"):
        clear_directory(own_database.state_dir.parent)
    assert can_query(own_database.url)


OWNER = """
import signal, sys, time
from pathlib import Path
from streams.local.broker import Broker
from streams.local.database import Database
from streams.local.supervisor import Role, Supervisor
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored

directory = Path(sys.argv[1])
with Database(directory / "postgres") as database, Broker(directory / "kafka") as broker:
    with Supervisor(directory / "roles") as roles:
        roles.add(Role("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"]))
        roles.start()
        print(database.pid, broker.pid, roles.status("sleeper").pid, flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_orphan_when_the_owner_ends(tmp_stack_dir: Path, end: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_stack_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        children = [int(word) for word in owner.stdout.readline().split()]
        assert len(children) == 3
        assert all(_alive(pid) for pid in children)
        owner.send_signal(end)
        owner.wait(timeout=60)

    _until(lambda: not any(_alive(pid) for pid in children), f"one of {children} outlived its owner")
    with Database(tmp_stack_dir / "postgres") as database:
        assert can_query(database.url)


def _alive(pid: int) -> bool:
    """Whether the process runs: it may stay in the process table until somebody collects it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def _until(condition: Callable[[], bool], message: str) -> None:
    deadline = time.monotonic() + GONE_WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.05)
