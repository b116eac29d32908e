"""Topics as the table wants them: create what is missing, and say what differs.

A role refuses to start on a missing topic, another partition count or cleanup policy, replicas or `min.insync.replicas` below
the floor, shorter retention, or records that their writers date where the broker must. Anything else is a warning.
"""

import logging
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from streams.domain.errors import RefusedError
from streams.gateways.kafka import START_PATIENCE_S, patiently
from streams.gateways.kafka_access import client_args
from streams.ports.log import KafkaConnection
from streams.topics import DATED_BY_BROKER, FOR_EVER, Problem, Topic

log = logging.getLogger("trimtab.topics")


@dataclass(frozen=True, slots=True)
class Floors:
    """The least replication that money roles accept; both 1 in a development installation."""

    replication: int
    min_insync: int


@asynccontextmanager
async def admin_client(connection: KafkaConnection, patience_s: float = START_PATIENCE_S):
    """A started admin client; waits `patience_s` for the broker. Raises UnreachableError."""
    holder: list[AIOKafkaAdminClient] = []

    async def start() -> None:
        client = AIOKafkaAdminClient(**client_args(connection))
        try:
            await client.start()
        except BaseException:
            await client.close()
            raise
        holder.append(client)

    await patiently(connection, "topics", start, patience_s)
    try:
        yield holder[0]
    finally:
        await holder[0].close()


async def create_topics(
    connection: KafkaConnection, topics: Sequence[Topic], floors: Floors, patience_s: float = START_PATIENCE_S
) -> list[str]:
    """Create the topics that do not exist yet and return their full names. Raises RefusedError when the broker says no."""
    wanted = [
        NewTopic(
            connection.topic_prefix + topic.name,
            num_partitions=topic.partitions or 1,
            replication_factor=floors.replication,
            topic_configs=topic.wanted_config() | {"min.insync.replicas": str(floors.min_insync)},
        )
        for topic in topics
    ]
    async with admin_client(connection, patience_s) as client:
        existing = set(await client.list_topics())
        missing = [topic for topic in wanted if topic.name not in existing]
        if not missing:
            return []
        try:
            reply: Any = await client.create_topics(missing, timeout_ms=30_000)
        except KafkaError as error:
            raise RefusedError(f"topics: the broker refused to create them: {error}") from None
    for name, code, *rest in reply.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise RefusedError(f"topic {name}: the broker refused to create it: {for_code(code).__name__} {rest}")
    return [topic.name for topic in missing]


async def check_topics(
    connection: KafkaConnection, topics: Sequence[Topic], floors: Floors, patience_s: float = START_PATIENCE_S
) -> list[Problem]:
    """Every difference between the topics as they are and as they must be; fatal ones first."""
    names = {connection.topic_prefix + topic.name: topic for topic in topics}
    async with admin_client(connection, patience_s) as client:
        existing = set(await client.list_topics())
        present = [name for name in names if name in existing]
        described = {row["topic"]: row for row in await client.describe_topics(present)} if present else {}
        configured = await _configs(client, present)
    problems: list[Problem] = []
    for name, topic in names.items():
        if name not in described:
            problems.append(Problem(name, "existence", "missing", "created by `trimtab topics create`", fatal=True))
        else:
            problems += _differences(name, topic, described[name]["partitions"], configured[name], floors)
    return sorted(problems, key=lambda problem: not problem.fatal)


async def require_topics(connection: KafkaConnection, topics: Sequence[Topic], floors: Floors) -> None:
    """What a role does at start: warnings are logged, fatal differences raise RefusedError naming topic, found and wanted."""
    problems = await check_topics(connection, topics, floors)
    for problem in problems:
        if not problem.fatal:
            log.warning("%s", problem)
    fatal = [str(problem) for problem in problems if problem.fatal]
    if fatal:
        raise RefusedError("\n".join([*fatal, "run `trimtab topics check`, and `trimtab topics create` for missing ones"]))


def _differences(
    name: str, topic: Topic, partitions: list[dict[str, Any]], config: dict[str, str], floors: Floors
) -> list[Problem]:
    problems: list[Problem] = []

    def differ(what: str, found: object, wanted: object, fatal: bool) -> None:
        problems.append(Problem(name, what, str(found), str(wanted), fatal))

    if len(partitions) != topic.partitions:
        differ("partition count", len(partitions), topic.partitions, fatal=True)
    replicas = min(len(partition["replicas"]) for partition in partitions)
    if replicas < floors.replication:
        differ("replication", replicas, f"at least {floors.replication}", fatal=True)
    in_sync = int(config.get("min.insync.replicas", "1"))
    if in_sync < floors.min_insync:
        differ("min.insync.replicas", in_sync, f"at least {floors.min_insync}", fatal=True)
    if config.get("cleanup.policy") != topic.cleanup:
        differ("cleanup.policy", config.get("cleanup.policy"), topic.cleanup, fatal=True)
    if topic.cleanup == "delete":
        problems += _retention(name, topic.retention_ms, config)
    for key, wanted in topic.config.items():
        if config.get(key) != wanted:
            differ(key, config.get(key), wanted, fatal=key in DATED_BY_BROKER)
    return problems


def _retention(name: str, wanted_ms: int, config: dict[str, str]) -> list[Problem]:
    found_ms, found_bytes = int(config.get("retention.ms", "0")), int(config.get("retention.bytes", "-1"))
    shorter = found_ms != FOR_EVER and (wanted_ms == FOR_EVER or found_ms < wanted_ms)
    problems = [Problem(name, "retention.ms", str(found_ms), f"at least {wanted_ms}", fatal=True)] if shorter else []
    if found_bytes != FOR_EVER and wanted_ms == FOR_EVER:
        problems.append(Problem(name, "retention.bytes", str(found_bytes), str(FOR_EVER), fatal=True))
    return problems


async def _configs(client: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    replies: Any = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    found: dict[str, dict[str, str]] = {}
    for reply in replies:
        for _code, _message, _type, name, entries, *_rest in reply.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found
