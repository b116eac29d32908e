"""3.2: what the venue refuses, and how ccxt tells it."""

from typing import Any

import ccxt
import pytest

from tests.contract.venue.conftest import Rig


@pytest.mark.parametrize(
    ("side", "quantity", "price", "params", "error", "words"),
    [
        ("buy", 0.00009, 50_000, {}, ccxt.BadRequest, "NOTIONAL"),
        ("buy", 9_001, 50_000, {}, ccxt.InvalidOrder, "LOT_SIZE"),
        ("buy", 0.01, 1_000_001, {}, ccxt.InvalidOrder, "PRICE_FILTER"),
        ("sell", 121, None, {}, ccxt.InvalidOrder, "MARKET_LOT_SIZE"),
        ("buy", 5, 52_000, {}, ccxt.InsufficientFunds, "insufficient balance"),
        ("sell", 2.1, None, {}, ccxt.InsufficientFunds, "insufficient balance"),
        ("buy", 0.01, 50_000, {"clientOrderId": "no blanks"}, ccxt.BadRequest, "newClientOrderId"),
        ("buy", 0.01, 50_000, {"nonsense": 1}, ccxt.BadRequest, "Not all sent parameters"),
    ],
)
async def test_orders(rig: Rig, side, quantity, price, params, error, words):
    kind = "limit" if price else "market"
    with pytest.raises(error, match=words):
        await rig.client().create_order("BTC/USDT", kind, side, quantity, price, params)
    assert rig.entries("order_accepted") == []


async def test_a_client_id_of_an_open_order_is_refused(rig: Rig):
    client = rig.client()
    await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000, {"clientOrderId": "twice"})
    with pytest.raises(ccxt.InvalidOrder, match="Duplicate order sent"):
        await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000, {"clientOrderId": "twice"})


async def test_orders_that_nobody_knows(rig: Rig):
    client = rig.client()
    with pytest.raises(ccxt.OrderNotFound, match="-2013"):
        await client.fetch_order(None, "BTC/USDT", {"clientOrderId": "never"})
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await client.cancel_order(None, "BTC/USDT", {"clientOrderId": "never"})
    mine = await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000)
    with pytest.raises(ccxt.OrderNotFound):
        await rig.client("sim-bob").fetch_order(mine["id"], "BTC/USDT")


async def test_a_wrong_signature(rig: Rig):
    with pytest.raises(ccxt.AuthenticationError, match="-1022"):
        await rig.client(secret="sim-wrong").fetch_balance()


async def test_an_unknown_key(rig: Rig):
    with pytest.raises(ccxt.AuthenticationError, match="-2015"):
        await rig.client("sim-nobody").fetch_balance()


async def test_a_key_without_the_right_to_trade(rig: Rig):
    reader = rig.client("sim-alice-reader")
    await reader.load_markets()
    for call in (
        reader.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000),
        reader.cancel_order("1", "BTC/USDT"),
    ):
        with pytest.raises(ccxt.AuthenticationError, match="-2015"):
            await call


@pytest.mark.parametrize(("offset_ms", "words"), [(5_000, "outside of the recvWindow"), (-5_000, "1000ms ahead")])
async def test_a_timestamp_outside_the_window_until_the_client_learns_the_venues_time(rig: Rig, offset_ms, words):
    client = rig.client()
    await client.load_markets()
    await rig.control("clock", {"offset_ms": offset_ms})
    with pytest.raises(ccxt.InvalidNonce, match=words):
        await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000)
    await client.load_time_difference()
    assert (await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000))["status"] == "open"


async def test_the_window_is_checked_again_just_before_the_core(rig: Rig):
    client = rig.client()
    await client.load_markets()
    await rig.control("latency", {"order": 400})
    with pytest.raises(ccxt.InvalidNonce, match="outside of the recvWindow"):
        await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000, {"recvWindow": 100})
    assert rig.entries("order_accepted") == []
    assert (await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000))["status"] == "open"


async def test_a_suspended_symbol(rig: Rig):
    client = rig.client()
    order = await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000)
    await rig.control("trading", {"symbol": "BTCUSDT", "open": False})
    with pytest.raises(ccxt.MarketClosed):
        await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000)
    assert (await client.load_markets(reload=True))["BTC/USDT"]["active"] is False
    assert (await client.cancel_order(order["id"], "BTC/USDT"))["status"] == "canceled"
    await rig.control("trading", {"symbol": "BTCUSDT", "open": True})
    assert (await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000))["status"] == "open"


async def test_too_many_orders_then_a_ban(rig: Rig):
    client = rig.client()
    await client.load_markets()
    await rig.control("limits", {"orders_10s_max": 1, "warnings_max": 2, "ban_s": 60})
    outcomes = []
    for number in range(8):
        try:
            await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000 - number)
        except ccxt.DDoSProtection as error:
            outcomes.append(str(error).split()[1])
    assert "429" in outcomes
    assert outcomes[-1] == "418"
    assert int(client.last_response_headers["Retry-After"]) <= 60
    with pytest.raises(ccxt.DDoSProtection, match="418"):
        await client.fetch_time()
    assert rig.server.venue.limits.bans == 1


async def ask_for_balances(client: Any, count: int) -> None:
    for _ in range(count):
        await client.fetch_balance()


async def test_too_much_weight(rig: Rig):
    client = rig.client()
    await client.load_markets()
    await rig.control("limits", {"weight_1m_max": 30})
    with pytest.raises(ccxt.DDoSProtection, match="-1003"):
        await ask_for_balances(client, 4)  # two are enough, unless a minute ends between them
    assert "Retry-After" in client.last_response_headers
