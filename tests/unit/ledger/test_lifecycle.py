"""The life cycle table: complete, closed at its ends, and drawn from itself."""

import pytest

from schemas.ledger import Flag, OrderState
from streams.domain.orders.lifecycle import LEGAL, TERMINAL, Happened, IllegalStepError, advance, as_mermaid


def test_every_state_and_every_happening_is_in_the_table():
    assert {step.state for step in LEGAL.values()} == set(OrderState)
    assert {what for _, what in LEGAL} == set(Happened)


def test_a_terminal_state_accepts_late_fills_and_nothing_else():
    after_the_end = {(state, what): step for (state, what), step in LEGAL.items() if state in TERMINAL}
    assert {what for _, what in after_the_end} == {Happened.FILL}
    for (state, _), step in after_the_end.items():
        assert (step.state, step.flag) == (state, Flag.LATE_FILL)


def test_from_every_state_some_end_can_be_reached():
    for start in set(OrderState) - TERMINAL:
        seen, todo = {start}, [start]
        while todo:
            here = todo.pop()
            new = {step.state for (state, _), step in LEGAL.items() if state is here} - seen
            seen |= new
            todo += new
        assert seen & TERMINAL, start


def test_a_second_attempt_starts_from_proven_absence_alone():
    assert {state for state, what in LEGAL if what is Happened.INTENDED} == {OrderState.ADMITTED, OrderState.ABSENT}


@pytest.mark.parametrize("state", [None, *OrderState])
@pytest.mark.parametrize("what", list(Happened))
def test_whatever_is_not_in_the_table_raises(state: OrderState | None, what: Happened):
    if (state, what) in LEGAL:
        assert advance(state, what) is LEGAL[state, what]
    else:
        with pytest.raises(IllegalStepError, match=what.value):
            advance(state, what)


def test_the_picture_shows_every_step_of_the_table():
    lines = as_mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    [*] --> admitted: admitted" in lines
    assert "    filled --> filled: fill (late_fill)" in lines
    assert "    canceled --> [*]" in lines
    assert len(lines) == 1 + len(LEGAL) + len(TERMINAL)
