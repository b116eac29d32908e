"""4.2.3: whatever byte of a signed record is altered, nobody believes it any more."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import SIGNATURE
from schemas.signing import signed_bytes
from streams.gateways.keys import TrustedFile
from streams.gateways.signing import Ed25519Verifier
from streams.ports.log import Record, UntrustedError
from streams.topics import ORDERS_COMMANDS
from tests.examples import example
from tests.unit.signing.authors import ENVIRONMENT, NOW_MS, Office

PLACE = example("orders.place")
parts = st.tuples(st.text(), st.text(), st.text(), st.binary(), st.binary())


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return Office(tmp_path_factory.mktemp("keys"))


def altered(data: bytes, at: int, to: int) -> bytes:
    """The same with the byte at `at` (modulo length) changed by `to`, which is not zero."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ to]) + data[at + 1 :]


def with_header(record: Record, name: str, value: bytes) -> Record:
    return replace(record, headers=tuple((key, value if key == name else text) for key, text in record.headers))


@given(st.sampled_from(["environment", "key", "value", "type", "signature"]), st.integers(0, 10_000), st.integers(1, 255))
def test_any_altered_byte_is_refused(office: Office, part: str, at: int, to: int) -> None:
    record, verifier = office.signed(ORDERS_COMMANDS, "alpha", PLACE), office.verifier
    assert record.key is not None
    assert record.value is not None
    match part:
        case "environment":
            other = altered(ENVIRONMENT.encode(), at, to).decode("latin-1")
            verifier = Ed25519Verifier(other, TrustedFile(office.trusted))
        case "key":
            record = replace(record, key=altered(record.key, at, to))
        case "value":
            record = replace(record, value=altered(record.value, at, to))
        case "type":
            record = with_header(record, "ce_type", altered(PLACE.ce_type().encode(), at, to))
        case _:
            signature = record.header(SIGNATURE)
            assert signature is not None
            record = with_header(record, SIGNATURE, altered(signature, at, to))
    with pytest.raises(UntrustedError) as refused:
        verifier.check(record, NOW_MS)
    assert refused.value.cause == "bad_signature"


@given(parts, parts)
def test_no_two_records_are_signed_as_the_same_bytes(one: tuple, other: tuple) -> None:
    assert (signed_bytes(*one) == signed_bytes(*other)) == (one == other)


@given(st.binary(min_size=1, max_size=100), st.binary(max_size=40))
def test_what_a_part_gains_its_neighbour_cannot_lose(value: bytes, key: bytes) -> None:
    """Without lengths, moving a byte over a boundary would leave the signed bytes as they were."""
    moved = signed_bytes(ENVIRONMENT, ORDERS_COMMANDS, "t", key + value[:1], value[1:])
    assert moved != signed_bytes(ENVIRONMENT, ORDERS_COMMANDS, "t", key, value)


@given(st.text(max_size=60))
def test_another_topic_is_never_signed_by_accident(topic: str) -> None:
    covered = signed_bytes(ENVIRONMENT, ORDERS_COMMANDS, "t", b"k", b"v")
    assert (signed_bytes(ENVIRONMENT, topic, "t", b"k", b"v") == covered) == (topic == ORDERS_COMMANDS)
