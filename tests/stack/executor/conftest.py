"""An installation for each test of the executor on the real stack."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streams.gateways.postgres import migrate
from tests.stack.executor.installation import Installation


@pytest.fixture
async def installation(broker: Any, empty_database_url: str, topic_prefix: str, state_dir: Path) -> AsyncIterator[Installation]:
    migrate(empty_database_url)
    made = Installation(broker.bootstrap, topic_prefix, empty_database_url, state_dir)
    await made.open()
    yield made
    await made.close()
