"""From the simulated venue to real Kafka; and what happens when either goes away. 4 (feed) and 6 of the issue."""

import asyncio
from decimal import Decimal

import pytest

from schemas.envelope import Envelope
from schemas.venue import TradingStatus
from streams import topics
from streams.domain.errors import RefusedError
from streams.local.broker import Broker
from streams.topics import partition_of
from tests.contract.feed.conftest import QUICK
from tests.contract.feed.fake_venue import FakeVenue, depth, exchange_info, quote
from tests.stack.feed.conftest import CONFIG, Credentials, Install, SimulatedVenue

DLQ = topics.dead_letter(topics.MARKET_TICKERS, "feed")


async def test_4_what_the_venue_says_arrives_in_every_topic_of_the_feed(
    broker, install: Install, simulator: SimulatedVenue
) -> None:
    async with install(broker.bootstrap) as ours:
        async with ours.feed(simulator.urls):
            both = {"BTC/USDT", "ETH/USDT"}
            tickers = await ours.until(
                topics.MARKET_TICKERS,
                lambda said: len(said) > 50 and {ticker.symbol for ticker in said} == both,
                "quotes of both symbols",
            )
            books = await ours.until(
                topics.MARKET_BOOKS, lambda said: {book.symbol for book in said} == both, "books of both symbols"
            )
            probes = await ours.until(topics.VENUE_LATENCY, lambda said: len(said) > 3, "probes")
            (status,) = await ours.until(topics.VENUE_STATUS, lambda said: said, "status")
            rules = await ours.until(topics.VENUE_RULES, lambda said: len(said) == 2, "rules of both symbols")
            balances = await ours.until(topics.ACCOUNT_BALANCES, lambda said: len(said) > 1, "balances")
        assert not await ours.records(DLQ)
        raw = await ours.records(topics.MARKET_TICKERS)

    ranges = {"BTC/USDT": (40_000, 70_000), "ETH/USDT": (1_500, 4_000)}
    for ticker in tickers:
        low, high = ranges[ticker.symbol]
        assert low < ticker.bid_price_quote < ticker.ask_price_quote < high
    assert all(len(book.bids) > 3 and len(book.asks) > 3 and book.venue_time_ms for book in books)
    assert all(probe.probe_ms is not None and abs(probe.clock_offset_ms) < 2000 for probe in probes)
    assert probes[-1].socket_age_ms is not None
    assert probes[-1].budget_left is not None
    assert (status.status, status.account, status.key_may_read, status.key_may_trade, status.key_may_withdraw) == (
        TradingStatus.TRADING,
        "main",
        True,
        False,
        False,
    )
    assert {(rule.symbol, rule.rules_version) for rule in rules} == {("BTC/USDT", 1), ("ETH/USDT", 1)}
    assert balances[-1].balances["BTC"].free == Decimal("0.25")
    envelopes = [Envelope.read(record.headers) for record in raw]
    assert len({envelope.id for envelope in envelopes}) == len(raw)
    assert len({envelope.traceparent for envelope in envelopes}) == len(raw)
    for record in raw:
        assert record.key in (b"sim:BTC/USDT", b"sim:ETH/USDT")
        assert record.partition == partition_of(record.key, topics.partitions_of(topics.MARKET_TICKERS, 2))


async def test_sockets_that_the_venue_ends_are_dialled_again(broker, install: Install, simulator: SimulatedVenue) -> None:
    async with install(broker.bootstrap) as ours, ours.feed(simulator.urls):
        before = len(await ours.until(topics.MARKET_TICKERS, lambda said: len(said) > 10, "quotes flow"))
        await simulator.control("disconnect")
        await ours.until(topics.MARKET_TICKERS, lambda said: len(said) > before + 40, "quotes flow again")
        books = len(await ours.said(topics.MARKET_BOOKS))
        await ours.until(topics.MARKET_BOOKS, lambda said: len(said) > books + 2, "books are rebuilt")


async def test_a_restart_does_not_change_the_rules_version(broker, install: Install, simulator: SimulatedVenue) -> None:
    async with install(broker.bootstrap) as ours:
        for start in (1, 2):
            async with ours.feed(simulator.urls):
                wanted = 2 * start
                said = await ours.until(topics.VENUE_RULES, lambda said, wanted=wanted: len(said) == wanted, "rules are said")
        assert {rules.rules_version for rules in said} == {1}


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (Credentials("sim-reader", "sim-wrong-secret"), "refuses the feed's key"),
        (Credentials("sim-nobody", "sim-reader-secret"), "refuses the feed's key"),
        (Credentials("sim-withdraw", "sim-withdraw-secret"), "may withdraw"),
    ],
    ids=["wrong secret", "unknown key", "may withdraw"],
)
async def test_6_a_key_that_must_not_be_used_is_refused(
    broker, install: Install, simulator: SimulatedVenue, key: Credentials, why: str
) -> None:
    async with install(broker.bootstrap) as ours:
        with pytest.raises(RefusedError, match=why):
            async with asyncio.timeout(30):
                await ours.make_feed(simulator.urls, key).run()
        assert not await ours.records(topics.MARKET_TICKERS)


async def test_6_a_bad_frame_goes_to_the_dead_letters_with_its_bytes(broker, install: Install) -> None:
    venue = FakeVenue(
        replies={
            "/api/v3/exchangeInfo": exchange_info(),
            "/api/v3/time": {"serverTime": 1_700_000_000_000},
            "/api/v3/depth": depth(1),
            "/sapi/v1/system/status": {"status": 0},
        }
    )
    await venue.start()
    try:
        async with install(broker.bootstrap) as ours, ours.feed(venue.urls, config=QUICK):
            await ours.until(topics.MARKET_TICKERS, lambda said: len(said) >= 2, "first quotes")
            for frame in ("{broken", quote(50, bid="NaN"), quote(50, symbol=None), quote(50, bid="100.2")):
                await venue.send(frame)
            await venue.send(quote(60))
            await ours.until(topics.MARKET_TICKERS, lambda said: 60 in {one.venue_sequence for one in said}, "the flow goes on")
            letters = await ours.records(DLQ)
            while len({letter.value for letter in letters}) < 4:
                await asyncio.sleep(0.1)
                letters = await ours.records(DLQ)
    finally:
        await venue.stop()
    assert b"{broken" in {letter.value for letter in letters}
    reasons = b" | ".join(letter.header("__connect.errors.exception.message") or b"" for letter in letters)
    for word in (b"NaN", b"crossed", b"not subscribed"):
        assert word in reasons


async def test_6_a_broker_that_is_away_is_ridden_out_with_the_newest_quotes(
    own_broker: Broker, install: Install, simulator: SimulatedVenue
) -> None:
    async with install(own_broker.bootstrap) as ours, ours.feed(simulator.urls, config=CONFIG):
        await ours.until(topics.MARKET_TICKERS, lambda said: len(said) > 20, "quotes flow")
        own_broker.pause()
        paused_at_ms = ours.clock.wall_ms()
        await asyncio.sleep(5.0)  # how long the broker is away is the subject here, not a wait for something
        own_broker.resume()
        resumed_at_ms = ours.clock.wall_ms()
        said = await ours.until(
            topics.MARKET_TICKERS,
            lambda said: said and max(one.received_at_ms for one in said) > resumed_at_ms + 1000,
            "quotes flow again",
            60,
        )
        ids = [Envelope.read(record.headers).id for record in await ours.records(topics.MARKET_TICKERS)]
    assert len(ids) == len(set(ids)), "nothing was written twice"
    assert any(paused_at_ms < one.received_at_ms < resumed_at_ms for one in said), "what arrived meanwhile is not lost"
