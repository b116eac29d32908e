"""Acceptance 5 and 6.2: the order path in virtual time, in its short form."""

import pytest

from streams.lab.plan import plan
from streams.lab.simulate import Total, run
from streams.lab.world import play

ORDERS, SIZE, SEED = 8000, 400, 1
pytestmark = pytest.mark.timeout(600)


def test_5_thousands_of_orders_under_every_fault_keep_the_invariants_and_reach_every_rare_state() -> None:
    total = Total()
    for number, outcome in run(ORDERS, SEED, workers=1, size=SIZE):
        assert outcome.violation is None, f"history {number} of seed {SEED}, {SIZE} orders each: {outcome.violation}"
        total.add(outcome)
    assert total.orders >= ORDERS
    assert not total.missing(), "nothing is proven about a state that was never reached"


def test_5_one_seed_is_one_history() -> None:
    one, same = (play(plan(7, 150), telling=True) for _ in range(2))
    assert one.story == same.story
    assert one.story != play(plan(8, 150), telling=True).story
