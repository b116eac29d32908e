"""3.2: request weight, orders in ten seconds and on a day, warnings and bans."""

from streams.simulator.binance.errors import limit_exceeded
from streams.simulator.limits import DAY_MS, MINUTE_MS, TEN_SECONDS_MS, Exceeded, Limits
from streams.simulator.settings import LimitSettings

MIDNIGHT_MS = 20_000 * DAY_MS


def limits(**settings) -> Limits:
    return Limits(LimitSettings.model_validate(settings))


def test_weight_counts_within_a_minute_of_the_clock():
    venue = limits(weight_1m_max=10)
    assert venue.spend_weight("me", 10, MIDNIGHT_MS) is None
    assert venue.weight_used("me", MIDNIGHT_MS) == 10
    assert venue.spend_weight("you", 10, MIDNIGHT_MS + 40_000) is None
    assert venue.spend_weight("me", 1, MIDNIGHT_MS + 50_000) == Exceeded("weight", 11)
    assert venue.spend_weight("me", 1, MIDNIGHT_MS + MINUTE_MS) is None


def test_orders_count_for_each_account_and_a_filled_one_is_credited():
    venue = limits(orders_10s_max=2, orders_1d_max=3)
    assert venue.spend_order("me", "alice", MIDNIGHT_MS) is None
    assert venue.spend_order("me", "alice", MIDNIGHT_MS) is None
    assert venue.spend_order("me", "alice", MIDNIGHT_MS + 1) == Exceeded("orders_10s", 10)
    assert venue.spend_order("me", "bob", MIDNIGHT_MS) is None
    venue.credit_order("alice", MIDNIGHT_MS)
    assert venue.orders_used("alice", MIDNIGHT_MS) == (1, 1)
    assert venue.spend_order("me", "alice", MIDNIGHT_MS) is None
    assert venue.spend_order("me", "alice", MIDNIGHT_MS + TEN_SECONDS_MS) is None
    refused = venue.spend_order("me", "alice", MIDNIGHT_MS + TEN_SECONDS_MS)
    assert refused
    assert refused.limit == "orders_1d"


def test_an_address_that_goes_on_is_banned_longer_each_time():
    venue = limits(weight_1m_max=1, warnings_max=2, ban_s=120)
    now_ms = MIDNIGHT_MS
    answers = [venue.spend_weight("me", 1, now_ms) for _ in range(4)]
    assert [answer and answer.limit for answer in answers] == [None, "weight", "weight", "ban"]
    assert venue.banned("me", now_ms + 119_000) == Exceeded("ban", 2)
    assert venue.banned("you", now_ms) is None
    now_ms += 120_000
    assert venue.banned("me", now_ms) is None
    again = [venue.spend_weight("me", 1, now_ms) for _ in range(4)]
    assert again[-1] == Exceeded("ban", 240)
    assert (venue.refused, venue.bans) == (6, 2)


def test_each_limit_has_its_status_and_code():
    venue = limits(orders_10s_max=50)
    answers = {name: limit_exceeded(Exceeded(name, 7), venue) for name in ("weight", "orders_10s", "orders_1d", "ban")}
    assert {name: (answer.http_status, answer.code) for name, answer in answers.items()} == {
        "weight": (429, -1003),
        "orders_10s": (429, -1015),
        "orders_1d": (429, -1015),
        "ban": (418, -1003),
    }
    assert answers["orders_10s"].text == "Too many new orders; current limit is 50 orders per 10 SECOND."
    assert all(answer.headers == {"Retry-After": "7"} for answer in answers.values())
