"""3.2: the request budget on the real stack: tokens are used and never exceeded, and a pause reaches every role."""

import asyncio
import logging
from decimal import Decimal

import pytest

from streams.domain.errors import UnreachableError
from streams.gateways.pauses import PostgresPauses
from streams.gateways.venue_budget import PausedError, RequestBudget
from tests.stack.executor.installation import CLOCK, Installation, opened, until

log = logging.getLogger("stack.budget")

SOURCES = 10
RATE = 3
ASKED_S = 12


async def test_3_2_three_orders_a_second_from_ten_sources(installation: Installation) -> None:
    """Never more than the venue allows, no refusal and no ban in its books, and at least 95 % of the tokens used."""
    await installation.post("limits", {"orders_10s_max": 10 * RATE + RATE, "weight_1m_max": 3_000})
    async with installation.executor(orders_per_second=str(RATE)):
        await opened(installation)

        async def push() -> None:
            for _ in range(ASKED_S * RATE // SOURCES + 2):
                await installation.command(installation.place(admit_by_ms=CLOCK.wall_ms() + 60_000, input_age_ms_max=60_000))

        await asyncio.gather(*(push() for _ in range(SOURCES)))

        async def enough() -> bool:
            return len(installation.accepted()) > ASKED_S * RATE

        await until(enough)
    venue = installation.server.venue
    times = [entry.at_ms for entry in venue.market.journal.since(1) if entry.kind == "order_accepted"]
    assert (venue.limits.refused, venue.limits.bans) == (0, 0)
    worst = max(sum(start <= at < start + 10_000 for at in times) for start in times)
    assert worst <= 10 * RATE + RATE  # a bucket holds one second's tokens
    elapsed_s = (times[-1] - times[0]) / 1000
    used = (len(times) - RATE) / (elapsed_s * RATE)  # the first second's tokens lay ready
    log.info("%d orders in %.1f s: %.1f %% of the tokens used, at most %d in 10 s", len(times), elapsed_s, 100 * used, worst)
    assert used >= 0.95


async def test_3_2_a_pause_that_one_role_was_told_holds_for_the_others(installation: Installation) -> None:
    told, other = PostgresPauses(installation.dsn), PostgresPauses(installation.dsn)
    feed = RequestBudget("sim", CLOCK, 6000, Decimal("0.4"), told)
    executor = RequestBudget("sim", CLOCK, 6000, Decimal("0.5"), other)
    await executor.admit(1, effect=True)
    await feed.pause(60_000, "429")
    await feed.pause(1_000, "429 again: a longer pause stands")
    await asyncio.sleep(0.1)
    with pytest.raises(PausedError) as refused:
        await executor.admit(1, effect=True)
    assert 50_000 < refused.value.left_ms <= 60_000
    await told.close()
    await other.close()


async def test_3_2_a_database_that_is_away_is_said_and_hides_nothing_that_is_known() -> None:
    pauses = PostgresPauses("postgresql://127.0.0.1:1/nothing")
    with pytest.raises(UnreachableError):
        await pauses.left_ms("sim")
    budget = RequestBudget("sim", CLOCK, 6000, Decimal("0.5"), pauses)
    await budget.admit(1, effect=True)
    await budget.pause(60_000, "418")
    with pytest.raises(PausedError):
        await budget.admit(1, effect=True)
    await pauses.close()
