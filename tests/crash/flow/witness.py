"""What really happens while the run goes on: what each role writes, and what the venue accepts."""

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from schemas.codec import DecodeError, decode
from schemas.envelope import Envelope
from schemas.orders import (
    AccountHalted,
    AttemptEvent,
    OrderAbsent,
    OrderAccepted,
    OrderFound,
    OrderIntended,
    OrderRejected,
    OrderUnknown,
    OrderUnsent,
    OwnerStarted,
)
from schemas.rebalance import PortfolioHalted, PortfolioQuarantined
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.matching.journal import Entry
from streams.ports.log import KafkaConnection, Record
from streams.topics import MARKET_TICKERS, ORDERS_EVENTS, ORDERS_LEDGER, PORTFOLIO_JOURNAL, REBALANCE_SIGNALS
from tests.crash.flow.aside import Aside

Result = TypeVar("Result")
OUTCOMES = (OrderAccepted, OrderRejected, OrderUnsent, OrderFound, OrderAbsent)
SPOKEN = {
    "feed": MARKET_TICKERS,
    "sequencer": PORTFOLIO_JOURNAL,
    "portfolio": REBALANCE_SIGNALS,
    "executor": ORDERS_EVENTS,
    "ledger": ORDERS_LEDGER,
}
"""Where a role is heard. The projector writes no topic: its tables show that it works."""
HALTS = {message.ce_type().encode() for message in (OwnerStarted, AccountHalted, PortfolioHalted, PortfolioQuarantined)}
"""What says who halts, and which executor may say so."""

Place = tuple[str, int]
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
    """Follows every topic that a role is heard on until `close`. Reading its attributes is safe from any thread."""

    def __init__(self, connection: KafkaConnection, journal: Path) -> None:
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self._halts = Halts()
        self._next: dict[Place, int] = {}
        self._connection = connection
        self._journal = journal
        self._journal_read = 0
        self._accepted: list[tuple[int, str]] = []
        self._heard: dict[str, dict[Place, int]] = {}
        self._intended: dict[str, dict[Place, int]] = {}
        self._aside = Aside("witness")
        self._log = KafkaLog(connection)
        self._aside.ask(self._begin())

    def close(self) -> None:
        """Stop following."""
        self._following.cancel()
        self.ask(self._log.close())
        self._aside.close()

    def ask(self, question: Coroutine[Any, Any, Result], timeout_s: float = 60.0) -> Result:
        """Run a coroutine on the witness's own loop."""
        return self._aside.ask(question, timeout_s)

    @property
    def halted(self) -> list[str]:
        """Who has halted by itself so far, and why."""
        return self._halts.told

    @property
    def log(self) -> KafkaLog:
        """A log of the installation; use it inside `ask`."""
        return self._log

    def ends(self, *topics: str) -> dict[Place, int]:
        """The end offset of each partition of these topics."""

        async def read() -> dict[Place, int]:
            places = [(topic, partition) for topic in topics for partition in range(await self._log.partitions(topic))]
            return {place: await self._log.end_offset(*place) for place in places}

        return self.ask(read())

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, a partition after the other."""

        async def read() -> list[Record]:
            found: list[Record] = []
            for partition in range(await self._log.partitions(topic)):
                begin, end = await self._log.begin_offset(topic, partition), await self._log.end_offset(topic, partition)
                found += await self._log.read(topic, partition, begin, end)
            return found

        return self.ask(read(), 600)

    def has_heard(self, ends: Mapping[Place, int]) -> bool:
        """Whether everything below these offsets was heard."""
        return all(self._next.get(place, 0) >= end for place, end in ends.items())

    def sources(self, role: str) -> list[str]:
        """Who of this role was ever heard: the parts of its work, such as `sequencer/1` and `executor/a007`."""
        return [source for source in tuple(self._heard) if source.startswith(f"{role}/")]

    def spoke(self, source: str, since: Mapping[Place, int]) -> bool:
        """Whether a source wrote something at or behind these offsets."""
        return _is_behind(self._heard.get(source, {}), since)

    def intended(self, account: str, since: Mapping[Place, int]) -> bool:
        """Whether an order of this account was intended at or behind these offsets."""
        return _is_behind(self._intended.get(account, {}), since)

    def accepted(self) -> list[str]:
        """The client order ids that the venue accepted, in its order, from its journal on disk."""
        self._read_journal()
        return [client_order_id for _, client_order_id in self._accepted]

    def journal(self) -> Iterator[Entry]:
        """The whole journal of the venue."""
        with self._journal.open("rb") as journal:
            for line in map(json.loads, journal):
                yield Entry(line.pop("sequence"), line.pop("at_ms"), line.pop("kind"), line)

    def fills(self) -> int:
        """How many fills the venue's journal holds: each of ours is with the venue itself."""
        return sum(entry.kind == "fill" for entry in self.journal())

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

    async def _begin(self) -> None:
        await self._log.start()
        self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        reader = KafkaReader(self._connection)
        try:
            topics = {topic: await self._log.partitions(topic) for topic in SPOKEN.values()}
            await reader.assign({(topic, partition): 0 for topic, count in topics.items() for partition in range(count)})
            while True:
                for record in await reader.poll(20):
                    self._take(record)
        finally:
            await reader.close()

    def _take(self, record: Record) -> None:
        place = (record.topic, record.partition)
        source = (record.header("ce_source") or b"").decode(errors="replace")
        self._heard.setdefault(source, {})[place] = record.offset
        self._next[place] = record.offset + 1
        self._halts.hear(record)
        if record.topic != ORDERS_EVENTS:
            return
        try:
            event = decode(Envelope.read(record.headers).type, record.value)
        except (DecodeError, ValueError):
            return
        if isinstance(event, OrderIntended):
            which = (event.command_id, event.attempt)
            self.attempts.setdefault(which, Attempt(*which, event.client_order_id, event.at_ms))
            self._intended.setdefault(event.account, {})[place] = record.offset
        elif isinstance(event, AttemptEvent) and (attempt := self.attempts.get((event.command_id, event.attempt))):
            if isinstance(event, OrderUnknown):
                attempt.unknown = True
            elif isinstance(event, OUTCOMES) and not attempt.ended:
                attempt.ended, attempt.ended_at_ms = type(event).__name__, event.at_ms


class Halts:
    """Who halts by itself, and why: an executor its account, a fold a portfolio. Hears the records of each log in order.

    An executor that slept while another one took over may wake to a trade of an order it knows nothing of, and halt for it:
    that is void, as everything that a former owner says.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self._epochs: dict[str, int] = {}

    def hear(self, record: Record) -> None:
        if record.header("ce_type") not in HALTS:
            return
        try:
            said = decode(Envelope.read(record.headers).type, record.value)
        except (DecodeError, ValueError):
            return
        match said:
            case OwnerStarted():
                self._epochs[said.account] = max(said.epoch, self._epochs.get(said.account, 0))
            case AccountHalted() if said.epoch >= self._epochs.get(said.account, 0):
                self._tell(f"account {said.account}", said.cause, said.detail)
            case PortfolioHalted() | PortfolioQuarantined():
                self._tell(f"portfolio {said.portfolio}", said.cause, said.detail)
            case _:
                pass

    def _tell(self, who: str, cause: str, detail: str) -> None:
        self.told.append(f"{who}: {cause}" + (f" ({detail})" if detail else ""))


def _is_behind(found: Mapping[Place, int], since: Mapping[Place, int]) -> bool:
    return any(offset >= since[place] for place, offset in tuple(found.items()) if place in since)
