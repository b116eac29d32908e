"""3.3 and 1.1: the executor takes orders off the book by itself: on a halt, at their end of life, on an operator's word."""

from dataclasses import replace
from decimal import Decimal

import pytest

from schemas.control import CancelRequested, LookRequested, StopKind
from schemas.orders import (
    CancelEnded,
    CancelIntended,
    CommandAdmitted,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    OrderAccepted,
    OrderClosed,
    OrderUnknown,
)
from streams.domain.orders.authority import Authority, fold, for_account
from streams.domain.orders.books import Books, evolve
from streams.domain.orders.checkpoint import checkpoint, restore, without_commands
from streams.domain.orders.outcome import Failure, Standing, VenueReply
from streams.domain.orders.stimuli import Looked, LookUp, Publish, ReadAccount, SendCancel, SendOrder
from tests.unit.orders.desk import WALL_MS, Desk, cancel, desk, place, view


def standing(**changes: object) -> tuple[Desk, str, str]:
    """An order on the venue's book: table, command, client order id."""
    table = desk()
    command, client = table.sent(place(time_in_force="gtc", **changes))
    table.accept(command, view(client))
    return table, command, client


def own(table: Desk) -> list[CommandAdmitted]:
    """The cancels that the executor decided itself."""
    return [event for event in table.said(CommandAdmitted) if event.own_cause]


def test_3_3_a_halt_by_control_cancels_what_stands_and_a_freeze_leaves_it() -> None:
    table, target, client = standing()
    table.allow(stop=StopKind.FREEZE)
    assert not own(table)
    table.allow(stop=StopKind.HALT)
    (decided,) = own(table)
    assert (decided.target_command_id, decided.own_cause) == (target, "halted")
    table.read_back(decided.command_id)
    (sent,) = table.asked(SendCancel)
    assert sent.request.client_order_id == client
    table.reply(decided.command_id, VenueReply(http_status=200, order=view(client, standing=Standing.CANCELED)))
    table.look(target, order=view(client, standing=Standing.CANCELED))
    assert [event.command_id for event in table.said(OrderClosed)] == [target]
    assert not table.state.books.orders
    table.wait(1000)
    assert len(own(table)) == 1


def test_3_3_a_halt_of_its_own_cancels_too() -> None:
    table, target, _ = standing()
    table.state = replace(table.state, books=replace(table.state.books, halts={"a" * 32: "overfill"}))
    table.wait(1000)
    assert [event.target_command_id for event in own(table)] == [target]
    assert own(table)[0].own_cause.startswith("account_halted: overfill")


def test_3_3_under_the_halt_file_a_cancel_does_not_wait_for_the_log_but_for_this_machines_disk() -> None:
    table, target, _ = standing()
    table.halt_file = "pulled the plug"
    effects = table.wait(100)
    kinds = [type(effect.event) if isinstance(effect, Publish) else type(effect) for effect in effects]
    assert kinds == [CommandAdmitted, CancelIntended, SendCancel]
    assert all(effect.keep for effect in effects if isinstance(effect, Publish))
    (decided,) = own(table)
    assert (decided.target_command_id, decided.own_cause) == (target, "halt_file: pulled the plug")
    assert table.read_back(decided.command_id) == (), "it left once already"


def test_3_3_a_freeze_by_the_file_lets_nothing_new_out_and_leaves_what_stands_until_a_halt() -> None:
    table, target, _ = standing()
    table.freeze_file = "a strange market"
    table.wait(100)
    refused = table.command(place(2))
    assert [(event.command_id, event.cause) for event in table.said(CommandNotAdmitted)] == [(refused, "freeze_file")]
    assert not own(table)
    table.halt_file = "worse than strange"
    table.wait(100)
    (decided,) = own(table)
    assert (decided.target_command_id, decided.own_cause) == (target, "halt_file: worse than strange")


def test_3_3_under_a_freeze_by_the_file_a_halt_by_control_still_cancels_by_way_of_the_log() -> None:
    table, target, _ = standing()
    table.freeze_file = "a strange market"
    table.allow(stop=StopKind.HALT)
    (decided,) = own(table)
    assert (decided.target_command_id, decided.own_cause) == (target, "halted")
    assert not table.asked(SendCancel), "its INTENT must be read back first"


def test_3_3_without_a_lease_not_even_the_halt_file_sends() -> None:
    table, _, _ = standing()
    table.halt_file = "pulled"
    table.wait(6000)
    assert own(table)
    assert not table.said(CancelIntended)


def test_3_3_an_order_of_unknown_fate_is_canceled_as_soon_as_it_is_found() -> None:
    table = desk()
    target, client = table.unknown()
    table.allow(stop=StopKind.HALT)
    assert [event.target_command_id for event in own(table)] == [target]
    assert not table.said(CancelIntended)
    table.look(target, order=view(client))
    table.wait(100)
    assert [event.target_command_id for event in table.said(CancelIntended)] == [target]


def test_3_3_an_order_whose_end_is_known_needs_no_cancel() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client, "0.1", Standing.FILLED))
    table.allow(stop=StopKind.HALT)
    assert table.said(OrderAccepted)
    assert not own(table)


def test_1_1_an_order_does_not_outlive_its_expiry() -> None:
    table, target, _ = standing(expires_at_ms=WALL_MS + 40_000)
    for _ in range(8):
        table.wait(4_900)
        table.refresh()
    assert not own(table)
    table.wait(900)
    assert [(event.target_command_id, event.own_cause) for event in own(table)] == [(target, "expired")]


def test_1_1_an_order_whose_command_nobody_can_read_any_more_does_not_stand_for_ever() -> None:
    """Its expiry and its operator's word stood there: without them it would be a residual that nothing ends."""
    table, target, _ = standing()
    order = replace(table.state.books.orders[target], command=None)
    heir = desk(replace(table.state.books, orders={target: order}))
    assert [(event.target_command_id, event.own_cause) for event in own(heir)] == [(target, "command_lost")]


@pytest.mark.parametrize("everything", [False, True])
def test_3_3_an_operators_cancel_takes_one_order_or_all_decided_before(everything: bool) -> None:
    table, target, _ = standing()
    said = CancelRequested(scope="account:alice", at_ms=WALL_MS, who="op", target_command_id=None if everything else target)
    heard = for_account(fold(Authority(), said), "alice", "sim")
    table.allow(canceled=heard.canceled, canceled_before_ms=heard.canceled_before_ms)
    assert [(event.target_command_id, event.own_cause) for event in own(table)] == [(target, "operator")]
    other = table.command(place(2, decided_at_ms=WALL_MS + 1, symbol="ETH/USDT"))
    table.read_back(other)
    table.accept(other, view(table.intended(other), symbol="ETH/USDT"))
    assert len(own(table)) == 1, "what was decided later is not meant"


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("waits_for", ["a lease", "its intent in the log", "its turn in the topic"])
def test_3_3_an_operators_cancel_keeps_an_order_that_is_not_sent_yet_from_leaving(everything: bool, waits_for: str) -> None:
    """Found once: only orders that stood were canceled, so one that waited left after its cancel, and could be filled."""
    table, command = desk(), place()
    target = command.command_id
    cancels = {"canceled_before_ms": WALL_MS} if everything else {"canceled": frozenset({target})}
    if waits_for == "a lease":
        table.wait(5000)
        table.command(command)
    elif waits_for == "its intent in the log":
        table.command(command)
    table.allow(**cancels)
    if waits_for == "its turn in the topic":
        table.command(command)
    table.renew()
    table.wait(100)
    table.read_back(target)
    assert not table.asked(SendOrder)
    table.wait(1000)
    assert [event.cause for event in (*table.said(CommandExpiredUnsent), *table.said(CommandNotAdmitted))] == ["canceled"]
    assert not own(table)


def test_3_3_an_operators_cancel_for_another_account_is_not_ours() -> None:
    said = CancelRequested(scope="account:bob", at_ms=WALL_MS, who="op")
    assert for_account(fold(Authority(), said), "alice", "sim").canceled_before_ms == 0


def test_3_3_own_cancels_move_no_mark_and_survive_a_take_over() -> None:
    table, target, _ = standing()
    before = (dict(table.state.books.answered), table.state.books.commands_next_offset)
    table.allow(stop=StopKind.HALT)
    assert (dict(table.state.books.answered), table.state.books.commands_next_offset) == before
    books = restore(checkpoint(table.state.books, "one", table.wall_ms, 7))
    (decided,) = own(table)
    assert books.orders[decided.command_id].own_cause == "halted"
    assert decided.command_id not in without_commands(books)
    after = desk(books)
    after.allow(stop=StopKind.HALT)
    assert not own(after), "the same order has the same cancel"
    assert target in after.state.books.orders


def test_3_3_kept_events_that_are_published_twice_change_nothing_the_second_time() -> None:
    table, _, _ = standing()
    table.halt_file = "pulled"
    table.wait(100)
    kept = [effect.event for effect in table.effects if isinstance(effect, Publish)]
    books = table.state.books
    for event in kept:
        assert evolve(books, event) == books


def test_3_3_given_a_death_under_the_halt_file_then_the_log_holds_no_end_of_a_cancel_without_the_end_of_its_order() -> None:
    """Found by the simulation: the order's own end was lost with the log away, so its cancel was decided a second time."""
    table, target, client = standing()
    before = table.state.books
    table.halt_file = "pulled"
    said = [*table.wait(100)]
    said += table.look(target, order=view(client, standing=Standing.CANCELED, filled_base=Decimal(0)))
    assert [type(effect.event) for effect in said if isinstance(effect, Publish)][-2:] == [OrderClosed, CancelEnded]
    for effect in said:
        before = evolve(before, effect.event) if isinstance(effect, Publish) and effect.keep else before
    after = desk(before)
    after.halt_file = "pulled"
    after.wait(100)
    assert target in after.state.books.orders
    assert not own(after), "one cancel for one order, also for its next owner"


def test_3_3_given_a_death_under_the_halt_file_then_what_was_kept_goes_on_where_the_log_ends() -> None:
    """Found by the simulation: a cancel's reply was lost while the log was away, then the HALT file came and its next attempt
    was kept. The log held two attempts with nothing between them, and nobody could read it any more."""
    table, _, _ = standing()
    table.allow(stop=StopKind.HALT)
    (decided,) = own(table)
    table.read_back(decided.command_id)
    durable = table.state.books
    said = [*table.reply(decided.command_id, VenueReply(failure=Failure.NO_REPLY))]
    table.halt_file = "pulled"
    for _ in range(5):
        table.refresh()
        said += table.wait(1000)
    assert [event.attempt for event in table.said(CancelIntended)] == [1, 2]
    assert table.said(OrderUnknown)
    for effect in said:
        durable = evolve(durable, effect.event) if isinstance(effect, Publish) and effect.keep else durable
    intent = durable.orders[decided.command_id].intent
    assert intent is not None
    assert intent.attempt == 2


def test_3_3_given_kept_events_that_land_twice_and_late_then_a_cancel_stays_what_it_is() -> None:
    """A dead process's bytes may still land behind what the next one published from its disk."""
    table, _, _ = standing()
    before = table.state.books
    table.halt_file = "pulled"
    table.wait(100)
    (decided,) = own(table)
    for attempt in (1, 2, 3):
        table.reply(decided.command_id, VenueReply(failure=Failure.NOT_CONNECTED), attempt)
        table.wait(1000)
        table.refresh()
    events = [event for event in table.events if getattr(event, "command_id", "") == decided.command_id]
    assert len(events) > 6
    for event in events:
        before = evolve(before, event)
    for event in events:
        assert evolve(before, event) == before, event.TYPE


def test_3_3_given_a_cancel_that_waits_for_the_log_when_the_halt_file_comes_then_it_leaves_at_once() -> None:
    """Found once: its intent stayed unread with the log away, and the order stood for as long."""
    table, target, client = standing()
    table.allow(stop=StopKind.HALT)
    (decided,) = own(table)
    table.wait(100)
    assert not table.asked(SendCancel)
    table.halt_file = "pulled"
    table.wait(100)
    assert [(sent.command_id, sent.request.client_order_id) for sent in table.asked(SendCancel)] == [
        (decided.command_id, client)
    ]
    assert table.read_back(decided.command_id) == ()
    assert target in table.state.books.orders


def test_3_3_given_an_old_intent_when_the_halt_file_comes_then_the_next_one_leaves() -> None:
    table, _, _ = standing()
    table.allow(stop=StopKind.HALT)
    table.wait(2000)
    table.halt_file = "pulled"
    table.wait(100)
    table.wait(200)
    (sent,) = table.asked(SendCancel)
    assert sent.attempt == 2


def test_3_3_the_folds_own_cancel_beside_ours_ends_with_the_same_target() -> None:
    table, target, client = standing()
    table.allow(stop=StopKind.HALT)
    theirs = table.command(cancel(target))
    table.read_back(own(table)[0].command_id)
    table.look(target, order=view(client, standing=Standing.CANCELED, filled_base=Decimal(0)))
    assert not table.state.books.orders
    assert table.story(theirs)[-1] == "cancel-ended"
    assert isinstance(table.state.books, Books)


def test_3_3_given_an_operators_question_then_the_venue_is_asked_at_once_and_the_rule_stays_the_same() -> None:
    """`trimtab unknown resolve`: it hastens the proof, it never replaces it."""
    table = desk()
    command, _ = table.unknown()
    for _ in range(5):
        table.put(Looked, command_id=command, attempt=1, look=None)
        table.refresh()
        table.wait_until_due()
    table.put(Looked, command_id=command, attempt=1, look=None)
    assert not table.asked(LookUp)
    asked = frozenset({(WALL_MS, command), (WALL_MS, "f" * 32)})
    table.allow(looks=asked)
    assert [look.command_id for look in table.asked(LookUp)] == [command]
    table.look(command)
    assert "absent" not in table.story(command)  # one answer, before its time is over at the venue, proves nothing
    table.allow(looks=asked)
    assert not table.asked(LookUp)


def test_3_3_given_a_question_about_the_account_then_it_is_read_now_and_once() -> None:
    table = desk()
    table.allow(looks=frozenset({(WALL_MS, None)}))
    assert len(table.asked(ReadAccount)) == 1
    table.allow(looks=frozenset({(WALL_MS, None)}))
    assert not table.asked(ReadAccount)
    table.allow(looks=frozenset({(WALL_MS, None), (WALL_MS + 1, None)}))
    assert len(table.asked(ReadAccount)) == 1


def test_3_3_an_operators_questions_reach_the_account_that_they_name() -> None:
    fields = {"scope": "account:alice", "at_ms": WALL_MS, "who": "op", "account": "alice"}
    said = fold(Authority(), LookRequested.model_validate(fields | {"target_command_id": "a" * 32}))
    for number in range(200):
        said = fold(said, LookRequested.model_validate(fields | {"at_ms": WALL_MS + number}))
    assert len(for_account(said, "alice", "sim").looks) == 100
    assert not for_account(said, "bob", "sim").looks
