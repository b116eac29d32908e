"""A message as the record that carries it."""

from schemas.codec import encode
from schemas.envelope import Envelope, Message
from streams.ports.log import Output


def enveloped(
    topic: str,
    key: str,
    message: Message,
    *,
    ce_id: str,
    source: str,
    time_ms: int,
    traceparent: str,
    partition: int | None = None,
) -> Output:
    """The record of a message that was said at `time_ms`, which is also the record's own time."""
    envelope = Envelope(id=ce_id, type=message.ce_type(), source=source, time_ms=time_ms, traceparent=traceparent)
    return Output(topic, key.encode(), encode(message), envelope.headers(), partition, time_ms)
