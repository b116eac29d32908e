"""The log of each account: commands and events in order, appended with delay, read back by offset.

A producer keeps its order, as an idempotent one does. What it holds while its process is paused leaves when that wakes; what
it holds when its process dies may still land, as far as bytes had left. A refused batch takes all behind it along.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from schemas.codec import decode, encode
from schemas.envelope import Envelope
from schemas.orders import CancelOrder, ExecutionEvent, PlaceOrder
from streams.agents.executor.letters import event_output
from streams.domain.errors import UnreachableError
from streams.lab.engine import Pause
from streams.lab.history import History
from streams.lab.process import Process
from streams.ports.log import Output, Record
from streams.topics import ORDERS_COMMANDS, ORDERS_EVENTS


@dataclass(slots=True)
class Written:
    """One event in the log; its bytes are made when somebody reads them first."""

    event: ExecutionEvent
    ce_id: str
    output: Output | None = None

    def record(self, offset: int) -> Record:
        """As a reader gets it."""
        if self.output is None:
            _, self.output = event_output(self.event)
        return Record(ORDERS_EVENTS, 0, offset, self.output.key, self.output.value, self.output.headers)


@dataclass(slots=True)
class AccountLog:
    """What is durable of one account, and who is told of each new command and event."""

    account: str
    commands: list[PlaceOrder | CancelOrder | None] = field(default_factory=list)
    events: list[Written] = field(default_factory=list)
    command_followers: list[Callable[[int], None]] = field(default_factory=list)
    event_followers: list[Callable[[int], None]] = field(default_factory=list)

    def give(self, command: PlaceOrder | CancelOrder | None) -> None:
        """A record is written to the commands; None is one that nobody can read."""
        self.commands.append(command)
        for follower in tuple(self.command_followers):
            follower(len(self.commands) - 1)

    def write(self, written: Written) -> int:
        """An event is durable. Returns its offset."""
        self.events.append(written)
        offset = len(self.events) - 1
        for follower in tuple(self.event_followers):
            follower(offset)
        return offset


Acked = Callable[[int, str | None], None]
"""(offset, None) of an append that is durable, or (-1, why it failed)."""


class Producer:
    """One process's appends to one account's events."""

    def __init__(self, history: History, process: Process, log: AccountLog) -> None:
        self._history = history
        self._process = process
        self._log = log
        self._queue: deque[tuple[Written, Acked]] = deque()
        self._landed_ms = 0
        self._held = 0

    def append(self, written: Written, acked: Acked) -> None:
        """Queue an event; `acked` is told in the process, once."""
        history = self._history
        delay_ms = history.chance.between(1, 4, "append", len(self._log.events), len(self._queue), self._process.number)
        self._landed_ms = max(self._landed_ms, max(history.engine.now_ms, history.log_away_until_ms) + delay_ms)
        self._queue.append((written, acked))
        history.engine.at(self._landed_ms, self._land, self._process.life)

    def _land(self, life: int) -> None:
        if life != self._process.life or not self._queue:
            return
        if self._process.asleep and self._landed_ms > self._process.asleep_from_ms + 4:
            self._held += 1
            return
        if self._history.chance.strikes(200, "append refused", self._process.number, self._history.engine.now_ms):
            self._refuse()
            return
        written, acked = self._queue.popleft()
        offset = self._log.write(written)
        delay_ms = self._history.chance.between(0, 3, "ack", offset)
        self._history.engine.at(self._history.engine.now_ms + delay_ms, self._tell, life, acked, offset, None)

    def _refuse(self) -> None:
        refused, self._queue = self._queue, deque()
        self._history.seen["append refused"] += 1
        for _, acked in refused:
            self._tell(self._process.life, acked, -1, "the broker refused it")

    def _tell(self, life: int, acked: Acked, offset: int, error: str | None) -> None:
        if life == self._process.life:
            self._process.hear(acked, offset, error)

    def wake(self) -> None:
        """What was held while the process slept leaves now."""
        held, self._held = self._held, 0
        for _ in range(held):
            self._land(self._process.life)

    def die(self) -> None:
        """The process is gone: a part of what it had queued was on its way already."""
        on_its_way = self._history.chance.between(0, len(self._queue), "on its way", self._process.number, self._process.life)
        queue, self._queue, self._held = self._queue, deque(), 0
        for written, _ in list(queue)[: on_its_way if not self._history.log_is_away else 0]:
            self._log.write(written)


class LogClient:
    """The port Log of one process for one account: one partition, offsets as in the account's own log."""

    def __init__(self, history: History, process: Process, log: AccountLog, producer: Producer) -> None:
        self._history = history
        self._process = process
        self._log = log
        self._producer = producer

    async def append(self, output: Output) -> int:
        """Append one event durably."""
        headers = Envelope.read(output.headers)
        event = decode(headers.type, output.value)
        assert isinstance(event, ExecutionEvent)
        done: list[tuple[int, str | None]] = []
        self._producer.append(Written(event, headers.id), lambda offset, error: done.append((offset, error)))
        while not done:
            await Pause(2)
        offset, error = done[0]
        if error is not None:
            raise UnreachableError(error)
        return offset

    def append_nowait(self, output: Output) -> Awaitable[int]:
        """Queue one event."""
        return self.append(output)

    def unacked_age_ms(self) -> int:
        """Nobody asks here."""
        return 0

    async def partitions(self, topic: str) -> int:
        """One for each account."""
        return 1

    async def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""
        return await self._ask(lambda: len(self._log.events if topic == ORDERS_EVENTS else self._log.commands))

    async def begin_offset(self, topic: str, partition: int) -> int:
        """Everything is kept."""
        return 0

    async def read(self, topic: str, partition: int, offset_from: int, offset_to: int) -> Sequence[Record]:
        """Records by offset."""
        await self._ask(lambda: None)
        if topic == ORDERS_EVENTS:
            part = self._log.events[offset_from:offset_to]
            return [written.record(offset_from + number) for number, written in enumerate(part)]
        commands = self._log.commands[offset_from:offset_to]
        return [_command_record(self._log.account, offset_from + n, c) for n, c in enumerate(commands) if c is not None]

    async def close(self) -> None:
        """Nothing is held."""

    async def _ask(self, answer: Callable[[], int | None]) -> int:
        history = self._history
        while history.log_is_away:
            await Pause(max(1, history.log_away_until_ms - history.engine.now_ms))
        delay_ms = history.chance.between(1, 5, "read the log", self._process.number, history.engine.now_ms)
        return await Pause(delay_ms, answer) or 0


def _command_record(account: str, offset: int, command: PlaceOrder | CancelOrder) -> Record:
    envelope = Envelope(id=command.command_id, type=command.ce_type(), source="portfolio/0", time_ms=command.decided_at_ms)
    return Record(ORDERS_COMMANDS, 0, offset, account.encode(), encode(command), envelope.headers())
