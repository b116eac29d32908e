"""3.2: unmodified ccxt.pro watches the venue."""

import asyncio
from decimal import Decimal
from typing import Any

import aiohttp
import ccxt
import pytest

from streams.simulator.server import Server
from streams.simulator.settings import SimulatorSettings
from tests.contract.venue.conftest import SETTINGS, Rig, until


async def drain(client: Any) -> None:
    """Watch until something goes wrong."""
    for _ in range(100):
        await client.watch_bids_asks(["BTC/USDT"])


async def user_stream(rig: Rig, account: str) -> None:
    await until(lambda: rig.server.venue.readers_of(account))


async def test_best_prices_move_with_the_tape(rig: Rig):
    client = rig.client()
    first = await client.watch_bids_asks(["BTC/USDT", "ETH/USDT"])
    assert all(quote["bid"] < quote["ask"] for quote in first.values())
    await rig.control("start")
    async with asyncio.timeout(10):
        while (quote := (await client.watch_bids_asks(["BTC/USDT"]))["BTC/USDT"])["bid"] == 52_075.95:
            pass
    assert abs(quote["bid"] / 52_075.95 - 1) < 0.01


async def test_prices_keep_coming_while_the_tape_stands_still(rig: Rig):
    client = rig.client()
    quotes = [(await client.watch_bids_asks(["BTC/USDT"]))["BTC/USDT"] for _ in range(5)]
    assert {quote["bid"] for quote in quotes} == {52_075.95}
    assert len({quote["bidVolume"] for quote in quotes}) > 1


async def test_tickers(rig: Rig):
    client = rig.client()
    ticker = await client.watch_ticker("BTC/USDT", {"name": "ticker"})
    assert (ticker["bid"], ticker["last"]) == (52_075.95, 52_076.0)
    mini = await client.watch_ticker("ETH/USDT")
    assert (mini["bid"], mini["last"]) == (None, 2_289.12)


async def test_the_book_stays_true_to_the_snapshot(rig: Rig):
    """Thirty differences in a row fit, and in the end the client's book is the venue's."""
    client = rig.client()
    await rig.control("start")
    for _ in range(30):
        book = await client.watch_order_book("BTC/USDT")
    async with asyncio.timeout(10):
        while True:
            book = await client.watch_order_book("BTC/USDT")
            venue = rig.server.venue.market.books["BTCUSDT"]
            if book["nonce"] == venue.update_id:
                break
    snapshot = await client.fetch_order_book("BTC/USDT", 20)
    assert len(book["bids"]) == len(snapshot["bids"]) == 20


async def test_orders_trades_and_balances_of_an_account(rig: Rig):
    client = rig.client()
    orders = asyncio.create_task(client.watch_orders("BTC/USDT"))
    trades = asyncio.create_task(client.watch_my_trades("BTC/USDT"))
    balance = asyncio.create_task(client.watch_balance())
    await user_stream(rig, "alice")
    placed = await client.create_order("BTC/USDT", "market", "sell", 0.01, None, {"clientOrderId": "mine"})
    (order,), (trade,) = await asyncio.wait_for(orders, 5), await asyncio.wait_for(trades, 5)
    assert (order["id"], order["clientOrderId"], order["status"]) == (placed["id"], "mine", "closed")
    assert (trade["order"], trade["amount"], trade["fee"]["currency"]) == (placed["id"], 0.01, "USDT")
    assert (await asyncio.wait_for(balance, 5))["BTC"]["free"] == 1.99


async def test_a_cancel_names_the_order_it_ended(rig: Rig):
    client = rig.client()
    order = await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000, {"clientOrderId": "gone"})
    events = asyncio.create_task(client.watch_orders())
    await user_stream(rig, "alice")
    await client.cancel_order(order["id"], "BTC/USDT")
    (event,) = await asyncio.wait_for(events, 5)
    assert (event["status"], event["clientOrderId"], event["info"]["x"]) == ("canceled", "gone", "CANCELED")


async def test_money_that_comes_from_outside_is_told(rig: Rig):
    client = rig.client()
    events = asyncio.create_task(client.watch_balance())
    await user_stream(rig, "alice")
    await rig.control("balances", {"alice": {"USDT": "123.5"}})
    await asyncio.wait_for(events, 5)
    assert (await client.fetch_balance())["USDT"]["free"] == 123.5


async def test_nobody_sees_the_events_of_another_account(rig: Rig):
    bob = rig.client("sim-bob")
    events = asyncio.create_task(bob.watch_orders())
    await user_stream(rig, "bob")
    await rig.client().create_order("BTC/USDT", "market", "sell", 0.01)
    await bob.create_order("ETH/USDT", "market", "buy", 0.01)
    seen = await asyncio.wait_for(events, 5)
    assert {event["symbol"] for event in seen} == {"ETH/USDT"}


async def test_a_wrong_signature_gets_no_events(rig: Rig):
    async with rig.http.ws_connect(f"ws://127.0.0.1:{rig.server.port}/ws-api/v3") as socket:
        params = {"apiKey": "sim-alice", "timestamp": rig.server.venue.clock.now_ms(), "signature": "00"}
        await socket.send_json({"id": "1", "method": "userDataStream.subscribe.signature", "params": params})
        reply = await socket.receive_json(timeout=5)
    assert (reply["status"], reply["error"]["code"]) == (400, -1022)


async def test_clients_reconnect_after_the_venue_dropped_them(rig: Rig):
    client = rig.client()
    await client.watch_bids_asks(["BTC/USDT"])
    await rig.control("disconnect")
    with pytest.raises(ccxt.NetworkError):
        await drain(client)
    assert await asyncio.wait_for(client.watch_bids_asks(["BTC/USDT"]), 10)


async def test_frames_of_every_kind(rig: Rig):
    """The bare protocol: paths, combined streams, listing, unsubscribing, and nonsense."""
    base = f"ws://127.0.0.1:{rig.server.port}"
    async with rig.http.ws_connect(f"{base}/stream?streams=btcusdt@bookTicker") as socket:
        frame = await socket.receive_json(timeout=5)
        assert (frame["stream"], frame["data"]["s"]) == ("btcusdt@bookTicker", "BTCUSDT")
    async with rig.http.ws_connect(f"{base}/ws/btcusdt@bookTicker") as socket:
        assert (await socket.receive_json(timeout=5))["s"] == "BTCUSDT"
        for frame, answer in (
            ({"method": "LIST_SUBSCRIPTIONS", "id": 1}, {"result": ["btcusdt@bookTicker"], "id": 1}),
            ({"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 2}, {"result": None, "id": 2}),
            ({"method": "LIST_SUBSCRIPTIONS", "id": 3}, {"result": [], "id": 3}),
            ({"method": "SHOUT", "id": 4}, {"error": {"code": 0, "msg": "Unknown property or method."}, "id": 4}),
        ):
            await socket.send_json(frame)
            while (received := await socket.receive_json(timeout=5)).get("id") != frame["id"]:
                assert received["s"] == "BTCUSDT"
            assert received == answer
        await socket.send_str("{not json")
        assert "error" in await socket.receive_json(timeout=5)
        names = [f"x{number}@bookTicker" for number in range(1_025)]
        await socket.send_json({"method": "SUBSCRIBE", "params": names, "id": 5})
        assert "Too many" in (await socket.receive_json(timeout=5))["error"]["msg"]
    async with rig.http.ws_connect(f"{base}/ws-api/v3") as socket:
        for method, status in (("ping", 200), ("time", 200), ("userDataStream.unsubscribe", 200), ("order.amend", 400)):
            await socket.send_json({"id": method, "method": method})
            reply = await socket.receive_json(timeout=5)
            assert (reply["id"], reply["status"]) == (method, status)


async def test_a_client_that_does_not_read_is_cut_off(rig: Rig):
    client = rig.client()
    events = asyncio.create_task(client.watch_orders())
    await user_stream(rig, "alice")
    for amount in range(3_000):  # two events each, with no chance to send between them
        rig.server.venue.set_balance("alice", "BNB", Decimal(amount))
    with pytest.raises(ccxt.NetworkError):
        await asyncio.wait_for(events, 10)
    await until(lambda: rig.server.venue.readers_of("alice") == 0)


async def test_clients_are_told_before_the_venue_stops(rig: Rig):
    async with Server(SimulatorSettings.model_validate(SETTINGS)) as other:
        market = await rig.http.ws_connect(f"ws://127.0.0.1:{other.port}/ws")
        user = await rig.http.ws_connect(f"ws://127.0.0.1:{other.port}/ws-api/v3")
    assert (await market.receive_json(timeout=5))["e"] == "serverShutdown"
    assert (await user.receive_json(timeout=5))["event"]["e"] == "serverShutdown"
    for socket in (market, user):
        assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
        await socket.close()
