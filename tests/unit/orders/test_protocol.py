"""The life of one order, told input by input."""

from dataclasses import replace
from decimal import Decimal

import pytest

from schemas.control import StopKind
from schemas.ledger import OrderState
from schemas.orders import (
    AccountHalted,
    AccountResumed,
    ClosedAs,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    OrderAbsent,
    OrderClosed,
    OrderFilled,
    OrderIntended,
    OrderRejected,
    OrderUnknown,
    OrderUnsent,
    Side,
)
from streams.domain.orders import gate
from streams.domain.orders.outcome import Failure, Standing, VenueReply
from streams.domain.orders.protocol import next_wake
from streams.domain.orders.stimuli import (
    CommandSkipped,
    IntentReadBack,
    LeaseRenewed,
    Looked,
    LookUp,
    ReadVenueTime,
    Remark,
    Scope,
    SendOrder,
    Superseded,
    TakenOver,
    Ticked,
)
from tests.unit.orders.desk import BOOT_MS, WALL_MS, Desk, cancel, desk, place, trade, view


def test_given_a_command_when_its_intent_is_read_back_then_exactly_one_request_leaves() -> None:
    table = desk()
    command = table.command(place())
    assert table.story(command) == ["admitted", "intended"]
    assert not table.asked(SendOrder)
    table.read_back(command)
    (sent,) = table.asked(SendOrder)
    (intent,) = table.said(OrderIntended)
    assert sent.request.client_order_id == intent.client_order_id
    assert sent.request.timestamp_ms == intent.timestamp_ms == WALL_MS
    assert sent.deadline_boot_ms == BOOT_MS + 500
    assert table.read_back(command) == ()


def test_given_a_reply_that_proves_itself_when_its_trades_are_seen_then_the_order_closes() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client, "0.1", Standing.FILLED))
    (look,) = table.asked(LookUp)
    assert look.scope is Scope.TRADES
    table.look(command, trades=(trade("2", "0.06"), trade("1", "0.04")))
    assert table.story(command) == ["admitted", "intended", "accepted", "filled", "filled", "closed"]
    assert [fill.trade_id for fill in table.said(OrderFilled)] == ["1", "2"]
    (closed,) = table.said(OrderClosed)
    assert (closed.closed_as, closed.filled_base, closed.filled_quote) == (ClosedAs.FILLED, Decimal("0.1"), 2000)


def test_given_an_order_that_expired_with_half_its_fills_then_it_closes_only_when_all_are_booked() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client, "0.05", Standing.EXPIRED))
    table.look(command, trades=(trade("1", "0.02"),))
    assert table.state.books.orders[command].state is OrderState.OPEN
    table.wait_until_due()
    (look,) = table.asked(LookUp)
    assert look.scope is Scope.TRADES
    table.look(command, trades=(trade("1", "0.02"), trade("2", "0.03"), trade("9", "1", venue_order_id="78")))
    (closed,) = table.said(OrderClosed)
    assert (closed.closed_as, closed.filled_base) == (ClosedAs.EXPIRED, Decimal("0.05"))


def test_given_an_ioc_without_a_fill_then_it_closes_without_a_question() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client, "0", Standing.EXPIRED))
    assert table.story(command)[-1] == "closed"
    assert not table.asked(LookUp)


def test_given_a_standing_order_then_it_is_followed_until_it_ends() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client))
    table.wait_until_due()
    assert [look.scope for look in table.asked(LookUp)] == [Scope.ORDER]
    table.look(command, order=view(client, "0.04"), trades=(trade("1", "0.04"),))
    table.wait_until_due()
    table.look(command, order=view(client, "0.04", Standing.CANCELED), trades=(trade("1", "0.04"),))
    assert table.story(command)[3:] == ["filled", "closed"]
    assert table.said(OrderClosed)[0].closed_as is ClosedAs.CANCELED


def test_given_an_older_answer_after_the_end_then_the_order_stays_ended() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client, "0.1", Standing.FILLED))
    table.look(command, order=view(client, "0.04", Standing.OPEN))
    assert [look.scope for look in table.asked(LookUp)] == [Scope.TRADES]


@pytest.mark.parametrize(
    "reply",
    [
        VenueReply(http_status=200),
        VenueReply(http_status=502, code="-1013"),
        VenueReply(http_status=400, code="-1007"),
        VenueReply(failure=Failure.NO_REPLY),
        VenueReply(http_status=200, failure=Failure.UNUSABLE, text="html"),
        VenueReply(http_status=200, order=view("a" * 26)),
    ],
)
def test_given_a_reply_without_proof_then_the_order_is_unknown_and_never_sent_again(reply: VenueReply) -> None:
    table = desk()
    command, client = table.sent()
    table.reply(command, reply)
    assert table.story(command)[-1] == "unknown"
    assert [look.client_order_id for look in table.asked(LookUp)] == [client]
    table.reply(command, VenueReply(http_status=400, code="-1013"))
    table.read_back(command)
    assert not table.asked(SendOrder)
    assert table.state.books.orders[command].state is OrderState.UNKNOWN


def test_given_an_unknown_order_when_found_then_it_goes_on_with_its_fills() -> None:
    table = desk()
    command, client = table.unknown()
    table.look(command, order=view(client, "0.1", Standing.FILLED), trades=(trade("1"),))
    assert table.story(command)[2:] == ["unknown", "found", "filled", "closed"]


def test_given_an_unknown_order_then_only_late_and_repeated_denials_prove_its_absence() -> None:
    table = desk()
    command, _ = table.unknown()
    provable_ms = WALL_MS + 2000 + 2000
    for _ in range(3):
        table.look(command)
        table.wait_until_due()
    table.look(command, venue_time_ms=provable_ms)
    assert not table.said(OrderAbsent)
    table.wait_until_due()
    table.look(command, venue_time_ms=provable_ms + 1, conclusive=False)
    table.wait_until_due()
    table.look(command, venue_time_ms=provable_ms + 2)
    assert not table.said(OrderAbsent)
    table.wait_until_due()
    table.look(command, venue_time_ms=provable_ms + 3)
    (absent,) = table.said(OrderAbsent)
    assert (absent.venue_time_ms, absent.queries, absent.attempt) == (provable_ms + 3, 2, 1)


def test_given_proven_absence_then_a_second_attempt_leaves_under_a_new_client_id() -> None:
    table = desk()
    command, first = table.unknown()
    absent(table, command)
    assert table.story(command)[-2:] == ["absent", "intended"]
    second = table.intended(command)
    assert second != first
    table.read_back(command, attempt=1)
    assert not table.asked(SendOrder)
    table.read_back(command, attempt=2)
    assert [sent.request.client_order_id for sent in table.asked(SendOrder)] == [second]


def absent(table: Desk, command: str, attempt: int = 1) -> None:
    """Prove absence, with lease, time and control renewed on the way."""
    table.wall_ms += 5000
    table.boot_ms += 5000
    table.refresh()
    table.look(command, attempt)
    table.wait_until_due()
    table.look(command, attempt)


def test_given_proven_absence_after_its_bounds_then_the_command_ends_unsent() -> None:
    table = desk()
    command = table.command(place(admit_by_ms=WALL_MS + 4000))
    table.read_back(command)
    table.reply(command, VenueReply(http_status=504))
    absent(table, command)
    assert table.story(command)[-2:] == ["absent", "expired-unsent"]
    assert table.said(CommandExpiredUnsent)[0].cause == "too_late"


def test_given_an_unknown_order_then_only_orders_of_its_own_symbol_explain_trades_of_it() -> None:
    """Venues number the orders of each symbol by itself: one that ended on another symbol may have its number."""
    table = desk()
    for decision, symbol in ((1, "ETH/USDT"), (2, "BTC/USDT")):
        ended, client = table.sent(place(decision, symbol=symbol))
        number = {"symbol": symbol, "venue_order_id": f"7{decision}"}
        table.accept(ended, view(client, "0", Standing.EXPIRED, **number))
    unknown, _ = table.sent(place(3))
    table.reply(unknown, VenueReply(http_status=504))
    (lookup,) = table.asked(LookUp)
    assert lookup.known_order_ids == {"72"}


def test_given_inputs_that_aged_while_unknown_then_no_second_attempt_is_made() -> None:
    table = desk()
    command = table.command(place(input_age_ms_max=4000))
    table.read_back(command)
    table.reply(command, VenueReply(http_status=504))
    absent(table, command)
    assert table.said(CommandExpiredUnsent)[0].cause == "inputs_too_old"


def test_given_an_unknown_order_then_its_symbol_waits_and_others_do_not() -> None:
    table = desk()
    table.unknown()
    same = table.command(place(2))
    other = table.command(place(3, symbol="ETH/USDT"))
    assert table.story(same) == ["admitted"]
    assert table.story(other) == ["admitted", "intended"]


def test_given_an_order_found_that_is_not_what_was_sent_then_the_account_halts() -> None:
    table = desk()
    command, client = table.unknown()
    table.look(command, order=view(client, side=Side.SELL))
    assert table.said(AccountHalted)[0].cause == "order_mismatch"
    assert table.state.books.orders[command].state is OrderState.UNKNOWN
    table.wait_until_due()
    table.look(command, order=view(client, venue_time_ms=WALL_MS - 1001))
    assert len(table.said(AccountHalted)) == 1


def test_given_a_refusal_of_the_allow_list_then_the_command_ends_rejected() -> None:
    table = desk()
    command, _ = table.sent()
    table.reply(command, VenueReply(http_status=400, code="-2010", text="Account has insufficient balance"))
    assert table.story(command)[-1] == "rejected"
    assert table.said(OrderRejected)[0].code == "-2010"
    assert not table.said(AccountHalted)


def test_given_a_refused_key_then_the_account_halts_until_the_halt_is_named() -> None:
    table = desk()
    command, _ = table.sent()
    table.reply(command, VenueReply(http_status=401, code="-2015"))
    (halted,) = table.said(AccountHalted)
    refused = table.command(place(2))
    assert table.story(refused) == ["not-admitted"]
    table.allow(resumed=frozenset({halted.halt_id}))
    assert table.said(AccountResumed)[0].halt_ids == (halted.halt_id,)
    allowed = table.command(place(3))
    assert table.story(allowed) == ["admitted", "intended"]


def test_given_a_refusal_for_the_time_then_the_venue_is_asked_for_its_time() -> None:
    table = desk()
    command, _ = table.sent()
    table.reply(command, VenueReply(http_status=400, code="-1021"))
    assert table.asked(ReadVenueTime)


def test_given_a_limit_of_the_venue_then_everything_pauses_for_as_long_as_it_says() -> None:
    table = desk()
    command, _ = table.sent()
    table.reply(command, VenueReply(http_status=429, code="-1015", retry_after_ms=1500))
    waiting = table.command(place(2))
    assert table.story(waiting) == ["admitted"]
    table.wait(1499)
    assert table.story(waiting) == ["admitted"]
    table.wait(1)
    assert table.story(waiting) == ["admitted", "intended"]


@pytest.mark.parametrize("failure", [Failure.NOT_CONNECTED, Failure.NOT_SENT])
def test_given_provably_nothing_sent_then_the_next_attempt_follows_a_bounded_number_of_times(failure: Failure) -> None:
    table = desk()
    command = table.command(place())
    for attempt in range(1, 6):
        table.read_back(command, attempt)
        table.reply(command, VenueReply(failure=failure), attempt)
        table.wait_until_due() if attempt < 5 else table.wait(200)
        table.refresh()
    assert [event.attempt for event in table.said(OrderIntended)] == [1, 2, 3, 4, 5]
    assert len({event.client_order_id for event in table.said(OrderIntended)}) == 5
    assert len(table.said(OrderUnsent)) == 5
    assert table.said(CommandExpiredUnsent)[0].cause == "attempts_exhausted"


def test_given_a_late_read_back_then_the_request_never_leaves() -> None:
    table = desk()
    command = table.command(place())
    table.wait(501)
    table.read_back(command)
    assert not table.asked(SendOrder)
    assert table.said(OrderUnsent)[0].cause == "intent_too_old"


def test_given_a_lease_that_ran_out_while_the_intent_was_read_back_then_nothing_leaves() -> None:
    table = desk()
    table.wait(2900)
    table.tell_time()
    table.allow()
    command = table.command(place())
    table.wait(100)
    table.read_back(command)
    assert table.said(OrderUnsent)[0].cause == "lease_unproven"


def test_given_a_lease_that_ends_soon_then_the_request_must_leave_while_the_lease_outlasts_its_window() -> None:
    """2.2: bytes held up on their way, or a process held up between check and write, are void before anybody takes over."""
    table = desk()
    table.wait(2900)
    table.tell_time()
    table.allow()
    command = table.command(place())
    table.read_back(command)
    (sent,) = table.asked(SendOrder)
    assert sent.deadline_boot_ms == BOOT_MS + 5000 - sent.request.window_ms
    table.wait(101)
    table.tell_time()
    waiting = table.command(place(2))
    assert table.story(waiting) == ["admitted"]


def test_given_a_halt_between_intent_and_request_then_nothing_leaves_and_the_command_ends() -> None:
    table = desk()
    command = table.command(place())
    table.halt_file = "pulled"
    table.read_back(command)
    assert table.said(OrderUnsent)[0].cause == "halt_file"
    table.wait_until_due()
    assert table.story(command)[-1] == "expired-unsent"


@pytest.mark.parametrize("kind", list(StopKind))
def test_given_a_stop_by_control_then_new_orders_are_refused(kind: StopKind) -> None:
    table = desk()
    table.allow(stop=kind)
    table.command(place())
    cause = {StopKind.HALT: "halted", StopKind.FREEZE: "frozen"}[kind]
    assert [event.cause for event in table.said(CommandNotAdmitted)] == [cause]


def test_given_clocks_that_stepped_against_each_other_then_the_lease_proves_nothing() -> None:
    for step_ms in (-201, 201):
        table = desk()
        table.wall_ms += step_ms
        command = table.command(place())
        assert table.story(command) == ["admitted"]
        table.renew()
        table.wait(100)
        assert table.story(command) == ["admitted", "intended"]


def test_given_a_renewal_that_was_asked_for_before_the_venues_time_stepped_then_it_proves_nothing() -> None:
    """A machine that stood still, clocks and all, with a renewal on its way: its answer is as old as the lease."""
    table = desk()
    asked = {"asked_wall_ms": table.wall_ms, "asked_boot_ms": table.boot_ms, "ttl_ms": 5000}
    table.wait(1)
    table.tell_time(ahead_ms=7000)
    table.put(LeaseRenewed, **asked)
    table.tell_time(ahead_ms=7000)
    assert gate.unproven_for_cancels(table.state, table.now()) == "lease_unproven"
    table.renew()
    assert gate.unproven_for_cancels(table.state, table.now()) is None


def test_given_a_venue_time_that_stepped_then_the_lease_is_void_until_renewed() -> None:
    table = desk()
    table.tell_time(ahead_ms=251)
    assert [remark.kind for remark in table.asked(Remark)] == ["venue_time_stepped"]
    command = table.command(place())
    assert table.story(command) == ["admitted"]
    table.renew()
    table.wait(100)
    assert table.said(OrderIntended)[0].timestamp_ms == WALL_MS + 251 + 100


def test_given_control_not_read_for_too_long_then_nothing_is_intended() -> None:
    table = desk()
    table.wait(4999)
    table.renew()
    table.tell_time()
    table.wait(2)
    command = table.command(place())
    assert table.story(command) == ["admitted"]
    table.allow()
    table.wait(100)
    assert table.story(command) == ["admitted", "intended"]


def test_given_a_higher_epoch_in_the_log_then_nothing_more_is_sent() -> None:
    table = desk()
    command = table.command(place())
    table.put(Superseded)
    assert table.read_back(command) == ()
    assert table.wait(1000) == ()
    assert next_wake(table.state) is None


def test_given_an_inherited_intent_then_it_is_unknown_at_once_and_asked_for() -> None:
    table = desk()
    command, client = table.sent()
    heir = desk(replace(table.state.books, epoch=4))
    assert [event.cause for event in heir.said(OrderUnknown)] == ["inherited"]
    assert [look.client_order_id for look in heir.asked(LookUp)] == [client]
    heir.put(IntentReadBack, command_id=command, attempt=1)
    assert not heir.asked(SendOrder)


def test_given_a_command_whose_text_is_lost_then_it_ends_unsent() -> None:
    table = desk()
    command = table.command(place())
    table.halt_file = "pulled"
    table.read_back(command)
    books = table.state.books
    bare = replace(books, orders={command: replace(books.orders[command], command=None)})
    heir = desk(bare)
    heir.put(TakenOver)
    assert heir.said(CommandExpiredUnsent)[0].cause == "command_lost"


def test_given_repeats_then_they_are_dropped_and_counted() -> None:
    table = desk()
    first = place(5)
    table.command(first)
    before = len(table.events)
    table.command(first)
    table.command(place(4))
    table.command(first, offset=0)
    assert len(table.events) == before
    assert table.state.repeats == 2
    assert table.state.books.commands_next_offset == 3
    table.put(CommandSkipped, offset=9)
    assert table.state.books.commands_next_offset == 10


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"venue": "elsewhere"}, "wrong_venue"),
        ({"portfolio": "other"}, "wrong_portfolio"),
        ({"price_limit_quote": None}, "malformed"),
        ({"admit_by_ms": WALL_MS - 1}, "too_late"),
        ({"expires_at_ms": WALL_MS - 1}, "too_late"),
        ({"oldest_received_at_ms": WALL_MS - 60_001}, "inputs_too_old"),
        ({"symbol": "XRP/USDT"}, "limit:symbols"),
        ({"quantity_base": "1"}, "limit:order_notional_max_quote"),
    ],
)
def test_given_a_command_that_must_not_be_admitted_then_it_is_answered_with_the_cause(
    changes: dict[str, object], cause: str
) -> None:
    table = desk()
    command = table.command(place(**changes))
    assert table.story(command) == ["not-admitted"]
    assert table.said(CommandNotAdmitted)[0].cause == cause


def test_given_too_many_open_commands_then_the_next_is_refused() -> None:
    table = desk(rules=replace(desk().state.rules, commands_max=1))
    table.command(place(1))
    table.command(place(2))
    assert table.said(CommandNotAdmitted)[0].cause == "too_many_commands"


def test_given_as_many_open_commands_as_there_may_be_then_their_cancels_are_admitted_all_the_same() -> None:
    """Whoever decides a cancel decides it once: refused, it would leave its order on the book."""
    table = desk(rules=replace(desk().state.rules, commands_max=1))
    target, client = table.sent(place(1, time_in_force="gtc"))
    table.accept(target, view(client))
    table.allow(stop=StopKind.HALT)  # the executor's own cancel is a command as well
    assert len(table.state.books.orders) == 2
    given = table.command(cancel(target, 2))
    assert table.story(given)[0] == "admitted"
    table.command(cancel(target, 3))
    assert [event.cause for event in table.said(CommandNotAdmitted)] == ["too_many_commands"]


def test_given_a_budget_of_three_a_second_then_the_fourth_order_waits() -> None:
    table = desk(orders_per_second=Decimal(3))
    commands = [table.command(place(number)) for number in range(1, 5)]
    assert [len(table.story(command)) for command in commands] == [2, 2, 2, 1]
    table.wait(333)
    assert len(table.story(commands[3])) == 1
    table.wait_until_due()
    assert len(table.story(commands[3])) == 2
    assert table.boot_ms - BOOT_MS == 334


def test_given_commands_waiting_when_time_runs_out_then_each_ends_unsent() -> None:
    table = desk()
    table.wait(5000)
    command = table.command(place(admit_by_ms=WALL_MS + 6000))
    assert table.story(command) == ["admitted"]
    table.wait(1001)
    assert table.said(CommandExpiredUnsent)[0].cause == "too_late"


def test_given_more_fills_than_the_order_then_they_are_booked_and_the_account_halts() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client, "0.1", Standing.FILLED))
    table.look(command, trades=(trade("1", "0.1"), trade("2", "0.01")))
    assert len(table.said(OrderFilled)) == 2
    assert table.said(AccountHalted)[0].cause == "overfill"


def test_given_a_look_that_failed_then_it_is_repeated_after_a_pause() -> None:
    table = desk()
    command, _ = table.unknown()
    table.put(Looked, command_id=command, attempt=1, look=None)
    assert not table.asked(LookUp)
    table.wait_until_due()
    assert len(table.asked(LookUp)) == 1


def test_given_answers_about_nobody_then_nothing_happens() -> None:
    table = desk()
    stranger = place(9).command_id
    assert table.read_back(stranger) == ()
    assert table.reply(stranger, VenueReply(http_status=200)) == ()
    assert table.look(stranger) == ()
    assert table.put(Ticked) == ()
    assert next_wake(table.state) is None
