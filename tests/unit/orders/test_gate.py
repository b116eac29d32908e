"""Closed unless provably open: every way in which the gate is shut, one by one."""

from dataclasses import replace
from decimal import Decimal

import pytest

from schemas.ledger import OrderState
from schemas.orders import AccountHalted, CommandExpiredUnsent, CommandNotAdmitted, OrderClosed, OrderUnsent
from streams.domain.orders import attempts, gate
from streams.domain.orders.books import Books, evolve
from streams.domain.orders.budget import bucket
from streams.domain.orders.checkpoint import checkpoint
from streams.domain.orders.outcome import Failure, Standing, VenueReply
from streams.domain.orders.state import State
from streams.domain.orders.stimuli import AuthorityRead, LookUp, SendCancel, SendOrder, TakenOver, VenueTimeRead
from streams.domain.orders.turn import Turn
from tests.unit.orders.desk import BOOT_MS, LIMITS, RULES, WALL_MS, Desk, authority, cancel, desk, market, place, trade, view
from tests.unit.orders.test_opening import show


def test_given_no_control_at_all_then_nothing_is_admitted() -> None:
    table = Desk(State(RULES, Books("alice", epoch=1, opened=True), bucket(None)))
    table.renew()
    table.tell_time()
    table.put(TakenOver)
    table.command(place())
    assert table.said(CommandNotAdmitted)[0].cause == "control_unread"
    assert gate.forbidden(table.state, table.now()) is None
    assert gate.unproven(table.state, table.now()) == "control_unread"
    assert gate.over_limit(place(), table.state, table.now()) == "no_limits"
    assert gate.outdated(place(), table.state, table.now()) is None


def test_given_no_venue_time_then_nothing_is_intended() -> None:
    table = Desk(State(RULES, Books("alice", epoch=1, opened=True), bucket(None)))
    table.renew()
    table.allow()
    table.put(TakenOver)
    command = table.command(place())
    assert table.story(command) == ["admitted"]
    assert gate.unproven(table.state, table.now()) == "venue_time_unknown"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"limits": None}, "no_limits"),
        ({"maintenance": ((WALL_MS, WALL_MS + 1),)}, "maintenance"),
        ({"voided_before_ms": WALL_MS + 1}, "voided"),
    ],
)
def test_given_a_gate_that_is_shut_by_control_then_the_command_is_refused(changes: dict[str, object], cause: str) -> None:
    table = desk()
    table.allow(**changes)
    table.command(place())
    assert table.said(CommandNotAdmitted)[0].cause == cause


@pytest.mark.parametrize(
    ("lowered", "cause"),
    [
        ({"symbols": ("ETH/USDT",)}, "limit:symbols"),
        ({"order_notional_max_quote": Decimal(1999)}, "limit:order_notional_max_quote"),
        ({"turnover_day_max_quote": Decimal(1999)}, "limit:turnover_day_max_quote"),
    ],
)
@pytest.mark.parametrize("waits_for", ["a lease", "its intent in the log"])
def test_given_limits_that_are_lowered_while_a_command_waits_then_it_is_not_sent(
    waits_for: str, lowered: dict[str, object], cause: str
) -> None:
    """Found once: limits were looked at when a command was admitted, and up to ten seconds later it left under any."""
    table = desk()
    if waits_for == "a lease":
        table.wait(5000)
    command = table.command(place())
    table.allow(limits=LIMITS.model_copy(update=lowered))
    table.renew()
    table.wait(100)
    table.read_back(command)
    assert not table.asked(SendOrder)
    table.wait(1000)
    assert [event.cause for event in table.said(CommandExpiredUnsent)] == [cause]


def test_given_a_resume_while_a_command_waits_then_it_is_voided() -> None:
    table = desk()
    table.wait(5000)
    command = table.command(place())
    table.renew()
    table.tell_time()
    table.allow(voided_before_ms=WALL_MS + 1)
    table.wait(100)
    assert table.story(command)[-1] == "expired-unsent"
    assert table.said(CommandExpiredUnsent)[0].cause == "voided"


def test_given_a_slow_answer_about_the_time_then_the_better_sample_stays() -> None:
    table = desk()
    table.wait(2000)
    before = table.state.venue_time
    table.put(VenueTimeRead, venue_time_ms=table.wall_ms, asked_boot_ms=table.boot_ms - 1001, answered_boot_ms=table.boot_ms)
    assert table.state.venue_time == before
    table.put(VenueTimeRead, venue_time_ms=table.wall_ms, asked_boot_ms=table.boot_ms - 10, answered_boot_ms=table.boot_ms)
    assert table.state.venue_time != before


def test_given_a_first_sample_then_it_is_taken_however_slow_and_never_ahead() -> None:
    table = Desk(State(RULES, Books("alice"), bucket(None)))
    table.put(VenueTimeRead, venue_time_ms=WALL_MS - 900, asked_boot_ms=BOOT_MS - 3000, answered_boot_ms=BOOT_MS)
    assert table.state.venue_time is not None
    assert table.state.venue_time.estimate_ms(BOOT_MS + 5) == WALL_MS - 895


def test_given_an_intended_order_then_nothing_more_is_done_about_it() -> None:
    table = desk()
    command = table.command(place())
    turn = Turn(table.state, table.now())
    attempts.advance(turn, table.state.books.orders[command])
    assert turn.finish() == (table.state, ())


def test_given_a_look_at_an_order_that_only_waits_then_it_changes_nothing() -> None:
    table = desk()
    command = table.command(place())
    assert table.look(command) == ()


def test_given_other_orders_in_the_place_of_ours_then_the_account_halts() -> None:
    table = desk()
    command, client = table.unknown()
    table.look(command, order=view("x" * 26))
    assert "instead of" in table.said(AccountHalted)[0].detail
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client))
    table.wait(1000)
    table.look(command, order=view(client, venue_order_id="78"))
    assert table.said(AccountHalted)[0].detail == "venue order 78 instead of 77"


def test_given_an_open_order_that_a_look_misses_then_it_is_looked_for_again() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client))
    table.wait(1000)
    table.look(command)
    assert table.state.books.orders[command].state is OrderState.OPEN
    table.wait(1000)
    assert len(table.asked(LookUp)) == 1


def test_given_a_refused_cancel_for_the_key_then_the_account_halts_and_the_target_is_still_followed() -> None:
    table = desk()
    target, client = table.sent()
    table.accept(target, view(client))
    table.wait(1000)
    command = table.command(cancel(target))
    table.read_back(command)
    table.reply(command, VenueReply(http_status=401, code="-2015"))
    assert table.said(AccountHalted)[0].cause == "key_refused"
    assert table.state.care[target].busy


def test_given_a_target_that_ended_with_its_cancel_out_then_the_reply_changes_nothing() -> None:
    table = desk()
    target, client = table.sent()
    table.accept(target, view(client))
    command = table.command(cancel(target))
    table.read_back(command)
    table.wait(1000)
    table.look(target, order=view(client, "0", Standing.CANCELED))
    assert table.said(OrderClosed)
    assert table.reply(command, VenueReply(failure=Failure.NO_REPLY)) == ()


def test_given_a_cancel_read_back_without_its_target_on_the_book_then_it_is_unsent() -> None:
    table = desk()
    target, client = table.sent()
    table.accept(target, view(client))
    command = table.command(cancel(target))
    books = table.state.books
    lost = replace(books.orders[target], venue_order_id=None)
    table.state = replace(table.state, books=replace(books, orders={**books.orders, target: lost}))
    table.read_back(command)
    assert not table.asked(SendCancel)
    assert table.said(OrderUnsent)[0].cause == "target_ended"


def test_given_events_that_the_books_do_not_keep_then_they_stay_as_they_are() -> None:
    table = desk()
    command, _ = table.sent()
    books = table.state.books
    intent = books.orders[command].intent
    assert intent is not None
    assert books.knows(intent.client_order_id)
    assert not books.knows("z" * 26)
    table.accept(command, view(intent.client_order_id, "0", Standing.EXPIRED))
    assert table.state.books.knows(intent.client_order_id)
    assert evolve(books, checkpoint(books, "me", 1, 0)) is books


def test_given_authority_before_the_account_is_ours_then_it_is_only_remembered() -> None:
    table = Desk(State(RULES, Books("alice", halts={"a" * 32: "x"}), bucket(None)))
    table.allow(resumed=frozenset({"a" * 32}))
    assert table.effects == ()
    table.put(TakenOver)
    table.put(AuthorityRead, authority=authority(portfolio=None, resumed=frozenset({"a" * 32})), asked_boot_ms=1)
    assert table.state.books.halts


def test_given_late_fills_of_several_orders_then_each_finds_its_own() -> None:
    table = desk()
    first, client = table.sent()
    table.accept(first, view(client, "0", Standing.EXPIRED))
    second, client = table.sent(place(2))
    table.accept(second, view(client, "0", Standing.EXPIRED, venue_order_id="78"))
    show(table, trades=(trade("5", "0.01", venue_order_id="78"), trade("6", "0.01")))
    assert [(e.command_id, e.trade_id) for e in table.events if e.TYPE == "orders.filled"] == [(second, "5"), (first, "6")]


@pytest.mark.parametrize(
    ("changes", "left_ms"),
    [
        ({"admit_by_ms": WALL_MS + 300}, 301),
        ({"expires_at_ms": WALL_MS + 200}, 201),
        ({"oldest_received_at_ms": WALL_MS - 900, "input_age_ms_max": 1000}, 101),
        ({}, 500),
    ],
)
def test_2_1_given_a_command_that_is_soon_too_old_then_its_request_must_leave_before(
    changes: dict[str, int], left_ms: int
) -> None:
    """I8: the last look before the bytes comes after the connection, which may take its time. Found by the simulation."""
    table = desk()
    table.read_back(table.command(place(**changes)))
    (sent,) = table.asked(SendOrder)
    assert sent.deadline_boot_ms == BOOT_MS + left_ms


def test_2_1_given_a_quote_that_is_soon_too_old_then_the_request_must_leave_before() -> None:
    table = desk()
    table.prices = market(WALL_MS - 900)
    table.read_back(table.command(place(input_age_ms_max=1000)))
    (sent,) = table.asked(SendOrder)
    assert sent.deadline_boot_ms == BOOT_MS + 101


def test_i16_given_an_intent_beside_an_order_that_became_unknown_then_it_is_not_sent() -> None:
    """Both were intended while nothing was in doubt; the second must not leave once the first is."""
    table = desk()
    first = table.command(place(1))
    second = table.command(place(2))
    table.read_back(first)
    table.reply(first, VenueReply(http_status=504))
    table.read_back(second)
    assert table.asked(SendOrder) == []
    assert table.said(OrderUnsent)[0].cause == "symbol_unknown"
    first_id = table.intended(first)
    table.look(first, order=view(first_id, "0.1", Standing.FILLED), trades=(trade("t1"),))
    table.wait_until_due()
    table.read_back(second, attempt=2)
    assert [effect.attempt for effect in table.asked(SendOrder)] == [2]


def test_3_2_given_an_intent_when_the_venue_asks_for_a_pause_then_it_is_not_sent_before_its_end() -> None:
    table = desk()
    first = table.command(place(1))
    second = table.command(place(2))
    table.read_back(first)
    table.reply(first, VenueReply(http_status=429, code="-1003", text="too many requests", retry_after_ms=3000))
    table.read_back(second)
    assert table.asked(SendOrder) == []
    assert table.said(OrderUnsent)[0].cause == "paused"
    assert table.wait(2900) == ()
    table.refresh()
    table.wait(200)
    table.read_back(second, attempt=2)
    assert len(table.asked(SendOrder)) == 1
