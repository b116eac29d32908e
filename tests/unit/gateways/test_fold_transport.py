"""4: the ways in which the stock framework loses events are not merely avoided, they are not there.

For each hole whose mechanism this shell does not use, a test that it is not used.
"""

import inspect
import time
from collections.abc import Iterator
from pathlib import Path

import aiokafka
import faust
import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

import streams.gateways.faust
from streams.gateways.faust.shard import FoldObserver
from streams.gateways.faust.shell import FoldShell
from streams.gateways.faust.transport import Consumer, ConsumerThread, FoldApp, Producer, Transport, make_app
from streams.ports.folds import FoldSpec
from streams.ports.log import KafkaConnection
from streams.topics import changelog

SPEC = FoldSpec("fold", "journal", 2, "v1", ("outputs",), instance="a")
KAFKA = KafkaConnection("127.0.0.1:1,127.0.0.1:2", topic_prefix="p.")


class SilentFold:
    def step(self, record: object) -> list:
        return []

    def snapshot(self) -> bytes:
        return b""


@pytest.fixture
async def app() -> FoldApp:
    app = make_app(SPEC, KAFKA)
    FoldShell(app, SPEC, lambda partition, snapshot: SilentFold(), KAFKA, FoldObserver())
    return app


def source_lines() -> Iterator[str]:
    folder = Path(inspect.getfile(streams.gateways.faust)).parent
    for path in sorted(folder.glob("*.py")):
        yield from path.read_text().splitlines()


async def test_our_transport_stands_on_both_sides(app: FoldApp) -> None:
    assert type(app.transport) is type(app.producer_transport) is Transport
    assert type(app.consumer) is Consumer
    assert isinstance(app.consumer._thread, ConsumerThread)
    assert type(app.producer) is Producer


async def test_l1_l3_only_the_cap_is_ever_committed(app: FoldApp) -> None:
    # Given records acknowledged in any order, as after an exception or with gaps
    consumer, place = app.consumer, TP("p.journal", 0)
    assert isinstance(consumer, Consumer)
    consumer._acked[place] = [3, 4, 7]
    consumer._acked_index[place] = {3, 4, 7}
    # Then nothing is committed without a checkpoint, and exactly the checkpoint with one
    assert consumer._filter_committable_offsets([place]) == {}
    assert consumer._acked[place] == []
    assert consumer._acked_index[place] == set()
    consumer.cap[place] = 5
    assert consumer._filter_committable_offsets([place]) == {place: 5}
    await consumer._add_gap(place, 0, 100)
    assert not consumer._gap[place]


async def test_l1_l3_one_agent_without_concurrency(app: FoldApp) -> None:
    (agent,) = app.agents.values()
    assert agent.concurrency == 1
    assert not agent.isolated_partitions


async def test_a_fetch_under_way_keeps_to_the_partitions_it_was_asked_for(
    app: FoldApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client reads an empty set as "all": a changelog fetch in flight when recovery ends must not take journal records,
    which the framework would then throw away. Seen as a gap right after recovery: got 500, want 0."""
    consumer, place = app.consumer, TP("p.fold-checkpoints-changelog", 0)
    assert isinstance(consumer, Consumer)
    asked: list[set[TP]] = []

    class Thread:
        async def getmany(self, partitions: set[TP], timeout: float) -> dict:
            live.clear()  # recovery ends and pauses the changelog while the fetch waits
            asked.append(set(partitions))
            return {}

    # Given a fetch of the changelog, with the set that the framework goes on changing
    live = {place}
    monkeypatch.setattr(consumer, "_thread", Thread())
    await consumer._getmany(live, 1.0)
    # Then the fetch still asks for the changelog alone; and an empty set asks for nothing
    assert asked == [{place}]
    assert await consumer._getmany(set(), 1.0) == {}
    assert asked == [{place}]


async def test_l2_nothing_acknowledges_by_hand() -> None:
    text = "\n".join(source_lines())
    assert "noack" not in text
    assert ".ack(" not in text


async def test_l4_a_failed_commit_is_not_marked_as_committed(app: FoldApp) -> None:
    # Given a consumer whose commit fails once
    consumer, place = app.consumer, TP("p.journal", 0)
    assert isinstance(consumer, Consumer)
    answers = [False, True]

    class Thread:
        def assignment(self) -> set[TP]:
            return {place}

        async def commit(self, offsets: object) -> bool:
            return answers.pop(0)

    consumer._thread = Thread()  # type: ignore[assignment]
    assert not await consumer._commit_offsets({place: 7})
    assert consumer._committed_offset[place] is None
    assert await consumer._commit_offsets({place: 7, TP("p.journal", 1): 9})
    assert dict(consumer._committed_offset) == {place: 7}


async def test_the_framework_knows_that_commits_are_made(app: FoldApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its log says every few minutes that the worker has not committed at all, and asks the operator for a remedy."""
    consumer, place = app.consumer, TP("p.journal", 0)
    assert isinstance(consumer, Consumer)
    thread = consumer._thread
    assert isinstance(thread, ConsumerThread)

    class Client:
        async def commit(self, offsets: object) -> None:
            pass

        def assignment(self) -> set[TP]:
            return {place}

    monkeypatch.setattr(thread, "_consumer", Client())
    began = time.monotonic()
    assert await thread._commit({place: 7})
    assert thread.tp_last_committed_at[place] >= began


async def test_l5_no_table_is_written_and_no_producer_buffer_is_used() -> None:
    text = "\n".join(source_lines())
    assert "_table[" not in text
    assert "send_soon" not in text
    assert "send_changelog" not in text


async def test_l6_d1_the_producer_is_idempotent_waits_for_all_and_outlasts_the_watchdog(app: FoldApp) -> None:
    producer = app.producer
    assert isinstance(producer, Producer)
    settings = {**producer._settings_default(), **producer._settings_extra()}
    assert settings["enable_idempotence"] is True
    assert settings["acks"] == -1
    assert settings["request_timeout_ms"] > 1000 * SPEC.watchdog_seconds
    assert settings["linger_ms"] == 0


async def test_l7_d2_the_framework_waits_for_an_event_under_way_and_publishes_nothing_on_commit(app: FoldApp) -> None:
    assert app.conf.stream_wait_empty is True
    assert app.conf.stream_publish_on_commit is False
    assert app.conf.processing_guarantee == faust.types.enums.ProcessingGuarantee.AT_LEAST_ONCE


async def test_l8_records_reach_the_fold_as_bytes(app: FoldApp) -> None:
    (agent,) = app.agents.values()
    assert agent.channel.key_type is agent.channel.value_type is bytes


async def test_d3_membership_is_static_and_no_standby_or_leader_takes_part(app: FoldApp) -> None:
    assert app.conf.consumer_group_instance_id == "p.fold-a"
    assert app.conf.table_standby_replicas == 0
    assert app.conf.topic_disable_leader is True
    assert app.conf.topic_allow_declare is False
    assert app.conf.web_enabled is False


async def test_the_seek_is_ours_alone(app: FoldApp) -> None:
    assert isinstance(app.consumer, Consumer)
    await app.consumer.perform_seek()  # no thread, no broker: it does nothing


async def test_the_journal_is_delivered_only_after_the_queues_were_emptied_for_the_last_time(app: FoldApp) -> None:
    # Given a worker that has recovered: the framework resumes partitions, yields, and then resumes the flow
    consumer = app.consumer
    assert isinstance(consumer, Consumer)
    journal, table = TP("p.journal", 0), TP("p." + changelog("fold"), 0)
    consumer.stop_flow()
    consumer.resume_partitions({journal, table})
    # Then the journal waits for the flow, since resuming the flow throws away what is queued
    assert consumer._get_active_partitions() == {table}
    assert "clear()" in inspect.getsource(type(app.flow_control).resume)
    consumer.resume_flow()
    assert consumer._get_active_partitions() == {table, journal}
    # And a rebalance in between takes it back
    consumer.pause_partitions({journal, table})
    consumer.resume_partitions({journal})
    consumer.pause_partitions({journal})
    consumer.resume_flow()
    assert consumer._get_active_partitions() == set()


async def test_the_changelog_is_the_topic_that_is_declared(app: FoldApp) -> None:
    (table,) = app.tables.values()
    assert table.changelog_topic.get_topic_name() == "p." + changelog("fold")
    assert app.conf.id == "p.fold"


def test_the_framework_is_the_one_this_was_tried_on() -> None:
    assert aiokafka.__version__ == "0.14.0"
    assert faust.__version__ == "0.15.3"


@pytest.mark.parametrize(
    ("kafka", "kind"),
    [
        (KafkaConnection("h:1"), type(None)),
        (
            KafkaConnection(
                "h:1",
                security_protocol="SASL_PLAINTEXT",
                sasl_mechanism="SCRAM-SHA-512",
                sasl_username="u",
                sasl_password="secret",
            ),
            faust.SASLCredentials,
        ),
        (KafkaConnection("h:1", security_protocol="SSL"), faust.SSLCredentials),
        (
            KafkaConnection("h:1", security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", sasl_token_file="/token"),
            faust.OAuthCredentials,
        ),
    ],
)
async def test_sasl_and_tls_reach_the_framework(kafka: KafkaConnection, kind: type) -> None:
    app = make_app(SPEC, kafka)
    assert isinstance(app.conf.broker_credentials, kind)
    assert "secret" not in repr(kafka)
    if kafka.sasl_password:
        settings = driver.credentials_to_aiokafka_auth(app.conf.broker_credentials)
        assert settings["security_protocol"] == "SASL_PLAINTEXT"
        assert settings["sasl_mechanism"] == "SCRAM-SHA-512"
