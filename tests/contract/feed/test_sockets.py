"""Real sockets: a bad frame, a silent one, a dead one, and back. Rows 10 and 12 of the mission."""

import json

import pytest

from streams import topics
from tests.contract.feed.conftest import QUICK, Running, Start
from tests.contract.feed.fake_venue import FakeVenue, change, depth, quote
from tests.unit.feed.fakes import until

DLQ = "market.tickers.v1.feed.dlq"

BAD_FRAMES = {
    "broken JSON": '{"u":5,"s":"BTCUSDT","b":"1',
    "NaN literal": '{"u":5,"s":"BTCUSDT","b":NaN,"B":"1","a":"2","A":"1"}',
    "plain text": "hello",
    "empty array": "[]",
    "array of quotes": json.dumps([quote(5)]),
    "number": "17",
    "null symbol": json.dumps(quote(5, symbol=None)),
    "unknown symbol": json.dumps(quote(5, symbol="DOGEUSDT")),
    "NaN": json.dumps(quote(5, bid="NaN")),
    "infinity": json.dumps(quote(5, ask="Infinity")),
    "null price": json.dumps(quote(5, bid=None)),
    "zero": json.dumps(quote(5, bid="0.00000000")),
    "negative": json.dumps(quote(5, bid="-100.00000000")),
    "absurd": json.dumps(quote(5, bid="1e400")),
    "float": json.dumps(quote(5, bid=100.0)),
    "crossed": json.dumps(quote(5, bid="100.20000000")),
    "locked": json.dumps(quote(5, bid="100.10000000")),
    "no sequence": json.dumps(quote(None)),
    "foreign event": json.dumps({"e": "somethingNew", "E": 1}),
    "broken book change": json.dumps(change(5, 6, [["NaN", "1"]], [])),
    "bytes that are no text": "\x00",
}


async def subscribed(venue: FakeVenue, running: Running) -> None:
    await until(lambda: "btcusdt@bookTicker" in venue.subscribed, "quotes are subscribed")
    await until(lambda: "ethusdt@depth@100ms" in venue.subscribed, "books are subscribed")
    await until(lambda: len(running.log.of(topics.MARKET_TICKERS)) >= 2, "each symbol was asked for once")


async def test_a_quote_goes_through_with_the_venues_own_digits(venue: FakeVenue, start: Start) -> None:
    async with start() as running:
        await subscribed(venue, running)
        await venue.send(quote(41, bid="64000.10000000", ask="64000.11000000"))
        await until(lambda: running.log.said(topics.MARKET_TICKERS)[-1].venue_sequence == 41, "the quote arrives")
        ticker = running.log.said(topics.MARKET_TICKERS)[-1]
        assert (str(ticker.bid_price_quote), str(ticker.ask_price_quote), ticker.symbol) == ("64000.1", "64000.11", "BTC/USDT")
        assert ticker.venue_time_ms is None
        assert ticker.received_at_ms > 1_700_000_000_000


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES)
async def test_6_a_bad_frame_is_a_dead_letter_and_the_flow_goes_on(venue: FakeVenue, start: Start, frame: str) -> None:
    async with start() as running:
        await subscribed(venue, running)
        connections = venue.connections
        await venue.send(frame)
        await venue.send(quote(77))
        await until(lambda: running.log.said(topics.MARKET_TICKERS)[-1].venue_sequence == 77, "the next quote arrives")
        assert venue.connections == connections, "on the same connection"
        letters = running.log.of(DLQ)
        assert letters
        assert {letter.value for letter in letters} == {frame.encode()}
        assert dict(letters[0].headers)["__connect.errors.exception.message"]
        assert 5 not in {ticker.venue_sequence for ticker in running.log.said(topics.MARKET_TICKERS)}


async def test_a_flood_of_bad_frames_does_not_hold_up_good_ones(venue: FakeVenue, start: Start) -> None:
    async with start() as running:
        await subscribed(venue, running)
        for number in range(500):
            await venue.send("{" * (number % 7 + 1))
        await venue.send(quote(77))
        await until(lambda: running.log.said(topics.MARKET_TICKERS)[-1].venue_sequence == 77, "the next quote arrives")
        await until(lambda: len(running.log.of(DLQ)) == 1000, "each is kept, from both sockets")


async def test_a_stall_with_live_pongs_is_detected_and_dialled_anew(venue: FakeVenue, start: Start) -> None:
    async with start() as running:
        await subscribed(venue, running)
        await venue.send(quote(10))
        await until(lambda: running.log.said(topics.MARKET_TICKERS)[-1].venue_sequence == 10, "the socket is alive")
        connections = venue.connections
        venue.replies["/api/v3/depth"] = depth(20, bid="99.00000000")
        await until(lambda: venue.connections > connections, "the silent socket is dialled anew")
        await until(lambda: len([one for one in venue.sockets if not one.closed]) == 2, "and the old one is closed")
        await venue.send(quote(30, bid="99.50000000"))
        await until(
            lambda: 30 in {ticker.venue_sequence for ticker in running.log.said(topics.MARKET_TICKERS)},
            "the new socket brings news",
        )


async def test_a_quiet_market_is_not_taken_for_a_stall(venue: FakeVenue, start: Start) -> None:
    async with start() as running:
        await subscribed(venue, running)
        await venue.send(quote(10))
        connections = venue.connections
        asked = len([1 for _, path, _ in venue.requests if path == "/api/v3/depth"])
        await until(
            lambda: len([1 for _, path, _ in venue.requests if path == "/api/v3/depth"]) > asked + 8,
            "the silent symbols were compared with REST several times",
        )
        assert venue.connections == connections


async def test_10_rest_polling_takes_over_from_a_dead_socket_and_ends_with_it(
    venue: FakeVenue, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start() as running:
        await subscribed(venue, running)
        venue.accepting = False
        await venue.drop_sockets()
        await until(lambda: "polling takes over" in caplog.text, "polling takes over")
        venue.replies["/api/v3/depth"] = depth(50, bid="98.00000000")
        await until(lambda: running.log.said(topics.MARKET_TICKERS)[-1].venue_sequence == 50, "polled quotes arrive")
        await until(lambda: running.log.said(topics.VENUE_LATENCY)[-1].socket_age_ms is None, "the dead socket is told")
        venue.accepting = True
        await until(lambda: [one for one in venue.sockets if not one.closed], "the socket is dialled again", 30)
        await venue.send(quote(60, bid="98.50000000"))
        await until(lambda: "the socket brings BTC/USDT again; polling ends" in caplog.text, "polling ends")
        assert 60 in {ticker.venue_sequence for ticker in running.log.said(topics.MARKET_TICKERS)}


async def test_a_dropped_socket_is_dialled_again(venue: FakeVenue, start: Start) -> None:
    async with start() as running:
        await subscribed(venue, running)
        await venue.drop_sockets()
        await until(lambda: len([one for one in venue.sockets if not one.closed]) == 2, "both sockets are back")
        await venue.send(quote(91))
        await until(lambda: running.log.said(topics.MARKET_TICKERS)[-1].venue_sequence == 91, "news flow again")


async def test_a_farewell_is_answered_by_a_new_connection(venue: FakeVenue, start: Start) -> None:
    async with start() as running:
        await subscribed(venue, running)
        connections = venue.connections
        await venue.send({"e": "serverShutdown", "E": 1})
        await until(lambda: venue.connections == connections + 2, "both sockets were dialled anew")
        await until(lambda: len([one for one in venue.sockets if not one.closed]) == 2, "the old ones are closed")
        assert not running.log.of(DLQ)


async def test_a_book_is_kept_in_sequence_and_rebuilt_after_a_gap(venue: FakeVenue, start: Start) -> None:
    async with start() as running:
        await subscribed(venue, running)
        venue.replies["/api/v3/depth"] = depth(10)
        await venue.send(change(9, 11, [["99.00000000", "4.00000000"]], []))
        await until(lambda: running.log.of(topics.MARKET_BOOKS), "the book is in sequence")
        book = running.log.said(topics.MARKET_BOOKS)[-1]
        assert [(str(level.price_quote), str(level.quantity_base)) for level in book.bids] == [("100", "1.5"), ("99", "4")]
        assert (book.venue_sequence, book.venue_time_ms) == (11, 1_700_000_000_123)
        venue.replies["/api/v3/depth"] = depth(20, bid="97.00000000")
        await venue.send(change(15, 21, [["96.00000000", "1.00000000"]], []))
        await until(lambda: running.log.said(topics.MARKET_BOOKS)[-1].venue_sequence == 21, "the book is rebuilt")
        bids = [str(level.price_quote) for level in running.log.said(topics.MARKET_BOOKS)[-1].bids]
        assert bids == ["97", "96"]


async def test_a_refused_subscription_is_tried_again_with_pauses(venue: FakeVenue, start: Start) -> None:
    venue.refusing = 2
    async with start() as running:
        await subscribed(venue, running)
        await venue.send(quote(5))
        await until(lambda: running.log.said(topics.MARKET_TICKERS)[-1].venue_sequence == 5, "quotes flow in the end")


async def test_many_symbols_stand_on_several_sockets(venue: FakeVenue, start: Start) -> None:
    async with start(streams_per_socket=1) as running:
        await subscribed(venue, running)
        await until(lambda: venue.connections == 4, "two for quotes, two for books")
        await venue.send(quote(5, symbol="ETHUSDT"))
        await until(lambda: running.log.said(topics.MARKET_TICKERS)[-1].symbol == "ETH/USDT", "quotes flow")


async def test_a_socket_is_renewed_before_the_venue_cuts_it(venue: FakeVenue, start: Start) -> None:
    async with start(socket_life_s=0.3) as running:
        await until(lambda: venue.connections >= 6, "both sockets were renewed twice")
        await until(lambda: len([one for one in venue.sockets if not one.closed]) <= 2, "and none is left behind")
        assert not running.task.done()


async def test_nothing_is_left_open_at_the_end(venue: FakeVenue, start: Start) -> None:
    async with start(QUICK) as running:
        await subscribed(venue, running)
    await until(lambda: all(socket.closed for socket in venue.sockets), "all sockets are closed")
