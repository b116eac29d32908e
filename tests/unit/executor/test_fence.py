"""2.1: the last look before the bytes, when a connection is there and nothing else is left to do."""

import pytest

from streams.agents.executor.fence import LostError, last_look, last_look_at_cancel
from streams.domain.orders.stimuli import SendOrder
from tests.unit.orders.desk import Desk, desk, place


def released() -> tuple[Desk, int]:
    """An owner whose request was let go, and the boot time before which it must leave."""
    table = desk()
    table.read_back(table.command(place()))
    (sent,) = table.asked(SendOrder)
    return table, sent.deadline_boot_ms


def test_given_a_released_request_then_it_leaves_until_its_deadline() -> None:
    table, deadline_boot_ms = released()
    last_look(table.state, table.now(), deadline_boot_ms)
    table.boot_ms = deadline_boot_ms
    with pytest.raises(LostError, match="deadline_passed"):
        last_look(table.state, table.now(), deadline_boot_ms)


@pytest.mark.parametrize("step_ms", [-10_000, -201, 201, 10_000])
def test_given_clocks_that_stepped_against_each_other_while_connecting_then_nothing_leaves(step_ms: int) -> None:
    """BOOTTIME that stood still shows a deadline that passed long ago. Found by the simulation, as inputs too old (I8)."""
    table, deadline_boot_ms = released()
    table.wall_ms += step_ms
    for look in (last_look, last_look_at_cancel):
        with pytest.raises(LostError, match="lease_unproven"):
            look(table.state, table.now(), deadline_boot_ms)


def test_given_a_halt_file_while_connecting_then_no_order_leaves_but_a_cancel_does() -> None:
    table, deadline_boot_ms = released()
    table.halt_file = "pulled"
    last_look_at_cancel(table.state, table.now(), deadline_boot_ms)
    with pytest.raises(LostError, match="halt_file: pulled"):
        last_look(table.state, table.now(), deadline_boot_ms)


def test_given_nobody_who_owns_the_account_then_nothing_leaves() -> None:
    table, deadline_boot_ms = released()
    with pytest.raises(LostError, match="deadline_passed"):
        last_look(None, table.now(), deadline_boot_ms)
