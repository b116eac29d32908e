"""What the feed asks a venue, and how each kind of no is told. Rows 8, 9 and 15 of the mission; 6 of the issue."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import ccxt
import pytest

from streams import topics
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.gateways.venue.profile import VenueProfile
from streams.gateways.venue.reads import CcxtReads
from streams.ports.venue import KeyRights
from tests.contract.feed.conftest import KEY, QUICK, Start
from tests.contract.feed.fake_venue import FakeVenue, depth, exchange_info, market
from tests.unit.feed.fakes import HandClock, until

SYMBOLS = ("BTC/USDT", "ETH/USDT")
WITH_ACCOUNT = replace(QUICK, accounts=("main",), balances_every_ms=50, status_every_ms=100, rules_check_ms=100)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def reads(venue: FakeVenue, clock: HandClock) -> AsyncIterator[CcxtReads]:
    made = CcxtReads(VenueProfile("sim", "binance", venue.urls, timeout_ms=500), {"main": KEY}, clock)
    await made.open(SYMBOLS)
    venue.requests.clear()
    yield made
    await made.close()


async def test_a_polled_quote_carries_the_depths_sequence_and_digits(venue: FakeVenue, reads: CcxtReads) -> None:
    venue.replies["/api/v3/depth"] = depth(7, bid="0.00001230")
    frame = await reads.quote("BTC/USDT")
    assert (frame.fields["bid_price_quote"], frame.fields["venue_sequence"]) == ("0.00001230", 7)
    assert venue.requests == [("GET", "/api/v3/depth", {"symbol": "BTCUSDT", "limit": "5"})]


async def test_an_empty_side_is_said_as_missing(venue: FakeVenue, reads: CcxtReads) -> None:
    venue.replies["/api/v3/depth"] = {"lastUpdateId": 7, "bids": [], "asks": [["1", "1"]]}
    assert (await reads.quote("BTC/USDT")).fields["bid_price_quote"] is None


async def test_a_probe_measures_time_offset_and_budget(venue: FakeVenue, reads: CcxtReads, clock: HandClock) -> None:
    venue.replies["/api/v3/time"] = (200, {"X-MBX-USED-WEIGHT-1M": "100"}, {"serverTime": clock.now_ms + 5000})
    probe = await reads.probe()
    assert 0 <= probe.round_trip_ms < 500
    assert 4500 < probe.clock_offset_ms <= 5000
    assert probe.budget_left == 5900


async def test_signed_requests_follow_the_venues_clock(venue: FakeVenue, reads: CcxtReads, clock: HandClock) -> None:
    venue.replies["/api/v3/time"] = {"serverTime": clock.now_ms + 3_600_000}
    await reads.probe()
    await reads.rights("main")
    stamp = int(venue.requests[-1][2]["timestamp"])
    now_ms = ccxt.Exchange.milliseconds()
    assert abs(stamp - (now_ms + 3_600_000)) < 2000


async def test_rights_are_read_only_when_said_plainly(venue: FakeVenue, reads: CcxtReads) -> None:
    assert await reads.rights("main") == KeyRights(read=True, trade=False, withdraw=False)
    for reply in ({}, {"enableReading": True, "enableSpotAndMarginTrading": "false", "enableWithdrawals": False}, []):
        venue.replies["/sapi/v1/account/apiRestrictions"] = reply
        with pytest.raises(UnknownOutcomeError):
            await reads.rights("main")


async def test_balances_are_whole_and_exact_or_unknown(venue: FakeVenue, reads: CcxtReads) -> None:
    fields = await reads.balances("main")
    assert fields["balances"] == {"BTC": {"free": Decimal("0.5"), "used": Decimal("0.25")}}
    for broken in (
        {"balances": [{"asset": "BTC", "free": None, "locked": "0"}]},
        {"balances": [{"asset": "BTC", "free": "1"}]},
        {"balances": [{"asset": "BTC", "free": "1", "locked": "0"}] * 2},
        {"balances": [{"asset": "BTC", "free": "NaN", "locked": "0"}]},
        {"balances": {}},
        {},
        [],
        "<html>",
    ):
        venue.replies["/api/v3/account"] = broken
        with pytest.raises(UnknownOutcomeError):
            await reads.balances("main")


async def test_an_asset_that_no_message_can_name_is_left_out_and_told_once(
    venue: FakeVenue, reads: CcxtReads, caplog: pytest.LogCaptureFixture
) -> None:
    venue.replies["/api/v3/account"]["balances"].append({"asset": "weird coin", "free": "1", "locked": "0"})
    for _ in range(2):
        assert list((await reads.balances("main"))["balances"]) == ["BTC"]  # pyright: ignore[reportArgumentType]
    assert caplog.text.count("weird coin") == 1


async def test_rules_are_the_venues_filters_with_our_accounts_fees(reads: CcxtReads) -> None:
    await reads.balances("main")
    rules = (await reads.rules())["BTC/USDT"]
    assert rules["price_tick_quote"] == "0.01000000"
    assert rules["quantity_step_base"] == "0.00001000"
    assert rules["notional_min_quote"] == "5.00000000"
    assert (rules["fee_maker"], rules["fee_taker"]) == ("0.001", "0.0012")


async def test_a_symbol_that_the_venue_dropped_is_missing_from_the_rules(venue: FakeVenue, reads: CcxtReads) -> None:
    venue.replies["/api/v3/exchangeInfo"] = exchange_info(market("BTCUSDT", "BTC", "USDT", status="BREAK"))
    rules = await reads.rules()
    assert list(rules) == ["BTC/USDT"]
    assert rules["BTC/USDT"]["status"] == "closed"
    venue.replies["/api/v3/exchangeInfo"] = {"symbols": []}
    with pytest.raises(UnknownOutcomeError, match="lists no symbols"):
        await reads.rules()


async def test_an_unknown_symbol_is_refused_by_name(venue: FakeVenue, reads: CcxtReads) -> None:
    with pytest.raises(RefusedError, match=r"no spot symbol DOGE/EUR; correct venues\.sim\.symbols"):
        await reads.open((*SYMBOLS, "DOGE/EUR"))


async def test_a_precision_that_is_not_ticks_is_refused(venue: FakeVenue, reads: CcxtReads) -> None:
    reads.client.precisionMode = ccxt.DECIMAL_PLACES
    with pytest.raises(RefusedError, match="precision mode is not tick size"):
        await reads.open(SYMBOLS)


async def test_maintenance_is_read_from_status_and_from_refusals_that_say_so(venue: FakeVenue, reads: CcxtReads) -> None:
    assert await reads.maintenance() is False
    venue.replies["/sapi/v1/system/status"] = {"status": 1, "msg": "system_maintenance"}
    assert await reads.maintenance() is True
    venue.replies["/sapi/v1/system/status"] = (503, {}, {"code": -1, "msg": "System is under maintenance."})
    assert await reads.maintenance() is True
    venue.replies["/sapi/v1/system/status"] = {"status": None}
    with pytest.raises(UnknownOutcomeError):
        await reads.maintenance()


async def test_9_a_429_pauses_every_request_until_the_venue_said(venue: FakeVenue, reads: CcxtReads, clock: HandClock) -> None:
    venue.replies["/api/v3/time"] = (429, {"Retry-After": "7"}, {"code": -1003, "msg": "Too many requests."})
    with pytest.raises(UnknownOutcomeError, match="limited"):
        await reads.probe()
    venue.requests.clear()
    for asking in (reads.probe(), reads.quote("BTC/USDT"), reads.balances("main"), reads.rights("main"), reads.rules()):
        with pytest.raises(UnreachableError, match="requests are paused for 7000 ms more"):
            await asking
    assert venue.requests == []
    clock.now_ms += 7000
    await reads.quote("BTC/USDT")
    assert len(venue.requests) == 1


@pytest.mark.parametrize(
    "body", ["", "null", "[]", "{}", "<html>", '{"serverTime": null}', '{"serverTime": "soon"}', '{"server']
)
async def test_a_reply_that_nobody_can_use_is_unknown(venue: FakeVenue, reads: CcxtReads, body: str) -> None:
    venue.replies["/api/v3/time"] = (200, {}, body)
    with pytest.raises(UnknownOutcomeError):
        await reads.probe()


async def test_nobody_at_home_is_unreachable(venue: FakeVenue, reads: CcxtReads) -> None:
    await venue.stop()
    with pytest.raises(UnreachableError):
        await reads.probe()


async def test_6_wrong_credentials_end_the_start_and_show_no_secret(venue: FakeVenue, start: Start) -> None:
    venue.replies["/sapi/v1/account/apiRestrictions"] = (
        401,
        {},
        {"code": -2015, "msg": "Invalid API-key, IP, or permissions."},
    )
    with pytest.raises(RefusedError, match=r"account main: the venue refuses the feed's key: .*-2015") as caught:
        async with start(WITH_ACCOUNT) as running:
            await running.task
    assert KEY.api_key not in str(caught.value)
    assert KEY.secret not in str(caught.value)
    assert "signature" not in str(caught.value)


async def test_6_a_key_that_may_withdraw_ends_the_start(venue: FakeVenue, start: Start) -> None:
    venue.replies["/sapi/v1/account/apiRestrictions"]["enableWithdrawals"] = True
    with pytest.raises(RefusedError, match="may withdraw"):
        async with start(WITH_ACCOUNT) as running:
            await running.task


async def test_a_zero_tick_ends_the_start(venue: FakeVenue, start: Start) -> None:
    venue.replies["/api/v3/exchangeInfo"] = exchange_info(
        market("BTCUSDT", "BTC", "USDT", tick="0.00000000"), market("ETHUSDT", "ETH", "USDT")
    )
    with pytest.raises(RefusedError, match="BTC/USDT: price_tick_quote"):
        async with start(WITH_ACCOUNT) as running:
            await running.task


async def test_what_changes_at_the_venue_is_said(venue: FakeVenue, start: Start) -> None:
    async with start(WITH_ACCOUNT) as running:
        log = running.log
        await until(lambda: log.of(topics.VENUE_STATUS) and len(log.of(topics.VENUE_RULES)) == 2, "rules and status are said")
        venue.replies["/api/v3/account"]["balances"][0]["free"] = "0.75000000"
        await until(lambda: str(log.said(topics.ACCOUNT_BALANCES)[-1].balances["BTC"].free) == "0.75", "the balance is said")
        changed = market("BTCUSDT", "BTC", "USDT", tick="0.10000000")
        venue.replies["/api/v3/exchangeInfo"] = exchange_info(changed, market("ETHUSDT", "ETH", "USDT"))
        await until(lambda: log.said(topics.VENUE_RULES)[-1].rules_version == 2, "the changed rule is said")
        assert str(log.said(topics.VENUE_RULES)[-1].price_tick_quote) == "0.1"
        venue.replies["/sapi/v1/account/apiRestrictions"]["enableWithdrawals"] = True
        await until(lambda: log.said(topics.VENUE_STATUS)[-1].key_may_withdraw, "a right that appeared is said")
