"""The feed's start: what it waits for and what it refuses (6: wrong credentials, withdrawal right); then its loops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from schemas.venue import TradingStatus
from streams import topics
from streams.agents.feed.agent import Feed
from streams.agents.feed.config import FeedConfig
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.ports.venue import Frame, KeyRights
from tests.unit.feed.fakes import FakeReads, FakeStreams, HandClock, MemoryLog, quote_frame, rules_fields, until

QUICK = FeedConfig(
    "sim",
    ("BTC/USDT",),
    ("main",),
    probe_every_ms=20,
    balances_every_ms=20,
    books_every_ms=20,
    polls_per_second_max=100,
    status_check_ms=20,
    rules_check_ms=20,
)


@asynccontextmanager
async def running(reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock) -> AsyncIterator[Feed]:
    feed = Feed(QUICK, reads, streams, log, clock)
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        feed.stop()
        await task
        assert reads.closed


@pytest.fixture
def reads() -> FakeReads:
    return FakeReads()


@pytest.fixture
def streams() -> FakeStreams:
    return FakeStreams()


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def refused(reads: FakeReads) -> str:
    with pytest.raises(RefusedError) as caught:
        await Feed(QUICK, reads, FakeStreams(), MemoryLog(), HandClock()).run()
    assert caught.value.exit_code == 2
    assert reads.closed
    return str(caught.value)


async def test_6_a_key_that_may_withdraw_is_refused(reads: FakeReads) -> None:
    reads.rights_answer = KeyRights(read=True, trade=False, withdraw=True)
    assert "account main: the feed's key may withdraw" in await refused(reads)


async def test_6_wrong_credentials_are_refused(reads: FakeReads) -> None:
    reads.rights_answer = RefusedError("authentication: -2015")
    assert "account main: the venue refuses the feed's key" in await refused(reads)


async def test_a_key_that_may_not_read_is_refused(reads: FakeReads) -> None:
    reads.rights_answer = KeyRights(read=False, trade=False, withdraw=False)
    assert "may not read" in await refused(reads)


async def test_an_unknown_symbol_is_refused(reads: FakeReads) -> None:
    reads.open_answers = [RefusedError("venue sim has no spot symbol DOGE/EUR")]
    assert "DOGE/EUR" in await refused(reads)


async def test_unusable_rules_are_refused(reads: FakeReads) -> None:
    reads.rules_answer = {"BTC/USDT": rules_fields(price_tick_quote=None)}
    assert "price_tick_quote" in await refused(reads)


async def test_a_venue_that_is_away_is_waited_for(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    reads.open_answers = [UnreachableError("venue sim: nobody answers")]
    async with running(reads, streams, log, clock):
        await until(lambda: log.of(topics.VENUE_RULES), "the feed opens when the venue answers")
    assert reads.opened == 2
    assert "nobody answers; waiting for the venue" in caplog.text


async def test_it_says_what_the_venue_says(reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock) -> None:
    async with running(reads, streams, log, clock):
        await until(lambda: streams.sink, "the sockets are subscribed")
        await until(lambda: log.of(topics.VENUE_LATENCY) and log.of(topics.VENUE_STATUS), "probe and status")
    assert str(log.said(topics.ACCOUNT_BALANCES)[0].balances["USDT"].free) == "10"
    latency = log.said(topics.VENUE_LATENCY)[0]
    assert (latency.probe_ms, latency.clock_offset_ms, latency.budget_left, latency.socket_age_ms) == (12, -3, 5990, 1000)
    status = log.said(topics.VENUE_STATUS)[0]
    assert (status.status, status.account, status.key_may_read, status.key_may_trade, status.key_may_withdraw) == (
        TradingStatus.TRADING,
        "main",
        True,
        False,
        False,
    )


@pytest.mark.parametrize(
    "failure", [UnknownOutcomeError("no usable answer"), UnreachableError("nobody"), RefusedError("no"), TimeoutError()]
)
async def test_a_failed_probe_is_the_worst_latency_not_a_missing_one(
    reads: FakeReads,
    streams: FakeStreams,
    log: MemoryLog,
    clock: HandClock,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    reads.probe_answer = failure
    async with running(reads, streams, log, clock):
        await until(lambda: len(log.of(topics.VENUE_LATENCY)) > 3, "probes go on")
    assert {latency.probe_ms for latency in log.said(topics.VENUE_LATENCY)} == {None}
    assert caplog.text.count("no probe") == 1, "one line for one cause"


async def test_status_is_said_at_once_when_it_changes_and_now_and_then_when_not(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock
) -> None:
    async with running(reads, streams, log, clock):
        await until(lambda: len(log.of(topics.VENUE_STATUS)) == 1, "said at start")
        reads.maintenance_answer = True
        await until(lambda: len(log.of(topics.VENUE_STATUS)) == 2, "said when it changes")
        clock.now_ms += QUICK.status_every_ms
        await until(lambda: len(log.of(topics.VENUE_STATUS)) == 3, "said again after a minute")
    assert [status.status for status in log.said(topics.VENUE_STATUS)] == [
        TradingStatus.TRADING,
        TradingStatus.MAINTENANCE,
        TradingStatus.MAINTENANCE,
    ]


async def test_a_revoked_key_is_told_and_does_not_end_the_feed(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock
) -> None:
    async with running(reads, streams, log, clock):
        await until(lambda: log.of(topics.VENUE_STATUS), "said at start")
        reads.rights_answer = RefusedError("authentication: -2015")
        clock.now_ms += QUICK.status_every_ms
        await until(lambda: log.said(topics.VENUE_STATUS)[-1].key_may_read is False, "the key is told as useless")


async def test_a_book_is_said_once_for_each_change(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock
) -> None:
    def book(sequence: int, bid: str) -> Frame:
        level = {"price_quote": bid, "quantity_base": "1"}
        fields = {"bids": [level], "asks": [level | {"price_quote": "101"}], "venue_sequence": sequence}
        return Frame("BTC/USDT", fields, 5, b"")

    async with running(reads, streams, log, clock):
        streams.frames = [book(1, "100")]
        await until(lambda: log.of(topics.MARKET_BOOKS), "the book is said")
        await until(lambda: len(log.of(topics.VENUE_LATENCY)) > 5, "time passes")
        assert len(log.of(topics.MARKET_BOOKS)) == 1
        streams.frames = [book(2, "101")]
        await until(lambda: log.of("market.tickers.v1.feed.dlq"), "a crossed book is a dead letter")
        assert len(log.of(topics.MARKET_BOOKS)) == 1


async def test_books_that_stand_still_while_quotes_move_are_dialled_anew(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock
) -> None:
    async with running(reads, streams, log, clock):
        await until(lambda: streams.sink, "the sockets are subscribed")
        clock.now_ms += QUICK.stall_after_ms + 1
        assert streams.sink is not None
        streams.sink.quote(quote_frame(2))
        await until(lambda: streams.resets == [True], "the books' sockets are closed")


async def test_a_log_that_is_away_for_too_long_ends_the_role(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock
) -> None:
    log.age_ms = QUICK.unacked_ms_max + 1
    with pytest.raises(UnreachableError, match="has not acknowledged"):
        await Feed(QUICK, reads, streams, log, clock).run()
    assert reads.closed


async def test_a_garbled_balance_is_not_said_and_does_not_end_the_feed(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock
) -> None:
    async with running(reads, streams, log, clock):
        await until(lambda: log.of(topics.VENUE_LATENCY), "it runs")
        reads.balances_answer = {"balances": {"USDT": {"free": "-1", "used": "0"}}, "received_at_ms": 1}
        await until(lambda: len(log.of(topics.VENUE_LATENCY)) > 5, "it goes on")
    assert {str(said.balances["USDT"].free) for said in log.said(topics.ACCOUNT_BALANCES)} == {"10"}


async def test_stopping_does_not_wait_for_a_venue_that_is_away(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock
) -> None:
    reads.open_answers = [UnreachableError("nobody answers") for _ in range(100)]
    async with running(reads, streams, log, clock):
        await until(lambda: reads.opened == 1, "it has asked once")
    assert log.outputs == []


async def test_a_feeds_key_that_may_trade_is_told_but_taken(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    reads.rights_answer = KeyRights(read=True, trade=True, withdraw=False)
    async with running(reads, streams, log, clock):
        await until(lambda: log.of(topics.VENUE_STATUS), "it starts")
    assert "one that may only read is enough" in caplog.text


async def test_a_venue_that_refuses_a_question_is_not_asked_again_at_once(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(reads, streams, log, clock):
        await until(lambda: len(log.of(topics.ACCOUNT_BALANCES)) > 1, "balances flow")
        reads.balances_answer = RefusedError("authentication: -2015")
        await until(lambda: "no balances of main" in caplog.text, "the refusal is told")
        asked = reads.balances_asked
        probes = len(log.of(topics.VENUE_LATENCY))
        await until(lambda: len(log.of(topics.VENUE_LATENCY)) > probes + 5, "everything else goes on")
        assert reads.balances_asked == asked


async def test_a_symbol_whose_quote_is_refused_does_not_hold_up_the_others(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock
) -> None:
    reads.quote_answer = RefusedError("refused: -1121")
    async with running(reads, streams, log, clock):
        await until(lambda: reads.quotes_asked == 1, "the symbol was asked for")
        clock.now_ms += QUICK.stall_after_ms
        reads.quote_answer = quote_frame(9)
        await until(lambda: log.of(topics.MARKET_TICKERS), "and soon again")


async def test_a_feed_without_accounts_says_the_status_of_the_venue_alone(
    reads: FakeReads, streams: FakeStreams, log: MemoryLog, clock: HandClock
) -> None:
    feed = Feed(replace(QUICK, accounts=()), reads, streams, log, clock)
    task = asyncio.create_task(feed.run())
    await until(lambda: log.of(topics.VENUE_STATUS), "the status is said")
    feed.stop()
    await task
    status = log.said(topics.VENUE_STATUS)[0]
    assert (status.account, status.key_may_read, status.status) == (None, None, TradingStatus.TRADING)
    assert log.of(topics.ACCOUNT_BALANCES) == []
