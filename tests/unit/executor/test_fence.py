"""2.1: the last look before the bytes, when a connection is there and nothing else is left to do."""

from decimal import Decimal

import pytest

from schemas.control import StopKind
from streams.agents.executor.fence import LostError, last_look, last_look_at_cancel
from streams.domain.orders.outcome import VenueReply
from streams.domain.orders.prices import Price
from streams.domain.orders.stimuli import AuthorityRead, CancelRequest, RightsRead, SendCancel, SendOrder
from tests.unit.orders.desk import RULES, Desk, authority, desk, place


def released() -> tuple[Desk, SendOrder]:
    """An owner whose request was let go, and that request."""
    table = desk()
    table.read_back(table.command(place()))
    (sent,) = table.asked(SendOrder)
    return table, sent


def canceling(table: Desk, sent: SendOrder) -> SendCancel:
    """A cancel that was let go at the same time."""
    request = CancelRequest(sent.request.client_order_id, "77", "BTC/USDT", sent.request.timestamp_ms, 2000)
    return SendCancel("c" * 32, 1, request, sent.deadline_boot_ms)


def test_given_a_released_request_then_it_leaves_until_its_deadline() -> None:
    table, sent = released()
    last_look(table.state, table.now(), sent)
    table.boot_ms = sent.deadline_boot_ms
    with pytest.raises(LostError, match="deadline_passed"):
        last_look(table.state, table.now(), sent)


@pytest.mark.parametrize("step_ms", [-10_000, -201, 201, 10_000])
def test_given_clocks_that_stepped_against_each_other_while_connecting_then_nothing_leaves(step_ms: int) -> None:
    """BOOTTIME that stood still shows a deadline that passed long ago. Found by the simulation, as inputs too old (I8)."""
    table, sent = released()
    table.wall_ms += step_ms
    with pytest.raises(LostError, match="lease_unproven"):
        last_look(table.state, table.now(), sent)
    with pytest.raises(LostError, match="lease_unproven"):
        last_look_at_cancel(table.state, table.now(), canceling(table, sent))


def test_given_a_halt_file_while_connecting_then_no_order_leaves_but_a_cancel_does() -> None:
    table, sent = released()
    table.halt_file = "pulled"
    last_look_at_cancel(table.state, table.now(), canceling(table, sent))
    with pytest.raises(LostError, match="halt_file"):
        last_look(table.state, table.now(), sent)


def test_given_a_freeze_by_the_file_while_connecting_then_no_order_leaves_but_a_cancel_does() -> None:
    table, sent = released()
    table.freeze_file = "a strange market"
    last_look_at_cancel(table.state, table.now(), canceling(table, sent))
    with pytest.raises(LostError, match="freeze_file"):
        last_look(table.state, table.now(), sent)


def _halted_by_control(table: Desk, sent: SendOrder) -> None:
    table.allow(stop=StopKind.HALT)


def _frozen_by_control(table: Desk, sent: SendOrder) -> None:
    table.allow(stop=StopKind.FREEZE)


def _canceled_by_an_operator(table: Desk, sent: SendOrder) -> None:
    table.allow(canceled=frozenset({sent.command_id}))


def _halted_by_itself(table: Desk, sent: SendOrder) -> None:
    table.put(RightsRead, read=True, trade=True, withdraw=True)


def _unknown_neighbour(table: Desk, sent: SendOrder) -> None:
    other = table.command(place(2))
    table.read_back(other)
    table.reply(other, VenueReply(http_status=504))


def _collar_left_behind(table: Desk, sent: SendOrder) -> None:
    price = Price(Decimal(9_989), Decimal(9_991), table.wall_ms)
    table.prices = {"BTC/USDT": price, "ETH/USDT": price}


def _control_not_read_on(table: Desk, sent: SendOrder) -> None:
    table.put(AuthorityRead, authority=authority(), asked_boot_ms=table.boot_ms - RULES.control_age_ms_max - 1)


MEANWHILE = {
    "halted": _halted_by_control,
    "frozen": _frozen_by_control,
    "canceled": _canceled_by_an_operator,
    "account_halted": _halted_by_itself,
    "symbol_unknown": _unknown_neighbour,
    "limit:price_collar": _collar_left_behind,
    "control_unread": _control_not_read_on,
}


@pytest.mark.parametrize("cause", MEANWHILE)
def test_given_news_while_connecting_that_forbid_an_order_then_it_does_not_leave_but_a_cancel_does(cause: str) -> None:
    """Found once: a halt that the executor had heard of did not reach a request that waited for its connection."""
    table, sent = released()
    MEANWHILE[cause](table, sent)
    last_look_at_cancel(table.state, table.now(), canceling(table, sent))
    with pytest.raises(LostError, match=cause):
        last_look(table.state, table.now(), sent)


def test_given_nobody_who_owns_the_account_then_nothing_leaves() -> None:
    table, sent = released()
    with pytest.raises(LostError, match="deadline_passed"):
        last_look(None, table.now(), sent)


def test_given_an_order_that_has_ended_then_its_request_does_not_leave() -> None:
    table, sent = released()
    with pytest.raises(LostError, match="not_open"):
        last_look(desk().state, table.now(), sent)
