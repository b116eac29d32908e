"""3.2: the request budget on the real stack: tokens are used and never exceeded, and a pause reaches every role."""

import asyncio
import logging
from decimal import Decimal

import pytest

from bench.budget import ALLOWED_10S, RATE, SOURCES, USED_TARGET, most_in_10_s, tokens_used
from schemas.orders import OrderIntended, OrderUnsent
from streams.domain.errors import UnreachableError
from streams.gateways.pauses import PostgresPauses
from streams.gateways.venue.budget import PausedError, RequestBudget
from streams.gateways.venue.reads import CcxtReads
from tests.stack.executor.installation import CLOCK, Installation, opened, until
from tests.stack.executor.process import Fitting

log = logging.getLogger("stack.budget")

ASKED_S = 12
WEIGHT = 800


async def _tokens_used(installation: Installation) -> float:
    """The part of the tokens that orders used, by the venue's own journal; fails where they were more than there are.

    A token is taken with the INTENT; what provably never left gave its own back.
    """
    unsent = {(event.command_id, event.attempt) for event in await installation.events(kind=OrderUnsent)}
    intents = await installation.events(kind=OrderIntended)
    taken = [intent.at_ms for intent in intents if (intent.command_id, intent.attempt) not in unsent]
    worst = most_in_10_s(taken)
    assert worst <= 10 * RATE + RATE  # a bucket holds one second's tokens
    times = [entry.at_ms for entry in installation.server.venue.market.journal.since(1) if entry.kind == "order_accepted"]
    used = tokens_used(times, RATE)
    log.info("%d orders: %.1f %% of the tokens used, at most %d in 10 s", len(times), 100 * used, worst)
    return used


async def test_3_2_three_orders_a_second_from_ten_sources(installation: Installation) -> None:
    """Ten sources push, orders stand and are followed, and another role asks the same address all that it may: never more than
    the venue allows, no refusal and no ban in its books, and at least 95 % of the tokens used."""
    await installation.post("limits", {"orders_10s_max": ALLOWED_10S, "weight_1m_max": WEIGHT})
    told, other = PostgresPauses(installation.dsn), PostgresPauses(installation.dsn)
    feed = CcxtReads(installation.profile(), {}, CLOCK, RequestBudget("sim", CLOCK, WEIGHT, Decimal("0.4"), told))
    throttled = asyncio.Event()

    async def read_on() -> None:
        await feed.open(["BTC/USDT"])
        while True:
            try:
                await feed.depth("BTC/USDT", 5)
            except UnreachableError:
                throttled.set()
                await asyncio.sleep(0.05)

    async def push(source: int) -> None:
        patient = {"time_in_force": "gtc", "price_limit_quote": "40000", "quantity_base": "0.001"}
        for _ in range(ASKED_S * RATE // SOURCES + 2):
            await installation.command(installation.place(**(patient if source % 4 == 0 else {})))

    budgeted = Fitting(budget=lambda clock: RequestBudget("sim", clock, WEIGHT, Decimal("0.5"), other))
    async with installation.executor(orders_per_second=str(RATE), fitting=budgeted):
        await opened(installation)
        reading = asyncio.create_task(read_on())
        await asyncio.gather(*(push(source) for source in range(SOURCES)))

        async def enough() -> bool:
            return len(installation.accepted()) > ASKED_S * RATE

        await until(enough)
        await asyncio.wait_for(throttled.wait(), 60)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        limits = installation.server.venue.limits
        assert (limits.refused, limits.bans, limits.knocks) == (0, 0, 0)
        assert await _tokens_used(installation) >= USED_TARGET
    await feed.close()
    for pauses in (told, other):
        await pauses.close()


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
