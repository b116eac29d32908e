"""A gate that is not provably open is closed, the most binding one is the reason, and the trigger is held back once."""

from decimal import Decimal

import pytest

from schemas.control import MaintenanceScheduled, StopKind
from schemas.rebalance import Reason, RebalanceDecided, RebalanceHeldBack
from schemas.venue import TradingStatus
from streams.domain.portfolio import reasons
from tests.unit.portfolio.story import (
    PRICES,
    START_MS,
    Story,
    at_rest,
    created,
    key,
    limits,
    on_target,
    only,
    orders,
    policy,
    reason_now,
    state_of,
    targets,
)

BTC_UP = {"BTC/USDT": Decimal(51_500)}


def test_the_way_from_nothing_to_a_decision_opens_one_gate_after_the_other():
    story = Story()
    story.control(created())
    story.control(policy())
    assert reason_now(story) is Reason.WAITING_OPENING
    story.opened("alpha-main", "alpha", on_target())
    assert (reason_now(story), state_of(story).detail) == (Reason.NO_TARGETS, "targets")
    story.control(targets())
    assert (reason_now(story), state_of(story).detail) == (Reason.NO_TARGETS, "limits")
    story.control(limits())
    assert (reason_now(story), state_of(story).detail) == (Reason.NO_RULES, "binance:BTC/USDT")
    story.rules("BTC/USDT")
    story.rules("ETH/USDT")
    assert (reason_now(story), state_of(story).detail) == (Reason.NO_PRICE, "binance:BTC/USDT")
    assert state_of(story).nav_quote is None

    assert orders(story.mark(PRICES | BTC_UP))


def test_a_portfolio_without_policy_waits_in_silence():
    story = Story()
    story.control(created())

    assert not [message for _ in range(20) for message in story.mark(PRICES)]


def test_a_price_older_than_the_policy_allows_holds_back_until_it_is_heard_of_again():
    story = at_rest()
    story.mark({"ETH/USDT": Decimal(2_500)}, after_ms=50_000, fresh=False)

    held = only(RebalanceHeldBack, story.mark({"ETH/USDT": Decimal(2_600)}, after_ms=11_000, fresh=False))

    assert (held.reason, held.detail) == (Reason.STALE, "binance:BTC/USDT")
    assert not [m for m in story.mark({"ETH/USDT": Decimal(2_601)}, fresh=False) if isinstance(m, RebalanceHeldBack)]
    assert orders(story.mark())  # news of BTC without another price: the old one still holds


def test_a_mark_is_fresh_up_to_its_last_millisecond():
    story = at_rest(mark_age_ms_max=5_000)
    story.mark(after_ms=5_000, fresh=False)
    assert reason_now(story) is Reason.WITHIN_BAND

    story.mark(after_ms=1, fresh=False)

    assert reason_now(story) is Reason.STALE


def test_a_quote_without_a_receive_time_is_never_fresh():
    story = at_rest()
    batch = story.batch({key("BTC/USDT"): (Decimal(51_499), Decimal(51_501))})

    story.give(batch.model_copy(update={"news": {}}))

    assert reason_now(story) is Reason.STALE


def test_a_crossed_quote_holds_back():
    story = at_rest()
    story.now_ms += 1_000

    said = story.give(story.batch({key("BTC/USDT"): (Decimal(51_501), Decimal(51_499))}))

    assert only(RebalanceHeldBack, said).reason is Reason.CROSSED
    assert orders(story.mark(BTC_UP))


def test_nothing_is_decided_without_net_asset_value():
    story = Story()
    for event in (created(), targets(), policy(), limits()):
        story.control(event)
    for symbol in PRICES:
        story.rules(symbol)
    story.opened("alpha-main", "alpha", {})
    story.mark(PRICES)

    assert reason_now(story) is Reason.NO_VALUE


@pytest.mark.parametrize("status", [TradingStatus.CANCEL_ONLY, TradingStatus.MAINTENANCE, TradingStatus.CLOSED])
def test_a_venue_that_does_not_trade_holds_back_until_it_does(status: TradingStatus):
    story = at_rest()
    story.status(status)

    held = only(RebalanceHeldBack, story.mark(BTC_UP))

    assert (held.reason, held.detail) == (Reason.VENUE_CLOSED, "binance")
    assert orders(story.status(TradingStatus.TRADING))


def test_the_rights_of_the_key_that_looked_do_not_close_a_venue():
    """The feed's key may only read, on purpose; the executor checks its own key's right to trade."""
    story = at_rest()
    story.status(TradingStatus.TRADING, key_may_trade=False)

    assert orders(story.mark(BTC_UP))


def test_announced_maintenance_closes_the_venue_for_its_window_only():
    story = at_rest()
    window = MaintenanceScheduled(
        scope="venue:binance", at_ms=START_MS, who="op", venue="binance", from_ms=START_MS + 5_000, to_ms=START_MS + 8_000
    )
    story.control(window)

    seen = []
    for _ in range(9):
        story.mark()
        seen.append(reason_now(story))

    closed = [START_MS + 2_000 + 1_000 * n for n, reason in enumerate(seen) if reason is Reason.VENUE_CLOSED]
    assert closed == [START_MS + 5_000, START_MS + 6_000, START_MS + 7_000]


def test_a_symbol_that_does_not_trade_is_a_debt_and_the_others_trade():
    story = at_rest()
    story.rules("ETH/USDT", status=TradingStatus.MAINTENANCE)

    decided = only(RebalanceDecided, story.mark(BTC_UP))

    assert [leg.symbol for leg in decided.legs] == ["BTC/USDT"]
    assert [(debt.asset, debt.cause) for debt in decided.debts] == [("ETH", reasons.VENUE_CLOSED)]


@pytest.mark.parametrize("kind", list(StopKind))
@pytest.mark.parametrize("scope", ["all", "portfolio:alpha", "account:alpha-main", "venue:binance"])
def test_a_stop_in_any_scope_that_names_it_stops_a_portfolio_until_it_is_lifted(scope: str, kind: StopKind):
    story = at_rest()
    story.stop(scope, kind=kind)

    held = only(RebalanceHeldBack, story.mark(BTC_UP))

    assert (held.reason, held.detail) == (Reason.HALTED, "b" * 32)
    assert orders(story.resume("b" * 32, scope=scope))


@pytest.mark.parametrize("scope", ["portfolio:beta", "account:beta-main", "venue:okx"])
def test_a_stop_of_others_does_not(scope: str):
    story = at_rest()
    story.stop(scope)

    assert orders(story.mark(BTC_UP))


def test_a_resume_lifts_exactly_the_halts_it_names():
    story = at_rest()
    story.stop("all", "b" * 32)
    story.stop("portfolio:alpha", "c" * 32)
    story.mark(BTC_UP)

    assert not orders(story.resume("b" * 32))
    assert not orders(story.resume("d" * 32))
    assert orders(story.resume("c" * 32))


def test_every_reason_has_words():
    assert set(reasons.WORDS) == set(Reason)
    assert reasons.in_words(Reason.STALE, "binance:BTC/USDT").endswith(": binance:BTC/USDT")
    assert reasons.in_words(Reason.WITHIN_BAND) == reasons.WORDS[Reason.WITHIN_BAND]
