"""2.3: one table of topics, from which everything else derives."""

import os

from aiokafka.partitioner import murmur2

from streams.gateways.kafka_admin import Floors, _differences
from streams.topics import DEAD_LETTERS, OPERATOR_CONTROL, TABLE, all_topics, dead_letter, partition_of, topics_of

FLOORS = Floors(replication=3, min_insync=2)
LEDGER = next(topic for topic in all_topics(8) if topic.name == "orders.ledger.v1")
GOOD = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "min.insync.replicas": "2"}
PARTITIONS = [{"replicas": [1, 2, 3]}] * 4


def test_keys_find_their_partition_as_every_other_client_finds_it():
    for length in range(40):
        key = os.urandom(length)
        assert partition_of(key, 12) == (murmur2(key) & 0x7FFFFFFF) % 12


def test_every_topic_stands_once_and_every_dead_letter_has_a_source():
    names = [topic.name for topic in all_topics(8)]
    assert len(names) == len(set(names))
    assert all(dead_letter(name, reader) in names for name, reader in DEAD_LETTERS)
    assert {name for name, _reader in DEAD_LETTERS} <= {topic.name for topic in TABLE}
    journal = next(topic for topic in all_topics(8) if topic.name == "portfolio.journal.v1")
    assert journal.partitions == 8
    assert {topic.name for topic in topics_of("ledger", 8)} == {
        "orders.events.v1",
        "orders.ledger.v1",
        "orders.events.v1.ledger.dlq",
        "trimtab-ledger-checkpoints-changelog",
    }


def _problems(partitions: list[dict[str, list[int]]] = PARTITIONS, **config: str) -> list[tuple[str, bool]]:
    config = GOOD | {key.replace("_", "."): value for key, value in config.items()}
    return [(problem.what, problem.fatal) for problem in _differences("t", LEDGER, partitions, config, FLOORS)]


def test_2_3_a_topic_as_wanted_has_no_problem():
    assert _problems() == []


def test_2_3_what_would_lose_or_reorder_money_events_is_refused():
    assert _problems(PARTITIONS[:3]) == [("partition count", True)]
    assert _problems([{"replicas": [1]}] * 4) == [("replication", True)]
    assert _problems(min_insync_replicas="1") == [("min.insync.replicas", True)]
    assert _problems(cleanup_policy="compact") == [("cleanup.policy", True)]
    assert _problems(retention_ms="3600000") == [("retention.ms", True)]
    assert _problems(retention_bytes="1000") == [("retention.bytes", True)]
    control = next(topic for topic in TABLE if topic.name == OPERATOR_CONTROL)
    dated = [(p.what, p.fatal) for p in _differences("t", control, PARTITIONS[:1], GOOD, FLOORS)]
    assert dated == [("message.timestamp.type", True)]  # what an operator cancels is told by the broker's clock


def test_2_3_anything_else_is_a_warning():
    changelog = next(topic for topic in all_topics(8) if topic.name.endswith("-changelog"))
    config = {"cleanup.policy": "compact", "min.insync.replicas": "2"} | changelog.config | {"segment.ms": "1"}
    partitions = [{"replicas": [1, 2, 3]}] * (changelog.partitions or 0)
    assert [(p.what, p.fatal) for p in _differences("t", changelog, partitions, config, FLOORS)] == [("segment.ms", False)]
