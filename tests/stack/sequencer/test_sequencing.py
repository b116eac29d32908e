"""4 sequencer: one order of inputs on a real broker with a real lease database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from streams.agents.sequencer.agent import Sequencer
from streams.topics import MARKET_TICKERS, ORDERS_LEDGER, dead_letter
from tests.stack.sequencer.installation import Installation, entries, portfolio, ticker


@asynccontextmanager
async def running(sequencer: Sequencer) -> AsyncIterator[None]:
    """Run it; at the end stop it in order and let its error out."""
    task = asyncio.create_task(sequencer.run())
    try:
        yield
    finally:
        sequencer.stop()
        async with asyncio.timeout(30):
            await task


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  a condition on a broker has no event
            await asyncio.sleep(0.05)


async def test_4_sequencer_turns_sources_into_a_journal(installation: Installation, leases):
    await installation.control(*portfolio("one", 0, "main", ["BTC/USDT"]), *portfolio("two", 1, "other", ["ETH/USDT"]))
    async with running(installation.sequencer(leases)):
        await until(lambda: installation.all_counted(0))
        await installation.write(MARKET_TICKERS, "sim:BTC/USDT", ticker("BTC/USDT", 1, "100", "101"))
        await installation.write(MARKET_TICKERS, "sim:ETH/USDT", ticker("ETH/USDT", 1, "10", "11"))
        await installation.write_raw(MARKET_TICKERS, "sim:BTC/USDT", b"not json")
        for entry in entries("main", 1, 3) + entries("other", 1, 2):
            await installation.write(ORDERS_LEDGER, entry.account, entry)
        await until(lambda: installation.all_counted(0))
        await until(lambda: installation.all_counted(1))

    one, two = await installation.counted(0), await installation.counted(1)
    assert (one.problems, two.problems) == ([], [])
    assert one.ledger == {"main": [1, 2, 3]}
    assert two.ledger == {"other": [1, 2]}
    assert one.checked["quotes"] == two.checked["quotes"] == 1
    assert one.totals["dead_lettered"] == two.totals["dead_lettered"] == 1
    assert len(await installation.records(dead_letter(MARKET_TICKERS, "sequencer"), 0)) == 2
