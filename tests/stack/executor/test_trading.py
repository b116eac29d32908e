"""The executor on real Kafka, PostgreSQL and a venue: from a command to its fills, and what stops it."""

from typing import Any

import pytest

from schemas.control import StopKind, TradingResumed, TradingStopped
from schemas.executor import ExecutorCheckpoint
from schemas.orders import (
    AccountOpened,
    CancelEnded,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OwnerStarted,
)
from streams.domain.errors import RefusedError
from streams.topics import ORDERS_COMMANDS, dead_letter
from tests.stack.executor.installation import CLOCK, Installation, ended, opened, until
from tests.stack.executor.process import build

FILLED = ["admitted", "intended", "accepted", "filled", "closed"]


async def test_given_an_open_account_when_a_command_comes_then_it_ends_filled(installation: Installation) -> None:
    stamps: list[tuple[str, str, int]] = []
    async with installation.executor(stamp=lambda *stamp: stamps.append(stamp)):
        await opened(installation)
        command = await installation.command(installation.place())
        assert await ended(installation, command, "closed") == FILLED
    (fill,) = await installation.events(kind=OrderFilled)
    (closed,) = await installation.events(kind=OrderClosed)
    (accepted,) = installation.accepted()
    assert closed.filled_base == fill.quantity_base
    assert closed.filled_quote == fill.quote_amount
    assert accepted["client_order_id"] == fill.client_order_id
    stages = [stage for stage, stamped, _ in stamps if stamped == command]
    assert stages[0] == "command_received"
    assert set(stages) == {"command_received", "intent_acked", "intent_read_back", "request_out", "replied"}


async def test_given_a_repeated_command_when_read_again_then_it_is_dropped(installation: Installation) -> None:
    async with installation.executor():
        await opened(installation)
        first = installation.place()
        await installation.command(first)
        await installation.command(first)
        last = await installation.command(installation.place())
        await ended(installation, last, "closed")
    assert await installation.story(first.command_id) == FILLED
    assert len(installation.accepted()) == 2


async def test_given_a_standing_order_when_canceled_then_both_commands_end(installation: Installation) -> None:
    async with installation.executor():
        await opened(installation)
        standing = installation.place(time_in_force="gtc", price_limit_quote="40000", quantity_base="0.5")
        await installation.command(standing)
        await until(lambda: installation.events(kind=OrderAccepted))
        cancel = await installation.command(installation.cancel(standing.command_id))
        told = await ended(installation, cancel, "cancel-ended")
    assert told == ["admitted", "cancel-intended", "cancel-ended"]
    assert (await installation.story(standing.command_id))[-1] == "closed"
    assert (await installation.events(kind=CancelEnded))[0].cause == "target_ended"
    assert (await installation.events(kind=OrderClosed))[0].closed_as == "canceled"


async def test_given_a_lost_reply_when_asked_for_then_the_order_is_found_once(installation: Installation) -> None:
    """7.3: a lost reply ends as found."""
    async with installation.executor():
        await opened(installation)
        await installation.fault({"fault": "reply_lost", "next": 1})
        command = await installation.command(installation.place())
        told = await ended(installation, command, "closed")
    assert told == ["admitted", "intended", "unknown", "found", "filled", "closed"]
    assert len(installation.accepted()) == 1


async def test_given_a_lost_request_when_absence_is_proven_then_a_second_attempt_fills(installation: Installation) -> None:
    """7.3: a lost request ends as absent with a second attempt."""
    async with installation.executor():
        await opened(installation)
        await installation.fault({"fault": "request_lost", "next": 1})
        command = await installation.command(installation.place())
        told = await ended(installation, command, "closed")
    assert told == ["admitted", "intended", "unknown", "absent", "intended", "accepted", "filled", "closed"]
    assert len(installation.accepted()) == 1


async def test_given_an_order_that_appears_late_then_it_is_found_and_never_absent(installation: Installation) -> None:
    """7.3: a late order ends as found."""
    async with installation.executor():
        await opened(installation)
        await installation.fault({"fault": "late_order", "next": 1})
        command = await installation.command(installation.place())
        told = await ended(installation, command, "closed")
    assert told == ["admitted", "intended", "unknown", "found", "filled", "closed"]
    assert len(installation.accepted()) == 1


async def test_given_a_halt_file_when_a_command_comes_then_nothing_is_sent(installation: Installation) -> None:
    async with installation.executor():
        await opened(installation)
        halt = installation.state_dir / "HALT"
        halt.write_text("all somebody pulled the cord\n")
        refused = await installation.command(installation.place())
        assert await ended(installation, refused, "not-admitted") == ["not-admitted"]
        halt.unlink()
        allowed = await installation.command(installation.place())
        assert await ended(installation, allowed, "closed") == FILLED
    assert (await installation.events(kind=CommandNotAdmitted))[0].cause == "halt_file"
    assert len(installation.accepted()) == 1


async def test_given_a_stop_by_control_when_resumed_then_only_later_commands_are_sent(installation: Installation) -> None:
    stop: dict[str, Any] = {"scope": "venue:sim", "at_ms": CLOCK.wall_ms(), "who": "tester", "halt_id": "b" * 32}
    async with installation.executor():
        await opened(installation)
        await installation.control(TradingStopped(**stop, kind=StopKind.HALT))
        refused = await installation.command(installation.place())
        assert await ended(installation, refused, "not-admitted", "closed") == ["not-admitted"]
        decided_before = installation.place(decided_at_ms=CLOCK.wall_ms() - 10)
        slow_ms = CLOCK.wall_ms() - 300_000
        resume = TradingResumed(scope="venue:sim", at_ms=slow_ms, who="tester", halt_ids=("b" * 32,))
        await installation.control(resume)
        voided = await installation.command(decided_before)
        assert await ended(installation, voided, "not-admitted", "closed") == ["not-admitted"]
        allowed = await installation.command(installation.place())
        assert await ended(installation, allowed, "closed") == FILLED
    assert [event.cause for event in await installation.events(kind=CommandNotAdmitted)] == ["halted", "voided"]


async def test_given_garbage_among_commands_then_it_is_set_aside_and_the_flow_goes_on(installation: Installation) -> None:
    """6: an unreadable message goes to the dead-letter topic and the flow goes on."""
    async with installation.executor():
        await opened(installation)
        await installation.write_raw(ORDERS_COMMANDS, "alice", b"\xff not a command", (("ce_type", b"nonsense"),))
        command = await installation.command(installation.place())
        assert await ended(installation, command, "closed") == FILLED
    (letter,) = await installation.records(dead_letter(ORDERS_COMMANDS, "executor"), 0)
    assert letter.value == b"\xff not a command"
    assert letter.key == b"alice"
    assert letter.header("__connect.errors.topic") == ORDERS_COMMANDS.encode()
    assert letter.header("__connect.errors.offset") == b"0"


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (["sim-reader", "sim-reader-secret"], "lacks the right to trade"),
        (["sim-owner", "sim-owner-secret"], "may withdraw"),
        (["sim-alice", "sim-wrong"], "does not take this key"),
        (["sim-nobody", "sim-nobody"], "does not take this key"),
    ],
)
async def test_given_a_key_that_must_not_be_used_then_the_start_is_refused(
    installation: Installation, key: list[str], says: str
) -> None:
    """6: wrong credentials, missing trade right, a key that may withdraw: refuse to start, saying which."""
    executor, log, leases = await build(installation.settings("one", keys={"alice": key}))
    with pytest.raises(RefusedError, match=says) as refusal:
        await executor.run()
    await log.close()
    await leases.close()
    assert "accounts.alice.trade" in str(refusal.value)


async def test_given_an_orderly_stop_when_started_again_then_it_goes_on_from_the_checkpoint(installation: Installation) -> None:
    async with installation.executor("one"):
        await opened(installation)
        first = await installation.command(installation.place())
        await ended(installation, first, "closed")
    async with installation.executor("two"):
        second = await installation.command(installation.place())
        assert await ended(installation, second, "closed") == FILLED
    assert [event.epoch for event in await installation.events(kind=OwnerStarted)] == [1, 2]
    assert len(await installation.events(kind=AccountOpened)) == 1
    checkpoints = await installation.events(kind=ExecutorCheckpoint)
    assert checkpoints[-1].commands_next_offset == 2
    assert await installation.story(first) == FILLED


async def test_given_an_old_command_then_it_is_answered_and_not_sent(installation: Installation) -> None:
    async with installation.executor():
        await opened(installation)
        late = await installation.command(installation.place(admit_by_ms=CLOCK.wall_ms() - 1))
        stale = await installation.command(installation.place(oldest_received_at_ms=CLOCK.wall_ms() - 90_000))
        await ended(installation, stale, "not-admitted")
    assert await installation.story(late) == ["not-admitted"]
    assert [event.cause for event in await installation.events(kind=CommandNotAdmitted)] == ["too_late", "inputs_too_old"]
    assert not await installation.events(kind=CommandExpiredUnsent)
    assert not installation.accepted()


async def test_3_1_given_no_fresh_quote_then_orders_wait_and_given_one_far_off_then_they_are_refused(
    installation: Installation,
) -> None:
    """The collar stands on the executor's own subscription: a feed that fell silent closes it, whatever a command claims."""
    async with installation.executor():
        await installation.allow(price_collar="0.01")
        await until(lambda: installation.events(kind=AccountOpened))
        far = await installation.command(installation.place(price_mid_quote="69900"))
        assert await ended(installation, far, "not-admitted") == ["not-admitted"]
        assert (await installation.events(kind=CommandNotAdmitted))[-1].cause == "limit:price_collar"
        near = await installation.command(installation.place(price_limit_quote="60500"))
        assert (await ended(installation, near, "closed"))[:3] == FILLED[:3]

        await installation.fall_silent()
        silent_ms = CLOCK.wall_ms()

        async def aged() -> bool:
            return CLOCK.wall_ms() > silent_ms + 1000

        await until(aged)
        waits = installation.place(price_limit_quote="60500", input_age_ms_max=1000, admit_by_ms=CLOCK.wall_ms() + 3000)
        assert await ended(installation, await installation.command(waits), "expired-unsent") == ["admitted", "expired-unsent"]
    assert len(installation.accepted()) == 1
