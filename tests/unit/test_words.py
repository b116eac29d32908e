"""What commands say of time left, and of what cannot be read, is a sentence for people."""

import urllib.error

import psycopg
import pytest
from aiokafka.errors import KafkaConnectionError

from schemas.control import KeyPurpose
from streams.cli.audit import unreadable
from streams.cli.keys import state_of
from streams.gateways.keys import TrustedKey

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
JOURNAL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("left_ms", "said"),
    [
        (365 * DAY_MS, "valid, 365 days left"),
        (2 * DAY_MS, "valid, 2 days left"),
        (2 * DAY_MS - 1, "valid, 47 h 59 min left"),
        (HOUR_MS, "valid, 1 h 0 min left"),
        (10 * MINUTE_MS, "valid, 10 min left"),
        (MINUTE_MS - 1, "valid, less than a minute left"),
        (0, "ended"),
    ],
)
def test_1_4_a_key_near_its_end_shows_hours_and_minutes(left_ms: int, said: str):
    key = TrustedKey(KeyPurpose.COMMANDS, b"k" * 32, valid_from_ms=0, valid_until_ms=1_000 * DAY_MS)
    assert state_of(key, 1_000 * DAY_MS - left_ms) == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")),
            f"verify: the venue's journal {JOURNAL} cannot be read: Connection refused",
        ),
        (
            urllib.error.URLError("unknown url type: x"),
            f"verify: the venue's journal {JOURNAL} cannot be read: unknown url type: x",
        ),
        (
            urllib.error.HTTPError(JOURNAL, 404, "Not Found", None, None),  # type: ignore[arg-type]
            f"verify: the venue's journal {JOURNAL} cannot be read: it answers 404 Not Found",
        ),
        (psycopg.OperationalError("connection failed\nmore"), "verify: the database cannot be read: connection failed"),
        (KafkaConnectionError("nobody at h:1"), "verify: Kafka cannot be read: KafkaConnectionError: nobody at h:1"),
        (TimeoutError(), "verify: something gave no answer in time"),
        (FileNotFoundError(2, "No such file", "j.jsonl"), "verify: j.jsonl cannot be read: No such file"),
        (ConnectionResetError(104, "Connection reset by peer"), "verify: something cannot be read: Connection reset by peer"),
    ],
)
def test_2_7_what_verify_cannot_read_is_one_sentence(error: Exception, said: str):
    assert str(unreadable(JOURNAL, error)) == said
    assert unreadable(JOURNAL, error).exit_code == 75
