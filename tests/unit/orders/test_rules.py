"""The tables and small functions below the protocol: outcomes, budget, limits, authority."""

from decimal import Decimal
from typing import Any

import pytest

from schemas.control import (
    AccountLimitsSet,
    KeyTrusted,
    MaintenanceScheduled,
    PortfolioCreated,
    StopKind,
    TradingResumed,
    TradingStopped,
)
from streams.domain.orders import budget
from streams.domain.orders.authority import CLOCKS_DIFFER_MS, Authority, fold, for_account
from streams.domain.orders.limits import Exposure, booked, exceeded
from streams.domain.orders.outcome import (
    REFUSALS,
    Consequence,
    Failure,
    Outcome,
    Proof,
    Standing,
    VenueReply,
    judge,
)
from tests.unit.orders.desk import LIMITS, WALL_MS, place, view

OURS = "b" * 26


def judged(**facts: Any) -> Outcome:
    return judge("binance", VenueReply(**facts), "BTC/USDT", OURS)


@pytest.mark.parametrize(
    ("facts", "proof"),
    [
        ({"http_status": 200, "order": view(OURS)}, Proof.ACCEPTED),
        ({"http_status": 200, "order": view(OURS, "0.1", Standing.REJECTED)}, Proof.ACCEPTED),
        ({"http_status": 200, "order": view(OURS, "0", Standing.REJECTED)}, Proof.REFUSED),
        ({"http_status": 200, "order": view("c" * 26)}, Proof.UNKNOWN),
        ({"http_status": 200, "order": view(OURS, symbol="ETH/USDT")}, Proof.UNKNOWN),
        ({"http_status": 200, "order": view(OURS, venue_order_id="")}, Proof.UNKNOWN),
        ({"http_status": 202, "order": view(OURS)}, Proof.UNKNOWN),
        ({"http_status": 200}, Proof.UNKNOWN),
        ({}, Proof.UNKNOWN),
        ({"failure": Failure.NOT_SENT}, Proof.UNREACHABLE),
        ({"failure": Failure.NOT_CONNECTED, "text": "refused"}, Proof.UNREACHABLE),
        ({"failure": Failure.NO_REPLY, "text": "timeout"}, Proof.UNKNOWN),
        ({"failure": Failure.UNUSABLE}, Proof.UNKNOWN),
        ({"http_status": 400, "code": "-2010", "text": "Duplicate order sent."}, Proof.UNKNOWN),
        ({"http_status": 400, "code": "-2010", "text": "Market is closed."}, Proof.REFUSED),
        ({"http_status": 400, "code": "-2013"}, Proof.UNKNOWN),
        ({"http_status": 400, "code": "-9999"}, Proof.UNKNOWN),
        ({"code": "-1013"}, Proof.UNKNOWN),
        ({"http_status": 500, "code": "-1013"}, Proof.UNKNOWN),
        ({"http_status": 200, "code": "-1013"}, Proof.UNKNOWN),
    ],
)
def test_given_a_reply_then_only_proof_counts(facts: dict[str, Any], proof: Proof) -> None:
    assert judged(**facts).proof is proof


@pytest.mark.parametrize("code", ["-1000", "-1001", "-1006", "-1007", "-1008"])
def test_given_a_code_by_which_the_venue_itself_does_not_know_then_it_is_never_a_refusal(code: str) -> None:
    assert judged(http_status=400, code=code).proof is Proof.UNKNOWN
    assert code not in REFUSALS["binance"]


def test_given_a_refusal_then_its_consequence_is_in_the_table() -> None:
    assert judged(http_status=400, code="-1021").consequence is Consequence.RESYNC
    assert judged(http_status=429, code="-1003").consequence is Consequence.PAUSE
    assert judged(http_status=401, code="-2015").consequence is Consequence.HALT


def test_given_a_lifted_budget_then_only_a_pause_holds() -> None:
    lifted = budget.bucket(None)
    assert budget.take(lifted, 5) == (lifted, 0)
    paused = budget.pause(lifted, 5, None)
    assert budget.take(paused, 1004) == (paused, 1005)
    assert budget.take(paused, 1005)[1] == 0


def test_given_refusals_in_a_row_then_the_pause_doubles_up_to_eight_seconds_and_relaxes() -> None:
    state, lengths = budget.bucket(Decimal(3)), []
    for start in range(0, 500_000, 100_000):
        state = budget.pause(state, start, None)
        lengths.append(state.paused_until_boot_ms - start)
    assert lengths == [1000, 2000, 4000, 8000, 8000]
    assert budget.relax(state).refusals == 0
    assert budget.pause(budget.relax(state), 900_000, 20_000).paused_until_boot_ms == 920_000


def test_3_2_given_accounts_refused_together_then_they_do_not_come_back_together() -> None:
    salts = [budget.salt_of(f"account-{number}") for number in range(20)]
    ends = {budget.pause(budget.bucket(Decimal(3), salt), 0, None).paused_until_boot_ms for salt in salts}
    assert len(ends) > 10
    assert min(ends) >= 1000
    assert max(ends) <= 1250


def test_3_2_given_an_order_that_never_left_then_its_token_counts_again() -> None:
    full = budget.bucket(Decimal(1))
    taken, _ = budget.take(full, 0)
    assert budget.take(taken, 0)[1] == 1000
    assert budget.take(budget.refund(taken), 0)[1] == 0
    assert budget.refund(full) == full


def test_given_a_bucket_then_it_never_holds_more_than_a_second() -> None:
    state, _ = budget.take(budget.bucket(Decimal(2)), 0)
    taken = 0
    while True:
        state, again = budget.take(state, 1_000_000)
        if again:
            break
        taken += 1
    assert taken == 2
    assert again == 1_000_500


def test_given_a_budget_of_nothing_then_it_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one order"):
        budget.bucket(Decimal("0.0001"))


NOTHING = Exposure({}, Decimal(0), 0)


def limited(exposure: Exposure = NOTHING, limits: dict[str, Any] | None = None, **order: Any) -> str | None:
    chosen = AccountLimitsSet.model_validate(LIMITS.model_dump(mode="json") | (limits or {}))
    return exceeded(chosen, place(**order), exposure, WALL_MS)


def test_given_an_order_at_a_limit_then_it_passes_and_above_it_does_not() -> None:
    assert limited(quantity_base="0.5") is None
    assert limited(quantity_base="0.50001") == "order_notional_max_quote"
    full = Exposure({}, Decimal(0), 9)
    assert limited(full) is None
    assert limited(Exposure({}, Decimal(0), 10)) == "open_orders_max"


def test_given_fills_and_reservations_then_both_count_against_turnover() -> None:
    minute = WALL_MS - WALL_MS % 60_000
    recent = Exposure({minute: Decimal(40_000)}, Decimal(8_000), 0)
    assert limited(recent) is None
    assert limited(Exposure({minute: Decimal(40_000)}, Decimal("8000.01"), 0)) == "turnover_5min_max_quote"
    assert limited(Exposure({minute - 7 * 60_000: Decimal(40_000)}, Decimal(9_000), 0)) is None
    hours_ago = {minute - 600_000 * n: Decimal(10_000) for n in range(2, 12)}
    assert limited(Exposure(hours_ago, Decimal(0), 0)) == "turnover_day_max_quote"


def test_given_a_price_beyond_the_collar_then_it_is_refused_on_the_worse_side_only() -> None:
    narrow = {"price_collar": "0.01"}
    assert limited(limits=narrow, price_limit_quote="20100", price_mid_quote="20000") is None
    assert limited(limits=narrow, price_limit_quote="20201", price_mid_quote="20000") == "price_collar"
    assert limited(limits=narrow, price_limit_quote="15000", price_mid_quote="20000") is None
    assert limited(limits=narrow, side="sell", price_limit_quote="19799", price_mid_quote="20000") == "price_collar"
    assert limited(limits=narrow, side="sell", price_limit_quote="25000", price_mid_quote="20000", quantity_base="0.01") is None
    assert limited(order_type="market", price_limit_quote=None) == "price_collar"


def test_given_fills_then_turnover_keeps_a_day_of_minutes() -> None:
    turnover = booked({}, WALL_MS, Decimal(5))
    turnover = booked(turnover, WALL_MS + 1, Decimal(2))
    assert list(turnover.values()) == [7]
    assert list(booked(turnover, WALL_MS + 2 * 86_400_000, Decimal(1)).values()) == [1]


def stop(halt_id: str, scope: str, kind: StopKind = StopKind.HALT) -> TradingStopped:
    return TradingStopped(scope=scope, at_ms=5, who="tester", halt_id=halt_id * 32, kind=kind)


def test_given_stops_of_other_scopes_then_only_ours_close_the_account() -> None:
    created = PortfolioCreated(
        scope="portfolio:main", at_ms=1, who="t", portfolio="main", incarnation="0" * 32, shard=0, quote="USDT",
        accounts={"alice": "sim", "bob": "sim"},
    )  # fmt: skip
    state = Authority()
    for message in (created, stop("a", "account:bob"), stop("b", "venue:other"), stop("c", "portfolio:else")):
        state = fold(state, message)
    assert for_account(state, "alice", "sim").stop is None
    assert for_account(state, "alice", "other").portfolio is None
    for scope in ("all", "account:alice", "venue:sim", "portfolio:main"):
        assert for_account(fold(state, stop("d", scope)), "alice", "sim").stop is StopKind.HALT
    frozen = fold(state, stop("e", "all", StopKind.FREEZE))
    assert for_account(frozen, "alice", "sim").stop is StopKind.FREEZE
    assert for_account(fold(frozen, stop("f", "all")), "alice", "sim").stop is StopKind.HALT


def test_given_a_second_portfolio_that_claims_an_account_then_it_stays_with_the_first() -> None:
    first = PortfolioCreated(
        scope="portfolio:main", at_ms=1, who="t", portfolio="main", incarnation="0" * 32, shard=0, quote="USDT",
        accounts={"alice": "sim"},
    )  # fmt: skip
    second = first.model_copy(
        update={"scope": "portfolio:late", "portfolio": "late", "accounts": {"alice": "sim", "bob": "sim"}}
    )
    state = fold(fold(Authority(), first), second)
    assert for_account(state, "alice", "sim").portfolio == "main"
    assert for_account(state, "bob", "sim").portfolio == "late"
    again = first.model_copy(update={"incarnation": "1" * 32})
    assert for_account(fold(state, again), "alice", "sim").incarnation == "1" * 32


def test_given_a_resume_then_exactly_the_named_halts_are_lifted_and_older_commands_voided() -> None:
    state = fold(fold(Authority(), stop("a", "all")), stop("b", "all", StopKind.FREEZE))
    state = fold(state, TradingResumed(scope="all", at_ms=900, who="t", halt_ids=("a" * 32,)))
    seen = for_account(state, "alice", "sim")
    assert (seen.stop, seen.voided_before_ms, seen.resumed) == (StopKind.FREEZE, 900, frozenset({"a" * 32}))
    assert fold(state, stop("a", "all")) == state


def test_given_a_resume_of_a_wider_halt_then_commands_are_voided_wherever_it_held() -> None:
    state = fold(fold(Authority(), stop("a", "all")), stop("b", "venue:other"))
    resume = TradingResumed(scope="portfolio:main", at_ms=900, who="t", halt_ids=("a" * 32,))
    state = fold(state, resume)
    assert for_account(state, "alice", "sim").voided_before_ms == 900
    assert for_account(state, "bob", "other").voided_before_ms == 900
    assert for_account(state, "bob", "other").stop is StopKind.HALT
    later = resume.model_copy(update={"at_ms": 1000, "halt_ids": ("b" * 32,)})
    assert for_account(fold(state, later), "alice", "sim").voided_before_ms == 900
    assert for_account(fold(state, later), "bob", "other").voided_before_ms == 1000


def test_given_a_resume_by_a_slow_clock_then_what_was_decided_before_the_halt_is_voided_all_the_same() -> None:
    """The halt was said at 800 by another clock: whoever lifts it knew of it, whatever his own clock shows."""
    halt = stop("a", "all").model_copy(update={"at_ms": 800})
    state = fold(fold(Authority(), halt), TradingResumed(scope="all", at_ms=500, who="t", halt_ids=("a" * 32,)))
    assert for_account(state, "alice", "sim").voided_before_ms == 800
    ahead = stop("b", "all").model_copy(update={"at_ms": 3_600_000})
    state = fold(fold(state, ahead), TradingResumed(scope="all", at_ms=900, who="t", halt_ids=("b" * 32,)))
    assert for_account(state, "alice", "sim").voided_before_ms == 900 + CLOCKS_DIFFER_MS


def test_given_maintenance_and_limits_then_they_reach_their_account() -> None:
    window = MaintenanceScheduled(scope="venue:sim", at_ms=1, who="t", venue="sim", from_ms=10, to_ms=20)
    state = fold(fold(Authority(), window), LIMITS)
    assert for_account(state, "alice", "sim").maintenance == ((10, 20),)
    assert for_account(state, "alice", "sim").limits is LIMITS
    assert for_account(state, "bob", "other").maintenance == ()
    key = KeyTrusted(
        scope="all", at_ms=1, who="t", key_id="k", purpose="control", public_key="p", valid_from_ms=0, valid_until_ms=1
    )
    assert fold(state, key) == state
