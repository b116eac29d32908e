"""One way to build a client, and one way to read its errors: against a venue that says every kind of no."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streams.domain.errors import RefusedError
from streams.domain.ids import client_order_id
from streams.gateways.clock import SystemClock
from streams.gateways.venue.budget import RequestBudget
from streams.gateways.venue.client import (
    Credentials,
    Failure,
    VenueProfile,
    facts_of,
    make_client,
    redact,
    signed_at,
)
from tests.contract.feed.fake_venue import FakeVenue

KEY = Credentials("the-api-key-0123456789", "the-secret-0123456789")


def budget() -> RequestBudget:
    return RequestBudget("sim", SystemClock(), 6000)


@pytest.fixture
async def client(venue: FakeVenue) -> AsyncIterator[Any]:
    made = make_client(VenueProfile("sim", "binance", venue.urls), KEY, False, budget())
    yield made
    await made.close()


async def refused(call: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        await call
    return caught.value


def leaves(node: Any) -> list[str]:
    return [leaf for value in node.values() for leaf in leaves(value)] if isinstance(node, dict) else [str(node)]


@pytest.mark.parametrize("pro", [False, True])
async def test_no_address_of_the_real_exchange_is_left(venue: FakeVenue, pro: bool) -> None:
    client = make_client(VenueProfile("sim", "binance", venue.urls), KEY, pro, budget())
    addresses = leaves(client.urls)
    assert len(addresses) > 20
    assert all("://127.0.0.1:" in address for address in addresses), addresses
    for switch in (client.set_sandbox_mode, client.enable_demo_trading):
        with pytest.raises(RefusedError, match="replace the configured addresses"):
            switch(True)
    await client.close()


async def test_loading_markets_makes_exactly_one_request(venue: FakeVenue, client: Any) -> None:
    await client.load_markets()
    assert [path for _, path, _ in venue.requests] == ["/api/v3/exchangeInfo"]


async def test_without_configured_addresses_the_dialects_own_stay() -> None:
    client = make_client(VenueProfile("real", "binance"), None, False, budget())
    assert client.urls["api"]["public"] == "https://api.binance.com/api/v3"
    await client.close()


@pytest.mark.parametrize(
    ("status", "body", "failure", "code"),
    [
        (400, {"code": -1121, "msg": "Invalid symbol."}, Failure.REFUSED, "-1121"),
        (400, {"code": -1013, "msg": "Filter failure: LOT_SIZE"}, Failure.REFUSED, "-1013"),
        (400, {"code": -2010, "msg": "Account has insufficient balance for requested action."}, Failure.REFUSED, "-2010"),
        (400, {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}, Failure.CLOCK, "-1021"),
        (401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, Failure.AUTHENTICATION, "-2015"),
        (400, {"code": -1022, "msg": "Signature for this request is not valid."}, Failure.AUTHENTICATION, "-1022"),
        (400, {"code": -1003, "msg": "Too many requests."}, Failure.LIMITED, "-1003"),
        (429, {"code": -1003, "msg": "Too many requests."}, Failure.LIMITED, "-1003"),
        (418, "banned", Failure.LIMITED, None),
        (403, "<html>firewall</html>", Failure.LIMITED, None),
        (400, {"code": -1006, "msg": "An unexpected response was received."}, Failure.UNKNOWN, "-1006"),
        (504, {"code": -1007, "msg": "Timeout waiting for response from backend server."}, Failure.UNKNOWN, "-1007"),
        (503, {"code": -1008, "msg": "Server is currently overloaded"}, Failure.UNKNOWN, "-1008"),
        (500, "", Failure.UNKNOWN, None),
        (524, "", Failure.UNKNOWN, None),
        (404, "<html>", Failure.UNKNOWN, None),
    ],
)
async def test_a_failure_is_read_from_codes(
    venue: FakeVenue, client: Any, status: int, body: Any, failure: Failure, code: str | None
) -> None:
    venue.replies["/api/v3/account"] = (status, {}, body)
    facts = facts_of(await refused(client.private_get_account()))
    assert (facts.failure, facts.api_code, facts.http_status) == (failure, code, status)
    assert KEY.secret not in facts.text
    assert KEY.api_key not in facts.text


async def test_a_revoked_key_is_no_passing_ban_even_after_a_success(venue: FakeVenue, client: Any) -> None:
    venue.replies["/api/v3/account"] = {"balances": []}
    await client.private_get_account()
    venue.replies["/api/v3/account"] = (401, {}, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."})
    assert facts_of(await refused(client.private_get_account())).failure is Failure.AUTHENTICATION


async def test_retry_after_is_carried_and_has_a_default(venue: FakeVenue, client: Any) -> None:
    venue.replies["/api/v3/time"] = (429, {"Retry-After": "7"}, {"code": -1003, "msg": "Too many requests."})
    assert facts_of(await refused(client.fetch_time())).retry_after_ms == 7000
    client.budget = budget()  # the first answer paused the other
    venue.replies["/api/v3/time"] = (429, {}, {"code": -1003, "msg": "Too many requests."})
    assert facts_of(await refused(client.fetch_time())).retry_after_ms == 60_000


async def test_nobody_at_home_is_unreachable_and_a_lost_reply_is_unknown(venue: FakeVenue) -> None:
    gone = make_client(VenueProfile("sim", "binance", venue.urls | {"rest": "http://127.0.0.1:1"}), None, False, budget())
    assert facts_of(await refused(gone.fetch_time())).failure is Failure.UNREACHABLE
    await gone.close()

    async def never(_: Any = None) -> None:
        await asyncio.Event().wait()

    venue.replies["/api/v3/time"] = lambda request: never()
    slow = make_client(VenueProfile("sim", "binance", venue.urls, timeout_ms=100), None, False, budget())
    assert facts_of(await refused(slow.fetch_time())).failure is Failure.UNKNOWN
    await slow.close()


async def test_missing_credentials_are_an_authentication_failure(venue: FakeVenue) -> None:
    client = make_client(VenueProfile("sim", "binance", venue.urls), None, False, budget())
    assert facts_of(await refused(client.private_get_account())).failure is Failure.AUTHENTICATION
    await client.close()


async def test_the_requests_timestamp_is_ours_within_signed_at(venue: FakeVenue, client: Any) -> None:
    venue.replies["/api/v3/account"] = {"balances": []}
    with signed_at(1_234_567_890_123):
        await client.private_get_account()
    await client.private_get_account()
    stamps = [query["timestamp"] for _, path, query in venue.requests if path == "/api/v3/account"]
    assert stamps[0] == "1234567890123"
    assert stamps[1] != stamps[0]


async def test_used_weight_is_read_from_the_reply(venue: FakeVenue, client: Any) -> None:
    venue.replies["/api/v3/time"] = (200, {"X-MBX-USED-WEIGHT-1M": "42"}, {"serverTime": 1})
    assert client.budget.weight_left == 6000
    await client.fetch_time()
    assert client.budget.weight_left == 5958


async def test_spot_error_table_survives_configured_addresses(venue: FakeVenue, client: Any) -> None:
    venue.replies["/api/v3/time"] = (400, {}, {"code": -1004, "msg": "Server is busy, please wait and try again"})
    assert type(await refused(client.fetch_time())).__name__ == "OperationFailed"


def test_secrets_are_never_shown() -> None:
    assert "the-" not in repr(KEY)
    text = "binance GET https://x/api/v3/account?timestamp=1&signature=abcdef failed, X-MBX-APIKEY: the-api-key"
    assert redact(text) == "binance GET https://x/api/v3/account?[redacted] failed, X-MBX-APIKEY: [redacted]"


@pytest.mark.parametrize(
    ("dialect", "urls", "words"),
    [
        ("kraken", None, "no certified profile"),
        ("binance", {"rest": "http://127.0.0.1:1"}, "stream, ws_api missing"),
        ("binance", {"rest": "127.0.0.1:1"}, "not understood"),
        ("binance", {"futures": "http://127.0.0.1:1"}, "not understood"),
    ],
)
def test_a_profile_that_cannot_work_is_refused(dialect: str, urls: dict[str, str] | None, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        VenueProfile("sim", dialect, urls)


def test_our_order_ids_are_legal_on_every_certified_venue() -> None:
    profile = VenueProfile("sim", "binance")
    assert profile.takes_client_id(client_order_id("c" * 32, attempt=10_000_000))
    assert not profile.takes_client_id("x" * 37)
    assert not profile.takes_client_id("white space")
