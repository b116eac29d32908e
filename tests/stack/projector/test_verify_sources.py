"""7.2, 4.4: the checker reads real topics, real rows and a journal file, passes on them, and sees what somebody changed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

from streams.local.broker import Broker
from streams.ports.log import Output
from streams.proof.verify import Report, Sources, verify
from streams.proof.verify.facts import Raw
from streams.proof.verify.verification import COMMANDS, CONTROL, EVENTS, JOURNAL
from streams.topics import ORDERS_LEDGER
from tests.stack.projector.stage import Stage, new_topic, stage
from tests.unit.ledger.messages import signals
from tests.unit.ledger.story import fold
from tests.unit.verify.world import TRUSTED, World


@dataclass
class Verified:
    stage: Stage
    sources: Sources

    async def report(self) -> Report:
        return await verify(self.sources)


def output(raw: Raw) -> Output:
    """A record to be written, with what the checker reads of its headers."""
    headers = (
        ("ce_type", raw.ce_type.encode()),
        ("ce_id", raw.ce_id.encode()),
        ("trimtab-signature", raw.signature),
        ("trimtab-key-id", raw.key_id.encode()),
    )
    return Output(raw.topic, raw.key, raw.value, headers, partition=0, timestamp_ms=raw.at_ms)


@pytest_asyncio.fixture
async def verified(broker: Broker, empty_database_url: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Verified]:
    world = World.made()
    history = world.history()
    async with stage(broker.bootstrap, topic_prefix, empty_database_url) as ready:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        await admin.create_topics([new_topic(topic_prefix + topic) for topic in (CONTROL, JOURNAL, COMMANDS, EVENTS)])
        await admin.close()
        commands = {raw.offset: raw for raw in history.topics[COMMANDS]}
        fillers = [  # a command lies at the offset that its admission names
            commands.get(offset, Raw(COMMANDS, 0, offset, b"other", b"{}", "", at_ms=history.topics[COMMANDS][0].at_ms))
            for offset in range(max(commands) + 1)
        ]
        others = [*history.topics[CONTROL], *history.topics[JOURNAL], *history.topics[EVENTS], *fillers]
        await ready.write([*map(output, others), *signals()])
        await ready.write([replace(entry, partition=0) for entry in fold(world.story.records)])
        await ready.project()
        journal = tmp_path / "journal.jsonl"
        text = b"".join(orjson.dumps(line) + b"\n" for line in world.journal)
        await asyncio.to_thread(journal.write_bytes, text + b'{"sequence": 99, "half a li')
        kafka = {"bootstrap_servers": broker.bootstrap}
        sources = Sources(kafka, ready.dsn, str(journal), topic_prefix, environment="test", trusted=TRUSTED)
        yield Verified(ready, sources)


async def test_a_right_run_passes_from_raw_topics_rows_and_journal(verified: Verified):
    report = await verified.report()
    assert report.passed, report.text()


async def test_a_row_changed_by_hand_is_found(verified: Verified):
    verified.stage.execute("UPDATE ledger.fills SET fee_amount = fee_amount + 0.000000000000000001 WHERE sequence = 5")
    report = await verified.report()
    (row,) = [row for row in report.rows if not row.passed]
    assert row.check == "I6"
    assert row.violations[0].place == (ORDERS_LEDGER, 0, 4)


async def test_a_projection_that_is_behind_is_no_lie_and_no_proof(verified: Verified):
    verified.stage.execute("TRUNCATE ledger.projection_offsets")
    for table in ("heads", "entries", "postings", "fills", "orders", "balances"):
        verified.stage.execute(f"TRUNCATE ledger.{table}")
    report = await verified.report()
    assert {row.check: row.verdict for row in report.rows if not row.passed} == {"I6": "nothing to check"}
