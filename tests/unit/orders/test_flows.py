"""3.4: money that moves without an order of ours is observed once, holds until it is classified, and is never counted twice."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.control import FlowClassificationSet, FlowKind, TransferAnnounced
from schemas.orders import (
    CommandNotAdmitted,
    FlowClassified,
    FlowObserved,
    ForeignOrderGone,
    ForeignOrderSeen,
    OrderFilled,
    Side,
)
from streams.domain.orders.authority import Authority, fold, for_account
from streams.domain.orders.books import Books
from streams.domain.orders.checkpoint import checkpoint, restore
from streams.domain.orders.outcome import FlowView, OrderView, Standing
from streams.domain.orders.stimuli import AuthorityRead, Remark, SendOrder, Snapshot, SnapshotRead
from tests.unit.orders.desk import WALL_MS, Desk, authority, desk, place, trade, view

CASH = {"USDT": Decimal(100_000)}
DAY_MS = 86_400_000
DEPOSIT = FlowView("deposit/7", "USDT", Decimal(5_000), WALL_MS + 60_000)


def opened() -> Desk:
    """An account that opened with cash alone."""
    table = desk(Books("alice", epoch=3))
    for _ in range(2):
        show(table, totals=CASH)
        table.wait(5_000)
    table.refresh()
    return table


def show(table: Desk, **changes: Any) -> None:
    """The account as the venue shows it now."""
    fields: dict[str, Any] = {"venue_time_ms": table.wall_ms, "since_ms": WALL_MS - 1000, "totals": CASH}
    fields |= {"open_orders": (), "trades": ()} | changes
    table.put(SnapshotRead, snapshot=Snapshot(**fields), asked_boot_ms=table.boot_ms)


def hear(table: Desk, *events: Any) -> None:
    """Control says these things, too."""
    state = Authority()
    for event in events:
        state = fold(state, event)
    said = for_account(state, "alice", "sim")
    allowed = authority(announced=said.announced, classified=said.classified)
    table.put(AuthorityRead, authority=allowed, asked_boot_ms=table.boot_ms)


def classification(flow_id: str, kind: FlowKind = FlowKind.EXTERNAL) -> FlowClassificationSet:
    fields = {"scope": "account:alice", "at_ms": WALL_MS, "who": "op", "account": "alice"}
    return FlowClassificationSet.model_validate(fields | {"flow_id": flow_id, "flow_kind": kind})


def announcement(amount: str, at_ms: int = WALL_MS) -> TransferAnnounced:
    fields = {"scope": "account:alice", "at_ms": at_ms, "who": "op", "account": "alice", "asset": "USDT"}
    return TransferAnnounced.model_validate(fields | {"amount": amount})


def test_3_4_a_deposit_is_observed_once_and_holds_until_it_is_classified() -> None:
    table = opened()
    for _ in range(3):
        show(table, flows=(DEPOSIT,), totals={"USDT": Decimal(105_000)})
        table.wait(1_000)
    (flow,) = table.said(FlowObserved)
    assert (flow.flow_id, flow.asset, flow.amount) == ("deposit/7", "USDT", Decimal(5_000))
    assert table.state.books.totals["USDT"] == Decimal(105_000)
    table.command(place(1))
    assert table.said(CommandNotAdmitted)[-1].cause == "unclassified_flow"
    hear(table, classification("deposit/7"))
    assert [(said.flow_id, said.flow_kind) for said in table.said(FlowClassified)] == [("deposit/7", FlowKind.EXTERNAL)]
    hear(table, classification("deposit/7"))
    assert len(table.said(FlowClassified)) == 1
    table.command(place(2))
    assert len(table.said(CommandNotAdmitted)) == 1


def test_3_4_an_announced_transfer_holds_nothing_and_explains_one_flow_only() -> None:
    table = opened()
    hear(table, announcement("5000"))
    show(table, flows=(DEPOSIT,))
    assert not table.state.books.flows_open
    again = FlowView("deposit/8", "USDT", Decimal(5_000), WALL_MS + 61_000)
    show(table, flows=(DEPOSIT, again))
    assert list(table.state.books.flows_open) == ["deposit/8"]
    hear(table, announcement("5000"), announcement("5000", WALL_MS + 5))
    assert not table.state.books.flows_open


def test_3_4_an_announcement_that_explained_a_flow_explains_no_other_one_weeks_later() -> None:
    """What is remembered of flows ends after two weeks; announcements stay in the topic for ever."""
    table = opened()
    hear(table, announcement("5000"))
    show(table, flows=(DEPOSIT,))
    assert not table.state.books.flows_open
    table.wait(20 * DAY_MS)
    other = FlowView("deposit/8", "USDT", Decimal(1), table.wall_ms)
    show(table, flows=(other,))
    hear(table, announcement("5000"), classification("deposit/8"))
    show(table, flows=(other, FlowView("withdrawal/9", "USDT", Decimal(5_000), table.wall_ms)))
    assert list(table.state.books.flows_open) == ["withdrawal/9"]


def test_3_4_an_announcement_is_of_a_transfer_to_come_within_days() -> None:
    table = opened()
    table.wait(8 * DAY_MS)
    hear(table, announcement("5000"))
    show(table, flows=(FlowView("deposit/7", "USDT", Decimal(5_000), table.wall_ms),))
    assert list(table.state.books.flows_open) == ["deposit/7"]


def test_3_4_a_withdrawal_that_the_venue_gives_back_comes_in_again_once() -> None:
    """It left the totals when it was asked for; refused, it is back in them, and the books must not stay short of it."""
    table = opened()
    left = FlowView("withdrawal/9", "USDT", Decimal(-5_000), table.wall_ms)
    back = FlowView("withdrawal/9/returned", "USDT", Decimal(5_000), table.wall_ms, returns="withdrawal/9")
    other = FlowView("withdrawal/8/returned", "USDT", Decimal(7), table.wall_ms, returns="withdrawal/8")
    show(table, flows=(left,), totals={"USDT": Decimal(95_000)})
    hear(table, classification("withdrawal/9"))
    for _ in range(3):
        show(table, flows=(back, other))
    assert [flow.amount for flow in table.said(FlowObserved)] == [-5_000, 5_000]
    assert table.state.books.totals == CASH
    assert list(table.state.books.flows_open) == ["withdrawal/9/returned"]


def test_3_4_what_flowed_before_the_opening_is_part_of_it() -> None:
    table = opened()
    show(table, flows=(FlowView("deposit/1", "USDT", Decimal(100_000), WALL_MS - 1),))
    assert not table.said(FlowObserved)


def test_3_4_a_trade_by_hand_is_its_flows_with_a_fee_in_any_asset() -> None:
    table = opened()
    hand = trade("9", "0.5", venue_order_id="5", fee_asset="BNB", fee_amount=Decimal("0.01"), venue_time_ms=table.wall_ms)
    for _ in range(2):
        show(table, trades=(hand,), strangers={("BTC/USDT", "5"): "web_1234"})
    moved = {flow.asset: flow.amount for flow in table.said(FlowObserved)}
    assert moved == {"BTC": Decimal("0.5"), "USDT": Decimal(-10_000), "BNB": Decimal("-0.01")}
    assert table.state.books.totals == {"BTC": Decimal("0.5"), "USDT": Decimal(90_000), "BNB": Decimal("-0.01")}


@pytest.mark.parametrize("ended", [False, True])
def test_3_4_a_trade_by_hand_is_seen_though_its_order_has_the_number_of_ours_on_another_symbol(ended: bool) -> None:
    """Venues number the orders of each symbol by itself."""
    table = opened()
    command, client = table.sent()
    table.accept(command, view(client, "0", Standing.EXPIRED if ended else Standing.OPEN))
    assert (command in table.state.books.orders) is not ended
    hand = trade("9", "0.5", symbol="ETH/USDT", fee_asset="ETH", venue_time_ms=table.wall_ms)
    show(table, trades=(hand,), strangers={("ETH/USDT", "77"): "web_1234", ("BTC/USDT", "77"): client})
    assert {flow.asset for flow in table.said(FlowObserved)} == {"ETH", "USDT"}
    assert not table.said(OrderFilled)


def test_3_4_a_sale_by_hand_moves_the_other_way() -> None:
    table = opened()
    sale = {"side": Side.SELL, "fee_asset": "USDT", "fee_amount": Decimal(10), "venue_time_ms": table.wall_ms}
    show(table, trades=(trade("9", "0.5", venue_order_id="5", **sale),), strangers={("BTC/USDT", "5"): "web"})
    assert {flow.asset: flow.amount for flow in table.said(FlowObserved)} == {"BTC": Decimal("-0.5"), "USDT": Decimal(9_990)}


@pytest.mark.parametrize("strangers", [{}, {("BTC/USDT", "5"): "a" * 26}])
def test_3_4_a_trade_that_nobody_explains_or_that_may_be_ours_moves_nothing(strangers: dict[tuple[str, str], str]) -> None:
    """Its order is not read yet, or carries an id in our format that is forgotten: counting it could count money twice."""
    table = opened()
    table.state = replace(table.state, books=replace(table.state.books, forgotten_ms=table.wall_ms))
    show(table, trades=(trade("9", venue_order_id="5", venue_time_ms=table.wall_ms),), strangers=strangers)
    assert not table.said(FlowObserved)
    assert not table.said(OrderFilled)


def test_3_4_an_order_by_hand_that_stands_holds_until_somebody_says_so() -> None:
    table = opened()
    stands = view("web_77", venue_order_id="5", venue_time_ms=table.wall_ms)
    for _ in range(2):
        show(table, open_orders=(stands,))
    (flow,) = table.said(FlowObserved)
    assert (flow.flow_id, flow.amount) == ("order/BTC/USDT/5", Decimal(0))
    table.command(place(1))
    assert table.said(CommandNotAdmitted)[-1].cause == "unclassified_flow"
    hear(table, classification("order/BTC/USDT/5", FlowKind.FOREIGN))
    assert not table.state.books.flows_open


def by_hand(table: Desk, filled: str = "0", **changes: Any) -> OrderView:
    """An order by hand: two bitcoin at 20 000, venue order 5."""
    fields: dict[str, Any] = {"venue_order_id": "5", "quantity_base": Decimal(2), "price_limit_quote": Decimal(20_000)}
    return view("web_77", filled, venue_time_ms=table.wall_ms, **(fields | changes))


def quiet(table: Desk, **changes: Any) -> None:
    """The account as the venue shows it, long after the last fill of ours."""
    table.wait(10_000)
    table.refresh()
    show(table, symbols=frozenset({"BTC/USDT"}), **changes)


def test_3_4_an_order_by_hand_is_told_with_what_it_binds_until_it_is_off_the_book_acked_or_not() -> None:
    table = opened()
    stands = by_hand(table)
    for _ in range(3):
        quiet(table, open_orders=(stands,))
    (seen,) = table.said(ForeignOrderSeen)
    assert (seen.flow_id, seen.side, seen.quantity_base, seen.filled_base) == ("order/BTC/USDT/5", Side.BUY, 2, 0)
    assert seen.price_limit_quote == 20_000
    hear(table, classification(seen.flow_id, FlowKind.FOREIGN))
    quiet(table, open_orders=(stands,))
    assert not table.state.books.flows_open
    assert list(table.state.books.foreign_orders) == [seen.flow_id]
    quiet(table)
    assert [gone.flow_id for gone in table.said(ForeignOrderGone)] == [seen.flow_id]
    assert not table.state.books.foreign_orders
    assert len(table.said(ForeignOrderSeen)) == 1


def test_3_4_what_an_order_by_hand_binds_shrinks_only_when_the_books_hold_what_it_traded() -> None:
    """The order shows its fill before the venue lists the trade: until the trade is booked nothing of it is free."""
    table = opened()
    quiet(table, open_orders=(by_hand(table),))
    half, paid = by_hand(table, "1"), {"USDT": Decimal(80_000), "BTC": Decimal(1)}
    quiet(table, open_orders=(half,), totals=paid)
    assert [seen.filled_base for seen in table.said(ForeignOrderSeen)] == [0]
    fee = {"fee_asset": "BNB", "fee_amount": Decimal(0), "venue_time_ms": table.wall_ms}
    told = {"open_orders": (half,), "totals": paid, "trades": (trade("9", "1", venue_order_id="5", **fee),)}
    for _ in range(2):
        quiet(table, **told, strangers={("BTC/USDT", "5"): "web_77"})
    assert [seen.filled_base for seen in table.said(ForeignOrderSeen)] == [0, 1]
    assert table.state.books.totals == paid


def test_3_4_an_order_of_a_symbol_that_nobody_asks_for_any_more_goes_on_binding() -> None:
    table = opened()
    quiet(table, open_orders=(by_hand(table),))
    table.wait(10_000)
    show(table)
    assert not table.said(ForeignOrderGone)


def test_3_4_an_acked_order_that_stands_for_weeks_does_not_hold_again() -> None:
    """A flow two weeks later makes the executor forget the flows of before."""
    table = opened()
    stands = by_hand(table)
    quiet(table, open_orders=(stands,))
    hear(table, classification("order/BTC/USDT/5", FlowKind.FOREIGN))
    late = FlowView("deposit/7", "ETH", Decimal(1), stands.venue_time_ms + 15 * 86_400_000)
    quiet(table, open_orders=(stands,), flows=(late,))
    quiet(table, open_orders=(stands,), flows=(late,))
    assert list(table.state.books.flows_open) == ["deposit/7"]


def test_3_4_an_account_that_belongs_to_nobody_tells_of_no_flow_and_no_order_by_hand() -> None:
    table = opened()
    quiet(table, open_orders=(by_hand(table),))
    table.wait(10_000)
    table.allow(portfolio=None)
    other = by_hand(table, venue_order_id="6")
    show(table, open_orders=(other,), flows=(DEPOSIT,), symbols=frozenset({"BTC/USDT"}))
    show(table, symbols=frozenset({"BTC/USDT"}))
    assert len(table.said(FlowObserved)) == 1
    assert not table.said(ForeignOrderGone)
    assert len(table.said(ForeignOrderSeen)) == 1


def test_3_4_a_flow_after_the_intent_keeps_the_request_back() -> None:
    table = opened()
    command = table.command(place(1))
    show(table, flows=(DEPOSIT,))
    table.read_back(command)
    assert not table.asked(SendOrder)
    table.wait_until_due()
    assert table.story(command)[-2:] == ["unsent", "expired-unsent"]


def test_1_3_a_fill_after_a_take_over_is_booked_to_the_order_that_the_checkpoint_remembers() -> None:
    table = opened()
    command, client = table.sent()
    table.accept(command, view(client, "0", Standing.EXPIRED))
    late = trade("1", "0.02")
    after = desk(restore(checkpoint(table.state.books, "one", table.wall_ms, 7)))
    for _ in range(2):
        show(after, trades=(late,), strangers={("BTC/USDT", "77"): client})
    assert [fill.command_id for fill in after.said(OrderFilled)] == [command]


def test_3_4_flows_and_orders_by_hand_survive_a_checkpoint() -> None:
    table = opened()
    show(table, flows=(DEPOSIT,), totals={"USDT": Decimal(105_000)}, open_orders=(by_hand(table),))
    assert table.state.books.foreign_orders
    assert not table.asked(Remark)
    assert restore(checkpoint(table.state.books, "one", table.wall_ms, 7)) == table.state.books
