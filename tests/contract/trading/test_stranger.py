"""6.5: the executor works against a server of the dialect that is not ours, by configuration alone."""

import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from schemas.orders import FlowObserved, ForeignOrderGone, ForeignOrderSeen, OrderFilled, OrderRejected, Side
from streams.domain.ids import client_order_id
from streams.gateways.venue.client import Credentials
from streams.gateways.venue.profile import VenueProfile
from streams.gateways.venue.trading import CcxtTrading
from tests.contract.trading.house import CLOCK, House, addresses, until
from tests.contract.trading.stranger import KEY, PRICES, SECRET, Stranger

ROOT = Path(__file__).resolve().parents[3]
FUNDS = {"BTC": "1", "ETH": "5", "USDT": "20000", "BNB": "3"}


@pytest.fixture
async def server() -> AsyncIterator[Stranger]:
    async with Stranger(**FUNDS) as stranger:
        yield stranger


@pytest.fixture
def house(server: Stranger, tmp_path: Path) -> House:
    return House(addresses(server.port), (KEY, SECRET), tmp_path, FUNDS)


def settled(house: House, server: Stranger) -> None:
    house.settled([order["clientOrderId"] for order in server.orders], server.held)


async def test_6_5_orders_are_placed_filled_rested_canceled_and_refused(house: House, server: Stranger) -> None:
    async with house.executor():
        bought = house.command(house.place())
        assert await house.ended(bought, "closed") == ["admitted", "intended", "accepted", "filled", "filled", "closed"]
        sold = house.command(house.place(side="sell", price_limit_quote="50000"))
        assert (await house.ended(sold, "closed"))[-1] == "closed"
        missed = house.command(house.place(price_limit_quote="50000"))
        assert await house.ended(missed, "closed") == ["admitted", "intended", "accepted", "closed"]
        resting = house.command(house.resting())
        await house.reached(resting, "accepted")
        cancel = house.command(house.cancel(resting))
        await house.ended(cancel, "cancel-ended")
        assert await house.ended(resting, "closed") == ["admitted", "intended", "accepted", "closed"]
        met = house.command(house.resting())
        await house.reached(met, "accepted")
        server.trade(len(server.orders), Decimal("0.01"), Decimal(45_000))
        assert await house.ended(met, "closed") == ["admitted", "intended", "accepted", "filled", "closed"]
        refused = house.command(house.place(quantity_base="1"))
        await house.ended(refused, "rejected")
    assert [event.code for event in house.events(OrderRejected)] == ["-2010"]
    first = house.events(OrderFilled)[0]
    assert (first.price_quote, first.fee_asset) == (PRICES["BTCUSDT"], "BNB")
    assert house.halts() == []
    settled(house, server)


async def test_6_5_a_lost_reply_of_order_and_cancel_is_found_out_there_too(house: House, server: Stranger) -> None:
    async with house.executor():
        server.replies_lost = 1
        command = house.command(house.place())
        told = await house.ended(command, "closed")
        assert told == ["admitted", "intended", "unknown", "found", "filled", "filled", "closed"]
        resting = house.command(house.resting())
        await house.reached(resting, "accepted")
        server.replies_lost = 1
        house.command(house.cancel(resting))
        await house.ended(resting, "closed")
    posts = [path for method, path in server.requests if method == "POST"]
    assert len(posts) == len(server.orders) == 2
    assert server.orders[0]["clientOrderId"] == client_order_id(command, 1)
    settled(house, server)


async def test_3_4_an_order_by_hand_is_told_as_the_venue_shows_it_until_it_is_canceled(house: House, server: Stranger) -> None:
    asked = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "newClientOrderId": "web_1"}
    async with house.executor():
        server.place(asked | {"quantity": "0.2", "price": "40000.50"})
        await until(lambda: house.events(ForeignOrderSeen))
        server.cancel({"symbol": "BTCUSDT", "origClientOrderId": "web_1"})
        await until(lambda: house.events(ForeignOrderGone))
    (seen,) = house.events(ForeignOrderSeen)
    assert (seen.symbol, seen.side, seen.quantity_base, seen.filled_base) == ("BTC/USDT", Side.BUY, Decimal("0.2"), 0)
    assert seen.price_limit_quote == Decimal("40000.5")
    assert {flow.flow_id for flow in house.events(FlowObserved)} == {seen.flow_id}
    assert house.halts() == []


async def test_3_4_a_coin_that_no_message_can_name_is_left_out_and_ends_nothing(house: House, server: Stranger) -> None:
    """Anybody may send one. Found once: stating it failed, and the executor ended, at each start anew."""
    async with house.executor() as executor:
        await until(lambda: executor.owned == 1)
        server.deposit("币安人生", "5")
        server.deposit("ETH", "1")
        await until(lambda: house.events(FlowObserved))
        asked = server.requests.count(("GET", "/api/v3/account"))
        await until(lambda: server.requests.count(("GET", "/api/v3/account")) > asked + 2)
    assert [flow.asset for flow in house.events(FlowObserved)] == ["ETH"]
    assert house.halts() == []


async def test_3_4_totals_are_told_without_a_coin_that_no_message_can_name(server: Stranger) -> None:
    """An account could not be opened beside one."""
    server.deposit("币安人生", "5")
    venue = CcxtTrading(VenueProfile("sim", "binance", addresses(server.port)), Credentials(KEY, SECRET), CLOCK)
    try:
        await venue.open(("BTC/USDT",))
        assert await venue.totals() == {asset: Decimal(amount) for asset, amount in FUNDS.items()}
    finally:
        await venue.close()


async def test_6_5_without_any_stream_nothing_is_missing(house: House, server: Stranger) -> None:
    async with house.executor():
        await until(lambda: ("GET", "/ws-api/v3") in server.requests)
        await house.ended(house.command(house.place()), "closed")
    settled(house, server)


@pytest.mark.parametrize("room", ["agents", "gateways"])
def test_6_5_nothing_between_the_domain_and_the_venue_names_the_simulator(room: str) -> None:
    """The layers forbid the import (pyproject.toml); here not even a word, a key or an address of it is known."""
    named = re.compile(r"simulator|simulated|\bsim\b|sim-", re.IGNORECASE)
    found = [path for path in sorted((ROOT / "streams" / room).rglob("*.py")) if named.search(path.read_text())]
    assert found == []


def test_6_5_the_other_server_shares_no_line_with_ours() -> None:
    text = (ROOT / "tests/contract/trading/stranger.py").read_text()
    assert not re.search(r"^(from|import) (streams|schemas|tests)\b", text, re.MULTILINE)
