"""2.1, 2.2: every message is exact, closed in its published schema, and refuses hostile bytes by name."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import get_args

import jsonschema
import orjson
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from pydantic import ValidationError

from schemas import publish
from schemas.codec import (
    MESSAGES,
    UPCASTS,
    VALUE_BYTES_MAX,
    DecodeError,
    NotAnObject,
    NotJson,
    TooLarge,
    UnknownType,
    UnknownVersion,
    WrongShape,
    decode,
    encode,
)
from schemas.control import PolicySet
from schemas.envelope import Envelope, parse_rfc3339, rfc3339, trace_child
from tests.examples import FIELDS, T, example

GOLDEN = Path(__file__).parents[2] / "golden"
ROOT = Path(__file__).parents[3]
NAMED_BY_THE_DESIGN = {
    "journal.writer-started",
    "orders.owner-started",
    "orders.executor-checkpoint",
    "orders.account-opened",
    "orders.flow-observed",
    "orders.flow-classified",
    "orders.not-admitted",
    "orders.expired-unsent",
    "rebalance.quarantined",
    "control.portfolio-created",
    "rebalance.portfolio-halted",
    "orders.account-halted",
    "journal.portfolio-released",
    "journal.portfolio-adopted",
    "journal.archived-checkpoint",
}


def test_2_1_every_message_has_an_example_and_the_named_ones_exist():
    assert set(FIELDS) == set(MESSAGES)
    assert set(MESSAGES) >= NAMED_BY_THE_DESIGN


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_2_1_a_message_survives_the_wire_and_fits_its_published_schema(name: str):
    message = example(name)
    value = encode(message)
    assert decode(message.ce_type(), value) == message
    assert encode(decode(message.ce_type(), value)) == value
    schema = orjson.loads((ROOT / publish.FOLDER / f"{message.ce_type()}.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(orjson.loads(value), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(orjson.loads(value) | {"surprise": 1}, schema)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_2_1_absent_optionals_need_no_word_on_the_wire(name: str):
    """Encoding leaves None out, so a field that may be None must be optional for readers too."""
    required = {key: field for key, field in MESSAGES[name].model_fields.items() if field.is_required()}
    assert [key for key, field in required.items() if type(None) in get_args(field.annotation)] == []


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_2_1_a_message_is_frozen(name: str):
    message = example(name)
    field = next(iter(FIELDS[name]))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(message, field, FIELDS[name][field])


def test_2_1_the_published_schemas_are_what_the_models_say(tmp_path: Path):
    assert publish.differences(ROOT) == []
    publish.write(tmp_path)
    assert publish.differences(tmp_path) == []
    (tmp_path / publish.FOLDER / "trimtab.market.ticker.v1.json").write_bytes(b"{}")
    (tmp_path / publish.FOLDER / "trimtab.gone.v1.json").write_bytes(b"{}")
    assert [sentence.split(";")[0].split(": ")[1] for sentence in publish.differences(tmp_path)] == ["no such message", "stale"]
    assert len(publish.write(tmp_path)) == 2


def test_2_1_a_policy_of_version_1_is_lifted_to_version_2():
    released = (GOLDEN / "trimtab.control.policy-set.v1.json").read_bytes()
    policy = decode("trimtab.control.policy-set.v1", released)
    assert isinstance(policy, PolicySet)
    assert (policy.threshold, policy.edge_inner) == (Decimal("0.0042"), Decimal("0.0021"))
    assert all((MESSAGES[name], version) for name, version in UPCASTS)


def test_2_1_headers_are_cloudevents_that_its_own_library_reads():
    envelope = Envelope("id-1", "trimtab.market.ticker.v1", "feed/sim", T, "sim:BTC/USDT", f"00-{'1' * 32}-{'2' * 16}-01")
    value = encode(example("market.ticker"))
    event = from_binary_event(KafkaMessage(headers=dict(envelope.headers()), key=b"sim:BTC/USDT", value=value))
    assert (event.get_id(), event.get_type(), event.get_source()) == ("id-1", envelope.type, "feed/sim")
    assert Envelope.read(envelope.headers()) == envelope


def test_2_1_a_signature_and_its_key_travel_in_headers():
    envelope = Envelope("c", "trimtab.orders.place.v1", "portfolio/0", T, signature=b"\x00\xff", key_id="ops-2026")
    assert Envelope.read(envelope.headers()) == envelope


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ((), "ce_id is missing"),
        ((("ce_id", b"\xff"), ("ce_type", b"t"), ("ce_source", b"s"), ("ce_time", b"x")), "not UTF-8"),
        ((("ce_id", b"i"), ("ce_type", b"t"), ("ce_source", b"s"), ("ce_time", b"noon")), "not an RFC 3339 time"),
        ((("ce_id", b"i"), ("ce_type", b"t"), ("ce_source", b"s"), ("ce_time", b"2024-08-05T06:10:00")), "no time zone"),
    ],
)
def test_2_2_unreadable_headers_say_which(headers: tuple[tuple[str, bytes], ...], words: str):
    with pytest.raises(ValueError, match=words):
        Envelope.read(headers)


@pytest.mark.parametrize("written", [f"00-{chr(0) * 32}-{'2' * 16}-01", "x" * 55, f"00-{'1' * 32}-{'2' * 16}-01\n", "no"])
def test_2_2_a_trace_that_is_none_is_not_carried_on(written: str):
    """No signature covers it, and it goes as far as a database that takes no NUL. Found once: the projector ended for good."""
    envelope = Envelope("id-1", "trimtab.orders.place.v1", "portfolio/0", T, traceparent=written)
    assert Envelope.read(envelope.headers()) == replace(envelope, traceparent="")


def test_times_and_traces_keep_their_meaning():
    assert rfc3339(T + 7) == "2024-08-05T06:10:00.007Z"
    assert parse_rfc3339("2024-08-05T08:10:00.007+02:00") == T + 7
    assert trace_child(f"00-{'1' * 32}-{'2' * 16}-01", "ab" * 16) == f"00-{'1' * 32}-{'ab' * 8}-01"
    assert trace_child("", "ab" * 16) == ""


TICKER = "trimtab.market.ticker.v1"
GOOD = FIELDS["market.ticker"]


def _with(**fields: object) -> bytes:
    return orjson.dumps(GOOD | fields)


@pytest.mark.parametrize(
    ("ce_type", "value", "error", "words"),
    [
        (TICKER, None, NotJson, "empty"),
        (TICKER, b"", NotJson, "empty"),
        (TICKER, b"<html>maintenance</html>", NotJson, "not JSON"),
        (TICKER, b"\xff\xfe", NotJson, "not JSON"),
        (TICKER, b'{"a": NaN}', NotJson, "not JSON"),
        (TICKER, b'{"a": Infinity}', NotJson, "not JSON"),
        (TICKER, b"[1]", NotAnObject, "list"),
        (TICKER, b"1e400", NotJson, "infinity"),
        (TICKER, b"1.5", NotAnObject, "float"),
        (TICKER, b"{" + b" " * 10_000_000 + b"}", TooLarge, "10000002 bytes"),
        (TICKER, _with(bid_price_quote="NaN"), WrongShape, "bid_price_quote.*finite"),
        (TICKER, _with(bid_price_quote="Infinity"), WrongShape, "bid_price_quote.*finite"),
        (TICKER, _with(bid_price_quote="1e400"), WrongShape, "bid_price_quote.*20 integer"),
        (TICKER, _with(bid_price_quote="1" * 100), WrongShape, "bid_price_quote.*20 integer"),
        (TICKER, _with(bid_price_quote="0.0000000000000000001"), WrongShape, "bid_price_quote.*18 fractional"),
        (TICKER, _with(bid_price_quote="-1"), WrongShape, "bid_price_quote.*above zero"),
        (TICKER, _with(bid_price_quote="0"), WrongShape, "bid_price_quote.*above zero"),
        (TICKER, _with(bid_price_quote="1_0"), WrongShape, "bid_price_quote.*plain text"),
        (TICKER, _with(bid_price_quote=" 10 "), WrongShape, "bid_price_quote.*plain text"),
        (TICKER, _with(bid_price_quote="\u0661\u0660"), WrongShape, "bid_price_quote.*plain text"),
        (TICKER, _with(bid_price_quote="ten"), WrongShape, "bid_price_quote.*plain text"),
        (TICKER, _with(bid_price_quote=54012.5), WrongShape, "bid_price_quote.*JSON float"),
        (TICKER, _with(bid_price_quote=None), WrongShape, "bid_price_quote"),
        (TICKER, _with(received_at_ms="now"), WrongShape, "received_at_ms"),
        (TICKER, _with(received_at_ms=1.5), WrongShape, "received_at_ms"),
        (TICKER, _with(received_at_ms=True), WrongShape, "received_at_ms"),
        (TICKER, _with(symbol="BTCUSDT"), WrongShape, "symbol"),
        (TICKER, orjson.dumps({"venue": "sim"}), WrongShape, "symbol: Field required"),
        ("trimtab.market.ticker.v2", _with(), UnknownVersion, "known versions are 1 to 1"),
        ("trimtab.market.ticker.v0", _with(), UnknownVersion, "known versions"),
        ("trimtab.market.ticker.vx", _with(), UnknownVersion, "known versions"),
        ("trimtab.market.rumour.v1", _with(), UnknownType, "not a type"),
        ("market.ticker.v1", _with(), UnknownType, "not a type"),
        ("", _with(), UnknownType, "not a type"),
        ("trimtab.control.policy-set.v1", b'{"threshold": "x"}', WrongShape, "lifted from version 1"),
        ("trimtab.control.policy-set.v1", b"{}", WrongShape, "lifted from version 1"),
    ],
)
def test_2_2_hostile_bytes_end_in_a_named_error(ce_type: str, value: bytes | None, error: type[DecodeError], words: str):
    with pytest.raises(error, match=words):
        decode(ce_type, value)


def test_2_2_an_unknown_extra_field_is_ignored():
    assert decode(TICKER, _with(mood="bullish")) == example("market.ticker")


def test_2_2_a_value_of_the_largest_allowed_size_is_still_read():
    padding = VALUE_BYTES_MAX - len(_with(mood=""))
    assert decode(TICKER, _with(mood="x" * padding)) == example("market.ticker")


def test_targets_must_sum_to_one_and_rules_must_name_their_symbol():
    with pytest.raises(WrongShape, match="sum to 1"):
        decode("trimtab.control.targets-set.v1", orjson.dumps(FIELDS["control.targets-set"] | {"weights": {"BTC": "0.9"}}))
    with pytest.raises(WrongShape, match="base/quote"):
        decode("trimtab.venue.rules.v1", orjson.dumps(FIELDS["venue.rules"] | {"symbol": "ETH/USDT"}))


def test_a_range_counts_every_offset():
    fields = FIELDS["journal.market-batch"] | {
        "ranges": {"market.tickers.v1:2": {"offset_from": 1, "offset_to": 5, "journalled": 1}}
    }
    with pytest.raises(WrongShape, match="1 offsets counted in a range of 4"):
        decode("trimtab.journal.market-batch.v1", orjson.dumps(fields))
