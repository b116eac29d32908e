"""3.4: what the venue says of deposits and withdrawals, and what of it moved money."""

from decimal import Decimal
from typing import Any

import pytest

from streams.gateways.venue.binance import FLOWS_PAGE, flows
from streams.gateways.venue.orders import order_view

DEPOSIT: dict[str, Any] = {"id": "1", "coin": "BTC", "amount": "0.5", "status": 1, "insertTime": 1_000, "completeTime": 2_000}
WITHDRAWAL: dict[str, Any] = {"id": "2", "coin": "USDT", "amount": "100", "transactionFee": "1.5", "status": 6}
WITHDRAWAL |= {"applyTime": "2026-11-23 08:00:00"}


def test_3_4_a_deposit_counts_when_it_is_credited_and_a_withdrawal_takes_its_fee_too() -> None:
    deposit, withdrawal = flows([DEPOSIT], [WITHDRAWAL])
    assert (deposit.flow_id, deposit.asset, deposit.amount, deposit.venue_time_ms) == (
        "deposit/1",
        "BTC",
        Decimal("0.5"),
        2_000,
    )
    assert (withdrawal.flow_id, withdrawal.asset, withdrawal.amount) == ("withdrawal/2", "USDT", Decimal("-101.5"))


@pytest.mark.parametrize("status", [0, 2, 7, 8, "0"])
def test_3_4_a_deposit_that_is_not_credited_moved_nothing(status: Any) -> None:
    assert flows([DEPOSIT | {"status": status}], []) == []


@pytest.mark.parametrize("status", [1, 3, 5])
def test_3_4_a_withdrawal_that_was_given_back_returns_what_was_seen_to_leave(status: int) -> None:
    (returned,) = flows([], [WITHDRAWAL | {"status": status}])
    assert (returned.flow_id, returned.asset, returned.amount) == ("withdrawal/2/returned", "USDT", Decimal("101.5"))
    assert returned.returns == "withdrawal/2"


@pytest.mark.parametrize("status", [0, 2, 4, 6])
def test_3_4_a_withdrawal_under_way_has_taken_its_funds(status: int) -> None:
    assert len(flows([], [WITHDRAWAL | {"status": status}])) == 1


@pytest.mark.parametrize(
    ("deposits", "withdrawals"),
    [
        ({}, []),
        (None, []),
        ([], "none"),
        ([DEPOSIT] * FLOWS_PAGE, []),
        ([DEPOSIT | {"amount": "much"}], []),
        ([DEPOSIT | {"insertTime": None, "completeTime": None}], []),
        ([], [WITHDRAWAL | {"applyTime": "yesterday"}]),
        ([], [WITHDRAWAL | {"transactionFee": None}]),
    ],
)
def test_3_4_what_cannot_be_read_or_is_cut_is_no_answer(deposits: Any, withdrawals: Any) -> None:
    with pytest.raises(ValueError):
        flows(deposits, withdrawals)


@pytest.mark.parametrize(
    ("price", "limit"),
    [("40000.50", Decimal("40000.5")), ("0.00000000", None), (None, None), ("much", None), ("-1", None), (1.5, None)],
)
def test_3_4_an_order_whose_limit_cannot_be_read_has_none_and_is_shown_all_the_same(price: Any, limit: Decimal | None) -> None:
    raw = {"orderId": 7, "clientOrderId": "web_1", "symbol": "BTCUSDT", "side": "BUY", "origQty": "1", "executedQty": "0"}
    shown = order_view(raw | {"status": "NEW", "time": 1_000, "price": price}, {"BTCUSDT": "BTC/USDT"})
    assert (shown.client_order_id, shown.price_limit_quote) == ("web_1", limit)
