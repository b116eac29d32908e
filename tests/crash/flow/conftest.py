"""One crash run for all tests of this folder."""

import logging
from pathlib import Path

import pytest

from tests.crash.flow.story import Story, tell

log = logging.getLogger("crash.flow")


@pytest.fixture(scope="session")
def story(stack_dir: Path) -> Story:
    """What happened in the run."""
    return tell(stack_dir / "crash-flow", lambda line: log.info("%s", line))
