"""4 config apply: the control topic is the truth, and applying settings appends exactly the difference."""

from pathlib import Path

import pytest

from schemas.codec import decode, encode
from schemas.control import (
    AccountLimitsSet,
    PolicySet,
    PortfolioCreated,
    ShardAssigned,
    StopKind,
    TargetsSet,
    TradingResumed,
    TradingStopped,
)
from streams import settings
from streams.cli.control import proposals, spoken
from streams.domain.control import difference, fold
from streams.domain.errors import RefusedError
from tests.examples import HALT, example

CREATED = example("control.portfolio-created")
TARGETS = example("control.targets-set")
POLICY = example("control.policy-set")
assert isinstance(CREATED, PortfolioCreated)
assert isinstance(TARGETS, TargetsSet)
assert isinstance(POLICY, PolicySet)


def test_an_empty_topic_lacks_everything_and_a_full_one_nothing():
    proposed = [CREATED, TARGETS, POLICY]
    assert difference(fold([]), proposed) == proposed
    later = [event.model_copy(update={"at_ms": event.at_ms + 1, "who": "other", "why": "again"}) for event in proposed]
    assert difference(fold(proposed), later) == []


def test_a_new_incarnation_alone_is_no_difference():
    again = CREATED.model_copy(update={"incarnation": "d4" * 16})
    assert difference(fold([CREATED]), [again]) == []


def test_only_what_changed_is_written():
    policy = POLICY.model_copy(update={"band": POLICY.band * 2})
    assert difference(fold([CREATED, TARGETS, POLICY]), [CREATED, TARGETS, policy]) == [policy]


def test_a_portfolio_moves_by_an_event_of_its_own_and_the_topic_then_says_so():
    moved = CREATED.model_copy(update={"shard": 1})
    (event,) = difference(fold([CREATED]), [moved])
    assert isinstance(event, ShardAssigned)
    assert event.shard == 1
    assert difference(fold([CREATED, event]), [moved]) == []


def test_what_a_portfolio_is_cannot_change():
    other = CREATED.model_copy(update={"accounts": {"beta": "sim"}})
    with pytest.raises(RefusedError, match=r"portfolio balanced: its quote asset and accounts .* another name"):
        difference(fold([CREATED]), [other])


def test_an_account_belongs_to_one_portfolio_for_good():
    other = CREATED.model_copy(update={"scope": "portfolio:other", "portfolio": "other"})
    with pytest.raises(RefusedError, match=r"portfolio other: account \S+ belongs to portfolio balanced and stays there"):
        difference(fold([CREATED]), [other])


def test_a_stop_stands_until_a_resume_names_it():
    stop, resume = example("control.trading-stopped"), example("control.trading-resumed")
    assert isinstance(stop, TradingStopped)
    assert isinstance(resume, TradingResumed)
    assert list(fold([stop]).stops) == [HALT]
    assert fold([stop, resume]).stops == {}
    other = resume.model_copy(update={"halt_ids": ("e5" * 16,)})
    assert list(fold([stop, other]).stops) == [HALT]


def test_what_is_proposed_for_an_account_names_its_own_symbols_not_its_venue_s(tmp_path: Path):
    path = tmp_path / "trimtab.toml"
    text = (Path(__file__).parents[2] / "trimtab.toml").read_text()
    path.write_text(text.replace('symbols = ["BTC/USDT", "ETH/USDT"]', 'symbols = ["BTC/USDT", "ETH/USDT", "BNB/USDT"]', 1))
    limits = [event for event in proposals(settings.load(path), "a test") if isinstance(event, AccountLimitsSet)]
    assert [event.symbols for event in limits] == [("BTC/USDT", "ETH/USDT")] * 3


@pytest.mark.parametrize(
    ("why", "said"), [("the key is lost", "the key is lost"), ("caf\udce9", "caf?"), ("x" * 600, "x" * 500)]
)
def test_a_stop_is_said_for_any_reason_of_which_the_record_keeps_what_it_can(why: str, said: str):
    stop = TradingStopped(scope="all", **spoken(why), halt_id="a" * 32, kind=StopKind.HALT)
    heard = decode(stop.ce_type(), encode(stop))
    assert isinstance(heard, TradingStopped)
    assert heard.why == said
