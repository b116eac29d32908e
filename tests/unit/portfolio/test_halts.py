"""Halts: what stops a portfolio by itself, what is cancelled then, and what a resume voids."""

from decimal import Decimal

from schemas.control import StopKind
from schemas.orders import CancelOrder
from schemas.rebalance import (
    PortfolioHalted,
    PortfolioResumed,
    Reason,
    RebalanceDecided,
    RebalanceHeldBack,
)
from streams.domain.ids import client_order_id, command_id
from streams.domain.portfolio import reasons
from tests.unit.portfolio.story import Story, at_rest, cancels, limits, only, orders, sells

BTC_UP = {"BTC/USDT": Decimal(51_500)}


def in_work() -> Story:
    story = at_rest()
    story.mark(BTC_UP)
    return story


def test_a_halt_cancels_each_open_order_once_under_a_decision_of_its_own():
    story = in_work()
    order = orders(story.said)[0]
    story.admitted(order)

    said = story.stop("portfolio:alpha")

    signal, cancel = only(RebalanceHeldBack, said), only(CancelOrder, said)
    assert (signal.reason, signal.decision_number) == (Reason.HALTED, 2)
    assert (cancel.signal_id, cancel.ordinal, cancel.command_id) == (signal.signal_id, 0, command_id(signal.signal_id, 0))
    assert (cancel.target_command_id, cancel.account, cancel.symbol) == (order.command_id, order.account, order.symbol)
    assert cancel.admit_by_ms == story.now_ms + 10_000
    assert not cancels(story.mark())
    story.admitted(cancel)
    story.cancel_ended(cancel, client_order_id(order.command_id, 1))
    assert not story.portfolio().cancels


def test_a_freeze_cancels_nothing_and_drops_the_buys_that_wait():
    story = in_work()
    assert story.portfolio().waiting

    said = story.stop("all", kind=StopKind.FREEZE)

    assert not cancels(said)
    assert not story.portfolio().waiting


def test_an_order_unknown_for_a_minute_halts_until_an_operator_resumes():
    story = at_rest()
    story.unknown(sells(story.mark({"BTC/USDT": Decimal(51_300)}))[0])

    assert not [m for m in story.mark(after_ms=60_000) if isinstance(m, PortfolioHalted)]
    halted = only(PortfolioHalted, story.mark(after_ms=1))
    assert halted.cause == reasons.UNKNOWN_TOO_LONG

    resumed = story.resume(halted.halt_id)

    assert only(PortfolioResumed, resumed).halt_ids == (halted.halt_id,)
    assert not [m for m in story.mark(after_ms=60_000) if isinstance(m, PortfolioHalted)]
    assert only(PortfolioHalted, story.mark(after_ms=1)).halt_id != halted.halt_id


def test_three_rejections_of_one_code_within_a_minute_halt():
    story = at_rest()
    said = story.mark(BTC_UP)
    for _ in range(2):
        assert not [m for m in story.rejected(orders(said)[0]) if isinstance(m, PortfolioHalted)]
        said = []
        while not orders(said):
            said = story.mark()

    halted = only(PortfolioHalted, story.rejected(orders(said)[0]))

    assert (halted.cause, halted.detail) == (reasons.REJECTED_REPEATEDLY, "alpha-main: -2010: no")


def test_rejections_of_different_codes_or_far_apart_do_not_halt():
    story = at_rest()
    said = story.mark(BTC_UP)
    for code, wait_ms in (("-2010", 70_000), ("-1013", 0), ("-2010", 0), ("-1013", 0)):
        assert not [m for m in story.rejected(orders(said)[0], code) if isinstance(m, PortfolioHalted)]
        said = story.mark(after_ms=wait_ms + 1)
        while not orders(said):
            said = story.mark()


def test_turnover_beyond_what_five_minutes_allow_halts():
    story = at_rest()
    story.control(limits(turnover_5min_max=Decimal("0.006"), loss_day_max=Decimal(1)))
    order = sells(story.mark(BTC_UP))[0]
    story.admitted(order)
    story.intended(order)

    said = story.filled(order, quote_amount=order.price_mid_quote * order.quantity_base * 2)

    assert only(PortfolioHalted, said).cause == reasons.TURNOVER_5MIN


def test_what_trading_costs_beyond_the_days_loss_halts_and_a_resume_counts_anew():
    story = at_rest()
    story.control(limits(loss_day_max=Decimal("0.0001")))
    order = sells(story.mark(BTC_UP))[0]
    story.admitted(order)
    story.intended(order)

    halted = only(PortfolioHalted, story.filled(order, price=Decimal(50_000)))

    assert halted.cause == reasons.LOSS_DAY
    story.closed(order)
    assert not [m for m in story.resume(halted.halt_id) if isinstance(m, PortfolioHalted)]
    benchmark = story.portfolio().benchmark
    assert benchmark is not None
    assert benchmark.since_ms == story.now_ms
    assert not story.portfolio().shortfalls


def test_a_fill_that_the_books_cannot_place_halts():
    story = in_work()
    order = orders(story.said)[0]
    story.admitted(order)
    story.intended(order)
    story.accepted(order)
    story.closed(order, Decimal(0))
    story.now_ms += 3 * 86_400_000
    story.account_halted("alpha-main", "alpha", "e" * 32)  # lets the books forget the order

    said = story.filled(order)

    assert only(PortfolioHalted, said).cause == reasons.FILL_UNPLACED


def test_an_order_that_ended_before_its_fills_were_seen_halts():
    story = in_work()
    order = orders(story.said)[0]
    story.admitted(order)
    story.intended(order)
    story.accepted(order)

    assert only(PortfolioHalted, story.closed(order)).cause == reasons.FILLS_MISSING


def test_an_executors_halt_stops_its_account_and_its_resume_lifts_it():
    story = at_rest()
    story.account_halted("alpha-main", "alpha", "e" * 32)
    assert only(RebalanceHeldBack, story.mark(BTC_UP)).detail == "e" * 32

    assert orders(story.account_resumed("alpha-main", "alpha", "e" * 32))


def test_a_resume_voids_commands_without_an_answer_and_waits_as_long_as_one_may_be_under_way():
    story = in_work()
    story.stop("all")
    story.resume("b" * 32)

    assert not orders(story.mark(after_ms=40_000))  # it may have been admitted, and the books be behind
    said = story.mark(after_ms=1)

    assert only(RebalanceDecided, said).reason is Reason.DRIFT
    assert len(story.portfolio().orders) == 1  # the voided one is forgotten, without a halt


def test_a_voided_command_that_was_executed_before_the_halt_was_heard_is_not_decided_again_while_its_books_are_behind():
    story = in_work()
    (order,) = orders(story.said)
    story.stop("all")
    story.resume("b" * 32)

    said = story.mark(after_ms=15_000)
    said += story.executed(order)

    assert not sells(said)


def test_a_voided_command_that_is_refused_is_decided_again_at_once():
    story = in_work()
    (order,) = orders(story.said)
    story.stop("all")
    story.resume("b" * 32)

    said = story.not_admitted(order, "voided")
    said += story.mark()

    assert [again.symbol for again in sells(said)] == [order.symbol]


def test_a_voided_command_that_was_admitted_after_all_is_awaited_again():
    story = in_work()
    order = orders(story.said)[0]
    story.stop("all")
    story.resume("b" * 32)

    story.admitted(order)

    assert not orders(story.mark(after_ms=20_000))
    assert not story.portfolio().orders[order.command_id].voided


def test_a_resume_counts_anew_what_it_lifts_and_nothing_else():
    """Turnover and the day's loss go on through the resume of a halt that was for something else."""
    story = at_rest()
    story.control(limits(turnover_5min_max=Decimal("0.006"), loss_day_max=Decimal(1)))
    story.work_off(story.mark(BTC_UP))
    traded, benchmark = story.portfolio().traded, story.portfolio().benchmark
    for _ in range(3):
        order = sells(story.mark({"BTC/USDT": Decimal(60_000)}) or story.mark(after_ms=2_000))[0]
        said = story.rejected(order)

    halted = only(PortfolioHalted, said)
    story.resume(halted.halt_id)

    assert traded
    assert story.portfolio().traded == traded
    assert story.portfolio().benchmark == benchmark
