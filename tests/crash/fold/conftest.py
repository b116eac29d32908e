"""A broker of this folder's own, because some of its tests end it."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from streams.local.broker import Broker
from tests.crash.fold.rig import Rig


@pytest.fixture(scope="session")
def fold_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("fold-broker")) as broker:
        yield broker


@pytest.fixture
async def make_rig(fold_broker: Broker, tmp_path: Path) -> AsyncIterator[Callable[..., Rig]]:
    """Makes rigs, and ends their workers when the test is over."""
    rigs: list[Rig] = []

    def make(partitions: int = 2, padding_bytes: int = 0) -> Rig:
        rigs.append(Rig(fold_broker.bootstrap, partitions, tmp_path, padding_bytes))
        return rigs[-1]

    yield make
    for rig in rigs:
        await rig.close()
