"""The port TradingVenue over unmodified ccxt: what is sent, what comes back, and what counts as proof."""

import asyncio
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from schemas.orders import Liquidity, OrderType, Side, TimeInForce
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.domain.orders.outcome import Failure, Proof, Standing, VenueReply, judge
from streams.domain.orders.stimuli import CancelRequest, OrderRequest
from streams.gateways.venue.trading import CcxtTrading
from streams.ports.process import Point
from streams.simulator.server import Server
from streams.simulator.settings import SimulatorSettings
from tests.contract.trading.conftest import SETTINGS, SYMBOLS, liar, trading

OURS = "a" * 26


def request(timestamp_ms: int, **changes: Any) -> OrderRequest:
    made = OrderRequest(
        client_order_id=OURS,
        symbol="BTC/USDT",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.IOC,
        quantity_base=Decimal("0.01"),
        price_limit_quote=Decimal(70_000),
        timestamp_ms=timestamp_ms,
        window_ms=2000,
    )
    return replace(made, **changes)


def standing(timestamp_ms: int, **changes: Any) -> OrderRequest:
    fields = {"time_in_force": TimeInForce.GTC, "price_limit_quote": Decimal(40_000)}
    return request(timestamp_ms, **(fields | changes))


def allowed() -> None:
    """The permit of these tests."""


def proof(reply: VenueReply, client_order_id: str = OURS) -> Proof:
    return judge("binance", reply, "BTC/USDT", client_order_id).proof


async def test_given_a_marketable_order_when_placed_then_reply_and_trades_agree_to_the_last_digit(venue: CcxtTrading) -> None:
    now = await venue.time_ms()
    before = await venue.totals()
    reply = await venue.place(request(now), allowed)
    assert proof(reply) is Proof.ACCEPTED
    assert reply.order is not None
    assert (reply.order.standing, reply.order.filled_base) == (Standing.FILLED, Decimal("0.01"))
    trades = await venue.trades("BTC/USDT", 0, reply.order.venue_order_id)
    assert sum(trade.quantity_base for trade in trades) == Decimal("0.01")
    assert {trade.liquidity for trade in trades} == {Liquidity.TAKER}
    assert {trade.side for trade in trades} == {Side.BUY}
    after = await venue.totals()
    paid = sum(trade.quote_amount for trade in trades)
    fees = sum(trade.fee_amount for trade in trades if trade.fee_asset == "BTC")
    assert before["USDT"] - after["USDT"] == paid
    assert after["BTC"] - before["BTC"] == Decimal("0.01") - fees
    assert [trade.trade_id for trade in await venue.trades("BTC/USDT", now - 1000)] == [trade.trade_id for trade in trades]
    assert await venue.last_trades("BTC/USDT", 1) == list(trades)[-1:]


async def test_given_a_standing_order_then_it_is_found_by_every_way_and_canceled_once(venue: CcxtTrading) -> None:
    now = await venue.time_ms()
    placed = (await venue.place(standing(now), allowed)).order
    assert placed is not None
    by_client = await venue.order("BTC/USDT", OURS)
    by_venue = await venue.order_by_venue_id("BTC/USDT", placed.venue_order_id)
    (listed,) = await venue.open_orders("BTC/USDT")
    assert by_client == by_venue == listed == placed
    cancel = CancelRequest(OURS, placed.venue_order_id, "BTC/USDT", await venue.time_ms(), 2000)
    reply = await venue.cancel(cancel, allowed)
    assert proof(reply) is Proof.ACCEPTED
    again = await venue.cancel(cancel, allowed)
    assert (again.code, proof(again)) == ("-2011", Proof.REFUSED)
    assert await venue.open_orders("BTC/USDT") == []


async def test_given_an_order_nobody_placed_then_a_query_says_none(venue: CcxtTrading) -> None:
    assert await venue.order("BTC/USDT", "z" * 26) is None
    assert await venue.order_by_venue_id("BTC/USDT", "999999") is None


@pytest.mark.parametrize("kind", ["market", "post_only"])
async def test_given_other_kinds_of_orders_then_they_are_sent_as_meant(venue: CcxtTrading, kind: str) -> None:
    now = await venue.time_ms()
    if kind == "market":
        reply = await venue.place(request(now, order_type=OrderType.MARKET, price_limit_quote=None), allowed)
        expected = Standing.FILLED
    else:
        reply = await venue.place(standing(now, time_in_force=TimeInForce.POST_ONLY), allowed)
        expected = Standing.OPEN
    assert proof(reply) is Proof.ACCEPTED
    assert reply.order is not None
    assert reply.order.standing is expected


async def test_given_a_timestamp_outside_its_window_then_the_venue_refuses(venue: CcxtTrading) -> None:
    now = await venue.time_ms()
    reply = await venue.place(request(now - 2500), allowed)
    assert (reply.code, proof(reply)) == ("-1021", Proof.REFUSED)


async def test_given_figures_that_ccxt_would_cut_then_nothing_is_sent(venue: CcxtTrading, venue_server: Server) -> None:
    now = await venue.time_ms()
    for changes in ({"quantity_base": Decimal("0.0100000001")}, {"price_limit_quote": Decimal("70000.0001")}):
        reply = await venue.place(request(now, **changes), allowed)
        assert reply.failure is Failure.NOT_SENT
        assert "no multiple" in reply.text
    assert not [entry for entry in venue_server.venue.market.journal.since(1) if entry.kind == "order_accepted"]


async def test_given_a_permit_that_says_no_then_no_byte_leaves(venue: CcxtTrading, venue_server: Server) -> None:
    def refuse() -> None:
        raise RuntimeError("too late")

    reply = await venue.place(request(await venue.time_ms()), refuse)
    assert (reply.failure, reply.text, proof(reply)) == (Failure.NOT_SENT, "too late", Proof.UNREACHABLE)
    assert not [entry for entry in venue_server.venue.market.journal.since(1) if entry.kind == "order_accepted"]


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (200, b"<html>maintenance</html>", "text/html"),
        (200, b"", "application/json"),
        (200, b"null", "application/json"),
        (200, b"{}", "application/json"),
        (200, b"[]", "application/json"),
        (200, b'{"symbol":"BTCUSDT","orderId":5,"clientOrd', "application/json"),
        (200, b'{"symbol":"BTCUSDT","orderId":null}', "application/json"),
        (302, b"", "text/html"),
        (502, b"<html>bad gateway</html>", "text/html"),
        (503, b'{"code":-1013,"msg":"Filter failure: LOT_SIZE"}', "application/json"),
        (524, b"", "text/html"),
        (403, b"<html>blocked</html>", "text/html"),
        (400, b'{"code":-1007,"msg":"Timeout waiting for response from backend server."}', "application/json"),
        (400, b'{"code":-2010,"msg":"Duplicate order sent."}', "application/json"),
    ],
)
async def test_given_a_reply_that_proves_nothing_then_the_order_is_unknown(
    venue_server: Server, status: int, body: bytes, content_type: str
) -> None:
    asked: list[str] = []

    async def orders(request: web.Request) -> web.Response:
        asked.append(request.method)
        return web.Response(status=status, body=body, content_type=content_type)

    async with liar(venue_server, orders) as port:
        venue = trading(port)
        await venue.open(SYMBOLS)
        reply = await venue.place(request(await venue.time_ms()), allowed)
        with pytest.raises((UnknownOutcomeError, UnreachableError, RefusedError)):
            await venue.order("BTC/USDT", OURS)
        await venue.close()
    assert proof(reply) is Proof.UNKNOWN
    assert asked == (["POST"] if status == 403 else ["POST", "GET"])  # a limit: nothing more is asked for a while


async def test_given_a_reply_about_another_order_then_it_proves_nothing(venue_server: Server, venue: CcxtTrading) -> None:
    taken = await venue.place(request(await venue.time_ms()), allowed)
    assert proof(taken, "b" * 26) is Proof.UNKNOWN


async def test_given_a_connection_that_breaks_after_the_request_then_the_order_is_unknown(venue_server: Server) -> None:
    async def orders(request: web.Request) -> web.StreamResponse:
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with liar(venue_server, orders) as port:
        venue = trading(port)
        await venue.open(SYMBOLS)
        reply = await venue.place(request(await venue.time_ms()), allowed)
        await venue.close()
    assert (reply.failure, proof(reply)) == (Failure.NO_REPLY, Proof.UNKNOWN)


async def test_given_a_venue_that_redirects_or_drops_a_kept_connection_then_nothing_is_sent_again(venue_server: Server) -> None:
    """1.2, 2.1: ONE request; the library under ours follows redirects, and repeats a cancel on a new connection."""
    asked: list[str] = []

    async def orders(request: web.Request) -> web.StreamResponse:
        asked.append(request.method)
        await request.read()
        if request.method == "POST":
            return web.Response(status=307, headers={"location": str(request.url)})
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with liar(venue_server, orders) as port:
        venue = trading(port)
        await venue.open(SYMBOLS)
        now = await venue.time_ms()
        placed = await venue.place(request(now), allowed)
        canceled = await venue.cancel(CancelRequest(OURS, "1", "BTC/USDT", now, 2000), allowed)
        await venue.close()
    assert asked == ["POST", "DELETE"]
    assert (proof(placed), proof(canceled)) == (Proof.UNKNOWN, Proof.UNKNOWN)


async def test_given_a_cold_connection_then_the_permit_is_asked_for_when_it_stands(venue_server: Server) -> None:
    """2.1: nothing of ours waits between the last check and the bytes, a new connection neither."""
    steps: list[str] = []

    class Points:
        def reach(self, point: Point) -> None:
            steps.append(point.value)

    venue = trading(venue_server.port, points=Points())
    await venue.open(SYMBOLS)
    now = await venue.time_ms()
    await venue._client.session.connector.close()
    venue._client.session = None
    reply = await venue.place(request(now), lambda: steps.append("permit"))
    await venue.close()
    assert proof(reply) is Proof.ACCEPTED
    assert steps == ["in_connect", "before_check", "permit", "after_check", "half_written", "request_written"]


async def test_given_a_reply_that_does_not_come_then_the_order_is_unknown_in_time(venue_server: Server) -> None:
    async def orders(request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    released = asyncio.Event()

    async with liar(venue_server, orders) as port:
        venue = trading(port, timeout_ms=500)
        await venue.open(SYMBOLS)
        started = time.monotonic()
        reply = await venue.place(request(await venue.time_ms()), allowed)
        assert time.monotonic() - started < 5
        released.set()
        await venue.close()
    assert (reply.failure, proof(reply)) == (Failure.NO_REPLY, Proof.UNKNOWN)


async def test_given_a_venue_that_is_gone_then_order_and_cancel_were_provably_not_sent() -> None:
    async with Server(SimulatorSettings.model_validate(SETTINGS)) as server:
        venue = trading(server.port)
        await venue.open(SYMBOLS)
    now = int(time.time() * 1000)
    placed = await venue.place(request(now), allowed)
    canceled = await venue.cancel(CancelRequest(OURS, "1", "BTC/USDT", now, 2000), allowed)
    with pytest.raises(UnreachableError):
        await venue.time_ms()
    await venue.close()
    assert (placed.failure, proof(placed)) == (Failure.NOT_CONNECTED, Proof.UNREACHABLE)
    assert (canceled.failure, proof(canceled)) == (Failure.NOT_CONNECTED, Proof.UNREACHABLE)


async def test_given_a_key_without_the_right_then_it_says_so(venue_server: Server) -> None:
    venue = trading(venue_server.port, ("sim-reader", "sim-reader-secret"))
    await venue.open(SYMBOLS)
    rights = await venue.rights()
    await venue.close()
    assert (rights.read, rights.trade, rights.withdraw) == (True, False, False)


async def test_given_a_symbol_that_the_venue_lacks_then_it_is_refused(venue_server: Server) -> None:
    venue = trading(venue_server.port)
    with pytest.raises(RefusedError):
        await venue.open(("XYZ/USDT",))
    await venue.close()


async def test_given_a_venue_with_another_clock_then_reads_are_signed_by_its_time(venue_server: Server) -> None:
    venue_server.venue.clock.offset_ms = 60_000
    venue = trading(venue_server.port)
    await venue.open(SYMBOLS)
    with pytest.raises(UnknownOutcomeError):
        await venue.totals()
    clock = venue._clock
    venue.synchronize(await venue.time_ms(), clock.boot_ms())
    assert (await venue.totals())["BTC"] == 2
    await venue.close()


async def test_given_warm_connections_then_an_order_opens_no_new_one(venue: CcxtTrading) -> None:
    await venue.warm(4)
    connector = venue._client.session.connector
    before = sum(len(idle) for idle in connector._conns.values())
    await venue.place(request(await venue.time_ms()), allowed)
    assert before == 4
    assert sum(len(idle) for idle in connector._conns.values()) == 4


async def test_retries_and_throttling_are_off(venue: CcxtTrading) -> None:
    client = venue._client
    assert not any(name.startswith("maxRetries") for name in client.options)
    assert client.enableRateLimit is False
    with pytest.raises(AssertionError):
        await client.throttle(1)
