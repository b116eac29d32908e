"""Commands to cancel end with their target, whatever the venue says to the cancel."""

from dataclasses import replace

import pytest

from schemas.ledger import OrderState
from schemas.orders import CancelEnded, CancelIntended, CommandExpiredUnsent, OrderUnknown, OrderUnsent
from streams.domain.ids import client_order_id
from streams.domain.orders.outcome import Failure, Standing, VenueReply
from streams.domain.orders.stimuli import LookUp, SendCancel, SendOrder
from tests.unit.orders.desk import BOOT_MS, WALL_MS, Desk, cancel, desk, place, view


def standing() -> tuple[Desk, str, str]:
    """An order on the venue's book: table, command, client order id."""
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client))
    return table, command, client


def test_given_a_standing_order_when_canceled_then_one_cancel_leaves_and_both_end_together() -> None:
    table, target, client = standing()
    command = table.command(cancel(target))
    table.read_back(command)
    (sent,) = table.asked(SendCancel)
    assert (sent.request.venue_order_id, sent.request.client_order_id) == ("77", client)
    assert sent.deadline_boot_ms == BOOT_MS + 500
    assert table.read_back(command) == ()
    table.reply(command, VenueReply(http_status=200, order=view(client, standing=Standing.CANCELED)))
    assert [look.command_id for look in table.asked(LookUp)] == [target]
    assert table.state.books.orders[command].state is OrderState.INTENDED
    table.look(target, order=view(client, standing=Standing.CANCELED))
    assert table.story(target)[-1] == "closed"
    assert table.story(command) == ["admitted", "cancel-intended", "cancel-ended"]
    assert table.said(CancelEnded)[0].cause == "target_ended"


def test_given_a_target_that_nobody_knows_then_the_cancel_ends_at_once() -> None:
    table = desk()
    target = place(1).command_id
    command = table.command(cancel(target))
    assert table.story(command) == ["admitted", "cancel-ended"]
    (ended,) = table.said(CancelEnded)
    assert (ended.cause, ended.client_order_id) == ("not_open", client_order_id(target, 1))


def test_given_a_target_that_waits_then_it_is_never_sent() -> None:
    table = desk()
    table.wait(5000)
    target = table.command(place(admit_by_ms=WALL_MS + 20_000))
    command = table.command(cancel(target))
    assert table.said(CommandExpiredUnsent)[0].cause == "canceled"
    assert table.story(command) == ["admitted", "cancel-ended"]
    table.refresh()
    assert not table.asked(SendOrder)


def test_given_a_target_of_unknown_fate_then_the_cancel_waits_until_it_is_known() -> None:
    table = desk()
    target, client = table.unknown()
    command = table.command(cancel(target))
    table.wait(100)
    assert table.story(command) == ["admitted"]
    table.look(target, order=view(client))
    table.wait(100)
    assert table.story(command) == ["admitted", "cancel-intended"]


def test_given_a_halt_then_cancels_still_pass() -> None:
    table, target, _ = standing()
    table.halt_file = "pulled"
    command = table.command(cancel(target))
    table.read_back(command)
    assert table.asked(SendCancel)


def test_given_no_lease_then_not_even_a_cancel_passes() -> None:
    table, target, _ = standing()
    command = table.command(cancel(target))
    table.wait(5000)
    table.read_back(command)
    assert not table.asked(SendCancel)
    assert table.said(OrderUnsent)[0].cause == "lease_unproven"
    table.refresh()
    table.wait(300)
    assert [event.attempt for event in table.said(CancelIntended)] == [1, 2]


@pytest.mark.parametrize("reply", [VenueReply(failure=Failure.NO_REPLY), VenueReply(http_status=400, code="-2011")])
def test_given_an_unproven_or_refused_cancel_then_the_target_is_looked_at_and_the_cancel_repeated_late(
    reply: VenueReply,
) -> None:
    table, target, client = standing()
    command = table.command(cancel(target))
    table.read_back(command)
    table.reply(command, reply)
    assert [look.command_id for look in table.asked(LookUp)] == [target]
    table.look(target, order=view(client))
    table.wait(3999)
    table.refresh()
    assert len(table.said(CancelIntended)) == 1
    table.look(target, order=view(client))
    table.wait(1)
    assert [event.attempt for event in table.said(CancelIntended)] == [1, 2]
    assert len(table.said(OrderUnknown)) == 1


def test_given_a_cancel_that_was_never_sent_then_the_next_attempt_follows() -> None:
    table, target, _ = standing()
    command = table.command(cancel(target))
    table.read_back(command)
    table.reply(command, VenueReply(failure=Failure.NOT_SENT, text="deadline_passed"))
    table.wait(200)
    assert table.story(command) == ["admitted", "cancel-intended", "unsent", "cancel-intended"]


def test_given_a_target_that_ends_before_the_intent_is_read_back_then_no_request_leaves() -> None:
    table, target, client = standing()
    command = table.command(cancel(target))
    table.wait(1000)
    table.look(target, order=view(client, standing=Standing.CANCELED))
    assert table.story(command)[-1] == "cancel-ended"
    table.read_back(command)
    assert not table.asked(SendCancel)


def test_given_a_limit_of_the_venue_then_cancels_wait_for_the_pause_too() -> None:
    table, target, _ = standing()
    refused, _ = table.sent(place(5))
    table.reply(refused, VenueReply(http_status=429, code="-1003", retry_after_ms=1000))
    command = table.command(cancel(target, 6))
    assert table.story(command) == ["admitted"]
    table.wait(1000)
    assert table.story(command) == ["admitted", "cancel-intended"]


def test_given_a_limit_that_the_reply_to_a_needless_cancel_tells_then_orders_wait_for_its_pause() -> None:
    """Found by the simulation: the target had ended before its cancel was answered, and nobody heard the answer."""
    table, target, client = standing()
    command = table.command(cancel(target))
    table.read_back(command)
    table.wait(1000)
    table.look(target, order=view(client, standing=Standing.CANCELED))
    assert table.story(command)[-1] == "cancel-ended"
    table.reply(command, VenueReply(http_status=429, code="-1003", retry_after_ms=1500))
    order = table.command(place(5))
    assert table.story(order) == ["admitted"]
    table.wait(1499)
    assert table.story(order) == ["admitted"]
    table.wait(1)
    assert table.story(order) == ["admitted", "intended"]


def test_given_a_server_that_asks_for_patience_beside_a_needless_cancel_then_orders_wait_for_it() -> None:
    table, target, client = standing()
    command = table.command(cancel(target))
    table.read_back(command)
    table.wait(1000)
    table.look(target, order=view(client, standing=Standing.CANCELED))
    table.reply(command, VenueReply(http_status=503, retry_after_ms=700))
    order = table.command(place(5))
    table.wait(699)
    assert table.story(order) == ["admitted"]
    table.wait(1)
    assert table.story(order) == ["admitted", "intended"]


def test_given_an_inherited_cancel_then_it_is_repeated_under_its_next_attempt() -> None:
    table, target, _ = standing()
    command = table.command(cancel(target))
    heir = desk(replace(table.state.books, epoch=4))
    assert heir.story(command) == ["unknown", "cancel-intended"]
    assert heir.said(CancelIntended)[0].attempt == 2


def test_3_2_given_a_cancels_intent_when_the_venue_asks_for_a_pause_then_it_waits() -> None:
    table, target, _ = standing()
    command = table.command(cancel(target))
    other = table.command(place(7, symbol="ETH/USDT"))
    table.read_back(other)
    table.reply(other, VenueReply(http_status=429, code="-1003", text="too many requests", retry_after_ms=1000))
    table.read_back(command)
    assert not table.asked(SendCancel)
    assert table.said(OrderUnsent)[0].cause == "paused"
    table.wait(1300)
    table.read_back(command, attempt=2)
    assert table.asked(SendCancel)


def tried(attempts: int) -> tuple[Desk, str]:
    """A cancel whose newest attempt, that many in all, has just found no way to the venue."""
    table, target, _ = standing()
    command = table.command(cancel(target))
    order = table.state.books.orders[command]
    assert order.intent is not None
    order = replace(order, intent=replace(order.intent, attempt=attempts))
    table.state = replace(table.state, books=replace(table.state.books, orders={**table.state.books.orders, command: order}))
    table.read_back(command, attempts)
    table.reply(command, VenueReply(failure=Failure.NOT_CONNECTED), attempts)
    return table, command


@pytest.mark.parametrize("attempts", [1, 59, 60, 1000, 50_000])
def test_given_a_venue_that_is_away_for_long_then_its_cancel_is_tried_on_more_patiently_but_for_ever(attempts: int) -> None:
    """Found once: after a thousand attempts, half an hour without the venue, an order was not canceled any more."""
    table, _ = tried(attempts)
    patience_ms = 100 if attempts < 60 else 10_000
    for _ in range(patience_ms // 100 - 1):
        table.wait(100)
        table.refresh()
    assert len(table.said(CancelIntended)) == 1
    table.wait(100)
    assert [event.attempt for event in table.said(CancelIntended)] == [1, attempts + 1]
