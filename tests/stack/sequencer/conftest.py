"""An installation with its lease database, for each test."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from streams.gateways.lease import PostgresLeases
from streams.gateways.postgres import migrations
from tests.stack.sequencer.installation import Installation


@pytest.fixture
async def installation(broker, topic_prefix: str) -> AsyncIterator[Installation]:
    installation = Installation(broker.bootstrap, topic_prefix, shards=2)
    await installation.open()
    yield installation
    await installation.close()


@pytest.fixture
def lease_url(empty_database_url: str) -> str:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(migrations()[0].text.encode())
    return empty_database_url


@pytest.fixture
async def leases(lease_url: str) -> AsyncIterator[PostgresLeases]:
    async with PostgresLeases(lease_url, call_ms_max=2_000) as leases:
        yield leases
