"""3.4: from 100 % cash over a deposit, an unannounced withdrawal and a trade by hand, with the real books in between."""

from decimal import Decimal

from schemas.control import FlowKind
from schemas.envelope import Message
from schemas.orders import FlowClassified, FlowObserved
from schemas.rebalance import Reason, RebalanceHeldBack
from tests.unit.portfolio.story import PRICES, Story, created, limits, only, orders, policy, reason_now, state_of, targets


def begun(cash: str = "100000") -> Story:
    """A portfolio that opens with cash alone and has bought its targets."""
    story = Story()
    for event in (created(), policy(), targets(), limits()):
        story.control(event)
    story.rules("BTC/USDT")
    story.rules("ETH/USDT")
    story.opened("alpha-main", "alpha", {"USDT": Decimal(cash)})
    story.work_off(story.mark(PRICES))
    return story


def moved(story: Story, flow_id: str, asset: str, amount: str) -> list[Message]:
    return story.execution(
        FlowObserved(
            account="alpha-main",
            epoch=1,
            at_ms=story.now_ms,
            portfolio="alpha",
            flow_id=flow_id,
            asset=asset,
            amount=Decimal(amount),
            venue_time_ms=story.now_ms,
        )
    )


def classified(story: Story, flow_id: str, asset: str, amount: str, kind: FlowKind = FlowKind.EXTERNAL) -> list[Message]:
    return story.execution(
        FlowClassified(
            account="alpha-main",
            epoch=1,
            at_ms=story.now_ms,
            portfolio="alpha",
            flow_id=flow_id,
            asset=asset,
            amount=Decimal(amount),
            flow_kind=kind,
            control_id=f"said/{flow_id}",
        )
    )


def weight(story: Story, asset: str) -> Decimal:
    return state_of(story).assets[asset].weight


def test_3_4_a_portfolio_of_cash_alone_buys_its_targets_and_stays_in_its_band() -> None:
    story = begun()
    story.mark(after_ms=10_000)
    assert reason_now(story) is Reason.WITHIN_BAND
    assert abs(weight(story, "USDT") - Decimal("0.2")) < Decimal("0.01")


def test_3_4_a_deposit_holds_until_it_is_classified_and_is_then_put_to_work() -> None:
    story = begun()
    story.mark(after_ms=10_000)
    held = only(RebalanceHeldBack, moved(story, "deposit/1", "USDT", "20000"))
    assert (held.reason, held.detail) == (Reason.UNCLASSIFIED_FLOW, "deposit/1")
    assert not orders(story.mark({"BTC/USDT": Decimal(47_000)}, after_ms=10_000))
    bought = orders(classified(story, "deposit/1", "USDT", "20000"))
    story.work_off(bought)
    story.mark(after_ms=10_000)
    assert bought
    assert reason_now(story) is Reason.WITHIN_BAND
    assert not state_of(story).detail


def test_3_4_a_withdrawal_that_nobody_announced_holds_and_nothing_is_sold_for_it_meanwhile() -> None:
    story = begun()
    story.mark(after_ms=10_000)
    said = moved(story, "withdrawal/1", "USDT", "-15000")
    assert only(RebalanceHeldBack, said).reason is Reason.UNCLASSIFIED_FLOW
    assert not orders(said)
    for _ in range(5):
        assert not orders(story.mark(after_ms=10_000))
    sold = orders(classified(story, "withdrawal/1", "USDT", "-15000"))
    assert {order.side.value for order in sold} == {"sell"}


def test_3_4_a_trade_by_hand_waits_for_all_its_flows_to_be_classified() -> None:
    story = begun()
    story.mark(after_ms=10_000)
    moved(story, "trade/BTC/USDT/9/BTC", "BTC", "0.2")
    moved(story, "trade/BTC/USDT/9/USDT", "USDT", "-10000")
    assert not orders(classified(story, "trade/BTC/USDT/9/BTC", "BTC", "0.2", FlowKind.FOREIGN))
    sold = orders(classified(story, "trade/BTC/USDT/9/USDT", "USDT", "-10000", FlowKind.FOREIGN))
    assert [order.side.value for order in sold] == ["sell"]
    story.work_off(sold)
    story.mark(after_ms=10_000)
    assert reason_now(story) is Reason.WITHIN_BAND
