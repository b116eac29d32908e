"""4.2.3: which words in the control topic are obeyed: those of operators whose keys are valid, once, and said now."""

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.codec import decode, encode
from schemas.control import ControlEvent, KeyPurpose, TradingStopped
from streams.cli.control import ControlTopic
from streams.domain.control import DATED_BACK_MS_MAX, Hearing, OutOfTimeError
from streams.gateways.keys import TrustedFile, private_key_in
from streams.gateways.signing import Ed25519Signer, Ed25519Verifier
from streams.ports.log import Record, UntrustedError
from streams.settings import Settings
from streams.topics import OPERATOR_CONTROL
from tests.examples import example
from tests.unit.executor.memory import Broker, MemoryLog
from tests.unit.signing.authors import HOUR_MS, NOW_MS, Office

TARGETS = example("control.targets-set")
POLICY = example("control.policy-set")
STOP = example("control.trading-stopped")
RESUME = example("control.trading-resumed")
assert isinstance(TARGETS, ControlEvent)
assert isinstance(POLICY, ControlEvent)
assert isinstance(STOP, TradingStopped)
assert isinstance(RESUME, ControlEvent)


def hear(hearing: Hearing, office: Office, record: Record) -> None:
    """Take in a record of the control topic as each of its readers does."""
    event = decode((record.header("ce_type") or b"").decode(), record.value)
    assert isinstance(event, ControlEvent)
    office.verifier.check(record, hearing.key_time_ms(event, record.timestamp_ms))
    hearing.hear(event, record.value or b"", record.timestamp_ms)


def rotate(office: Office, at_ms: int) -> None:
    """A new control key, and everybody has read the files again."""
    office.make(KeyPurpose.CONTROL, at_ms)
    private = private_key_in(office.private(KeyPurpose.CONTROL))
    office.signers[KeyPurpose.CONTROL] = Ed25519Signer(office.environment, KeyPurpose.CONTROL, private)
    office.verifier = Ed25519Verifier(office.environment, TrustedFile(office.trusted))


def signed(office: Office, event: ControlEvent, at_ms: int, appended_at_ms: int | None = None) -> Record:
    """The event as its operator dates it, and as the broker that takes it does: at once, unless it says otherwise."""
    record = office.signed(OPERATOR_CONTROL, event.scope, event.model_copy(update={"at_ms": at_ms}))
    return replace(record, timestamp_ms=at_ms if appended_at_ms is None else appended_at_ms)


def test_whoever_holds_a_key_that_ended_is_not_obeyed_once_anything_was_said_after_its_end(tmp_path: Path):
    """A stolen key was replaced; whoever has it dates his words into the time when it was valid."""
    office, hearing = Office(tmp_path), Hearing()
    hear(hearing, office, signed(office, TARGETS, NOW_MS + 1))
    stolen = [signed(office, POLICY, NOW_MS + 60_000), signed(office, STOP, NOW_MS + 60_000)]
    rotate(office, NOW_MS + 60_001)
    hear(hearing, office, signed(office, TARGETS, NOW_MS + 120_000))

    with pytest.raises(UntrustedError, match="was valid until"):
        hear(hearing, office, stolen[0])
    hear(hearing, office, stolen[1])  # a stop counts at any date


def test_a_key_that_ended_says_nothing_more_though_no_operator_has_spoken_since(tmp_path: Path):
    office, hearing = Office(tmp_path), Hearing()
    stolen = [signed(office, event, NOW_MS + 60_000, NOW_MS + 90_000) for event in (RESUME, STOP)]
    rotate(office, NOW_MS + 60_001)
    with pytest.raises(UntrustedError, match="was valid until"):
        hear(hearing, office, stolen[0])
    hear(hearing, office, stolen[1])  # a stop counts at any date


def test_a_key_made_by_a_fast_clock_is_believed_at_once(tmp_path: Path):
    office, hearing = Office(tmp_path), Hearing()
    rotate(office, NOW_MS + 300_000)
    hear(hearing, office, signed(office, POLICY, NOW_MS + 300_001, NOW_MS + 1))
    assert hearing.newest_ms == NOW_MS + 1


def test_a_new_key_is_believed_though_nothing_was_said_since_it_is_valid(tmp_path: Path):
    office, hearing = Office(tmp_path), Hearing()
    hear(hearing, office, signed(office, TARGETS, NOW_MS))
    rotate(office, NOW_MS + HOUR_MS // 2)
    hear(hearing, office, signed(office, POLICY, NOW_MS + HOUR_MS // 2))
    assert hearing.newest_ms == NOW_MS + HOUR_MS // 2


class OpenLog(MemoryLog):
    """A log that a command opens and closes."""

    async def start(self) -> None:
        return None


async def test_what_an_operator_says_is_not_dated_before_what_another_ones_fast_clock_has_said(tmp_path: Path):
    """Dated back it would be told as done, and obeyed by nobody."""
    broker, checked = Broker(), Settings.model_validate({"environment": "test", "dev": True})
    ahead = TARGETS.model_copy(update={"at_ms": NOW_MS + DATED_BACK_MS_MAX + 1})
    async with ControlTopic(checked, log=OpenLog(broker)) as topic:  # type: ignore[arg-type]  what it needs of a KafkaLog
        await topic.append([ahead])
    async with ControlTopic(checked, log=OpenLog(broker)) as topic:  # type: ignore[arg-type]  the same
        await topic.append([RESUME.model_copy(update={"at_ms": NOW_MS})])

    hearing = Hearing()
    for record in broker.partition(OPERATOR_CONTROL, 0):
        event = decode((record.header("ce_type") or b"").decode(), record.value)
        assert isinstance(event, ControlEvent)
        hearing.hear(event, record.value or b"", record.timestamp_ms)
    assert hearing.newest_ms == ahead.at_ms


def test_a_word_counts_once_and_not_dated_back_but_a_stop_at_any_date():
    hearing = Hearing()
    late = TARGETS.model_copy(update={"at_ms": NOW_MS})
    hearing.hear(late, encode(late), late.at_ms)
    with pytest.raises(OutOfTimeError, match="said before"):
        hearing.hear(late, encode(late), late.at_ms)
    early = POLICY.model_copy(update={"at_ms": NOW_MS - DATED_BACK_MS_MAX - 1})
    with pytest.raises(OutOfTimeError, match="dated"):
        hearing.hear(early, encode(early), NOW_MS)
    stop = STOP.model_copy(update={"at_ms": 1})
    hearing.hear(stop, encode(stop), NOW_MS)
    with pytest.raises(OutOfTimeError, match="said before"):
        hearing.hear(stop.model_copy(update={"why": "again"}), b"", NOW_MS)


def test_what_is_dated_too_far_back_to_come_again_is_not_remembered():
    hearing = Hearing()
    for number in range(1025):
        said = TARGETS.model_copy(update={"at_ms": NOW_MS + number * 1000})
        hearing.hear(said, encode(said), said.at_ms)
    assert len(hearing._said) < 700
    with pytest.raises(OutOfTimeError, match="said before"):
        hearing.hear(said, encode(said), said.at_ms)
