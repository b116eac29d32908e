"""The small rules of intake: time, conflation, where sources begin, what a shard needs."""

from decimal import Decimal

import pytest

from schemas import control
from schemas.control import ControlEvent
from streams import topics
from streams.domain.errors import InvariantError, RefusedError
from streams.domain.intake.acceptance import Mark
from streams.domain.intake.clock import AHEAD_MS_MAX, sequenced_at
from streams.domain.intake.conflate import moved
from streams.domain.intake.needs import Needs
from streams.domain.intake.sources import (
    CONTROL,
    LEDGER,
    RULES,
    SOURCES,
    TICKERS,
    lost_until,
    source_name,
    split_source,
    start_of,
)
from tests.unit.intake.journals import T0, ticker

AT = {"at_ms": T0, "who": "tester"}


@pytest.mark.parametrize(("clock", "last", "time"), [(10, 5, 10), (5, 10, 10), (0, AHEAD_MS_MAX, AHEAD_MS_MAX)])
def test_time_never_runs_back(clock: int, last: int, time: int):
    assert sequenced_at(clock, last) == time


def test_a_last_record_far_ahead_of_the_clock_stops():
    with pytest.raises(InvariantError, match="5001 ms ahead"):
        sequenced_at(0, AHEAD_MS_MAX + 1)


@pytest.mark.parametrize(
    ("bid", "ask", "news"),
    [
        ("100", "101", False),
        ("100.099", "101", False),
        ("100.1", "101", True),
        ("99.9", "101", True),
        ("99.901", "101.101", True),
        ("99.901", "100.9", False),
    ],
)
def test_a_price_is_news_when_bid_or_ask_moved_by_the_step(bid: str, ask: str, news: bool):
    mark = Mark(Decimal(100), Decimal(101), 1)
    assert moved(mark, ticker(bid=bid, ask=ask), Decimal("0.001")) is news


def test_a_first_price_is_news_and_a_step_of_zero_makes_all_news():
    assert moved(None, ticker(), Decimal(1))
    assert moved(Mark(Decimal(100), Decimal(101), 1), ticker(), Decimal(0))


def test_the_sources_are_topics_of_the_table():
    table = {topic.name: topic for topic in topics.TABLE}
    for source in SOURCES.values():
        topic = table[source.topic]
        assert "sequencer" in topic.readers
        assert source.holes == (topic.cleanup == "compact")
        assert not source.lossless or topic.retention_ms == topics.FOR_EVER
        assert (source.topic, "sequencer") in topics.DEAD_LETTERS
    assert topics.partitions_of(CONTROL.topic, 8) == 1


def test_where_an_empty_journal_begins():
    assert start_of(CONTROL, 0, 9) == 0
    assert start_of(RULES, 3, 9) == 3
    assert start_of(TICKERS, 3, 9) == 9
    with pytest.raises(RefusedError, match="no longer holds its beginning"):
        start_of(LEDGER, 1, 9)


def test_what_retention_took():
    assert lost_until(TICKERS, "t:0", 5, 5, 9) is None
    assert lost_until(TICKERS, "t:0", 4, 5, 9) == 5
    with pytest.raises(RefusedError, match="entries are lost"):
        lost_until(LEDGER, "l:0", 4, 5, 9)
    with pytest.raises(RefusedError, match="was deleted or cut"):
        lost_until(TICKERS, "t:0", 10, 0, 9)


def test_a_source_name_is_split_at_its_last_colon():
    assert split_source(source_name("a.b.v1", 12)) == ("a.b.v1", 12)


def created(name: str, shard: int, **accounts: str) -> control.PortfolioCreated:
    fields = {"scope": f"portfolio:{name}", "portfolio": name, "incarnation": "0" * 32, "shard": shard, "quote": "USDT"}
    return control.PortfolioCreated.model_validate(AT | fields | {"accounts": accounts})


def targets(name: str, *symbols: str) -> control.TargetsSet:
    named = {symbol.partition("/")[0]: symbol for symbol in symbols}
    fields = {"scope": f"portfolio:{name}", "portfolio": name, "weights": {"USDT": "1"}, "symbols": named}
    return control.TargetsSet.model_validate(AT | fields)


def stopped(scope: str) -> control.TradingStopped:
    return control.TradingStopped.model_validate(AT | {"scope": scope, "halt_id": "0" * 32, "kind": "halt"})


def resumed(scope: str) -> control.TradingResumed:
    """It may lift a halt of everything: what it lifts is told by its halt ids alone."""
    return control.TradingResumed.model_validate(AT | {"scope": scope, "halt_ids": ["0" * 32]})


def maintenance(venue: str) -> control.MaintenanceScheduled:
    return control.MaintenanceScheduled.model_validate(
        AT | {"scope": f"venue:{venue}", "venue": venue, "from_ms": 1, "to_ms": 2}
    )


def limits(account: str) -> control.AccountLimitsSet:
    fields = dict.fromkeys(("order_notional_max_quote", "turnover_5min_max_quote", "turnover_day_max_quote"), "1")
    more = {"scope": f"account:{account}", "account": account, "open_orders_max": 1, "price_collar": "0.1", "symbols": []}
    return control.AccountLimitsSet.model_validate(AT | fields | more)


def moved_to(name: str, shard: int) -> control.ShardAssigned:
    return control.ShardAssigned.model_validate(AT | {"scope": f"portfolio:{name}", "portfolio": name, "shard": shard})


def learned(*events: ControlEvent) -> Needs:
    needs = Needs(shard=1)
    for event in events:
        needs.learn(event)
    return needs


def test_prices_are_needed_of_targets_on_the_venues_of_the_portfolio():
    needs = learned(targets("mine", "BTC/USDT"), created("mine", 1, main="sim", more="okx"), targets("mine", "ETH/USDT"))
    assert needs.market("sim", "BTC/USDT")
    assert needs.market("okx", "ETH/USDT")
    assert not needs.market("sim", "SOL/USDT")


def test_what_belongs_to_another_shard_is_known_and_not_needed():
    needs = learned(created("theirs", 0, other="sim"), targets("theirs", "BTC/USDT"))
    assert not needs.market("sim", "BTC/USDT")
    assert needs.account_known("other")
    assert not needs.account("other")
    assert not needs.account_known("stranger")


@pytest.mark.parametrize(
    ("event", "needed"),
    [
        (created("mine", 1, main="sim"), True),
        (created("theirs", 0, other="sim"), False),
        (targets("theirs", "BTC/USDT"), False),
        (stopped("all"), True),
        (stopped("venue:nowhere"), True),
        (stopped("portfolio:mine"), True),
        (stopped("portfolio:theirs"), True),
        (stopped("portfolio:not-yet"), True),
        (stopped("account:main"), True),
        (stopped("account:other"), True),
        (stopped("account:not-yet"), True),
        (resumed("portfolio:theirs"), True),
        (maintenance("sim"), True),
        (limits("main"), True),
        (limits("other"), False),
        (moved_to("theirs", 1), True),
        (moved_to("theirs", 2), False),
        (moved_to("mine", 0), True),
    ],
)
def test_control_is_needed_unless_it_is_known_to_concern_others(event: ControlEvent, needed: bool):
    needs = learned(created("mine", 1, main="sim"), created("theirs", 0, other="sim"), event)
    assert needs.control(event) is needed
