"""The dead letter of a record that a role cannot read: its original bytes and headers, and why, in the names viewers know."""

from streams.ports import Output, Record
from streams.topics import dead_letter

REASON_CHARACTERS_MAX = 500


def dead_letter_of(record: Record, reader: str, error: Exception) -> Output:
    """What `reader` writes in place of `record`, which `error` kept it from reading."""
    reasons = {
        "__connect.errors.topic": record.topic,
        "__connect.errors.partition": str(record.partition),
        "__connect.errors.offset": str(record.offset),
        "__connect.errors.exception.class.name": type(error).__name__,
        "__connect.errors.exception.message": str(error)[:REASON_CHARACTERS_MAX],
    }
    headers = (*record.headers, *((name, text.encode()) for name, text in reasons.items()))
    topic = dead_letter(record.topic, reader)
    return Output(topic, record.key or b"", record.value or b"", headers, timestamp_ms=record.timestamp_ms)
