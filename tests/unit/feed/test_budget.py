"""3.2: each role keeps to its share of a venue's request weight, and a pause holds for all of them."""

from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from streams.domain.errors import UnreachableError
from streams.gateways.venue.budget import PausedError, RequestBudget
from tests.unit.feed.fakes import HandClock


@dataclass
class Rows:
    """The shared rows, which can be away."""

    clock: HandClock
    until: dict[str, int] = field(default_factory=dict)
    away: bool = False
    reads: int = 0

    async def left_ms(self, venue: str) -> int:
        self.reads += 1
        if self.away:
            raise UnreachableError("away")
        return max(0, self.until.get(venue, 0) - self.clock.boot_ms())

    async def extend(self, venue: str, for_ms: int, cause: str) -> None:
        if self.away:
            raise UnreachableError("away")
        self.until[venue] = max(self.until.get(venue, 0), self.clock.boot_ms() + for_ms)


async def test_3_2_a_role_never_uses_more_than_its_share_of_any_minute() -> None:
    clock = HandClock()
    budget = RequestBudget("sim", clock, 100, Decimal("0.4"))
    for _ in range(8):
        await budget.admit(5, effect=False)
        clock.now_ms += 1000
    with pytest.raises(PausedError, match="this role's 40") as refused:
        await budget.admit(1, effect=False)
    assert refused.value.left_ms == 52_000
    clock.now_ms += 52_000
    await budget.admit(5, effect=False)  # the first one's weight is a minute old
    with pytest.raises(PausedError):
        await budget.admit(1, effect=False)


async def test_3_2_an_order_asks_for_no_share_but_counts_in_it() -> None:
    budget = RequestBudget("sim", HandClock(), 10, Decimal("0.5"))
    for _ in range(5):
        await budget.admit(1, effect=True)
    await budget.admit(1, effect=True)
    with pytest.raises(PausedError):
        await budget.admit(1, effect=False)


async def test_3_2_the_venues_own_count_holds_besides_the_share() -> None:
    clock = HandClock()
    budget = RequestBudget("sim", clock, 100)
    budget.observe(98)
    assert budget.weight_left == 2
    with pytest.raises(PausedError, match="the venue counts 98 of 100"):
        await budget.admit(5, effect=False)
    clock.now_ms += 60_000 - clock.now_ms % 60_000
    assert budget.weight_left == 100
    await budget.admit(5, effect=False)


async def test_3_2_whoever_was_refused_pauses_everybody() -> None:
    clock = HandClock()
    rows = Rows(clock)
    feed, executor = (RequestBudget("sim", clock, 100, Decimal("0.5"), rows) for _ in range(2))
    await feed.pause(7000, "429")
    with pytest.raises(PausedError, match="paused for 7000 ms more") as refused:
        await executor.admit(1, effect=True)
    assert refused.value.left_ms == 7000
    clock.now_ms += 7000
    await executor.admit(1, effect=True)


async def test_3_2_rows_that_are_away_hide_no_pause_of_our_own_and_delay_one_request_a_second() -> None:
    clock = HandClock()
    rows = Rows(clock, away=True)
    budget = RequestBudget("sim", clock, 100, Decimal(1), rows)
    for _ in range(10):
        await budget.admit(1, effect=True)
    assert rows.reads == 1
    await budget.pause(3000, "418")
    with pytest.raises(PausedError):
        await budget.admit(1, effect=True)
