"""What really happens while the run goes on: execution events as they are written, and what the venue accepts."""

import asyncio
import json
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from schemas.codec import DecodeError, decode
from schemas.envelope import Envelope
from schemas.orders import (
    AttemptEvent,
    OrderAbsent,
    OrderAccepted,
    OrderFound,
    OrderIntended,
    OrderRejected,
    OrderUnknown,
    OrderUnsent,
)
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.ports import KafkaConnection, Record
from streams.topics import ORDERS_EVENTS

Result = TypeVar("Result")
OUTCOMES = (OrderAccepted, OrderRejected, OrderUnsent, OrderFound, OrderAbsent)
FRESH_MS = 150
RATE_WINDOW_MS = 10_000


def now_ms() -> int:
    """The wall clock, which the venue and every role on this machine share."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Attempt:
    """One intent and how it ended, with the executor's wall clock times."""

    command_id: str
    number: int
    client_order_id: str
    intended_at_ms: int
    unknown: bool = False
    ended: str = ""
    ended_at_ms: int = 0


class Witness:
    """Follows `orders.events` in a thread of its own until `close`. Reading its attributes is safe from any thread."""

    def __init__(self, connection: KafkaConnection, journal: Path) -> None:
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self._connection = connection
        self._journal = journal
        self._journal_read = 0
        self._accepted: list[tuple[int, str]] = []
        self._loop = asyncio.new_event_loop()
        self._log = KafkaLog(connection)
        self._thread = threading.Thread(target=self._run, name="witness")
        self._thread.start()
        self._following = asyncio.run_coroutine_threadsafe(self._follow(), self._loop)

    def close(self) -> None:
        """Stop following."""
        self._following.cancel()
        self.ask(self._log.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ask(self, question: Coroutine[Any, Any, Result], timeout_s: float = 60.0) -> Result:
        """Run a coroutine on the witness's own loop."""
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(timeout_s)

    @property
    def log(self) -> KafkaLog:
        """A log of the installation; use it inside `ask`."""
        return self._log

    def ends(self, topic: str) -> int:
        """The end offsets of a topic, summed."""

        async def read() -> int:
            return sum([await self._log.end_offset(topic, partition) for partition in range(await self._log.partitions(topic))])

        return self.ask(read())

    def accepted(self) -> list[str]:
        """The client order ids that the venue accepted, in its order, from its journal on disk."""
        self._read_journal()
        return [client_order_id for _, client_order_id in self._accepted]

    def fills(self) -> int:
        """How many fills the venue's journal holds: each of ours is with the venue itself."""
        with self._journal.open("rb") as journal:
            return sum(json.loads(line)["kind"] == "fill" for line in journal)

    def rate_per_s(self, since_ms: int) -> float:
        """How many orders a second the venue accepted in the last ten seconds, not counting any before `since_ms`."""
        self._read_journal()
        first_ms = max(since_ms, now_ms() - RATE_WINDOW_MS)
        return 1_000 * sum(at_ms >= first_ms for at_ms, _ in self._accepted) / RATE_WINDOW_MS

    def open_intents(self) -> list[Attempt]:
        """Intents of the last moment whose outcome nobody wrote yet: their requests are out."""
        since_ms = now_ms() - FRESH_MS
        return [
            attempt
            for attempt in list(self.attempts.values())
            if not attempt.ended and not attempt.unknown and attempt.intended_at_ms >= since_ms
        ]

    def unresolved(self) -> list[Attempt]:
        """Intents without outcome, however old."""
        return [attempt for attempt in list(self.attempts.values()) if not attempt.ended]

    def _read_journal(self) -> None:
        with self._journal.open("rb") as journal:
            journal.seek(self._journal_read)
            data = journal.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._journal_read += len(whole)
        lines = (json.loads(line) for line in whole.splitlines())
        self._accepted += [(line["at_ms"], line["client_order_id"]) for line in lines if line["kind"] == "order_accepted"]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _follow(self) -> None:
        await self._log.start()
        reader = KafkaReader(self._connection)
        partitions = await self._log.partitions(ORDERS_EVENTS)
        try:
            await reader.assign({(ORDERS_EVENTS, partition): 0 for partition in range(partitions)})
            while True:
                for record in await reader.poll(20):
                    self._take(record)
        finally:
            await reader.close()

    def _take(self, record: Record) -> None:
        try:
            event = decode(Envelope.read(record.headers).type, record.value)
        except (DecodeError, ValueError):
            return
        if isinstance(event, OrderIntended):
            place = (event.command_id, event.attempt)
            self.attempts.setdefault(place, Attempt(*place, event.client_order_id, event.at_ms))
        elif isinstance(event, AttemptEvent) and (attempt := self.attempts.get((event.command_id, event.attempt))):
            if isinstance(event, OrderUnknown):
                attempt.unknown = True
            elif isinstance(event, OUTCOMES) and not attempt.ended:
                attempt.ended, attempt.ended_at_ms = type(event).__name__, event.at_ms
