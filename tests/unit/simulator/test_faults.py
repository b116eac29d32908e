"""3.4: which request a fault strikes."""

import pytest
from pydantic import ValidationError

from streams.simulator.faults import Fault, FaultPlan, Faults


def plan(*faults: dict, seed: int = 0) -> Faults:
    chosen = Faults()
    chosen.install(FaultPlan.model_validate({"faults": faults, "seed": seed}))
    return chosen


def struck(faults: Faults, count: int, request: str = "order") -> list[Fault | None]:
    rules = [faults.choose(request) for _ in range(count)]
    return [rule.fault if rule else None for rule in rules]


def test_without_rules_nothing_is_struck():
    assert struck(Faults(), 3) == [None, None, None]


def test_the_next_n_requests_are_struck_in_the_order_of_the_rules():
    faults = plan({"fault": "reply_lost", "next": 2}, {"fault": "late_order", "next": 1})
    assert struck(faults, 4) == [Fault.REPLY_LOST, Fault.REPLY_LOST, Fault.LATE_ORDER, None]
    assert {fault: count for fault, count in faults.done.items() if count} == {Fault.REPLY_LOST: 2, Fault.LATE_ORDER: 1}


def test_equal_seeds_strike_equal_requests():
    rule = {"fault": "request_lost", "probability": 0.3}
    first, second, other = (struck(plan(rule, seed=seed), 200) for seed in (1, 1, 2))
    assert first == second != other
    assert 30 <= sum(fault is not None for fault in first) <= 90


def test_a_rule_strikes_only_its_requests():
    faults = plan({"fault": "reply_lost", "next": 1, "requests": ["cancel"]})
    assert struck(faults, 2) == [None, None]
    assert struck(faults, 2, "cancel") == [Fault.REPLY_LOST, None]


def test_a_fault_of_streams_or_cancels_strikes_nothing_else_whatever_requests_says():
    faults = plan(
        {"fault": "stream_twice", "next": 1}, {"fault": "cancel_crossed", "next": 1}, {"fault": "late_order", "next": 1}
    )
    assert struck(faults, 1, "cancel") == [Fault.CANCEL_CROSSED]
    assert struck(faults, 1, "order") == [Fault.LATE_ORDER]
    assert struck(faults, 2, "stream") == [Fault.STREAM_TWICE, None]
    assert struck(faults, 1, "cancel") == struck(faults, 1, "order") == [None]


def test_what_did_not_come_to_pass_is_given_back():
    faults = plan({"fault": "reply_lost", "next": 1})
    rule = faults.choose("order")
    assert rule
    faults.give_back(rule)
    assert faults.done[Fault.REPLY_LOST] == 0
    assert struck(faults, 2) == [Fault.REPLY_LOST, None]


def test_a_chance_that_did_not_come_to_pass_is_only_uncounted():
    faults = plan({"fault": "reply_lost", "probability": 1})
    rule = faults.choose("order")
    assert rule
    faults.give_back(rule)
    assert faults.done[Fault.REPLY_LOST] == 0


@pytest.mark.parametrize(
    "wrong", [{"fault": "meteor"}, {"fault": "reply_lost", "probability": 2}, {"fault": "reply_lost", "requests": ["x"]}]
)
def test_a_plan_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        plan(wrong)
