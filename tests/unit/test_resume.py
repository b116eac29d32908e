"""3.3: a resume lifts what stands, and says so of nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from schemas.control import ControlEvent, StopKind, TradingResumed, TradingStopped
from streams.cli.stops import lift
from streams.domain.control import Controls, fold
from streams.domain.errors import RefusedError, UnreachableError
from streams.gateways.views import HaltView

BY_OPERATOR, BY_ITSELF, NOBODY_S = "a1" * 16, "b2" * 16, "0" * 32
STOP = TradingStopped(scope="portfolio:even", at_ms=1, who="ada", why="lunch", halt_id=BY_OPERATOR, kind=StopKind.HALT)
HALT = HaltView(BY_ITSELF, datetime(2026, 11, 26, tzinfo=UTC), "account:beta", "overfill")


@dataclass
class Topic:
    """The control topic of a test."""

    said: list[ControlEvent] = field(default_factory=list)

    async def controls(self) -> Controls:
        return fold(self.said)

    async def append(self, events: Sequence[ControlEvent]) -> None:
        self.said += events


async def happened() -> Sequence[HaltView]:
    return [HALT]


async def away() -> Sequence[HaltView]:
    raise UnreachableError("database: connection refused")


async def test_the_halts_of_operators_and_those_that_happened_by_themselves_are_lifted_by_name():
    topic = Topic([STOP])
    assert await lift(topic, "portfolio:even", (BY_OPERATOR, BY_ITSELF), "", happened) == [BY_OPERATOR, BY_ITSELF]
    assert isinstance(topic.said[-1], TradingResumed)
    assert topic.said[-1].halt_ids == (BY_OPERATOR, BY_ITSELF)


async def test_a_halt_that_does_not_stand_is_refused_and_nothing_is_said():
    topic = Topic([STOP])
    with pytest.raises(RefusedError, match=f"no halt {NOBODY_S} stands"):
        await lift(topic, "portfolio:even", (BY_OPERATOR, NOBODY_S), "", happened)
    assert topic.said == [STOP]


async def test_with_the_database_away_what_cannot_be_checked_is_said_and_resumed(capsys: pytest.CaptureFixture[str]):
    topic = Topic([STOP])
    assert await lift(topic, "account:beta", (BY_ITSELF,), "", away) == [BY_ITSELF]
    said = capsys.readouterr().err
    assert f"whether {BY_ITSELF} stands could not be checked: database: connection refused" in said


async def test_an_operators_halt_is_lifted_without_the_database():
    topic = Topic([STOP])
    assert await lift(topic, "portfolio:even", (BY_OPERATOR,), "", away) == [BY_OPERATOR]


async def test_without_a_name_what_operators_stopped_there_is_lifted_and_where_nothing_is_that_is_refused():
    topic = Topic([STOP])
    assert await lift(topic, "portfolio:even", (), "", away) == [BY_OPERATOR]
    with pytest.raises(RefusedError, match="nothing is stopped by an operator there"):
        await lift(topic, "portfolio:even", (), "", away)
