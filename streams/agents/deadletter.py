"""The dead letter of a record that a role cannot read: its original bytes and headers, and why, in the names viewers know.

A record may be as large as the broker takes, and a letter says more than that: what is too large is cut, else the letter could
not be written, and nobody would read past the record any more.
"""

from collections import deque

from schemas.envelope import Headers
from streams.ports.log import Output, Record
from streams.topics import dead_letter

REASON_CHARACTERS_MAX = 500
FEW_A_MINUTE = 20
MINUTE_MS = 60_000
KEY_BYTES_MAX = 10_000
VALUE_BYTES_MAX = 800_000
HEADER_BYTES_MAX = 50_000
_HEADER_FRAME_BYTES = 10  # the two lengths that stand in a record beside a header's name and value, at most


class Few:
    """Lets a few pass in any minute. A stranger may write without end: what he writes lies in its topic already."""

    def __init__(self, count: int = FEW_A_MINUTE) -> None:
        self._passed_ms: deque[int] = deque(maxlen=count)

    def another(self, now_ms: int) -> bool:
        """Whether one more may pass at `now_ms`, by a clock that never steps; it then counts."""
        if len(self._passed_ms) == self._passed_ms.maxlen and now_ms - self._passed_ms[0] < MINUTE_MS:
            return False
        self._passed_ms.append(now_ms)
        return True


def dead_letter_of(record: Record, reader: str, error: Exception, **details: str) -> Output:
    """What `reader` writes in place of `record`, which `error` kept it from reading; `details` become `trimtab-*` headers.

    An error with a `name` is told by that, any other by its class.
    """
    kind = getattr(error, "name", None) or type(error).__name__
    reasons = {
        "trimtab-error": f"{kind}: {error}"[:REASON_CHARACTERS_MAX],
        "__connect.errors.topic": record.topic,
        "__connect.errors.partition": str(record.partition),
        "__connect.errors.offset": str(record.offset),
        "__connect.errors.exception.class.name": str(kind),
        "__connect.errors.exception.message": str(error)[:REASON_CHARACTERS_MAX],
    } | {f"trimtab-{name}": text for name, text in details.items()}
    key, value = (record.key or b"")[:KEY_BYTES_MAX], (record.value or b"")[:VALUE_BYTES_MAX]
    kept = record.headers if _bytes_of(record.headers) <= HEADER_BYTES_MAX else ()
    sizes = (len(record.key or b""), len(record.value or b""), _bytes_of(record.headers))
    if sizes != (len(key), len(value), _bytes_of(kept)):
        reasons["trimtab-cut"] = "of {} bytes of key, {} of value, {} of headers".format(*sizes)
    headers = (*kept, *((name, text.encode(errors="replace")) for name, text in reasons.items()))
    return Output(dead_letter(record.topic, reader), key, value, headers, 0, record.timestamp_ms)


def _bytes_of(headers: Headers) -> int:
    return sum(_HEADER_FRAME_BYTES + len(name.encode()) + len(value or b"") for name, value in headers)
