"""One crash run for all tests of this folder."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.flow.story import Story, tell

log = logging.getLogger("crash.flow")


@pytest.fixture(scope="session")
def story(stack_dir: Path) -> Iterator[Story]:
    """What happened in the run. The witness's own client would log a killed broker thousands of times."""
    client = logging.getLogger("aiokafka")
    level = client.level
    client.setLevel(logging.CRITICAL)
    yield tell(stack_dir / "crash-flow", lambda line: log.info("%s", line))
    client.setLevel(level)
