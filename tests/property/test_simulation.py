"""Acceptance 5 and 6.2: the order path in virtual time, in its short form, and the programs that must not survive it."""

import re
from functools import cache
from pathlib import Path

import pytest

from streams.lab.plan import plan
from streams.lab.simulate import Total, history_seed, one, run
from streams.lab.world import Outcome, play
from tests.property.simulation_mutants import MUTANTS, ROOT, Mutant, breed, hunt

ORDERS, SIZE, SEED = 8000, 400, 1
SHORT = 60
"""Orders in a history of which many parts can be played within seconds."""
CAUGHT_WITHIN_S = 60
CAUGHT = re.compile(r"VIOLATION (I\d+): (.*)\n  in history (\d+) of seed \d+, after (\d+) orders and (\d+) s of processor time")
SHORTEST = re.compile(
    r"the shortest history found in (\d+) tries has (\d+) of (\d+) commands and happenings, (\d+) of (\d+) mishaps:"
)
pytestmark = pytest.mark.timeout(600)


def test_5_thousands_of_orders_under_every_fault_keep_the_invariants_and_reach_every_rare_state() -> None:
    total = Total()
    for number, outcome in run(ORDERS, SEED, workers=1, size=SIZE):
        assert outcome.violation is None, f"history {number} of seed {SEED}, {SIZE} orders each: {outcome.violation}"
        total.add(outcome)
    assert total.orders >= ORDERS
    assert not total.missing(), "nothing is proven about a state that was never reached"


def test_5_one_seed_is_one_history() -> None:
    first, same = (play(plan(7, 150), telling=True) for _ in range(2))
    assert first.story == same.story
    assert first.story != play(plan(8, 150), telling=True).story


@cache
def ours(seed: int, number: int) -> Outcome:
    """What the unchanged program makes of a history."""
    return one(history_seed(seed, number), SIZE)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_6_2_a_program_with_one_wrong_line_is_caught(mutant: Mutant, tmp_path: Path, record_property) -> None:
    """On histories in which nothing breaks in the unchanged program."""
    breed(mutant, tmp_path)
    found = hunt(tmp_path, mutant.seed, SIZE, ORDERS)
    caught = CAUGHT.search(found.stdout)
    assert found.returncode == 1, found.stdout + found.stderr
    assert caught, found.stdout + found.stderr
    invariant, words, number, orders, seconds = caught.groups()
    record_property("caught", f"{invariant} after {orders} orders and {seconds} s: {words}")
    assert int(seconds) <= CAUGHT_WITHIN_S
    assert invariant == mutant.breaks, words
    assert ours(mutant.seed, int(number)).violation is None


def test_6_2_a_mutant_whose_line_is_gone_is_no_mutant(tmp_path: Path) -> None:
    gone = Mutant("gone", MUTANTS[0].file, "a line that nobody wrote", "", "I1")
    with pytest.raises(ValueError, match="stands 0 times"):
        breed(gone, tmp_path)


def test_5_a_history_that_fails_is_told_shorter_and_fails_there_in_the_same_way(tmp_path: Path) -> None:
    mutant = MUTANTS[0]
    breed(mutant, tmp_path)
    found = hunt(tmp_path, mutant.seed, SHORT, ORDERS, shrink_s=10)
    assert found.returncode == 1, found.stdout + found.stderr
    caught, shortest = CAUGHT.search(found.stdout), SHORTEST.search(found.stdout)
    assert caught is not None
    assert shortest is not None
    tries, items, items_before, mishaps, mishaps_before = map(int, shortest.groups())
    assert tries > 1
    assert 0 < items < items_before
    assert mishaps <= mishaps_before
    *story, end, again = found.stdout[shortest.end() :].strip().splitlines()
    assert len(story) > 1
    assert f"VIOLATION {mutant.breaks}: " in end, "the story ends where the shorter history breaks"
    assert again == f"again: python -m streams.lab.simulate --seed {mutant.seed} --size {SHORT} --history {caught[3]}"


def test_5_a_run_that_never_reached_a_rare_state_fails_and_names_it() -> None:
    """Too few orders for everything to happen: nothing breaks, and still nothing is proven."""
    found = hunt(ROOT, SEED, size=20, orders=20)
    assert "VIOLATION" not in found.stdout
    assert found.returncode == 1, found.stdout + found.stderr
    last = found.stdout.strip().splitlines()[-1]
    assert last.startswith("NEVER REACHED, so that nothing is proven about it: ")
    assert "lease lost in flight" in last
