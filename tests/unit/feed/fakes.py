"""What the feed's tests stand on: a log in memory, a clock in hand, a venue that answers what it is told to."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.codec import decode
from schemas.envelope import Envelope, Message
from streams.domain.errors import TrimtabError
from streams.ports.log import Output, Record
from streams.ports.venue import Frame, FrameSink, KeyRights, Probe


async def until(condition: Callable[[], Any], what: str, seconds: float = 10.0) -> None:
    """Wait for a condition; the deadline only guards against hanging."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  the condition is any at all
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}") from None


@dataclass
class HandClock:
    """A clock that stands still until it is moved."""

    now_ms: int = 1_700_000_000_000

    def wall_ms(self) -> int:
        return self.now_ms

    def boot_ms(self) -> int:
        return self.now_ms - 1_600_000_000_000


@dataclass
class MemoryLog:
    """A log that acknowledges at once, or when it is told to."""

    outputs: list[Output] = field(default_factory=list)
    acknowledging: bool = True
    waiting: list["asyncio.Future[int]"] = field(default_factory=list)
    age_ms: int = 0

    def append_nowait(self, output: Output) -> "asyncio.Future[int]":
        self.outputs.append(output)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self.acknowledging:
            done.set_result(len(self.outputs) - 1)
        else:
            self.waiting.append(done)
        return done

    async def append(self, output: Output) -> int:
        return await self.append_nowait(output)

    def acknowledge(self) -> None:
        waiting, self.waiting = self.waiting, []
        for done in waiting:
            done.set_result(0)

    def unacked_age_ms(self) -> int:
        return self.age_ms

    async def partitions(self, topic: str) -> int:
        return 1

    async def begin_offset(self, topic: str, partition: int) -> int:
        return 0

    async def end_offset(self, topic: str, partition: int) -> int:
        return len(self.of(topic))

    async def read(self, topic: str, partition: int, offset_from: int, offset_to: int) -> Sequence[Record]:
        return [
            Record(topic, 0, offset, output.key, output.value, output.headers)
            for offset, output in enumerate(self.of(topic))
            if offset_from <= offset < offset_to
        ]

    async def close(self) -> None:
        self.acknowledge()

    def of(self, topic: str) -> list[Output]:
        return [output for output in self.outputs if output.topic == topic]

    def said(self, topic: str) -> list[Any]:
        return [message_of(output) for output in self.of(topic)]


def message_of(output: Output) -> Message:
    return decode(Envelope.read(output.headers).type, output.value)


def rules_fields(**changed: object) -> dict[str, object]:
    return {
        "base": "BTC",
        "quote": "USDT",
        "status": "trading",
        "price_tick_quote": "0.01000000",
        "quantity_step_base": "0.00001000",
        "quantity_min_base": "0.00001000",
        "quantity_max_base": "9000.00000000",
        "notional_min_quote": "5.00000000",
        "notional_max_quote": "9000000.00000000",
        "fee_maker": "0.001",
        "fee_taker": "0.001",
    } | changed


def quote_frame(sequence: int = 1, bid: object = "100.00", ask: object = "100.01", symbol: str = "BTC/USDT") -> Frame:
    fields = {
        "bid_price_quote": bid,
        "bid_quantity_base": "1.50000000",
        "ask_price_quote": ask,
        "ask_quantity_base": "2.00000000",
        "venue_sequence": sequence,
    }
    return Frame(symbol, fields, 1_700_000_000_000, b"raw")


@dataclass
class FakeReads:
    """Answers from attributes; an exception in their place is raised."""

    rights_answer: Any = field(default_factory=lambda: KeyRights(read=True, trade=False, withdraw=False))
    rules_answer: Any = field(default_factory=lambda: {"BTC/USDT": rules_fields()})
    quote_answer: Any = field(default_factory=quote_frame)
    probe_answer: Any = field(default_factory=lambda: Probe(12, -3, 5990))
    maintenance_answer: Any = False
    open_answers: list[TrimtabError] = field(default_factory=list)
    balances_answer: Any = field(
        default_factory=lambda: {"balances": {"USDT": {"free": "10", "used": "0"}}, "received_at_ms": 1_700_000_000_000}
    )
    opened: int = 0
    quotes_asked: int = 0
    balances_asked: int = 0
    closed: bool = False

    async def open(self, symbols: Sequence[str]) -> None:
        self.opened += 1
        if self.open_answers:
            raise self.open_answers.pop(0)

    async def quote(self, symbol: str) -> Frame:
        self.quotes_asked += 1
        return _answer(self.quote_answer)

    async def probe(self) -> Probe:
        return _answer(self.probe_answer)

    async def rules(self) -> Mapping[str, Mapping[str, object]]:
        return _answer(self.rules_answer)

    async def maintenance(self) -> bool:
        return _answer(self.maintenance_answer)

    async def rights(self, account: str) -> KeyRights:
        return _answer(self.rights_answer)

    async def balances(self, account: str) -> Mapping[str, object]:
        self.balances_asked += 1
        return _answer(self.balances_answer)

    async def close(self) -> None:
        self.closed = True


@dataclass
class FakeStreams:
    """Sockets that say what the test says."""

    sink: FrameSink | None = None
    frames: list[Frame] = field(default_factory=list)
    age_ms: int | None = 1000
    resets: list[bool] = field(default_factory=list)

    async def run(self, sink: FrameSink) -> None:
        self.sink = sink
        await asyncio.Event().wait()

    def books(self, levels: int) -> Sequence[Frame]:
        return self.frames

    def socket_age_ms(self) -> int | None:
        return self.age_ms

    def reset(self, books: bool, why: str) -> None:
        self.resets.append(books)


def _answer(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer
