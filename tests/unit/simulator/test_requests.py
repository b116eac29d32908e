"""3.2: what the venue refuses about the form of an order, and what it makes of a good one."""

from decimal import Decimal

import pytest

from streams.matching.orders import Kind, OrderRequest, Side, TimeInForce
from streams.simulator.binance.errors import RefusedRequest
from streams.simulator.binance.requests import order_ids, order_request

LISTED = {"BTCUSDT": None}
LIMIT = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "IOC",
    "quantity": "0.5",
    "price": "50000.01",
    "newClientOrderId": "abc-1",
    "timestamp": "1",
}
MARKET = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.5"}


def test_a_limit_order():
    assert order_request(LIMIT, "alice", LISTED, "given") == OrderRequest(
        account="alice",
        symbol="BTCUSDT",
        side=Side.BUY,
        kind=Kind.LIMIT,
        client_order_id="abc-1",
        time_in_force=TimeInForce.IOC,
        quantity_base=Decimal("0.5"),
        price_quote=Decimal("50000.01"),
    )


def test_an_order_without_client_id_gets_the_venues():
    assert order_request(MARKET, "alice", LISTED, "given").client_order_id == "given"


@pytest.mark.parametrize(
    ("order", "changes", "code"),
    [
        (LIMIT, {"symbol": None}, -1102),
        (LIMIT, {"symbol": "btcusdt"}, -1100),
        (LIMIT, {"symbol": "XRPUSDT"}, -1121),
        (LIMIT, {"side": "LONG"}, -1117),
        (LIMIT, {"type": "ICEBERG"}, -1116),
        (LIMIT, {"timeInForce": "GTX"}, -1115),
        (LIMIT, {"timeInForce": None}, -1102),
        (LIMIT, {"price": None}, -1102),
        (LIMIT, {"price": ""}, -1102),
        (LIMIT, {"quantity": None}, -1102),
        (LIMIT, {"quantity": "1e3"}, -1100),
        (LIMIT, {"quantity": "-1"}, -1100),
        (LIMIT, {"quantity": "NaN"}, -1100),
        (LIMIT, {"quantity": "0.123456789"}, -1111),
        (LIMIT, {"quoteOrderQty": "5"}, -1106),
        (LIMIT, {"newClientOrderId": "x" * 37}, -1100),
        (LIMIT, {"newClientOrderId": "white space"}, -1100),
        (LIMIT, {"leverage": "100"}, -1104),
        (LIMIT, {"type": "LIMIT_MAKER"}, -1106),
        (MARKET, {"quantity": None}, -1102),
        (MARKET, {"quoteOrderQty": "5"}, -1106),
        (MARKET, {"price": "5"}, -1106),
        (MARKET, {"timeInForce": "GTC"}, -1106),
    ],
)
def test_what_is_wrong_has_its_code(order, changes, code):
    params = {name: value for name, value in (order | changes).items() if value is not None}
    with pytest.raises(RefusedRequest) as refused:
        order_request(params, "alice", LISTED, "given")
    assert refused.value.answer.code == code


def test_an_order_is_named_by_either_id():
    assert order_ids({"orderId": "7"}) == (7, None)
    assert order_ids({"origClientOrderId": "abc"}) == (None, "abc")
    with pytest.raises(RefusedRequest) as refused:
        order_ids({})
    assert refused.value.answer.code == -1102
