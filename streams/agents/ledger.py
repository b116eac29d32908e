"""The ledger agent: execution events in, entries of the books out. It decodes, lets the books decide, and encodes.

What cannot be read goes to the dead letters with its original bytes and the flow goes on; what contradicts the books stops
the process, because nothing booked after it could be trusted.
"""

from collections.abc import Sequence

from schemas.codec import DecodeError, decode
from schemas.envelope import Envelope, trace_child
from schemas.ledger import LedgerEntry
from schemas.orders import ExecutionEvent
from streams.agents.deadletter import dead_letter_of
from streams.agents.envelopes import enveloped
from streams.domain.ids import digest_id
from streams.domain.ledger.books import STATE_VERSION, Books
from streams.ports.folds import FoldSpec
from streams.ports.log import Output, Record
from streams.topics import LEDGER_APPLICATION, ORDERS_EVENTS, ORDERS_LEDGER, dead_letter

DEAD_LETTERS = dead_letter(ORDERS_EVENTS, "ledger")


class LedgerFold:
    """The fold of one partition of execution events (the port `Fold`).

    `repeats_and_evidence`, `dead_lettered` and `booked` count what became of the records since this object was made.
    """

    def __init__(self, partition: int, snapshot: bytes | None):
        """The fold as of `snapshot`, or of the partition's beginning. Raises ValueError on a snapshot it cannot read."""
        self._source = f"ledger/{partition}"
        self._books = Books() if snapshot is None else Books.load(snapshot)
        self.booked = 0
        self.dead_lettered = 0
        self.repeats_and_evidence = 0

    def step(self, record: Record) -> Sequence[Output]:
        """The entry that the record causes, or its dead letter, or nothing. Raises InvariantError."""
        try:
            envelope, event = _read(record)
        except ValueError as error:
            self.dead_lettered += 1
            return (dead_letter_of(record, "ledger", error),)
        entry = self._books.book(event, envelope.id)
        if entry is None:
            self.repeats_and_evidence += 1
            return ()
        self.booked += 1
        return (self._output(entry, envelope),)

    def snapshot(self) -> bytes:
        """The whole state as canonical bytes."""
        return self._books.snapshot()

    def _output(self, entry: LedgerEntry, cause: Envelope) -> Output:
        entry_id = digest_id("ledger", entry.account, str(entry.sequence))
        trace, at_ms = trace_child(cause.traceparent, entry_id), entry.at_ms
        return enveloped(
            ORDERS_LEDGER, entry.account, entry, ce_id=entry_id, source=self._source, time_ms=at_ms, traceparent=trace
        )


def ledger_spec(partitions: int, code_version: str, instance: str = "0") -> FoldSpec:
    """How the ledger fold stands on its transport."""
    return FoldSpec(
        application=LEDGER_APPLICATION,
        source_topic=ORDERS_EVENTS,
        partitions=partitions,
        version=f"{code_version}/{STATE_VERSION}",
        output_topics=(ORDERS_LEDGER, DEAD_LETTERS),
        instance=instance,
    )


def _read(record: Record) -> tuple[Envelope, ExecutionEvent]:
    envelope = Envelope.read(record.headers)
    event = decode(envelope.type, record.value)
    if not isinstance(event, ExecutionEvent):
        raise DecodeError(f"a {type(event).__name__} is not an execution event")
    if record.key != event.account.encode():
        raise DecodeError(f"key {record.key!r} is not the account {event.account!r}")
    return envelope, event
