"""3.4: each fault as ccxt meets it, with the venue's own journal as the truth."""

import asyncio

import ccxt
import pytest

from tests.contract.venue.conftest import Rig, until

BUY = ("BTC/USDT", "limit", "buy", 0.01, 50_000)


async def lose(rig: Rig, fault: str, client_id: str, **rule) -> None:
    await rig.control("faults", {"faults": [{"fault": fault, "next": 1, **rule}]})
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await rig.client().create_order(*BUY, {"clientOrderId": client_id})


async def test_a_lost_reply_leaves_an_accepted_order(rig: Rig):
    await lose(rig, "reply_lost", "lost1")
    assert [body["client_order_id"] for body in rig.entries("order_accepted")] == ["lost1"]
    found = await rig.client().fetch_order(None, "BTC/USDT", {"clientOrderId": "lost1"})
    assert found["status"] == "open"
    assert (await rig.client().create_order(*BUY, {"clientOrderId": "next"}))["status"] == "open"


async def test_a_lost_request_never_reaches_the_core(rig: Rig):
    await lose(rig, "request_lost", "lost2")
    assert rig.entries("order_accepted") == []
    with pytest.raises(ccxt.OrderNotFound):
        await rig.client().fetch_order(None, "BTC/USDT", {"clientOrderId": "lost2"})


async def test_a_late_order_appears_three_seconds_after_not_found(rig: Rig):
    client = rig.client()
    events = asyncio.create_task(client.watch_orders())
    await until(lambda: rig.server.venue.readers_of("alice"))
    await lose(rig, "late_order", "late1")
    accepted = rig.entries("order_accepted")
    assert [body["client_order_id"] for body in accepted] == ["late1"]
    with pytest.raises(ccxt.OrderNotFound, match="-2013"):
        await client.fetch_order(None, "BTC/USDT", {"clientOrderId": "late1"})
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await client.cancel_order(None, "BTC/USDT", {"clientOrderId": "late1"})
    assert await client.fetch_open_orders("BTC/USDT") == []
    assert not events.done()
    seen = await asyncio.wait_for(events, 10)
    assert [row["clientOrderId"] for row in seen] == ["late1"]
    found = await client.fetch_order(None, "BTC/USDT", {"clientOrderId": "late1"})
    accepted_at_ms = rig.server.venue.market.journal.since(1)[-1].at_ms
    assert found["timestamp"] == accepted_at_ms
    assert rig.server.venue.clock.now_ms() - accepted_at_ms >= 3_000


async def test_a_late_orders_trades_are_late_as_well(rig: Rig):
    client = rig.client()
    await rig.control("faults", {"faults": [{"fault": "late_order", "next": 1}]})
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await client.create_order("BTC/USDT", "market", "sell", 0.01)
    assert len(rig.entries("fill")) == 1
    assert await client.fetch_my_trades("BTC/USDT") == []
    (fill,) = rig.entries("fill")
    await until(lambda: rig.server.venue.is_visible(int(fill["order_id"])))
    assert [trade["amount"] for trade in await client.fetch_my_trades("BTC/USDT")] == [0.01]


async def test_a_reply_may_hang_until_the_client_gives_up(rig: Rig):
    await rig.control("faults", {"faults": [{"fault": "reply_lost", "next": 1, "hang_ms": 5_000}]})
    client = rig.client(timeout=300)
    with pytest.raises(ccxt.RequestTimeout):
        await client.create_order(*BUY, {"clientOrderId": "hang"})
    assert len(rig.entries("order_accepted")) == 1


async def test_a_refused_order_is_answered_and_the_fault_waits_for_the_next(rig: Rig):
    client = rig.client()
    await rig.control("faults", {"faults": [{"fault": "reply_lost", "next": 1}]})
    with pytest.raises(ccxt.InsufficientFunds):
        await client.create_order("BTC/USDT", "limit", "buy", 100, 50_000)
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await client.create_order(*BUY)
    state = await rig.control("faults", {"faults": []})
    assert {fault: count for fault, count in state["faults_done"].items() if count} == {"reply_lost": 1}


async def test_a_cancel_can_lose_its_reply(rig: Rig):
    """The HTTP library repeats a DELETE once when its connection ends, so the client is told that there is no order."""
    client = rig.client()
    order = await client.create_order(*BUY)
    await rig.control("faults", {"faults": [{"fault": "reply_lost", "next": 1, "requests": ["cancel"]}]})
    with pytest.raises((ccxt.ExchangeNotAvailable, ccxt.OrderNotFound)):
        await client.cancel_order(order["id"], "BTC/USDT")
    assert [body["status"] for body in rig.entries("order_closed")] == ["CANCELED"]


async def test_faults_drawn_by_chance_match_the_journal(rig: Rig):
    client = rig.client()
    await client.load_markets()
    rules = [{"fault": "reply_lost", "probability": 0.3}, {"fault": "request_lost", "probability": 0.3}]
    await rig.control("faults", {"faults": rules, "seed": 5})
    answered = []
    for number in range(40):
        try:
            await client.create_order(*BUY, {"clientOrderId": f"c{number}"})
            answered.append(f"c{number}")
        except ccxt.ExchangeNotAvailable:
            continue
    done = rig.server.venue.faults.done
    accepted = [body["client_order_id"] for body in rig.entries("order_accepted")]
    assert set(answered) < set(accepted)
    assert len(accepted) == len(answered) + done["reply_lost"] == 40 - done["request_lost"]
    assert min(done["reply_lost"], done["request_lost"]) > 0


async def test_latency_is_spent_before_and_after_the_core(rig: Rig):
    client = rig.client()
    await client.load_markets()
    await rig.control("latency", {"order": 600})
    clock = rig.server.venue.clock
    asked_at_ms = clock.now_ms()
    await client.create_order(*BUY)
    answered_at_ms = clock.now_ms()
    accepted_at_ms = rig.server.venue.market.journal.since(1)[-1].at_ms
    assert accepted_at_ms - asked_at_ms >= 300
    assert answered_at_ms - accepted_at_ms >= 300


async def test_an_order_whose_client_left_is_still_accepted(rig: Rig):
    client = rig.client(timeout=200)
    await client.load_markets()
    await rig.control("latency", {"order": 1_000})
    with pytest.raises(ccxt.RequestTimeout):
        await client.create_order(*BUY, {"clientOrderId": "orphan"})
    assert rig.entries("order_accepted") == []
    await until(lambda: [body["client_order_id"] for body in rig.entries("order_accepted")] == ["orphan"])
