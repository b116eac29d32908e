"""1.2: the client's own retries are never used, and why."""

from pathlib import Path

import ccxt.async_support

from streams.domain.orders.outcome import Proof
from streams.gateways.venue.trading import CcxtTrading
from streams.simulator.faults import FaultPlan
from streams.simulator.server import Server
from tests.contract.trading.test_venue import OURS, allowed, proof, request
from tests.contract.venue.conftest import client_config

ROOT = Path(__file__).resolve().parents[3]
SETTING = "maxRetriesOnFailure"


def taken(server: Server) -> list[str]:
    """The client ids that the venue accepted, as its journal has them."""
    entries = server.venue.market.journal.since(1)
    return [str(entry.body["client_order_id"]) for entry in entries if entry.kind == "order_accepted"]


def lose_one_reply(server: Server) -> None:
    server.venue.faults.install(FaultPlan.model_validate({"faults": [{"fault": "reply_lost", "next": 1}]}))


def test_1_2_the_clients_own_retries_are_named_nowhere_in_the_program() -> None:
    assert [path for path in (ROOT / "streams").rglob("*.py") if SETTING in path.read_text()] == []


async def test_1_2_with_the_clients_own_retries_one_lost_reply_executes_an_order_twice(venue_server: Server) -> None:
    """The same client id protects from nothing: it is free again once the first order is filled."""
    config = client_config(venue_server.port, "sim-alice", "sim-alice-secret")
    client = ccxt.async_support.binance(config | {"options": config["options"] | {SETTING: 1}})
    await client.load_markets()
    lose_one_reply(venue_server)
    await client.create_order("BTC/USDT", "limit", "buy", 0.01, 70_000, {"clientOrderId": OURS, "timeInForce": "IOC"})
    await client.close()
    assert taken(venue_server) == [OURS, OURS]


async def test_1_2_ours_sends_exactly_one_request_for_a_lost_reply(venue: CcxtTrading, venue_server: Server) -> None:
    lose_one_reply(venue_server)
    reply = await venue.place(request(await venue.time_ms()), allowed)
    assert proof(reply) is Proof.UNKNOWN
    assert taken(venue_server) == [OURS]
