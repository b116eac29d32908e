"""Records in partitioned logs: how they are appended, read, followed and trusted."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.envelope import Headers


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a topic partition as it was read: bytes, headers, position and broker timestamp (UTC ms)."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = 0

    def header(self, name: str) -> bytes | None:
        """The last header of that name, or None."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Output:
    """One record to be written. `partition` None lets the key decide (murmur2, as the Java client)."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """How to reach the brokers. `bootstrap` is `host:port,host:port`; TLS and SASL stay off unless something names them.

    `security_protocol` is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; `sasl_mechanism` is PLAIN, SCRAM-SHA-256,
    SCRAM-SHA-512 or OAUTHBEARER (then the bearer token is read from `sasl_token_file` at each connect). `topic_prefix`
    stands before every topic of the installation; only gateways know it.
    """

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    sasl_token_file: str | None = None
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    topic_prefix: str = ""


class UntrustedError(Exception):
    """Nobody whom we trust wrote this record. `cause` is a word for counting, the text tells an operator more."""

    def __init__(self, cause: str, words: str) -> None:
        super().__init__(words)
        self.cause = cause


class Signer(Protocol):
    """Puts an author's signature on records (`schemas.signing`)."""

    def sign(self, output: Output) -> Output:
        """The output with signature and key id among its headers; of a topic that carries none, the output itself.

        Raises RefusedError when the private key cannot be read.
        """
        ...


class Verifier(Protocol):
    """Knows whom this process trusts, and for what: local settings say so, never a topic."""

    def check(self, record: Record, at_ms: int) -> str:
        """The id of the key that signed the record; "" where unsigned ones are accepted (`dev`).

        Raises UntrustedError unless a key that is trusted for the record's topic, and valid at `at_ms` (UTC), signed these
        bytes for this environment, topic and type.
        """
        ...


class PositionLostError(Exception):
    """A wanted offset lies outside what the topic still (or yet) holds."""

    def __init__(self, topic: str, partition: int, wanted: int, begin: int, end: int) -> None:
        super().__init__(f"{topic}:{partition}: offset {wanted} is outside [{begin}, {end}]")
        self.topic, self.partition, self.wanted, self.begin, self.end = topic, partition, wanted, begin, end


class Log(Protocol):
    """Append and read whole partitions by explicit offsets; no consumer groups. Topic names are without prefix."""

    async def append(self, output: Output) -> int:
        """Append durably (acks=all) and return the offset; -1 when the broker recognised a duplicate."""
        ...

    def append_nowait(self, output: Output) -> Awaitable[int]:
        """Queue for append, order kept; the awaitable gives the offset when it is durable. Raises BufferError when full."""
        ...

    def unacked_age_ms(self) -> int:
        """Age of the oldest append that is not durable yet; 0 when there is none."""
        ...

    async def partitions(self, topic: str) -> int:
        """The partition count of a topic. Raises RefusedError when the topic does not exist."""
        ...

    async def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""
        ...

    async def begin_offset(self, topic: str, partition: int) -> int:
        """The oldest offset still kept."""
        ...

    async def read(self, topic: str, partition: int, offset_from: int, offset_to: int) -> Sequence[Record]:
        """All records with offset_from <= offset < offset_to that still exist. Raises PositionLostError."""
        ...

    async def close(self) -> None:
        """Flush what is queued (bounded) and let go of the connections."""
        ...


class LogReader(Protocol):
    """Follow partitions by explicit assignment and own offsets. Topic names are without prefix."""

    async def assign(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Read these (topic, partition) from these offsets on; replaces the former assignment.

        Raises PositionLostError when an offset lies outside what the topic holds.
        """
        ...

    async def poll(self, timeout_ms: int, records_max: int = 2000) -> Sequence[Record]:
        """The next records, in offset order within a partition; empty after `timeout_ms` without any.

        Raises PositionLostError when retention overtook the reader.
        """
        ...

    async def close(self) -> None:
        """Let go of the connections."""
        ...
