"""The park of lanes for one test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streams.gateways.postgres import migrate
from tests.crash.executor.lanes import Park
from tests.stack.executor.installation import Installation


@pytest.fixture
async def park(broker: Any, empty_database_url: str, topic_prefix: str, state_dir: Path) -> AsyncIterator[Park]:
    migrate(empty_database_url)
    base = Installation(broker.bootstrap, topic_prefix, empty_database_url, state_dir)
    await base.open(refresh_ms=10_000)  # nobody trades at this venue: the lanes have their own
    try:
        async with Park(base, empty_database_url).open() as park:
            yield park
    finally:
        await base.close()
