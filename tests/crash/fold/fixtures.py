"""What the tests of the fold share, here and in the stack suite."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import pytest

from tests.crash.fold.rig import Rig


class HasBootstrap(Protocol):
    """A broker, ours or given."""

    @property
    def bootstrap(self) -> str: ...


@pytest.fixture
async def make_rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[..., Rig]]:
    """Makes rigs on the session's broker, or on the one that is passed, and ends their workers when the test is over."""
    rigs: list[Rig] = []

    def make(partitions: int = 2, padding_bytes: int = 0, on: HasBootstrap | None = None) -> Rig:
        chosen = on or request.getfixturevalue("broker")
        rigs.append(Rig(chosen.bootstrap, partitions, tmp_path, padding_bytes))
        return rigs[-1]

    yield make
    for rig in rigs:
        await rig.close()
