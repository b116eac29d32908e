"""4.2.3: a record is believed only for the signature of a key that local settings trust, for these bytes, here and now."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from schemas.control import KeyPurpose
from schemas.envelope import SIGNATURE, SIGNATURE_KEY_ID, Envelope
from schemas.signing import signed_bytes
from streams.domain.errors import RefusedError
from streams.gateways import keys
from streams.gateways.keys import CLOCKS_DIFFER_MS, TrustedFile, private_key_in, private_key_of, trusted_of
from streams.gateways.signing import AnyAuthor, Ed25519Signer, Ed25519Verifier
from streams.ports.log import Output, Record, UntrustedError
from streams.topics import OPERATOR_CONTROL, ORDERS_COMMANDS, ORDERS_EVENTS
from tests.examples import example
from tests.unit.signing.authors import ENVIRONMENT, HOUR_MS, NOW_MS, Office

PLACE = example("orders.place")
STOP = example("control.trading-stopped")


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def doubt(office: Office, record: Record, at_ms: int = NOW_MS) -> str:
    with pytest.raises(UntrustedError) as refused:
        office.verifier.check(record, at_ms)
    return refused.value.cause


def with_header(record: Record, name: str, value: bytes | None) -> Record:
    kept = tuple((key, text) for key, text in record.headers if key != name)
    return replace(record, headers=kept if value is None else (*kept, (name, value)))


def test_given_a_signed_command_then_the_verifier_names_its_key(office: Office) -> None:
    record = office.signed(ORDERS_COMMANDS, "alpha", PLACE)
    assert office.verifier.check(record, NOW_MS) == office.keys[KeyPurpose.COMMANDS].key_id
    control = office.signed(OPERATOR_CONTROL, "all", STOP)
    assert office.verifier.check(control, NOW_MS) == office.keys[KeyPurpose.CONTROL].key_id


def test_given_no_signature_or_an_empty_one_then_it_is_unsigned(office: Office) -> None:
    record = office.signed(ORDERS_COMMANDS, "alpha", PLACE)
    assert doubt(office, with_header(record, SIGNATURE, None)) == "unsigned"
    assert doubt(office, with_header(record, SIGNATURE, b"")) == "unsigned"
    assert doubt(office, replace(record, headers=())) == "unsigned"


def test_given_another_environment_account_topic_or_type_then_it_is_foreign(office: Office, tmp_path: Path) -> None:
    record = office.signed(ORDERS_COMMANDS, "alpha", PLACE)
    elsewhere = Ed25519Verifier("staging", TrustedFile(office.trusted))
    with pytest.raises(UntrustedError, match="for staging"):
        elsewhere.check(record, NOW_MS)
    assert doubt(office, replace(record, key=b"beta")) == "bad_signature"
    assert doubt(office, replace(record, key=None)) == "bad_signature"
    assert doubt(office, with_header(record, "ce_type", b"trimtab.orders.cancel.v1")) == "bad_signature"
    assert doubt(office, replace(record, topic=OPERATOR_CONTROL)) == "wrong_purpose"
    assert doubt(office, replace(record, topic=ORDERS_EVENTS)) == "wrong_purpose"


def test_given_a_key_that_signs_something_else_then_it_may_not_sign_this(office: Office) -> None:
    """Who may command orders may not halt or resume, and the other way round."""
    record = office.signed(ORDERS_COMMANDS, "alpha", PLACE)
    operator = private_key_in(office.private(KeyPurpose.CONTROL))()
    covered = signed_bytes(ENVIRONMENT, ORDERS_COMMANDS, PLACE.ce_type(), b"alpha", record.value or b"")
    forged = with_header(record, SIGNATURE, operator.sign(covered))
    forged = with_header(forged, SIGNATURE_KEY_ID, office.keys[KeyPurpose.CONTROL].key_id.encode())
    assert doubt(office, forged) == "wrong_purpose"


def test_given_a_stranger_with_a_good_key_of_his_own_then_nobody_knows_him(office: Office, tmp_path: Path) -> None:
    stranger = Office(tmp_path / "stranger")
    record = stranger.signed(ORDERS_COMMANDS, "alpha", PLACE)
    assert doubt(office, record) == "unknown_key"
    borrowed = with_header(record, SIGNATURE_KEY_ID, office.keys[KeyPurpose.COMMANDS].key_id.encode())
    assert doubt(office, borrowed) == "bad_signature"
    assert doubt(office, with_header(record, SIGNATURE_KEY_ID, b"\xff" * 10_000)) == "unknown_key"


def test_given_a_time_outside_the_key_s_life_then_it_is_expired_or_not_yet_valid(office: Office) -> None:
    record = office.signed(ORDERS_COMMANDS, "alpha", PLACE)
    key = office.keys[KeyPurpose.COMMANDS]
    assert doubt(office, record, key.valid_until_ms) == "key_expired"
    assert doubt(office, record, key.valid_from_ms - 1) == "not_yet_valid"
    assert office.verifier.check(record, key.valid_until_ms - 1)
    assert office.verifier.check(record, key.valid_from_ms)


def test_given_outputs_of_other_topics_then_they_are_not_signed(office: Office) -> None:
    output = Output(ORDERS_EVENTS, b"alpha", b"{}", Envelope("1", "x", "test", NOW_MS).headers())
    assert office.signers[KeyPurpose.COMMANDS].sign(output) is output
    assert AnyAuthor().check(Record(ORDERS_COMMANDS, 0, 0, None, None), NOW_MS) == ""


def test_given_the_same_output_twice_then_the_signature_is_the_same(office: Office) -> None:
    """Ed25519 is deterministic; what is compared (key, value, ids) does not know of it."""
    assert office.signed(ORDERS_COMMANDS, "alpha", PLACE) == office.signed(ORDERS_COMMANDS, "alpha", PLACE)


def test_given_a_rotation_while_running_then_both_keys_hold_for_the_overlap(office: Office) -> None:
    before = office.signed(ORDERS_COMMANDS, "alpha", PLACE)
    old = office.keys[KeyPurpose.COMMANDS]
    new = office.make(KeyPurpose.COMMANDS, NOW_MS + 1000, overlap_ms=60_000)
    elsewhere = Ed25519Signer(ENVIRONMENT, KeyPurpose.COMMANDS, private_key_in(office.private(KeyPurpose.COMMANDS)))
    signed = elsewhere.sign(Output(ORDERS_COMMANDS, before.key or b"", before.value or b"", before.headers[:-2]))
    after = replace(before, headers=signed.headers)
    at_ms = NOW_MS + 2000
    assert office.verifier.check(after, at_ms) == new.key_id  # an unknown key makes the verifier look again, at once
    assert office.verifier.check(before, at_ms) == old.key_id
    assert office.verifier.check(after, NOW_MS + 61_000) == new.key_id
    assert doubt(office, before, NOW_MS + 61_000) == "key_expired"


def test_given_a_new_private_key_then_its_signer_takes_it_within_a_second(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = office.signers[KeyPurpose.COMMANDS]
    first = signer.key
    office.make(KeyPurpose.COMMANDS)
    assert signer.key == first
    monkeypatch.setattr(keys, "LOOK_EVERY_S", 0.0)
    assert signer.key != first


def test_given_later_rotations_then_ended_command_keys_go_and_control_keys_stay(office: Office) -> None:
    """What a control key signed is read again at every start; a command's life is seconds."""
    for purpose in KeyPurpose:
        office.make(purpose, NOW_MS + 1000)
        office.make(purpose, NOW_MS + 2000)
    kept = [key.purpose for key in TrustedFile(office.trusted).keys().values()]
    assert (kept.count(KeyPurpose.COMMANDS), kept.count(KeyPurpose.CONTROL)) == (1, 3)


def test_given_a_broken_trusted_file_then_what_was_read_before_stands_until_it_is_good_again(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    record, good = office.signed(ORDERS_COMMANDS, "alpha", PLACE), office.trusted.read_text()
    stranger = with_header(record, SIGNATURE_KEY_ID, b"0" * 16)
    office.trusted.write_text("half a fi")
    assert doubt(office, stranger) == "unknown_key"
    assert office.verifier.check(record, NOW_MS)
    office.trusted.unlink()
    assert doubt(office, stranger) == "unknown_key"
    assert doubt(office, stranger) == "unknown_key"
    assert office.verifier.check(record, NOW_MS)
    assert len([line for line in caplog.records if "what was read before stands" in line.message]) == 2
    office.trusted.write_text(good.partition("[")[0])
    assert doubt(office, stranger) == "unknown_key"
    assert doubt(office, record) == "unknown_key"


def test_private_keys_are_their_owner_s_alone_and_standard(office: Office) -> None:
    path = office.private(KeyPurpose.COMMANDS)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_pem_private_key(path.read_bytes(), None) is not None
    assert not list(office.directory.glob(".*"))


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_given_no_ed25519_key_then_it_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(RefusedError, match=r"keys.commands_key: this is no Ed25519 private key in PEM") as refused:
        private_key_of("keys.commands_key", text)
    assert "AAAA" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r'purpose = "\w+"', 'purpose = "anything"', "purpose is commands or control"),
        (r'public_key = "[^"]+"', 'public_key = "?"', "32 bytes in base64"),
        (r'public_key = "[^"]+"', 'public_key = "AAAA"', "not the id of its public_key"),
        (r"valid_until = .*", "valid_until = 2020-01-01T00:00:00Z", "not after valid_from"),
        (r"valid_until = .*", "valid_until = 2120-01-01T00:00:00", "times with a zone"),
        (r"valid_until = .*", "", "needs purpose, public_key, valid_from and valid_until"),
        (r"valid_until = .*", "valid_until = ", "not TOML"),
    ],
)
def test_given_nonsense_in_a_trusted_file_then_it_is_refused_with_the_remedy(
    office: Office, old: str, new: str, words: str
) -> None:
    text = office.trusted.read_text()
    broken = re.sub(old, new, text, count=1)
    assert broken != text
    with pytest.raises(RefusedError, match=words):
        trusted_of(office.trusted, broken)


def test_a_key_is_valid_a_little_before_it_was_made_for_clocks_that_are_behind(office: Office) -> None:
    key = office.keys[KeyPurpose.CONTROL]
    assert (key.valid_from_ms, key.valid_until_ms) == (NOW_MS - CLOCKS_DIFFER_MS, NOW_MS + HOUR_MS)
