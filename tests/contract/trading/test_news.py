"""1.3: the venue's stream of an account over unmodified ccxt.pro: exact, and alive whatever comes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from schemas.orders import Side
from streams.domain.orders.outcome import OrderNews, TradeView
from streams.domain.orders.stimuli import CancelRequest
from streams.gateways.venue.trading import CcxtTrading
from streams.simulator.server import Server
from tests.contract.trading.conftest import trading
from tests.contract.trading.house import until
from tests.contract.trading.test_venue import OURS, allowed, request, standing

REPORT = {"e": "executionReport", "s": "BTCUSDT", "c": OURS, "C": "", "S": "BUY", "x": "TRADE", "X": "FILLED", "i": 7, "t": 9}
REPORT |= {"l": "0.01", "L": "50000.1", "Y": "500.001", "n": "0.0375", "N": "BNB", "m": True, "T": 1_700_000_000_000}


class Notes:
    """What was told, in order."""

    def __init__(self) -> None:
        self.connections = 0
        self.news: list[OrderNews] = []

    def connected(self) -> None:
        self.connections += 1

    def told(self, news: OrderNews) -> None:
        self.news.append(news)

    def trades(self) -> list[TradeView]:
        return [news.trade for news in self.news if news.trade is not None]


@asynccontextmanager
async def listening(venue: CcxtTrading) -> AsyncIterator[Notes]:
    notes = Notes()
    task = asyncio.create_task(venue.listen(notes))
    try:
        yield notes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def scripted(frames: Callable[[int, str], list[str]], **told: int) -> AsyncIterator[CcxtTrading]:
    """A private socket that answers each subscription with these frames; `frames` gets the connection's number and the id."""
    connections = 0

    async def serve(asked: web.Request) -> web.WebSocketResponse:
        nonlocal connections
        connections += 1
        socket = web.WebSocketResponse()
        await socket.prepare(asked)
        async for message in socket:
            for frame in frames(connections, json.loads(message.data)["id"]):
                await socket.send_str(frame)
        return socket

    application = web.Application()
    application.router.add_get("/ws-api/v3", serve)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    venue = trading(runner.addresses[0][1], **told)
    venue._symbols = {"BTCUSDT": "BTC/USDT"}
    try:
        yield venue
    finally:
        await venue.close()
        await runner.cleanup()


def welcome(request_id: str) -> str:
    return json.dumps({"id": request_id, "status": 200, "result": {"subscriptionId": 0}})


def told(**changes: Any) -> str:
    return json.dumps({"subscriptionId": 0, "event": REPORT | changes})


async def test_1_3_a_trade_is_the_same_to_the_last_digit_by_stream_and_by_request(venue: CcxtTrading) -> None:
    async with listening(venue) as notes:
        await until(lambda: notes.connections)
        await venue.place(request(await venue.time_ms(), quantity_base=Decimal("1.5")), allowed)
        await until(lambda: any(news.ended for news in notes.news))
        shown = await venue.trades("BTC/USDT", 0)
    assert notes.trades() == list(shown)
    assert {news.client_order_id for news in notes.news} == {OURS}


async def test_1_3_a_cancel_is_told_under_the_id_of_its_order(venue: CcxtTrading) -> None:
    async with listening(venue) as notes:
        await until(lambda: notes.connections)
        placed = (await venue.place(standing(await venue.time_ms()), allowed)).order
        assert placed is not None
        await venue.cancel(CancelRequest(OURS, placed.venue_order_id, "BTC/USDT", await venue.time_ms(), 2000), allowed)
        await until(lambda: len(notes.news) == 2)
    assert notes.news == [OrderNews(OURS, "BTC/USDT", ended, None) for ended in (False, True)]


async def test_1_3_a_connection_that_ends_or_is_hung_up_is_dialled_and_subscribed_anew(
    venue: CcxtTrading, venue_server: Server
) -> None:
    async with listening(venue) as notes:
        await until(lambda: notes.connections == 1)
        venue.hang_up("a test")
        await until(lambda: notes.connections == 2)
        venue_server._dialect.disconnect()
        await until(lambda: notes.connections == 3)
        await venue.place(request(await venue.time_ms()), allowed)
        await until(notes.trades)
    venue.hang_up("nobody is there")


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        "[]",
        "null",
        '{"subscriptionId":0,"event":{"e":"executionReport","s":"BTCUSDT"}}',
        told(n="NaN"),
        told(t=-1),
        told(L=None),
        told(m="yes"),
        told(T="soon"),
    ],
)
async def test_1_3_a_frame_that_nobody_can_read_costs_itself_alone(frame: str, caplog: pytest.LogCaptureFixture) -> None:
    async with scripted(lambda number, asked: [welcome(asked), frame, frame, told()]) as venue, listening(venue) as notes:
        await until(lambda: notes.news)
        (trade,) = notes.trades()
        assert notes.connections == 1
    assert trade.trade_id == "9"
    assert (trade.side, trade.fee_asset, trade.fee_amount) == (Side.BUY, "BNB", Decimal("0.0375"))
    assert sum("cannot be read" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize(
    "frame",
    [told(s="XYZUSDT"), '{"subscriptionId":0,"event":{"e":"outboundAccountPosition","B":[]}}'],
)
async def test_1_3_what_is_not_about_our_orders_is_passed_by(frame: str, caplog: pytest.LogCaptureFixture) -> None:
    async with scripted(lambda number, asked: [welcome(asked), frame, told()]) as venue, listening(venue) as notes:
        await until(lambda: notes.news)
    assert len(notes.news) == 1
    assert not [record for record in caplog.records if "cannot be read" in record.message]


@pytest.mark.parametrize("farewell", ["eventStreamTerminated", "serverShutdown"])
async def test_1_3_a_farewell_is_answered_by_a_new_subscription(farewell: str) -> None:
    def frames(number: int, asked: str) -> list[str]:
        bye = json.dumps({"event": {"e": farewell, "E": 1}})
        return [welcome(asked), bye] if number == 1 else [welcome(asked), told()]

    async with scripted(frames) as venue, listening(venue) as notes:
        await until(lambda: notes.news)
    assert notes.connections == 2


@pytest.mark.parametrize("answer", ["", '{"id":"%s","status":400,"error":{"code":-1022,"msg":"Signature is not valid."}}'])
async def test_1_3_a_subscription_without_a_yes_is_asked_for_again(answer: str) -> None:
    def frames(number: int, asked: str) -> list[str]:
        refused = [answer % asked] if answer else []
        return refused if number == 1 else [welcome(asked), told()]

    async with scripted(frames, subscribed_within_ms=300) as venue, listening(venue) as notes:
        await until(lambda: notes.news)
    assert notes.connections == 1
