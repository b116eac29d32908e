"""4.2: what a crash run draws: every kind in its share, every victim in its turn, the same for the same seed."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.crash.flow.faults import BAGS, BLOCK, POINTS, ROLES, Kind, draw

SEEDS = st.integers(min_value=0, max_value=1_000_000)


@given(seed=SEEDS)
def test_one_seed_draws_one_run(seed: int) -> None:
    assert draw(40, random.Random(seed)) == draw(40, random.Random(seed))


@given(seed=SEEDS, blocks=st.integers(min_value=1, max_value=8))
def test_twenty_rounds_hold_each_kind_in_its_share(seed: int, blocks: int) -> None:
    faults = draw(20 * blocks, random.Random(seed))
    assert Counter(fault.kind for fault in faults) == {kind: count * blocks for kind, count in BLOCK.items()}


@given(seed=SEEDS)
def test_every_victim_has_its_turn_before_one_comes_again(seed: int) -> None:
    faults = draw(120, random.Random(seed))
    for kind, bag in BAGS.items():
        victims = [fault.victim for fault in faults if fault.kind is kind]
        assert all(Counter(victims[: len(bag)])[victim] <= bag.count(victim) for victim in bag)
        assert set(victims) == set(bag)


@given(seed=SEEDS)
def test_a_hundred_rounds_hold_what_a_report_needs(seed: int) -> None:
    """6.1: 50 pauses need 120 rounds; each role gets a second worker, and loses it again."""
    faults = draw(120, random.Random(seed))
    assert sum(fault.kind is Kind.PAUSE for fault in faults) >= 50
    turns = Counter(fault.victim for fault in faults if fault.kind is Kind.TURN)
    assert all(turns[role] >= 2 for role in ROLES)
    assert all(
        fault.point in POINTS for fault in faults if fault.victim == "executor" and fault.kind in (Kind.KILL, Kind.PAUSE)
    )
