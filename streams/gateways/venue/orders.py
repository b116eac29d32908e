"""The words of the Binance spot dialect about our own orders and trades: raw replies in, exact views out.

ccxt's unified structures hold floats and guesses; `info` in them is what the venue wrote. Whatever cannot be read exactly is
an error and never a default: an order reply that we cannot read proves nothing.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from schemas.orders import Liquidity, OrderType, Side, TimeInForce
from schemas.values import exact, plain
from streams.domain.orders.outcome import OrderNews, OrderView, Standing, TradeView
from streams.domain.orders.stimuli import OrderRequest

TRADES_PAGE = 1000
ORDER_REPORT = "executionReport"
_T = TypeVar("_T")
_STANDING = {
    "NEW": Standing.OPEN,
    "PARTIALLY_FILLED": Standing.OPEN,
    "PENDING_NEW": Standing.OPEN,
    "PENDING_CANCEL": Standing.OPEN,
    "FILLED": Standing.FILLED,
    "CANCELED": Standing.CANCELED,
    "EXPIRED": Standing.EXPIRED,
    "EXPIRED_IN_MATCH": Standing.EXPIRED,
    "REJECTED": Standing.REJECTED,
}
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_TIME_IN_FORCE = {TimeInForce.IOC: "IOC", TimeInForce.FOK: "FOK", TimeInForce.GTC: "GTC"}


class UnreadableError(ValueError):
    """A reply lacks a field or carries one that cannot be what it says."""


def market_id(symbol: str) -> str:
    """The dialect's name of a symbol."""
    return symbol.replace("/", "")


def order_params(request: OrderRequest) -> dict[str, Any]:
    """What an order request says besides symbol, type, side, quantity and price."""
    params: dict[str, Any] = {"clientOrderId": request.client_order_id, "recvWindow": request.window_ms}
    if request.order_type is OrderType.LIMIT:
        if request.time_in_force is TimeInForce.POST_ONLY:
            params["postOnly"] = True
        else:
            params["timeInForce"] = _TIME_IN_FORCE[request.time_in_force]
    return params


def order_view(raw: object, symbols: Mapping[str, str]) -> OrderView:
    """An order as the venue wrote it; `symbols` gives ours for the dialect's. Raises UnreadableError."""
    fields = _object(raw)
    # The reply to a cancel carries the cancel's own new id in `clientOrderId`.
    client_order_id = fields.get("origClientOrderId") or fields.get("clientOrderId")
    times = [fields[name] for name in ("time", "transactTime") if name in fields]
    return OrderView(
        venue_order_id=_id(fields.get("orderId")),
        client_order_id=_text(client_order_id),
        symbol=_choice(symbols, fields.get("symbol")),
        side=_choice(_SIDES, fields.get("side")),
        quantity_base=_amount(fields.get("origQty")),
        filled_base=_amount(fields.get("executedQty")),
        standing=_STANDING.get(_text(fields.get("status")), Standing.UNREADABLE),
        venue_time_ms=whole(times[0] if times else None),
        price_limit_quote=_limit(fields.get("price")),
    )


def trade_view(raw: object, symbols: Mapping[str, str]) -> TradeView:
    """An own trade as the venue wrote it. Raises UnreadableError."""
    fields = _object(raw)
    return TradeView(
        trade_id=_id(fields.get("id")),
        venue_order_id=_id(fields.get("orderId")),
        symbol=_choice(symbols, fields.get("symbol")),
        side=Side.BUY if _flag(fields.get("isBuyer")) else Side.SELL,
        price_quote=_amount(fields.get("price")),
        quantity_base=_amount(fields.get("qty")),
        quote_amount=_amount(fields.get("quoteQty")),
        fee_asset=_text(fields.get("commissionAsset")),
        fee_amount=_amount(fields.get("commission")),
        liquidity=Liquidity.MAKER if _flag(fields.get("isMaker")) else Liquidity.TAKER,
        venue_time_ms=whole(fields.get("time")),
    )


def order_news(raw: object, symbols: Mapping[str, str]) -> OrderNews:
    """One report of the account's stream. Raises UnreadableError."""
    fields = _object(raw)
    # The report of a cancel carries the cancel's own id in `c`, and the order's in `C`.
    client_order_id = _text(fields.get("C") or fields.get("c"))
    symbol = _choice(symbols, fields.get("s"))
    standing = _STANDING.get(_text(fields.get("X")), Standing.UNREADABLE)
    trade = _reported_trade(fields, symbol) if fields.get("x") == "TRADE" else None
    return OrderNews(client_order_id, symbol, standing.ended, trade)


def _reported_trade(fields: Mapping[str, Any], symbol: str) -> TradeView:
    return TradeView(
        trade_id=_id(fields.get("t")),
        venue_order_id=_id(fields.get("i")),
        symbol=symbol,
        side=_choice(_SIDES, fields.get("S")),
        price_quote=_amount(fields.get("L")),
        quantity_base=_amount(fields.get("l")),
        quote_amount=_amount(fields.get("Y")),
        fee_asset=_text(fields.get("N")),
        fee_amount=_amount(fields.get("n")),
        liquidity=Liquidity.MAKER if _flag(fields.get("m")) else Liquidity.TAKER,
        venue_time_ms=whole(fields.get("T")),
    )


def unaltered(client: Any, request: OrderRequest) -> str | None:
    """Why ccxt would send other figures than the request's, or None: it cuts digits without a word."""
    pairs = [("quantity", request.quantity_base, client.amount_to_precision)]
    if request.price_limit_quote is not None:
        pairs.append(("price", request.price_limit_quote, client.price_to_precision))
    for name, value, rounded in pairs:
        if Decimal(rounded(request.symbol, plain(value))) != value:
            return f"{name} {plain(value)} is no multiple of the venue's step"
    return None


def whole(value: object) -> int:
    """A time or id as an integer. Raises UnreadableError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.isdigit() and len(value) < 20:
        return int(value)
    raise UnreadableError(f"{value!r} is no whole number"[:100])


def _object(raw: object) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise UnreadableError(f"a {type(raw).__name__} instead of an object")
    return raw


def _id(value: object) -> str:
    number = whole(value)
    if number <= 0:
        raise UnreadableError("an id of zero")
    return str(number)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > 100:
        raise UnreadableError("a text is missing")
    return value


def _amount(value: object) -> Decimal:
    return _tried(exact, value)


def _limit(value: object) -> Decimal | None:
    """The venue writes 0 for an order without a limit. No outcome hangs on a limit, and without one an order by hand binds all
    that it may: what cannot be read is not known, and spoils no reply."""
    try:
        price = exact(value)
    except ValueError:
        return None
    return price if price > 0 else None


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise UnreadableError("a yes or no is missing")
    return value


def _choice(words: Mapping[str, _T], value: object) -> _T:
    found = words.get(value) if isinstance(value, str) else None
    if found is None:
        raise UnreadableError(f"{value!r} is unknown"[:100])
    return found


def _tried(read: Callable[[Any], Decimal], value: object) -> Decimal:
    try:
        return read(value)
    except ValueError as error:
        raise UnreadableError(str(error)) from None
