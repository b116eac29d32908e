"""Commands without an answer: a portfolio holds 30 s after `admit_by`, says so once, and goes on when the answer comes."""

from decimal import Decimal

from schemas.rebalance import PortfolioHalted, Reason, RebalanceDecided, RebalanceHeldBack
from tests.unit.portfolio.story import PRICES, Story, at_rest, cancels, only, orders, reason_now, two_accounts

ADMITTED_WITHIN_MS = 10_000
UNANSWERED_MS = 30_000


def decided() -> Story:
    story = at_rest()
    story.mark({"BTC/USDT": Decimal(51_500)})
    return story


def test_a_command_without_any_answer_holds_the_portfolio_30_s_after_its_admit_by():
    story = decided()
    (order,) = orders(story.said)

    story.mark(after_ms=ADMITTED_WITHIN_MS + UNANSWERED_MS)
    assert reason_now(story) is Reason.IN_WORK

    held = only(RebalanceHeldBack, story.mark(after_ms=1))

    assert (held.reason, held.detail) == (Reason.UNANSWERED, f"command {order.command_id}")
    assert reason_now(story) is Reason.UNANSWERED
    assert not [m for _ in range(60) for m in story.mark({"BTC/USDT": Decimal(53_000)}) if orders([m]) or cancels([m])]


def test_a_fold_that_catches_up_finds_the_late_refusal_and_decides_anew_without_an_operator():
    """What was decided at old times is refused as too late; the refusal lies further on in the journal than any bound."""
    story = decided()
    (order,) = orders(story.said)
    caught_up = [m for _ in range(600) for m in story.mark()]
    assert [held.reason for held in caught_up if isinstance(held, RebalanceHeldBack)] == [Reason.UNANSWERED]
    assert not [m for m in caught_up if isinstance(m, PortfolioHalted)]

    said = story.not_admitted(order)
    said += [m for _ in range(60) for m in story.mark()]

    assert only(RebalanceDecided, said).reason is Reason.DRIFT
    assert [again.symbol for again in orders(said)] == [order.symbol]


def test_a_cancel_without_any_answer_holds_what_its_accounts_halt_left_open():
    story = two_accounts({"ETH": "12", "USDT": "1000"}, {"BTC": "1", "USDT": "19000"})
    (order,) = orders(story.mark(PRICES | {"BTC/USDT": Decimal(53_000)}))
    (cancel,) = cancels(story.account_halted("alpha-side", "alpha", "e" * 32))
    story.not_admitted(order)

    story.mark(after_ms=ADMITTED_WITHIN_MS + UNANSWERED_MS)
    held = [m for _ in range(3) for m in story.mark() if isinstance(m, RebalanceHeldBack)]

    assert [(m.reason, m.detail) for m in held] == [(Reason.UNANSWERED, f"command {cancel.command_id}")]
    story.admitted(cancel)
    assert reason_now(story) is not Reason.UNANSWERED


def test_an_operator_voids_a_command_whose_answer_never_comes():
    story = decided()
    story.mark(after_ms=ADMITTED_WITHIN_MS + UNANSWERED_MS + 1)
    story.stop("portfolio:alpha")

    said = story.resume("b" * 32)

    assert only(RebalanceDecided, said).reason is Reason.DRIFT
