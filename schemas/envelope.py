"""What every message shares: the frozen base class, and CloudEvents 1.0 binary headers around its value.

The value of a record is one flat JSON document; everything about it (id, type, source, time, trace, signature) stands in
headers, so that a reader can route without parsing. Written by hand after the CloudEvents Kafka binding: keys `ce_*` in
UTF-8, and `content-type` without the prefix.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

CONTENT_TYPE = "application/json"
SPEC_VERSION = "1.0"
TYPE_PREFIX = "trimtab."
TRACEPARENT = "traceparent"
SIGNATURE = "trimtab-signature"
SIGNATURE_KEY_ID = "trimtab-key-id"

Headers = tuple[tuple[str, bytes], ...]
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Message(BaseModel):
    """Base of every message: frozen, named, versioned. Readers ignore unknown fields; published schemas are closed."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    TYPE: ClassVar[str]
    VERSION: ClassVar[int] = 1

    @classmethod
    def ce_type(cls) -> str:
        """The CloudEvents type, for example `trimtab.market.ticker.v1`."""
        return f"{TYPE_PREFIX}{cls.TYPE}.v{cls.VERSION}"


class Part(BaseModel):
    """Base of the nested parts of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Everything about a message that is not its value.

    `id` comes from the message's cause; `source` names role and shard, never a host; `time_ms` is UTC. `traceparent` is
    W3C trace context; `signature` and `key_id` are set on commands and control events.
    """

    id: str
    type: str
    source: str
    time_ms: int
    subject: str = ""
    traceparent: str = ""
    signature: bytes = b""
    key_id: str = ""

    def headers(self) -> Headers:
        """The record headers, in one fixed order."""
        pairs = [
            ("ce_specversion", SPEC_VERSION),
            ("ce_id", self.id),
            ("ce_type", self.type),
            ("ce_source", self.source),
            ("ce_time", rfc3339(self.time_ms)),
            ("content-type", CONTENT_TYPE),
        ]
        if self.subject:
            pairs.append(("ce_subject", self.subject))
        if self.traceparent:
            pairs.append((TRACEPARENT, self.traceparent))
        encoded = [(key, text.encode()) for key, text in pairs]
        if self.signature:
            encoded += [(SIGNATURE, self.signature), (SIGNATURE_KEY_ID, self.key_id.encode())]
        return tuple(encoded)

    @classmethod
    def read(cls, headers: Headers) -> "Envelope":
        """The envelope in record headers. Raises ValueError naming the first header that is missing or unreadable; one without
        a value, as other clients may write it, is missing. A trace context that is none is left out: no signature covers it,
        and it is carried on from record to record."""
        found: dict[str, bytes] = {name: value for name, value in headers if value is not None}
        try:
            text = {key: found[key].decode() for key in ("ce_id", "ce_type", "ce_source", "ce_time")}
            optional = {key: found.get(key, b"").decode() for key in ("ce_subject", TRACEPARENT, SIGNATURE_KEY_ID)}
        except KeyError as error:
            raise ValueError(f"header {error.args[0]} is missing") from None
        except UnicodeDecodeError:
            raise ValueError("a header is not UTF-8") from None
        return cls(
            id=text["ce_id"],
            type=text["ce_type"],
            source=text["ce_source"],
            time_ms=parse_rfc3339(text["ce_time"]),
            subject=optional["ce_subject"],
            traceparent=optional[TRACEPARENT] if _TRACE.fullmatch(optional[TRACEPARENT]) else "",
            signature=found.get(SIGNATURE, b""),
            key_id=optional[SIGNATURE_KEY_ID],
        )


def rfc3339(time_ms: int) -> str:
    """UTC milliseconds as RFC 3339 text with milliseconds and Z."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    """The messages of a second share it, and writing it down costs as much as the rest of an envelope."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def parse_rfc3339(text: str) -> int:
    """RFC 3339 text as UTC milliseconds (finer digits are cut). Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not an RFC 3339 time") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no time zone")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000


def trace_child(traceparent: str, seed: str) -> str:
    """The W3C traceparent of a child span whose id comes from `seed` (hex); "" when there is no trace to continue."""
    if len(traceparent) != 55:
        return ""
    return f"{traceparent[:36]}{seed[:16]}{traceparent[52:]}"
