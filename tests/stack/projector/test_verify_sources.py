"""7.2: the checker reads real topics, real rows and a journal file, passes on them, and sees a row that somebody changed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

from streams.local.broker import Broker
from streams.ports import Output
from streams.proof.verify import verify
from streams.proof.verify.report import Report
from streams.proof.verify.sources import Sources, gather
from streams.topics import ORDERS_EVENTS
from tests.stack.projector.stage import Stage, new_topic, stage
from tests.unit.ledger.story import fold
from tests.unit.verify.world import World


@dataclass
class Verified:
    stage: Stage
    sources: Sources

    async def report(self) -> Report:
        return verify(await gather(self.sources))


@pytest_asyncio.fixture
async def verified(broker: Broker, empty_database_url: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Verified]:
    world = World.made()
    async with stage(broker.bootstrap, topic_prefix, empty_database_url) as ready:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        await admin.create_topics([new_topic(topic_prefix + ORDERS_EVENTS)])
        await admin.close()
        events = [
            Output(ORDERS_EVENTS, record.key or b"", record.value or b"", record.headers) for record in world.story.records
        ]
        await ready.write([*events, *fold(world.story.records)])
        await ready.project()
        journal = tmp_path / "journal.jsonl"
        text = b"".join(orjson.dumps(line) + b"\n" for line in world.journal)
        await asyncio.to_thread(journal.write_bytes, text)
        kafka = {"bootstrap_servers": broker.bootstrap}
        yield Verified(ready, Sources(kafka, ready.dsn, str(journal), topic_prefix))


async def test_a_right_run_passes_from_raw_topics_rows_and_journal(verified: Verified):
    report = await verified.report()
    assert report.passed, report.text()


async def test_a_row_changed_by_hand_is_found(verified: Verified):
    verified.stage.execute("UPDATE ledger.fills SET fee_amount = fee_amount + 0.000000000000000001 WHERE sequence = 5")
    report = await verified.report()
    assert {row.check for row in report.rows if not row.passed} == {"I6", "fills"}


async def test_a_projection_that_is_behind_is_no_lie_but_its_missing_fills_are_seen(verified: Verified):
    verified.stage.execute("TRUNCATE ledger.projection_offsets")
    for table in ("heads", "entries", "postings", "fills", "orders", "balances"):
        verified.stage.execute(f"TRUNCATE ledger.{table}")
    report = await verified.report()
    assert {row.check for row in report.rows if not row.passed} == {"I6", "fills"}
    assert "NOTHING CHECKED" in report.text()
