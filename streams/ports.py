"""What the agents need from the outside world, as protocols.

Agents and gateways meet here and nowhere else: an agent never names Kafka, Faust, Postgres or ccxt.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from streams.domain.ledger.projection import Change, Head
from streams.domain.orders.outcome import FlowView, OrderNews, OrderView, TradeView, VenueReply
from streams.domain.orders.stimuli import CancelRequest, OrderRequest

Headers = tuple[tuple[str, bytes], ...]


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


class Fold(Protocol):
    """A pure fold over one partition: same records in, same outputs out, to the byte.

    `step` and `snapshot` never await. Raising from `step` means a broken invariant: the shell ends the process.
    """

    def step(self, record: Record) -> Sequence[Output]:
        """Fold one record and return what it causes, in order."""
        ...

    def snapshot(self) -> bytes:
        """The whole state as canonical bytes; equal states give equal bytes."""
        ...


class FoldFactory(Protocol):
    """Makes the fold of one partition, from nothing or from a snapshot.

    `snapshot` None means the journal's beginning. Raises ValueError on a snapshot it cannot read.
    """

    def __call__(self, partition: int, snapshot: bytes | None) -> Fold:
        """The fold of `partition` as of `snapshot`."""
        ...


@dataclass(frozen=True, slots=True)
class FoldSpec:
    """How one fold stands on its transport.

    `application` names the consumer group and, with `-checkpoints-changelog`, its changelog topic. `version` is code and
    schema version; a worker of another version starts only on a drained shard. `output_topics` are where the outputs of
    this fold go (the version rule reads their tails).
    """

    application: str
    source_topic: str
    partitions: int
    version: str
    output_topics: tuple[str, ...]
    instance: str = "0"
    checkpoint_seconds_min: float = 1.0
    checkpoint_events_max: int = 200
    watchdog_seconds: float = 60.0


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


# Header of every fold output: `topic:partition:offset` of the record that caused it. Never compared, so ids stay free of it.
CAUSE_HEADER = "trimtab-cause"


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


class Clock(Protocol):
    """Time as an argument. `wall_ms` is UTC; `boot_ms` counts in CLOCK_BOOTTIME and never steps."""

    def wall_ms(self) -> int:
        """UTC milliseconds; may step."""
        ...

    def boot_ms(self) -> int:
        """Milliseconds since boot, sleep included; never steps."""
        ...


class Point(StrEnum):
    """The steps of an executor at which a process may end or hang; docs and tests take their names from here."""

    LEASE_TAKEN = "lease_taken"  # the lease row is raised, OwnerStarted is not written
    OWNER_STARTED = "owner_started"  # OwnerStarted is durable, the log is not read up to it
    PAST_READ = "past_read"  # the log is read up to OwnerStarted, nothing is followed yet
    COMMAND_READ = "command_read"  # a command is here, nothing is said about it
    BEFORE_INTENT = "before_intent"  # an INTENT is decided, not appended
    INTENT_APPENDED = "intent_appended"  # given to the broker's client, not acknowledged
    INTENT_DURABLE = "intent_durable"  # acknowledged, not read back
    INTENT_READ_BACK = "intent_read_back"  # read back, the request is not released
    BEFORE_REQUEST = "before_request"  # released, nothing is signed
    IN_CONNECT = "in_connect"  # signed; no warm connection was left, a new one is being made
    BEFORE_CHECK = "before_check"  # a connection is there, the last check is not made
    AFTER_CHECK = "after_check"  # the last check let it pass, no byte is written
    HALF_WRITTEN = "half_written"  # half of the request's bytes left
    REQUEST_WRITTEN = "request_written"  # all of them left, no reply
    REPLY_READ = "reply_read"  # the reply is here, nothing is said about it
    EVENT_APPENDED = "event_appended"  # what the reply proves is given to the broker's client, not acknowledged
    BEFORE_CHECKPOINT = "before_checkpoint"  # events are durable, the checkpoint is not written
    CHECKPOINT_DURABLE = "checkpoint_durable"  # the checkpoint is in the log, the lease row does not point at it
    BEFORE_RELEASE = "before_release"  # an orderly stop: all is written, the lease is still held


class CrashPoints(Protocol):
    """Where a test harness may end or pause a process. In production it does nothing."""

    def reach(self, point: Point) -> None:
        """This step was reached. May never return."""
        ...


class NoCrashPoints:
    """Nothing happens at any point."""

    def reach(self, point: Point) -> None:
        """Go on."""


NO_CRASH_POINTS: CrashPoints = NoCrashPoints()


@dataclass(frozen=True, slots=True)
class Lease:
    """One row of `control.leases`: who owns `resource`, under which epoch, until when by the database's clock."""

    resource: str
    owner: str
    epoch: int
    expires_in_ms: int
    checkpoint_offset: int | None = None


class LeaseUnreachableError(Exception):
    """The lease store did not answer: nothing is known about the row."""


class Pauses(Protocol):
    """Until when nobody may ask a venue anything: written by whoever was refused, read by all before each request.

    Every call raises UnreachableError when the store does not answer in time.
    """

    async def left_ms(self, venue: str) -> int:
        """How much longer requests to the venue are paused, in ms; 0 when they are not."""
        ...

    async def extend(self, venue: str, for_ms: int, cause: str) -> None:
        """Pause for that long from now, unless a longer pause stands."""
        ...


class LeaseStore(Protocol):
    """Leases by compare-and-set. Every call raises LeaseUnreachableError when the store does not answer in time."""

    async def read(self, resource: str) -> Lease | None:
        """The row as it stands, or None."""
        ...

    async def take(self, resource: str, owner: str, epoch_seen: int | None, epoch_new: int, ttl_ms: int) -> bool:
        """Make `owner` the holder with `epoch_new` iff the row's epoch still is `epoch_seen` (None: no row) and the row
        is expired or already `owner`'s. True iff it worked."""
        ...

    async def renew(self, resource: str, owner: str, epoch: int, ttl_ms: int) -> bool:
        """Extend a row that still is (`owner`, `epoch`). False: somebody else's now."""
        ...

    async def release(self, resource: str, owner: str, epoch: int) -> None:
        """Expire one's own row at once, so that a successor need not wait."""
        ...

    async def point(self, resource: str, owner: str, epoch: int, checkpoint_offset: int) -> bool:
        """Store where the owner's newest checkpoint record lies, iff the row still is (`owner`, `epoch`)."""
        ...


class ManyLeases(LeaseStore, Protocol):
    """A LeaseStore for who holds many: what is asked for all of them again and again is one call, however many they are."""

    async def read_all(self, resources: Collection[str]) -> Mapping[str, Lease]:
        """`read` for many, as they stood at one moment: those that have a row, by resource."""
        ...

    async def renew_all(self, owner: str, epochs: Mapping[str, int], ttl_ms: int) -> Collection[str]:
        """`renew` for many, each under its own epoch, at one moment: those that still were (`owner`, its epoch)."""
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


@dataclass(frozen=True, slots=True)
class Frame:
    """What a venue said about one symbol.

    `fields` are named as in our messages and hold the venue's own values, untouched and unchecked; `raw` are the bytes they
    came in.
    """

    symbol: str
    fields: Mapping[str, object]
    received_at_ms: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Probe:
    """One answered heartbeat: round trip, venue time minus ours (ms), request weight left (None: the venue does not say)."""

    round_trip_ms: int
    clock_offset_ms: int
    budget_left: int | None


@dataclass(frozen=True, slots=True)
class KeyRights:
    """What an API key may do, as the venue says."""

    read: bool
    trade: bool
    withdraw: bool


class FrameSink(Protocol):
    """Who takes what a venue's sockets say. Neither call waits or raises."""

    def quote(self, frame: Frame) -> None:
        """A best bid and ask arrived."""
        ...

    def refused(self, raw: bytes, reason: str) -> None:
        """A frame arrived that nobody can read."""
        ...


class VenueReads(Protocol):
    """What the feed asks one venue by requests.

    Every call raises RefusedError when the venue said no, UnreachableError when nothing was sent (during a pause that the
    venue asked for, too), UnknownOutcomeError when no usable answer came.
    """

    async def open(self, symbols: Sequence[str]) -> None:
        """Learn the markets. Raises RefusedError also for symbols that the venue does not have."""
        ...

    async def quote(self, symbol: str) -> Frame:
        """Best bid and ask with the venue's sequence."""
        ...

    async def probe(self) -> Probe:
        """One heartbeat."""
        ...

    async def rules(self) -> Mapping[str, Mapping[str, object]]:
        """For each opened symbol that the venue still has: the fields of its rules."""
        ...

    async def maintenance(self) -> bool:
        """Whether the venue says that it is closed for maintenance."""
        ...

    async def rights(self, account: str) -> KeyRights:
        """What the account's key may do."""
        ...

    async def balances(self, account: str) -> Mapping[str, object]:
        """The fields of a full balance snapshot."""
        ...

    async def close(self) -> None:
        """Close all connections, the streams' too."""
        ...


class VenueStreams(Protocol):
    """One venue's public sockets, dialled again for ever."""

    async def run(self, sink: FrameSink) -> None:
        """Subscribe, and stay subscribed until cancelled."""
        ...

    def books(self, levels: int) -> Sequence[Frame]:
        """The books that are in sequence now, cut to the best `levels`."""
        ...

    def socket_age_ms(self) -> int | None:
        """For how long the quotes' socket has been open; None when it is not."""
        ...

    def reset(self, books: bool, why: str) -> None:
        """Close the sockets of quotes, or of books; they are dialled and subscribed anew."""
        ...


class ProjectionMovedError(Exception):
    """The tables do not stand where the caller last saw them: they were rebuilt, or somebody else projects too."""


class ProjectionStore(Protocol):
    """The tables that people read, and how far they follow the topics. Every call raises UnreachableError when the store
    does not answer in time, and RefusedError when its tables are not what they must be."""

    async def positions(self) -> dict[tuple[str, int], int]:
        """The next offset of each (topic, partition) that the tables follow."""
        ...

    async def heads(self) -> dict[str, Head]:
        """The newest projected entry of each account's books."""
        ...

    async def apply(
        self,
        changes: Sequence[Change],
        moves: Mapping[tuple[str, int], tuple[int | None, int]],
        repeats: Sequence[tuple[str, int, str]] = (),
    ) -> None:
        """Write all rows and move the positions, or nothing. `moves` are the next offsets as they were seen last (None: there
        was none) and as they shall be; raises ProjectionMovedError when one stands elsewhere.

        `repeats` are (account, sequence, digest of the value) of entries that lie behind: raises InvariantError when one of
        them, or a signal, was written before with other bytes. After UnreachableError nobody knows whether it happened: read
        `positions` back.
        """
        ...


class NewsSink(Protocol):
    """Who takes what a venue's stream says of an account. Neither call waits or raises."""

    def connected(self) -> None:
        """The stream is subscribed anew: what happened before it may never be told."""
        ...

    def told(self, news: OrderNews) -> None:
        """Something happened to an order of the account, perhaps not for the first time."""
        ...


class TradingVenue(Protocol):
    """One venue account as its executor uses it, with the account's trading key.

    Times are the venue's. The reads raise RefusedError when the venue said no, UnreachableError when nothing was sent,
    UnknownOutcomeError when no usable answer came; incomplete lists count as no answer. `place` and `cancel` never raise for
    what a venue does: they return facts, which the protocol judges.
    """

    dialect: str

    async def open(self, symbols: Sequence[str]) -> None:
        """Learn the markets of these symbols. Raises RefusedError also for symbols that the venue does not have."""
        ...

    async def rights(self) -> KeyRights:
        """What the key may do."""
        ...

    async def time_ms(self) -> int:
        """The venue's time, UTC ms."""
        ...

    def synchronize(self, venue_time_ms: int, boot_ms: int) -> None:
        """The venue's time at that moment of CLOCK_BOOTTIME: reads are signed by it from now on."""
        ...

    async def warm(self, connections: int) -> None:
        """Keep at least that many connections open and unused for long enough to be ready at the next request."""
        ...

    async def place(self, request: OrderRequest, permit: Callable[[], None]) -> VenueReply:
        """Send one order, once. `permit` is called when nothing is left to do but to write the bytes; whatever it raises
        keeps them from leaving (Failure.NOT_SENT)."""
        ...

    async def cancel(self, request: CancelRequest, permit: Callable[[], None]) -> VenueReply:
        """Send one cancel, once; `permit` as in `place`."""
        ...

    async def order(self, symbol: str, client_order_id: str) -> OrderView | None:
        """The order with this client id, or None when the venue shows none now (which proves nothing by itself)."""
        ...

    async def order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderView | None:
        """The order with this venue id, or None."""
        ...

    async def open_orders(self, symbol: str) -> Sequence[OrderView]:
        """All orders of the account that stand on the book of a symbol."""
        ...

    async def trades(self, symbol: str, since_ms: int, venue_order_id: str | None = None) -> Sequence[TradeView]:
        """The account's own trades in a symbol from `since_ms` on; with `venue_order_id` all trades of that order alone."""
        ...

    async def last_trades(self, symbol: str, count: int) -> Sequence[TradeView]:
        """The account's newest own trades in a symbol, `count` at most."""
        ...

    async def flows(self, since_ms: int) -> Sequence[FlowView]:
        """Deposits and withdrawals of the account from `since_ms` on (venue time), as far as they moved money."""
        ...

    async def totals(self) -> Mapping[str, Decimal]:
        """Units of each asset, free and used together."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class ListeningVenue(TradingVenue, Protocol):
    """A venue account that is also listened to. The stream is quicker than the reads; nothing depends on it."""

    async def listen(self, sink: NewsSink) -> None:
        """Hand on what the venue's stream says of the account's orders, dialled again for ever, until cancelled."""
        ...

    def hang_up(self, why: str) -> None:
        """Close the stream's connection; it is dialled and subscribed anew."""
        ...
