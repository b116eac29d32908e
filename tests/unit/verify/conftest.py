"""The right world, for every test anew."""

import pytest

from tests.unit.verify.world import History, World


@pytest.fixture
def world() -> World:
    return World.made()


@pytest.fixture
def history(world: World) -> History:
    return world.history()
