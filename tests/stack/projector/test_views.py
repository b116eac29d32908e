"""What page and command line read, over a projection of real records."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal

import psycopg
import pytest_asyncio

from streams.domain.ids import digest_id
from streams.gateways import views
from streams.gateways.postgres import AsyncConnection
from streams.local.broker import Broker
from tests.stack.projector.stage import stage
from tests.unit.ledger.messages import books, probes, signals


@dataclass
class Reader:
    connection: AsyncConnection


@pytest_asyncio.fixture
async def reader(broker: Broker, empty_database_url: str, topic_prefix: str) -> AsyncIterator[Reader]:
    async with stage(broker.bootstrap, topic_prefix, empty_database_url) as ready:
        await ready.write([*books(), *signals(), *probes()])
        await ready.project()
        async with await psycopg.AsyncConnection.connect(ready.dsn) as connection:
            yield Reader(connection)


async def test_everything_that_is_shown_can_be_read(reader: Reader):
    connection = reader.connection
    assert [(found.portfolio, found.reason) for found in await views.portfolios(connection)] == [
        ("alpha", "within_band"),
        ("beta", "within_band"),
    ]
    assert (await views.portfolios(connection))[0].assets["BTC"]["weight_target"] == "0.5"
    order = (await views.orders(connection, portfolio="beta"))[0]
    assert (order.command_id, order.state, order.shortfall_bp) == (digest_id("d"), "filled", Decimal(0))
    assert len(await views.orders(connection, limit=2)) == 2
    assert [found.kind for found in await views.entries(connection, account="one", limit=2)] == [
        "account_halted",
        "not_admitted",
    ]
    assert [(found.account, found.sequence) for found in await views.heads(connection)] == [("one", 18), ("two", 6)]
    held = {(found.account, found.asset): found.amount for found in await views.holdings(connection)}
    assert held["two", "BTC"] == Decimal("0.5")
    assert [(found.venue, found.probe_ms) for found in await views.latencies(connection)] == [("sim", None)]
    assert [found.kind for found in await views.signals(connection, portfolio="alpha")] == ["portfolio-halted", "decided"]


async def test_a_run_in_a_few_figures(reader: Reader):
    found = await views.summary(reader.connection)
    assert (found.decisions, found.orders, found.orders_filled, found.fills) == (1, 4, 3, 5)
    assert found.fees == {"BNB": Decimal("0.0001"), "USDT": Decimal("12.5")}
    assert found.shortfall_quote == Decimal("-0.15")
    assert found.held_back == {}


async def test_3_1_what_a_portfolio_traded_is_told_apart_by_whether_a_transition_decided_it(reader: Reader):
    connection = reader.connection
    assert await views.portfolio_turnover(connection) == []  # all of it is of 2024
    await connection.execute("UPDATE ledger.fills SET at = now() - interval '2 minutes' WHERE kind = 'filled'")
    ordinary = {found.portfolio: found for found in await views.portfolio_turnover(connection)}
    assert ordinary["alpha"] == views.PortfolioTurnoverView("alpha", Decimal("60000.15"), Decimal("60000.15"), Decimal(0))
    assert ordinary["beta"] == views.PortfolioTurnoverView("beta", Decimal(25000), Decimal(25000), Decimal(0))
    await connection.execute("""UPDATE ledger.signals SET body = body || '{"transition": {}}' WHERE kind = 'decided'""")
    found = {found.portfolio: found for found in await views.portfolio_turnover(connection)}
    assert found["alpha"] == views.PortfolioTurnoverView("alpha", Decimal("35000.15"), Decimal("35000.15"), Decimal(25000))
    await connection.execute("UPDATE ledger.fills SET at = now() - interval '2 hours' WHERE kind = 'filled'")
    found = {found.portfolio: found for found in await views.portfolio_turnover(connection)}
    assert found["alpha"] == views.PortfolioTurnoverView("alpha", Decimal(0), Decimal("35000.15"), Decimal(0))


async def test_3_1_an_order_is_open_until_it_has_ended(reader: Reader):
    connection = reader.connection
    assert await views.open_orders(connection) == []
    await connection.execute("UPDATE ledger.orders SET state = 'unknown' WHERE portfolio = 'beta'")
    await connection.execute("UPDATE ledger.orders SET state = 'open' WHERE command_id = %s", (digest_id("b"),))
    await connection.execute(
        "UPDATE ledger.orders SET state = 'intended', target_command_id = 'x' WHERE state = 'not_admitted'"
    )
    assert [found.account for found in await views.open_orders(connection)] == ["two", "one"]  # the oldest first
