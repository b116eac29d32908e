"""Logs: JSON lines in production, readable on a terminal, and no secret in either.

Redaction works on the finished line: known secrets by value, and signatures, keys and passwords by their shape. Libraries
that repeat a line for every request of an outage are cut to a bounded number for each cause.
"""

import logging
import re
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import orjson

MASK = "[redacted]"
LINES_PER_CAUSE = 5
CAUSE_WINDOW_S = 60.0
CAUSES_MAX = 1000
_SHAPES = re.compile(
    r"(?i)((?:signature|api[_-]?key|api[_-]?secret|secret|password|x-mbx-apikey|authorization|listenkey)[\"']?\s*[=:]\s*[\"']?)"
    r"(?:bearer\s+)?[^\s&\"',;}]+"
)
_URL_PASSWORD = re.compile(r"(://[^/\s:@]+:)[^@\s/]+@")


class Redactor:
    """Replaces secrets in text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first, so that a secret that contains another leaves nothing of itself; short words would mask half a line.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 6}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _URL_PASSWORD.sub(rf"\1{MASK}@", _SHAPES.sub(rf"\1{MASK}", text))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, role, message, and the error where there is one."""

    def __init__(self, role: str, redact: Redactor) -> None:
        super().__init__()
        self._role, self._redact = role, redact

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "role": self._role,
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        if record.exc_info:
            fields["error"] = self._redact(self.formatException(record.exc_info))
        return orjson.dumps(fields).decode()


class TextFormatter(logging.Formatter):
    """A short line for people."""

    def __init__(self, role: str, redact: Redactor) -> None:
        super().__init__(f"%(asctime)s {role:<10} %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return self._redact(super().format(record))


class CauseLimit(logging.Filter):
    """At most five lines a minute for each cause, a cause being the place in the code that logs."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line passes; the last that does says that more are left out."""
        cause, now = (record.pathname, record.lineno), time.monotonic()
        since, count = self._seen.get(cause, (now, 0))
        if now - since > CAUSE_WINDOW_S:
            since, count = now, 0
        if len(self._seen) >= CAUSES_MAX:
            self._seen.clear()
        self._seen[cause] = (since, count + 1)
        if count == LINES_PER_CAUSE - 1:
            record.msg = f"{record.getMessage()} (more lines of this cause are left out for a minute)"
            record.args = ()
        return count < LINES_PER_CAUSE


def configure(role: str, style: str, level: str, secrets: Iterable[str] = ()) -> None:
    """Set up logging for a process. `style` is json, text, or auto: text on a terminal, else JSON."""
    redact = Redactor(secrets)
    json_lines = style == "json" or (style == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(role, redact) if json_lines else TextFormatter(role, redact))
    limit = CauseLimit()
    handler.addFilter(lambda record: record.name.startswith("trimtab") or limit.filter(record))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("trimtab").setLevel(level)
    # At DEBUG this logger prints request headers with the API key.
    logging.getLogger("ccxt").setLevel(logging.WARNING)
    # Both raise their level themselves and repeat what our own lines say.
    for name in ("aiokafka", "faust", "mode"):
        logging.getLogger(name).setLevel(logging.ERROR if name != "aiokafka" else logging.WARNING)
