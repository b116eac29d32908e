"""I12: no secret in any output; and no library fills the disk during an outage."""

import io
import logging

import orjson
import pytest

from streams.gateways.logs import LINES_PER_CAUSE, MASK, CauseLimit, JsonFormatter, Redactor, TextFormatter, configure


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/v3/account?timestamp=1&signature=canary-secret",
        'headers {"X-MBX-APIKEY": "canary-secret"}',
        "apiKey=canary-secret&recvWindow=5",
        "Authorization: Bearer canary-secret",
        "postgresql://trimtab:canary-secret@db:5432/x",
        "the value canary-secret itself",
        "sasl_plain_password='canary-secret'",
    ],
)
def test_I12_secrets_are_masked(text: str):
    assert "canary-secret" not in Redactor(["canary-secret"])(text)
    if "itself" not in text:
        assert "canary-secret" not in Redactor()(text)
        assert MASK in Redactor()(text)


def _record(message: str, *arguments: object, line: int = 1) -> logging.LogRecord:
    return logging.LogRecord("trimtab.test", logging.INFO, "a.py", line, message, arguments, None)


def test_a_json_line_is_one_object_with_its_role_and_its_error():
    try:
        raise ValueError("signature=canary-secret")
    except ValueError as error:
        record = _record("hello %s", "world")
        record.exc_info = (ValueError, error, None)
    fields = orjson.loads(JsonFormatter("executor", Redactor()).format(record))
    assert (fields["role"], fields["level"], fields["message"]) == ("executor", "INFO", "hello world")
    assert "canary" not in fields["error"]
    assert "ValueError" in fields["error"]


def test_a_text_line_is_short_and_masked():
    line = TextFormatter("feed", Redactor()).format(_record("signature=abc"))
    assert line.endswith(f"feed       INFO    signature={MASK}")


def test_one_cause_has_at_most_five_lines_a_minute():
    limit = CauseLimit()
    records = [_record("node %d away", number) for number in range(100)]
    passed = [record for record in records if limit.filter(record)]
    assert len(passed) == LINES_PER_CAUSE
    assert "left out" in passed[-1].getMessage()
    assert limit.filter(_record("another cause", line=2))


def test_a_process_is_configured_once_for_all_libraries(monkeypatch: pytest.MonkeyPatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root, trimtab = logging.getLogger(), logging.getLogger("trimtab")
    before = (root.handlers[:], root.level, trimtab.level)
    try:
        configure("feed", "json", "INFO", ["canary-secret"])
        for _ in range(20):
            logging.getLogger("aiokafka").warning("broker away")
        logging.getLogger("trimtab.feed").info("up with canary-secret")
    finally:
        root.handlers[:], root.level = before[0], before[1]
        trimtab.setLevel(before[2])
    lines = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == LINES_PER_CAUSE + 1
    assert lines[-1]["message"] == f"up with {MASK}"
