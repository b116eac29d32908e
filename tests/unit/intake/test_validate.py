"""What is garbage, by its named error."""

from typing import Any

import pytest

from schemas.account import AccountBalances
from schemas.codec import encode
from schemas.envelope import Envelope
from streams.domain.intake.sources import SOURCES
from streams.domain.intake.validate import AHEAD_MS_MAX, VALUE_BYTES_MAX, GarbageError, Sound, read_sound
from streams.ports.log import Record
from streams.topics import ACCOUNT_BALANCES, MARKET_TICKERS, VENUE_STATUS
from tests.unit.intake.journals import T0, TICKS, raw, record, ticker


def read(given: Record, now_ms: int = T0) -> Sound:
    return read_sound(SOURCES[given.topic], f"{given.topic}:0", given.offset, given.key, given.value, given.headers, now_ms)


def test_a_sound_record_keeps_its_bytes_and_envelope():
    sound = read(record(ticker(), 7))
    assert (sound.source, sound.offset, sound.message) == (TICKS, 7, ticker())
    assert sound.value == encode(ticker())
    assert sound.envelope.id == "id-7"


def with_headers(**changes: Any) -> Record:
    headers = {**dict(record(ticker(), 1).headers), **changes}
    return raw(encode(ticker()), 1, MARKET_TICKERS, tuple(headers.items()), "sim:BTC/USDT")


HEADERS = Envelope("1", ticker().ce_type(), "test", T0).headers()
CASES: list[tuple[str, Record, str]] = [
    ("NotJson", raw(b"{", 1, MARKET_TICKERS, HEADERS, "k"), "not JSON"),
    ("NotJson", raw(None, 1, MARKET_TICKERS, HEADERS, "k"), "empty"),
    ("NotAnObject", raw(b"[]", 1, MARKET_TICKERS, HEADERS, "k"), "list"),
    ("WrongShape", raw(b"{}", 1, MARKET_TICKERS, HEADERS, "k"), "Field required"),
    ("TooLarge", raw(b" " * (VALUE_BYTES_MAX + 1), 1, MARKET_TICKERS, HEADERS, "k"), "at most"),
    ("WrongEnvelope", raw(encode(ticker()), 1, MARKET_TICKERS, (), "sim:BTC/USDT"), "is missing"),
    ("WrongEnvelope", with_headers(ce_id=None), "ce_id is missing"),
    ("WrongEnvelope", with_headers(ce_id=b"x" * 501), "500 characters"),
    ("WrongEnvelope", with_headers(ce_id=b""), "500 characters"),
    ("WrongEnvelope", with_headers(ce_time=b"yesterday"), "RFC 3339"),
    ("UnknownType", with_headers(ce_type=b"trimtab.unheard-of.v1"), "not a type"),
    ("UnknownVersion", with_headers(ce_type=b"trimtab.market.ticker.v9"), "known versions"),
    ("WrongTopic", record(ticker(), 1, VENUE_STATUS), "does not belong"),
    ("WrongKey", record(ticker(), 1, key="sim:ETH/USDT"), "sim:BTC/USDT"),
    ("WrongKey", raw(encode(ticker()), 1, MARKET_TICKERS, HEADERS, None), "sim:BTC/USDT"),
    ("Crossed", record(ticker(bid="101", ask="101"), 1), "not below"),
    ("Crossed", record(ticker(bid="102", ask="101"), 1), "not below"),
    ("FromTheFuture", record(ticker(received_at_ms=T0 + AHEAD_MS_MAX + 1), 1), "ahead"),
]


@pytest.mark.parametrize(("name", "given", "words"), CASES, ids=[f"{name}-{words}" for name, _, words in CASES])
def test_garbage_has_a_name(name: str, given: Record, words: str):
    with pytest.raises(GarbageError, match=words) as caught:
        read(given)
    assert caught.value.name == name


def test_balances_from_the_future_are_garbage_and_a_little_ahead_is_not():
    fields = {"account": "main", "venue": "sim", "balances": {}}
    at_bound = AccountBalances.model_validate(fields | {"received_at_ms": T0 + AHEAD_MS_MAX})
    assert read(record(at_bound, 1, ACCOUNT_BALANCES)).message == at_bound
    beyond = at_bound.model_copy(update={"received_at_ms": T0 + AHEAD_MS_MAX + 1})
    with pytest.raises(GarbageError):
        read(record(beyond, 1, ACCOUNT_BALANCES))
