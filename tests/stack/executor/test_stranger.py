"""6.5 on the real stack: `trimtab run executor`, told by its settings file alone where a server of the dialect listens that is
not ours. No simulated venue runs here."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas.orders import AccountHalted, OrderFilled, PlaceOrder
from streams.agents.executor.letters import event_id
from streams.domain.ids import client_order_id
from streams.domain.ledger.books import Books
from streams.domain.ledger.postings import assets
from streams.gateways.postgres import migrate
from tests.contract.trading.stranger import KEY, PRICES, SECRET, Stranger
from tests.stack.executor.installation import ENVIRONMENT, Installation, ended, opened

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = """
environment = "{environment}"
dev = true
shards = 2
opening_gap_ms = 300
[kafka]
replication_floor = 1
min_insync_floor = 1
bootstrap = "{bootstrap}"
topic_prefix = "{prefix}"
[keys]
trusted_file = "{trusted}"
[venues.elsewhere]
dialect = "binance"
symbols = ["BTC/USDT", "ETH/USDT"]
urls = {{ rest = "http://{host}", stream = "ws://{host}/stream/ws", ws_api = "ws://{host}/ws-api/v3" }}
[accounts.alice]
venue = "elsewhere"
orders_per_second = 100
[accounts.alice.limits]
order_notional_max_quote = 100000
turnover_5min_max_quote = 10000000
turnover_day_max_quote = 10000000
open_orders_max = 100
price_collar = "0.5"
symbols = ["BTC/USDT", "ETH/USDT"]
"""


@pytest.fixture
async def installation(broker: Any, empty_database_url: str, topic_prefix: str, state_dir: Path) -> AsyncIterator[Installation]:
    migrate(empty_database_url)
    made = Installation(broker.bootstrap, topic_prefix, empty_database_url, state_dir, venue="elsewhere")
    await made.connect()
    yield made
    await made.close()


@asynccontextmanager
async def executor(installation: Installation, server: Stranger) -> AsyncIterator[None]:
    """The role as an operator starts it, ended as he ends it."""
    path, log = installation.state_dir / "trimtab.toml", installation.state_dir / "executor.log"
    connection = installation.connection
    names = {"environment": ENVIRONMENT, "host": f"127.0.0.1:{server.port}", "trusted": str(installation.trusted)}
    path.write_text(SETTINGS.format(**names, bootstrap=connection.bootstrap, prefix=connection.topic_prefix))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRIMTAB_")} | {
        "TRIMTAB_CONFIG": str(path),
        "TRIMTAB_STATE_DIR": str(installation.state_dir),
        "TRIMTAB_DATABASE__URL": installation.dsn,
        "TRIMTAB_ACCOUNTS__ALICE__TRADE__API_KEY": KEY,
        "TRIMTAB_ACCOUNTS__ALICE__TRADE__API_SECRET": SECRET,
    }
    words = (sys.executable, "-m", "streams", "run", "executor")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 0, log.read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def booked(events: list[Any]) -> dict[str, Decimal]:
    """What the account holds by the real books of its events."""
    books, held = Books(), dict[str, Decimal]()
    for event in events:
        entry = books.book(event, event_id(event))
        for line in entry.postings if entry is not None else ():
            if line.ledger_account == assets("alice"):
                held[line.asset] = held.get(line.asset, Decimal(0)) + line.amount
    return held


@pytest.mark.timeout(300)
async def test_6_5_a_process_places_fills_and_cancels_at_a_server_that_is_not_ours(installation: Installation) -> None:
    async with Stranger(BTC="1", ETH="5", USDT="20000", BNB="3") as server, executor(installation, server):
        await opened(installation)
        bought = installation.place()
        told = await ended(installation, await installation.command(bought), "closed")
        assert told == ["admitted", "intended", "accepted", "filled", "filled", "closed"]

        resting = installation.place(time_in_force="gtc", price_limit_quote="45000")
        await ended(installation, await installation.command(resting), "accepted")
        cancel = installation.cancel(resting.command_id)
        await ended(installation, await installation.command(cancel), "cancel-ended")
        told = await ended(installation, resting.command_id, "closed")
        assert told == ["admitted", "intended", "accepted", "closed"]

        refused = installation.place(quantity_base="1")
        told = await ended(installation, await installation.command(refused), "rejected")
        assert told == ["admitted", "intended", "rejected"]
    placed: list[PlaceOrder] = [bought, resting]
    assert [order["clientOrderId"] for order in server.orders] == [client_order_id(order.command_id, 1) for order in placed]
    assert [order["status"] for order in server.orders] == ["FILLED", "CANCELED"]
    events = await installation.events()
    assert {fill.price_quote for fill in events if isinstance(fill, OrderFilled)} == {PRICES["BTCUSDT"]}
    assert not [event for event in events if isinstance(event, AccountHalted)]
    assert booked(events) == server.held
