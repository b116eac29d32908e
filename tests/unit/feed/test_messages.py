"""What the venue said becomes a message, or a refusal that says why. Rows 8 and 12 of the mission; issue 2.2's spirit."""

import math
from decimal import Decimal

import pytest

from schemas.envelope import Envelope
from streams import topics
from streams.agents.feed import messages
from streams.ports.venue import Frame
from tests.unit.feed.fakes import message_of, quote_frame, rules_fields

HOSTILE = [
    None, "", "NaN", "nan", "Infinity", "-Infinity", "inf", "0", "0.00000000", "-1", "-0.01", "1e400", "1e-30", "abc",
    "1,5", 1, 1.5, True, math.nan, math.inf, [], {}, "9" * 21, "0." + "0" * 18 + "1",
]  # fmt: skip


def test_a_quote_becomes_a_ticker_with_the_venues_own_digits() -> None:
    ticker = messages.ticker("sim", quote_frame(bid="64000.10000000", ask="64000.11000000"))
    assert str(ticker.bid_price_quote) == "64000.1"
    assert ticker.venue_sequence == 1
    assert ticker.venue_time_ms is None


@pytest.mark.parametrize("field", ["bid_price_quote", "bid_quantity_base", "ask_price_quote", "ask_quantity_base"])
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_no_hostile_number_becomes_a_ticker(field: str, value: object) -> None:
    frame = quote_frame()
    with pytest.raises(messages.Refused, match=field):
        messages.ticker("sim", Frame(frame.symbol, {**frame.fields, field: value}, frame.received_at_ms, b""))


@pytest.mark.parametrize("sequence", [None, -1, "7", 1.0, True, 2**60])
def test_a_sequence_that_cannot_tell_repeats_apart_is_refused(sequence: object) -> None:
    frame = quote_frame()
    with pytest.raises(messages.Refused, match="venue_sequence"):
        messages.ticker("sim", Frame(frame.symbol, {**frame.fields, "venue_sequence": sequence}, 1, b""))


@pytest.mark.parametrize(("bid", "ask"), [("100.01", "100.00"), ("100.00", "100.00")])
def test_crossed_and_locked_quotes_are_refused(bid: str, ask: str) -> None:
    with pytest.raises(messages.Refused, match="crossed"):
        messages.ticker("sim", quote_frame(bid=bid, ask=ask))


def levels(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"price_quote": price, "quantity_base": size} for price, size in pairs]


def book_frame(bids: object, asks: object) -> Frame:
    return Frame("BTC/USDT", {"bids": bids, "asks": asks, "venue_sequence": 5, "venue_time_ms": 1}, 2, b"")


def test_a_book_keeps_its_levels() -> None:
    book = messages.book("sim", book_frame(levels(("100", "1"), ("99.5", "2")), levels(("100.1", "3"))))
    assert [level.price_quote for level in book.bids] == [Decimal(100), Decimal("99.5")]


@pytest.mark.parametrize(
    ("bids", "asks", "why"),
    [
        ([], levels(("1", "1")), "empty"),
        (levels(("1", "1")), [], "empty"),
        (levels(("2", "1")), levels(("2", "1")), "crossed"),
        (levels(("1", "1"), ("1.5", "1")), levels(("2", "1")), "out of order"),
        (levels(("1", "1")), levels(("3", "1"), ("2", "1")), "out of order"),
        (levels(("NaN", "1")), levels(("3", "1")), "bids.0.price_quote"),
        (levels(("1", "0")), levels(("3", "1")), "bids.0.quantity_base"),
        (None, levels(("3", "1")), "bids"),
    ],
)
def test_a_book_that_nobody_can_route_on_is_refused(bids: object, asks: object, why: str) -> None:
    with pytest.raises(messages.Refused, match=why):
        messages.book("sim", book_frame(bids, asks))


@pytest.mark.parametrize("field", ["price_tick_quote", "quantity_step_base", "quantity_min_base", "notional_min_quote"])
@pytest.mark.parametrize("value", [None, "0", "0.00000000", "NaN", ""])
def test_a_missing_or_zero_tick_is_refused(field: str, value: object) -> None:
    with pytest.raises(messages.Refused, match=field):
        messages.rules("sim", "BTC/USDT", rules_fields(**{field: value}), 1, 1)


@pytest.mark.parametrize("value", ["0", "0.00000000", None])
def test_a_maximum_of_zero_means_none(value: object) -> None:
    rules = messages.rules("sim", "BTC/USDT", rules_fields(notional_max_quote=value), 1, 1)
    assert rules.notional_max_quote is None


def test_a_snapshot_with_a_negative_or_missing_amount_is_unknown_not_empty() -> None:
    for units in ({"free": "-1", "used": "0"}, {"free": "1"}, {"free": None, "used": "0"}):
        with pytest.raises(messages.Refused, match="balances"):
            messages.balances("sim", "main", {"balances": {"BTC": units}, "received_at_ms": 1})


def test_an_id_comes_from_its_cause_and_the_trace_does_not() -> None:
    ticker = messages.ticker("sim", quote_frame())
    one, other = (messages.output(topics.MARKET_TICKERS, "sim:BTC/USDT", ticker, 5, "socket", "1") for _ in range(2))
    envelopes = [Envelope.read(each.headers) for each in (one, other)]
    assert envelopes[0].id == envelopes[1].id
    assert envelopes[0].source == "feed/sim"
    assert envelopes[0].traceparent != envelopes[1].traceparent
    assert len(envelopes[0].traceparent) == 55
    assert one.value == other.value
    assert message_of(one) == ticker
    another = messages.output(topics.MARKET_TICKERS, "sim:BTC/USDT", ticker, 5, "socket", "2")
    assert Envelope.read(another.headers).id != envelopes[0].id


def test_a_dead_letter_keeps_bytes_and_reason_within_bounds() -> None:
    raw = b"\xff" * (messages.RAW_BYTES_MAX + 1)
    letter = messages.dead_letter("sim", raw, "x" * 1000, 5, 1)
    headers = dict(letter.headers)
    assert letter.topic == "market.tickers.v1.feed.dlq"
    assert letter.value == raw[: messages.RAW_BYTES_MAX]
    assert headers["trimtab-frame-bytes"] == str(len(raw)).encode()
    assert headers["__connect.errors.exception.message"] == b"x" * 500
