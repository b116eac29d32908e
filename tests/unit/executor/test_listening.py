"""1.3: the executor's ear for the venue's stream: what it passes on, what it drops, and when it dials anew."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from schemas.orders import OrderFilled
from streams.agents.executor.inbox import WAITING_MAX, Inbox
from streams.agents.executor.listening import KEPT_MAX, Ear
from streams.domain.orders.outcome import OrderNews
from streams.domain.orders.stimuli import OrderHeard, Ticked
from streams.ports.venue import NewsSink
from tests.examples import FIELDS
from tests.unit.executor.memory import TestClock
from tests.unit.executor.test_parts import running, until
from tests.unit.orders.desk import trade

SILENCE_MS = 20
FILL = OrderFilled.model_validate(FIELDS["orders.filled"])


class Stream:
    """A venue's stream: it is subscribed at once, and anew after each hang-up."""

    def __init__(self) -> None:
        self.hung_up: list[str] = []

    async def listen(self, sink: NewsSink) -> None:
        self.sink = sink
        sink.connected()
        await asyncio.Event().wait()

    def hang_up(self, why: str) -> None:
        self.hung_up.append(why)
        self.sink.connected()


class Listener:
    def __init__(self) -> None:
        self.stream, self.clock, self.inbox = Stream(), TestClock(), Inbox()
        self.ear = Ear("alice", self.stream, self.clock, self.inbox, SILENCE_MS)  # type: ignore[arg-type]

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        async with running(self.ear.listen()):
            await until(lambda: hasattr(self.stream, "sink"))
            yield

    def told(self, trade_id: str) -> None:
        self.ear.told(OrderNews("a" * 26, "BTC/USDT", False, trade(trade_id)))

    def booked(self, trade_id: str, **changes: Any) -> None:
        fields = {"trade_id": trade_id, "symbol": "BTC/USDT", "venue_time_ms": self.clock.wall_ms() + SILENCE_MS}
        self.ear.hearing.booked(FILL.model_copy(update=fields | changes))

    async def while_silent(self) -> None:
        self.clock.go(SILENCE_MS)
        await asyncio.sleep(SILENCE_MS / 1000)  # the ear looks five times as often


@pytest.fixture
def listener() -> Listener:
    return Listener()


async def test_1_3_news_are_inputs_and_are_dropped_when_too_much_waits(listener: Listener) -> None:
    async with listener.at_work():
        listener.told("1")
        assert listener.inbox.take() == (OrderHeard, {"news": OrderNews("a" * 26, "BTC/USDT", False, trade("1"))})
        for _ in range(WAITING_MAX):
            listener.inbox.put(Ticked)
        listener.told("2")
        waiting = [listener.inbox.take() for _ in range(WAITING_MAX + 1)]
    assert waiting[-1] is None


async def test_1_3_a_trade_that_was_told_before_or_after_it_was_booked_is_no_silence(listener: Listener) -> None:
    async with listener.at_work():
        listener.told("1")
        listener.booked("1")
        listener.booked("2")
        listener.told("2")
        await listener.while_silent()
    assert listener.stream.hung_up == []


async def test_1_3_a_trade_that_is_not_told_in_time_makes_the_stream_be_dialled_anew_once(listener: Listener) -> None:
    async with listener.at_work():
        listener.booked("1")
        listener.booked("2")
        await asyncio.sleep(SILENCE_MS / 1000)
        assert listener.stream.hung_up == []
        await listener.while_silent()
        await until(lambda: listener.stream.hung_up)
        await listener.while_silent()
    assert len(listener.stream.hung_up) == 1


async def test_1_3_trades_from_before_the_subscription_need_not_be_told(listener: Listener) -> None:
    listener.booked("0")
    async with listener.at_work():
        listener.booked("1", venue_time_ms=listener.clock.wall_ms() + SILENCE_MS - 1)
        await listener.while_silent()
    assert listener.stream.hung_up == []


async def test_1_3_what_is_remembered_has_a_bound(listener: Listener) -> None:
    async with listener.at_work():
        for number in range(2 * KEPT_MAX):
            listener.told(f"{number}")
            listener.booked(f"{number}x")
            while listener.inbox.take():
                pass
        assert (len(listener.ear.hearing.told), len(listener.ear.hearing.untold)) == (KEPT_MAX, KEPT_MAX)
