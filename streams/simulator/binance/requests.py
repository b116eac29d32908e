"""From this dialect's order parameters to the core's request, refusing what the venue refuses before its core."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

from streams.matching.amounts import ZERO
from streams.matching.orders import Kind, OrderRequest, Side, TimeInForce
from streams.simulator.binance import errors
from streams.simulator.binance.errors import Answer, RefusedRequest

_SYMBOL = r"^[A-Z0-9-_.]{1,20}$"
_CLIENT_ID = r"^[a-zA-Z0-9-_.:/]{1,36}$"
_AMOUNT = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
_WHOLE = r"^[0-9]{1,19}$"
_DECIMALS_MAX = 8

_ORDER_PARAMS = frozenset(
    {
        "symbol",
        "side",
        "type",
        "timeInForce",
        "quantity",
        "quoteOrderQty",
        "price",
        "newClientOrderId",
        "newOrderRespType",
        "selfTradePreventionMode",
        "recvWindow",
        "timestamp",
    }
)
_NEEDED = {
    Kind.LIMIT: ("timeInForce", "quantity", "price"),
    Kind.LIMIT_MAKER: ("quantity", "price"),
    Kind.MARKET: (),
}
_UNWANTED = {
    Kind.LIMIT: ("quoteOrderQty",),
    Kind.LIMIT_MAKER: ("timeInForce", "quoteOrderQty"),
    Kind.MARKET: ("timeInForce", "price"),
}

Params = Mapping[str, str]
_Choice = TypeVar("_Choice", Side, Kind, TimeInForce)


def text(params: Params, name: str, legal: str) -> str:
    """A mandatory parameter of the given form. Raises RefusedRequest (-1102, -1100)."""
    value = params.get(name, "")
    if not value:
        raise RefusedRequest(errors.missing(name))
    if not re.fullmatch(legal, value):
        raise RefusedRequest(errors.illegal(name, legal))
    return value


def symbol_of(params: Params, listed: Mapping[str, object]) -> str:
    """The mandatory symbol. Raises RefusedRequest (-1121 besides) when it is not listed."""
    symbol = text(params, "symbol", _SYMBOL)
    if symbol not in listed:
        raise RefusedRequest(errors.INVALID_SYMBOL)
    return symbol


def whole(params: Params, name: str) -> int | None:
    """An optional whole number."""
    return int(text(params, name, _WHOLE)) if name in params else None


def order_ids(params: Params) -> tuple[int | None, str | None]:
    """Which order is meant: the venue's id, the client's, or both. Raises RefusedRequest for neither."""
    order_id, client_order_id = whole(params, "orderId"), params.get("origClientOrderId") or None
    if order_id is None and client_order_id is None:
        raise RefusedRequest(errors.NEITHER_ID)
    return order_id, client_order_id


def client_id_of(params: Params, name: str, otherwise: str) -> str:
    """The client's own id for a request, or the one that the venue gives."""
    return text(params, name, _CLIENT_ID) if name in params else otherwise


def order_request(params: Params, account: str, listed: Mapping[str, object], client_id_otherwise: str) -> OrderRequest:
    """A new order. Raises RefusedRequest with the venue's code for whatever is wrong with the form."""
    symbol = symbol_of(params, listed)
    side = _one_of(Side, text(params, "side", ".*"), errors.INVALID_SIDE)
    kind = _one_of(Kind, text(params, "type", ".*"), errors.INVALID_ORDER_TYPE)
    for name in _NEEDED[kind]:
        if not params.get(name):
            raise RefusedRequest(errors.missing(name))
    if kind is Kind.MARKET and not params.get("quantity") and not params.get("quoteOrderQty"):
        raise RefusedRequest(errors.missing("quantity"))
    for name in _UNWANTED[kind]:
        if name in params:
            raise RefusedRequest(errors.unwanted(name))
    if kind is Kind.MARKET and "quantity" in params and "quoteOrderQty" in params:
        raise RefusedRequest(errors.unwanted("quoteOrderQty"))
    known = sum(name in _ORDER_PARAMS for name in params)
    if known < len(params):
        raise RefusedRequest(errors.unread(known, len(params)))
    time_in_force = params.get("timeInForce", TimeInForce.GTC.value)
    return OrderRequest(
        account=account,
        symbol=symbol,
        side=side,
        kind=kind,
        client_order_id=client_id_of(params, "newClientOrderId", client_id_otherwise),
        time_in_force=_one_of(TimeInForce, time_in_force, errors.INVALID_TIME_IN_FORCE),
        quantity_base=_amount(params, "quantity"),
        quantity_quote=_amount(params, "quoteOrderQty"),
        price_quote=_amount(params, "price"),
    )


def _one_of(choices: type[_Choice], value: str, otherwise: Answer) -> _Choice:
    try:
        return choices(value)
    except ValueError as error:
        raise RefusedRequest(otherwise) from error


def _amount(params: Params, name: str) -> Decimal:
    """An amount of at most eight decimals; zero when it was not sent."""
    if name not in params:
        return ZERO
    value = text(params, name, _AMOUNT)
    if len(value.partition(".")[2]) > _DECIMALS_MAX:
        raise RefusedRequest(errors.too_precise(name))
    return Decimal(value)
