"""4.4: I2 at the cut: what may be open or UNKNOWN, and for how long."""

from collections.abc import Callable
from typing import Any

import pytest

from schemas.control import ControlEvent, StopKind, TradingResumed, TradingStopped
from schemas.rebalance import PortfolioHalted, PortfolioQuarantined, PortfolioResumed, Signal
from streams.domain.ids import digest_id
from streams.proof.verify.verification import CONTROL, SIGNALS
from tests.unit.verify.lies import cancel, close, failed, stand, unhalted
from tests.unit.verify.world import History, World, said

HALT = digest_id("halt of a test")


def unknown(world: World) -> int:
    """An order becomes UNKNOWN; when."""
    world.story.admitted("c")
    world.story.intended("c")
    world.story.unknown("c")
    return world.story.at_ms


def signal(history: History, kind: type[Signal], at_ms: int, **fields: Any) -> None:
    about: dict[str, Any] = {
        "portfolio": "alpha",
        "incarnation": digest_id("incarnation"),
        "decision_number": 9,
        "signal_id": HALT,
    }
    offset = history.topics[SIGNALS][-1].offset + 1
    history.topics[SIGNALS].append(said(SIGNALS, offset, "alpha", kind(**about, at_ms=at_ms, **fields), at_ms))


def control(history: History, event: ControlEvent, at_ms: int) -> None:
    history.topics[CONTROL].append(said(CONTROL, len(history.topics[CONTROL]), "x", event, at_ms))


def stopped(history: History, scope: str, at_ms: int) -> None:
    event = TradingStopped(scope=scope, at_ms=at_ms, who="ada", kind=StopKind.FREEZE, halt_id=HALT)
    control(history, event, at_ms)


Alarm = Callable[[History, int], None]
ALARMS: dict[str, Alarm] = {
    "its own halt": lambda history, at_ms: signal(history, PortfolioHalted, at_ms, halt_id=HALT, cause="UNKNOWN_TOO_LONG"),
    "a halt of before": lambda history, at_ms: signal(history, PortfolioHalted, at_ms - 90_000, halt_id=HALT, cause="LOSS_DAY"),
    "a quarantine": lambda history, at_ms: signal(history, PortfolioQuarantined, at_ms, cause="InvariantError"),
    "an operator's stop": lambda history, at_ms: stopped(history, "portfolio:alpha", at_ms),
    "a stop of everything": lambda history, at_ms: stopped(history, "all", at_ms),
}


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_i2_an_order_may_be_unknown_for_long_with_an_alarm(world: World, alarm: Alarm):
    since_ms = unknown(world)
    history = unhalted(world.history(), since_ms + 3_600_000)
    assert failed(history).keys() == {"I2"}
    alarm(history, since_ms + 60_000)
    assert history.report().passed, history.report().text()


def test_i2_an_account_that_its_executor_halted_is_an_alarm_until_it_is_resumed(world: World):
    since_ms = unknown(world)
    world.story.halted()
    cancel(world, "x", "c")
    assert unhalted(world.history(), since_ms + 3_600_000).report().passed
    world.story.at_ms = since_ms + 999_990
    world.story.resumed()
    assert unhalted(world.history(), since_ms + 1_120_000).report().passed
    assert failed(unhalted(world.history(), since_ms + 1_120_001)).keys() == {"I2"}


def test_i2_after_a_resume_the_minute_begins_anew(world: World):
    since_ms = unknown(world)
    for late_ms, checks in ((120_000, set()), (120_001, {"I2"})):
        history = unhalted(world.history(), since_ms + 1_000_000 + late_ms)
        signal(history, PortfolioHalted, since_ms + 60_000, halt_id=HALT, cause="UNKNOWN_TOO_LONG")
        signal(history, PortfolioResumed, since_ms + 1_000_000, halt_ids=(HALT,))
        assert failed(history).keys() == checks
        history = unhalted(world.history(), since_ms + 1_000_000 + late_ms)
        stopped(history, "account:main", since_ms + 60_000)
        lifted = TradingResumed(scope="account:main", at_ms=since_ms + 1_000_000, who="ada", halt_ids=(HALT,))
        control(history, lifted, since_ms + 1_000_000)
        assert failed(history).keys() == checks


def test_i2_other_peoples_stops_are_no_alarm(world: World):
    since_ms = unknown(world)
    history = unhalted(world.history(), since_ms + 3_600_000)
    stopped(history, "portfolio:beta", since_ms)
    assert failed(history).keys() == {"I2"}


def test_i2_a_minute_of_the_journal_counts_and_what_is_said_again_does_not_begin_it_anew(world: World):
    since_ms = unknown(world)
    world.story.at_ms += 110_000
    world.story.unknown("c")
    assert unhalted(world.history(), since_ms + 120_000).report().passed
    assert failed(unhalted(world.history(), since_ms + 120_001)).keys() == {"I2"}


def test_i2_an_order_that_outlives_its_command_has_a_cancel(world: World):
    stand(world)
    world.story.at_ms += 70_000
    cancel(world, "x", "c")
    world.story.cancel_intended("x", "c")
    world.story.unknown("x")
    world.story.at_ms += 50_000
    world.story.halted()
    assert world.history().report().passed, world.history().report().text()


def test_i2_a_cancel_waits_while_the_fate_of_its_order_is_unknown_and_while_nothing_can_be_sent(world: World):
    """The order has the alarm; and an account that sends nothing at all may be away from its venue."""
    unknown(world)
    world.accepted("c")
    cancel(world, "x", "c")
    world.story.at_ms += 3_600_000
    world.story.halted()
    assert world.history().report().passed, world.history().report().text()
    world.story.found("c")
    world.story.owner(epoch=3)
    assert world.history().report().passed, world.history().report().text()


def test_i2_a_cancel_that_is_tried_again_and_again_lives(world: World):
    stand(world)
    cancel(world, "x", "c")
    for attempt in range(1, 13):
        world.story.cancel_intended("x", "c", attempt)
        world.story.unknown("x", attempt)
        world.story.at_ms += 10_000
    assert world.history().report().passed, world.history().report().text()
    close(world, "c")
    world.story.cancel_ended("x", "c", attempt=12)
    assert world.history().report().passed, world.history().report().text()
