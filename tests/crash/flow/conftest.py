"""One crash run for all tests of this folder."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.executor.tally import report
from tests.crash.flow.report import parts
from tests.crash.flow.story import PORTFOLIOS, ROUNDS, Story, tell

log = logging.getLogger("crash.flow")


@pytest.fixture(scope="session")
def story(stack_dir: Path) -> Iterator[Story]:
    """What happened in the run. The witness's own client would log a killed broker thousands of times."""
    client = logging.getLogger("aiokafka")
    level = client.level
    client.setLevel(logging.CRITICAL)
    story = Story()
    try:
        tell(stack_dir / "crash-flow", lambda line: log.info("%s", line), story)
    finally:
        if ROUNDS:
            title = f"The whole stack struck {len(story.rounds)} times of {ROUNDS}, {PORTFOLIOS.count} portfolios"
            report("crash", title, *parts(story))
    yield story
    client.setLevel(level)
