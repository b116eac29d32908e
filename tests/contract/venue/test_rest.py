"""3.2: unmodified ccxt drives the venue by REST, from markets to own trades."""

import asyncio
from decimal import Decimal

import ccxt
import pytest

from streams.simulator.tapes.tape import price_at
from tests.contract.venue.conftest import Rig, until

START_MS = 1_722_838_200_000


async def test_markets_and_their_filters(rig: Rig):
    client = rig.client()
    markets = await client.load_markets()
    assert set(markets) == {"BTC/USDT", "ETH/USDT"}
    market = markets["BTC/USDT"]
    assert (market["active"], market["spot"]) == (True, True)
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.01, 0.00001)
    assert market["limits"]["cost"] == {"min": 5.0, "max": 9_000_000.0}
    assert market["limits"]["market"]["max"] == 120.0
    assert (await client.public_get_exchangeinfo())["rateLimits"][0]["limit"] == 6_000


async def test_one_symbol_can_be_asked_for(rig: Rig):
    markets = await rig.client().load_markets(params={"symbols": '["ETHUSDT"]'})
    assert set(markets) == {"ETH/USDT"}


async def test_balances(rig: Rig):
    balance = await rig.client().fetch_balance()
    assert balance["free"] == {"BTC": 2.0, "ETH": 20.0, "USDT": 200_000.0}
    assert balance["used"]["USDT"] == 0.0
    assert balance["info"]["uid"] == (await rig.client("sim-alice-reader").fetch_balance())["info"]["uid"]
    assert balance["info"]["commissionRates"]["taker"] == "0.00100000"


async def test_prices_are_those_of_the_tape_at_start(rig: Rig):
    client = rig.client()
    quotes = await client.fetch_bids_asks()
    for symbol in ("BTC/USDT", "ETH/USDT"):
        raw = quotes[symbol]["info"]
        assert (Decimal(raw["bidPrice"]) + Decimal(raw["askPrice"])) / 2 == price_at(symbol, START_MS)
    ticker = await client.fetch_ticker("BTC/USDT")
    assert ticker["bid"] < ticker["ask"]
    assert (ticker["last"], ticker["open"]) == (52_076.0, 58_161.0)
    assert set(await client.fetch_tickers(["BTC/USDT", "ETH/USDT"])) == {"BTC/USDT", "ETH/USDT"}


async def test_the_book(rig: Rig):
    book = await rig.client().fetch_order_book("BTC/USDT", 5)
    assert (len(book["bids"]), len(book["asks"])) == (5, 5)
    assert book["bids"][0][0] < book["asks"][0][0]
    assert book["nonce"] > 0


async def test_tape_time_stands_still_until_it_is_started(rig: Rig):
    clock = rig.server.venue.tape_clock
    assert (clock.now_ms(), clock.is_running) == (START_MS, False)
    state = await rig.control("start")
    assert state["tape_is_running"] is True
    assert state["prices"]["BTCUSDT"]


async def test_another_speed_holds_from_now_on_and_prices_do_not_jump(rig: Rig):
    clock = rig.server.venue.tape_clock
    await rig.control("speed", {"speed": 10_000})
    assert clock.now_ms() == START_MS
    await rig.control("start")
    await until(lambda: clock.now_ms() > START_MS + 100_000)
    reached_ms = clock.now_ms()
    await rig.control("speed", {"speed": 1})
    assert reached_ms <= clock.now_ms()
    slow_ms = clock.now_ms()
    await until(lambda: clock.now_ms() >= slow_ms + 20)
    assert clock.now_ms() < slow_ms + 60_000


async def test_an_ioc_order_walks_the_book_and_expires_with_what_it_got(rig: Rig):
    client = rig.client()
    best = (await client.fetch_bids_asks(["BTC/USDT"]))["BTC/USDT"]["ask"]
    order = await client.create_order(
        "BTC/USDT", "limit", "buy", 1.9, best + 0.02, {"timeInForce": "IOC", "clientOrderId": "ioc1"}
    )
    assert (order["status"], order["clientOrderId"], order["info"]["status"]) == ("expired", "ioc1", "EXPIRED")
    assert 0 < order["filled"] < 1.9
    assert len(order["trades"]) >= 2
    found = await client.fetch_order(None, "BTC/USDT", {"clientOrderId": "ioc1"})
    assert (found["id"], found["filled"], found["status"]) == (order["id"], order["filled"], "expired")
    assert (await client.fetch_balance())["used"]["USDT"] == 0.0


async def test_a_market_order_fills_at_once_and_its_fee_is_in_what_was_received(rig: Rig):
    order = await rig.client().create_order("BTC/USDT", "market", "buy", 0.01)
    assert (order["status"], order["filled"]) == ("closed", 0.01)
    assert order["fees"] == [{"currency": "BTC", "cost": 0.00001}]


async def test_an_account_may_pay_its_fees_in_quote(rig: Rig):
    order = await rig.client("sim-bob").create_order("ETH/USDT", "market", "buy", 0.1)
    assert order["fee"]["currency"] == "USDT"


async def test_a_resting_order_is_found_listed_and_cancelled_by_its_client_id(rig: Rig):
    client = rig.client()
    order = await client.create_order("BTC/USDT", "limit", "buy", 0.5, 50_000, {"clientOrderId": "rest1"})
    assert order["status"] == "open"
    assert (await client.fetch_balance())["used"]["USDT"] == 25_000.0
    assert [row["clientOrderId"] for row in await client.fetch_open_orders("BTC/USDT")] == ["rest1"]
    assert [row["clientOrderId"] for row in await client.fetch_open_orders()] == ["rest1"]
    assert await client.fetch_open_orders("ETH/USDT") == []
    cancelled = await client.cancel_order(None, "BTC/USDT", {"clientOrderId": "rest1"})
    assert (cancelled["status"], cancelled["info"]["origClientOrderId"]) == ("canceled", "rest1")
    assert cancelled["clientOrderId"] != "rest1"
    assert [row["status"] for row in await client.fetch_orders("BTC/USDT")] == ["canceled"]
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order(order["id"], "BTC/USDT")


async def test_post_only_rests_or_is_refused(rig: Rig):
    client = rig.client()
    order = await client.create_order("ETH/USDT", "limit", "sell", 1, 3_000, {"postOnly": True})
    assert order["info"]["type"] == "LIMIT_MAKER"
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        await client.create_order("ETH/USDT", "limit", "sell", 1, 2_000, {"postOnly": True})


async def test_customers_trade_with_each_other_inside_the_spread(rig: Rig):
    alice, bob = rig.client(), rig.client("sim-bob")
    price = (await alice.fetch_bids_asks(["BTC/USDT"]))["BTC/USDT"]["bid"] + 0.05
    await alice.create_order("BTC/USDT", "limit", "sell", 0.01, price, {"postOnly": True})
    bought = await bob.create_order("BTC/USDT", "limit", "buy", 0.01, price, {"timeInForce": "FOK"})
    assert (bought["status"], bought["average"]) == ("closed", price)
    trade = (await alice.fetch_my_trades("BTC/USDT"))[0]
    assert (trade["takerOrMaker"], trade["side"], trade["price"]) == ("maker", "sell", price)
    assert [body["counterparty"] for body in rig.entries("fill")] == ["alice", "bob"]


async def test_own_trades_by_order_by_id_and_by_time(rig: Rig):
    client = rig.client()
    orders = [await client.create_order("ETH/USDT", "market", "buy", 0.1) for _ in range(3)]
    trades = await client.fetch_my_trades("ETH/USDT")
    assert sorted({trade["order"] for trade in trades}) == sorted(order["id"] for order in orders)
    of_order = await client.fetch_my_trades("ETH/USDT", params={"orderId": orders[1]["id"]})
    assert {trade["order"] for trade in of_order} == {orders[1]["id"]}
    assert len(await client.fetch_my_trades("ETH/USDT", params={"fromId": trades[1]["id"]})) == len(trades) - 1
    assert await client.fetch_my_trades("ETH/USDT", since=trades[0]["timestamp"]) == trades
    assert await client.fetch_my_trades("ETH/USDT", since=trades[-1]["timestamp"] + 1) == []
    assert len(await client.fetch_my_trades("ETH/USDT", limit=2)) == 2
    assert await client.fetch_my_trades("BTC/USDT") == []


async def test_status_time_fees_flows_and_rights_of_the_key(rig: Rig):
    client = rig.client("sim-bob")
    assert (await client.fetch_status())["status"] == "ok"
    assert abs(await client.fetch_time() - rig.server.venue.clock.now_ms()) < 2_000
    assert await client.public_get_ping() == {}
    rights = await client.sapi_get_account_apirestrictions()
    assert (rights["enableWithdrawals"], rights["enableSpotAndMarginTrading"]) == (True, True)
    reader = await rig.client("sim-alice-reader").sapi_get_account_apirestrictions()
    assert (reader["enableWithdrawals"], reader["enableSpotAndMarginTrading"]) == (False, False)
    assert {row["takerCommission"] for row in await client.sapi_get_asset_tradefee()} == {"0.00100000"}
    began_ms = rig.server.venue.now_ms() + 1
    await asyncio.sleep(0.01)
    for free in ("5", "3"):
        rig.server.venue.set_balance("bob", "ETH", Decimal(free))
    deposits = await client.fetch_deposits("ETH", since=began_ms)
    withdrawals = await client.fetch_withdrawals("ETH")
    assert [(deposit["status"], deposit["currency"]) for deposit in deposits] == [("ok", "ETH")]
    assert [(withdrawal["status"], withdrawal["amount"]) for withdrawal in withdrawals] == [("ok", 2)]


async def test_replies_tell_how_much_of_the_limits_is_used(rig: Rig):
    client = rig.client()
    await client.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000)
    headers = {name.lower(): value for name, value in client.last_response_headers.items()}
    assert headers["x-mbx-order-count-10s"] == "1"
    assert int(headers["x-mbx-used-weight-1m"]) >= 21


async def test_answers_short_of_full_are_given_on_request(rig: Rig):
    client = rig.client()
    order = await client.create_order("BTC/USDT", "market", "buy", 0.01, None, {"newOrderRespType": "ACK"})
    assert set(order["info"]) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    order = await client.create_order("BTC/USDT", "market", "buy", 0.01, None, {"newOrderRespType": "RESULT"})
    assert "fills" not in order["info"]
    assert order["filled"] == 0.01


async def test_a_symbol_list_that_makes_no_sense(rig: Rig):
    client = rig.client()
    with pytest.raises(ccxt.BadRequest, match="-1100"):
        await client.public_get_exchangeinfo({"symbols": "[BTCUSDT"})
    with pytest.raises(ccxt.BadSymbol, match="-1121"):
        await client.public_get_ticker_bookticker({"symbols": '["XRPUSDT"]'})
    assert (await client.public_get_exchangeinfo({"symbol": "BTCUSDT"}))["symbols"][0]["symbol"] == "BTCUSDT"
