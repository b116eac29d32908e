"""3.3: what an operator says counts from when the broker took it, however wrong the clock he said it by."""

import pytest

from schemas.control import CancelRequested, ControlEvent, StopKind, TradingResumed, TradingStopped
from streams.agents.executor.control import ControlWatch
from streams.agents.executor.tail import Tail
from streams.cli.control import ControlTopic
from streams.domain.orders.authority import AccountAuthority, for_account
from streams.gateways.signing import AnyAuthor
from streams.settings import Settings
from streams.topics import OPERATOR_CONTROL
from tests.unit.executor.memory import Broker, MemoryLog, MemoryReader, TestClock
from tests.unit.executor.test_parts import running, until

NOW_MS = 1_764_000_000_000
MINUTE_MS = 60_000
HALT_ID = "a" * 32
YEAR_MS = 365 * 24 * 60 * MINUTE_MS
OFF_MS = pytest.mark.parametrize("off_ms", [-5 * MINUTE_MS, 5 * MINUTE_MS, YEAR_MS], ids=["slow", "fast", "a year fast"])


class OpenLog(MemoryLog):
    """A log that a command opens and closes."""

    async def start(self) -> None:
        return None


async def said(broker: Broker, event: ControlEvent, off_ms: int, at_ms: int = NOW_MS) -> None:
    """An operator's command at that time, by a clock that is off."""
    broker.clock_ms = at_ms
    checked = Settings.model_validate({"environment": "test", "dev": True})
    async with ControlTopic(checked, log=OpenLog(broker)) as topic:  # type: ignore[arg-type]  what it needs of a KafkaLog
        await topic.append([event.model_copy(update={"at_ms": at_ms + off_ms})])


async def heard(broker: Broker) -> AccountAuthority:
    """What the executor makes of the topic for one account."""
    clock, tail = TestClock(), Tail(MemoryReader(broker), OPERATOR_CONTROL)
    watch = ControlWatch(MemoryLog(broker), tail, clock, AnyAuthor(), 1000, lambda: None)
    async with running(watch.run(), tail.run()):
        await until(lambda: watch.current_at_boot_ms is not None)
    return for_account(watch.authority, "main", "sim")


@OFF_MS
async def test_cancel_all_takes_every_order_decided_before_it_and_none_decided_later(off_ms: int):
    broker = Broker()
    await said(broker, CancelRequested(scope="all", at_ms=0, who="ada"), off_ms)
    authority = await heard(broker)
    assert authority.withdraws("rests", NOW_MS - 1000)
    assert not authority.withdraws("later", NOW_MS + 1000)


@OFF_MS
async def test_a_resume_voids_what_was_decided_before_it_and_nothing_decided_later(off_ms: int):
    broker = Broker()
    stop = TradingStopped(scope="all", at_ms=0, who="bob", halt_id=HALT_ID, kind=StopKind.HALT)
    await said(broker, stop, 0, NOW_MS - 10 * MINUTE_MS)
    await said(broker, TradingResumed(scope="all", at_ms=0, who="ada", halt_ids=(HALT_ID,)), off_ms)
    authority = await heard(broker)
    assert authority.stop is None
    assert authority.voided_before_ms == NOW_MS


async def test_a_word_by_a_clock_a_year_ahead_carries_nobody_elses_along():
    broker = Broker()
    await said(broker, CancelRequested(scope="account:other", at_ms=0, who="ada"), YEAR_MS)
    await said(broker, CancelRequested(scope="all", at_ms=0, who="bob"), 0, NOW_MS + MINUTE_MS)
    authority = await heard(broker)
    assert authority.withdraws("rests", NOW_MS)
    assert not authority.withdraws("later", NOW_MS + 2 * MINUTE_MS)
