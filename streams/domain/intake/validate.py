"""What is garbage: bytes that are no message, and messages that cannot be true."""

from dataclasses import dataclass

from schemas.account import AccountBalances
from schemas.codec import DecodeError, TooLarge, decode
from schemas.envelope import Envelope, Headers, Message
from schemas.market import Ticker
from streams.domain.intake.sources import Source

AHEAD_MS_MAX = 5_000
"""A receive time further ahead of our clock than this would never look old."""
VALUE_BYTES_MAX = 400_000
"""Journalled whole inside another JSON document a value can double in size, and a record has at most 900 000 bytes."""
_ID_MAX = 500


class GarbageError(ValueError):
    """A record that is not journalled. `name` is the kind of error, the text says what is wrong."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


@dataclass(frozen=True, slots=True)
class Sound:
    """A source record that was understood."""

    source: str
    offset: int
    value: bytes
    envelope: Envelope
    message: Message


def read_sound(
    source: Source, name: str, offset: int, key: bytes | None, value: bytes | None, headers: Headers, now_ms: int
) -> Sound:
    """The message of a source record. Raises GarbageError."""
    try:
        envelope = Envelope.read(tuple((header, text) for header, text in headers if text is not None))
        if value is not None and len(value) > VALUE_BYTES_MAX:
            raise TooLarge(f"{len(value)} bytes; a source value has at most {VALUE_BYTES_MAX}")
        message = decode(envelope.type, value)
    except DecodeError as error:
        raise GarbageError(type(error).__name__, str(error)) from None
    except ValueError as error:
        raise GarbageError("WrongEnvelope", str(error)) from None
    if not isinstance(message, source.model):
        raise GarbageError("WrongTopic", f"{envelope.type} does not belong into {source.topic}")
    if not 0 < len(envelope.id) <= _ID_MAX:
        raise GarbageError("WrongEnvelope", f"an id has 1 to {_ID_MAX} characters")
    _check(message, key, now_ms)
    return Sound(name, offset, value or b"", envelope, message)


def _check(message: Message, key: bytes | None, now_ms: int) -> None:
    if isinstance(message, Ticker):
        if key != f"{message.venue}:{message.symbol}".encode():
            raise GarbageError("WrongKey", f"key {(key or b'')[:80]!r} of {message.venue}:{message.symbol}")
        if message.bid_price_quote >= message.ask_price_quote:
            raise GarbageError("Crossed", f"bid {message.bid_price_quote} is not below ask {message.ask_price_quote}")
    if isinstance(message, Ticker | AccountBalances) and message.received_at_ms > now_ms + AHEAD_MS_MAX:
        raise GarbageError("FromTheFuture", f"received {message.received_at_ms - now_ms} ms ahead of our clock")
