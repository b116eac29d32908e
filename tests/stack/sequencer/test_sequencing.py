"""4 sequencer: one order of inputs on a real broker with a real lease database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest

from streams.agents.sequencer.agent import Sequencer
from streams.domain.errors import RefusedError
from streams.topics import MARKET_TICKERS, ORDERS_LEDGER, dead_letter, partition_of
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


async def test_4_sequencer_hands_over_in_order_while_input_comes(installation: Installation, leases, lease_url: str):
    """Orderly stops, and a lease row restored from an old backup: epochs still grow, every offset counts once."""
    await installation.control(*portfolio("one", 0, "main", ["BTC/USDT"]))
    for round_ in range(3):
        async with running(installation.sequencer(leases)):
            for at in range(10):
                sequence = round_ * 10 + at + 1
                await installation.write(
                    MARKET_TICKERS, "sim:BTC/USDT", ticker("BTC/USDT", sequence, f"{100 + sequence}", "900")
                )
            for entry in entries("main", round_ * 4 + 1, 4):
                await installation.write(ORDERS_LEDGER, "main", entry)
            await until(lambda: installation.all_counted(0))
            await until(lambda: installation.all_counted(1))
        async with await psycopg.AsyncConnection.connect(lease_url, autocommit=True) as connection:
            await connection.execute("UPDATE control.leases SET epoch = 1")
    one = await installation.counted(0)
    assert one.problems == []
    assert one.positions == await installation.ends()
    assert one.ledger == {"main": list(range(1, 13))}
    assert [value["epoch"] for _, kind, value in one.accepted if kind == "writer-started"] == [1, 2, 3]
    assert one.ignored == []


async def test_4_sequencer_says_what_retention_took_and_goes_on(installation: Installation, leases):
    await installation.control(*portfolio("one", 0, "main", ["BTC/USDT"]))
    async with running(installation.sequencer(leases)):
        await until(lambda: installation.all_counted(0))
    for sequence in range(1, 6):
        offset = await installation.write(MARKET_TICKERS, "sim:BTC/USDT", ticker("BTC/USDT", sequence, f"{sequence}", "900"))
    partition = partition_of(b"sim:BTC/USDT", await installation.log.partitions(MARKET_TICKERS))
    await installation.delete_before(MARKET_TICKERS, partition, offset)
    async with running(installation.sequencer(leases)):
        await until(lambda: installation.all_counted(0))
    found = await installation.counted(0)
    assert found.problems == []
    assert found.checked["quotes"] == 1
    (gap,) = [value for _, kind, value in found.accepted if kind == "source-gap"]
    assert (gap["source"], gap["gap_from"], gap["gap_to"]) == (f"{MARKET_TICKERS}:{partition}", 0, offset)


async def test_4_sequencer_refuses_to_pass_over_lost_ledger_entries(installation: Installation, leases):
    await installation.control(*portfolio("one", 0, "main", ["BTC/USDT"]))
    async with running(installation.sequencer(leases)):
        await until(lambda: installation.all_counted(0))
    for entry in entries("main", 1, 2):
        offset = await installation.write(ORDERS_LEDGER, "main", entry)
    partition = partition_of(b"main", await installation.log.partitions(ORDERS_LEDGER))
    await installation.delete_before(ORDERS_LEDGER, partition, offset)
    async with asyncio.timeout(30):
        with pytest.raises(RefusedError, match="entries are lost"):
            await installation.sequencer(leases).run()
