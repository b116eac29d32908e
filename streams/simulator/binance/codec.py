"""The venue's documents: what goes out, field by field, as its clients read it. Amounts have eight decimals."""

from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from schemas.values import exact, plain
from streams.matching.book import Level
from streams.matching.funds import Balance
from streams.matching.journal import Entry
from streams.matching.orders import Fill, Order, Side
from streams.matching.rules import SymbolRules
from streams.matching.settlement import FeeSchedule
from streams.simulator.limits import Limits
from streams.simulator.settings import KeySettings

Document = dict[str, Any]
_NO_LIST = -1
ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET")


def amount(value: Decimal | str) -> str:
    """Eight decimals; amounts in here never have more."""
    return format(Decimal(value), ".8f")


def uid(account: str) -> int:
    """The account's number, the same for all its keys."""
    return int.from_bytes(sha256(account.encode()).digest()[:4], "big")


def symbol_info(rules: SymbolRules, *, is_open: bool) -> Document:
    """One entry of exchangeInfo."""
    return {
        "symbol": rules.symbol,
        "status": "TRADING" if is_open else "BREAK",
        "baseAsset": rules.base_asset,
        "baseAssetPrecision": 8,
        "quoteAsset": rules.quote_asset,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(ORDER_TYPES),
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(rules),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }


def _filters(rules: SymbolRules) -> list[Document]:
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": amount(rules.price_min),
            "maxPrice": amount(rules.price_max),
            "tickSize": amount(rules.tick_size),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": amount(rules.quantity_min),
            "maxQty": amount(rules.quantity_max),
            "stepSize": amount(rules.step_size),
        },
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": amount(rules.market_quantity_min),
            "maxQty": amount(rules.market_quantity_max),
            "stepSize": amount(Decimal(0)),
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": amount(rules.notional_min),
            "applyMinToMarket": rules.applies_notional_min_to_market,
            "maxNotional": amount(rules.notional_max),
            "applyMaxToMarket": rules.applies_notional_max_to_market,
            "avgPriceMins": 5,
        },
    ]


def rate_limits(limits: Limits) -> list[Document]:
    """The limits as exchangeInfo lists them."""
    rows = (
        ("REQUEST_WEIGHT", "MINUTE", 1, limits.settings.weight_1m_max),
        ("ORDERS", "SECOND", 10, limits.settings.orders_10s_max),
        ("ORDERS", "DAY", 1, limits.settings.orders_1d_max),
    )
    return [
        {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
        for kind, interval, number, limit in rows
    ]


def account_info(account: str, key: KeySettings, fees: FeeSchedule, balances: dict[str, Balance], now_ms: int) -> Document:
    """GET account."""
    return {
        "makerCommission": int(fees.maker_rate * 10_000),
        "takerCommission": int(fees.taker_rate * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": amount(fees.maker_rate),
            "taker": amount(fees.taker_rate),
            "buyer": amount(Decimal(0)),
            "seller": amount(Decimal(0)),
        },
        "canTrade": key.may_trade,
        "canWithdraw": key.may_withdraw,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": now_ms,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": amount(balance.free), "locked": amount(balance.locked)}
            for asset, balance in balances.items()
        ],
        "permissions": ["SPOT"],
        "uid": uid(account),
    }


def deposit(entry: Entry) -> Document | None:
    """GET capital/deposit/hisrec: one deposit; None when the entry took money out."""
    change = exact(entry.body["change"])
    if change <= 0:
        return None
    return {
        "id": str(entry.sequence),
        "amount": plain(change),
        "coin": entry.body["asset"],
        "network": "SIM",
        "status": 1,
        "address": "",
        "txId": f"sim-{entry.sequence}",
        "insertTime": entry.at_ms,
        "completeTime": entry.at_ms,
        "transferType": 0,
        "confirmTimes": "1/1",
        "unlockConfirm": 1,
        "walletType": 0,
    }


def withdrawal(entry: Entry) -> Document | None:
    """GET capital/withdraw/history: one withdrawal; None when the entry put money in."""
    change = exact(entry.body["change"])
    if change >= 0:
        return None
    at = datetime.fromtimestamp(entry.at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return {
        "id": str(entry.sequence),
        "amount": plain(-change),
        "transactionFee": "0",
        "coin": entry.body["asset"],
        "status": 6,
        "address": "",
        "txId": f"sim-{entry.sequence}",
        "applyTime": at,
        "completeTime": at,
        "network": "SIM",
        "transferType": 0,
    }


def restrictions(key: KeySettings) -> Document:
    """GET account/apiRestrictions: what a key may do."""
    return {
        "ipRestrict": True,
        "createTime": 1_700_000_000_000,
        "enableReading": key.may_read,
        "enableWithdrawals": key.may_withdraw,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enableSpotAndMarginTrading": key.may_trade,
        "enablePortfolioMarginTrading": False,
    }


def order_info(order: Order) -> Document:
    """GET order, openOrders, allOrders."""
    return _order_core(order) | {
        "stopPrice": amount(Decimal(0)),
        "icebergQty": amount(Decimal(0)),
        "time": order.accepted_at_ms,
        "updateTime": order.updated_at_ms,
        "isWorking": True,
        "workingTime": order.accepted_at_ms,
    }


def order_reply(order: Order, response: str) -> Document:
    """POST order, as ACK, RESULT or FULL."""
    reply = {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": _NO_LIST,
        "clientOrderId": order.client_order_id,
        "transactTime": order.accepted_at_ms,
    }
    if response == "ACK":
        return reply
    reply |= _order_core(order) | {"workingTime": order.accepted_at_ms}
    return reply if response == "RESULT" else reply | {"fills": [_fill_of_order(fill) for fill in order.fills]}


def cancel_reply(order: Order, cancel_id: str) -> Document:
    """DELETE order: `clientOrderId` is the cancel's own id."""
    return _order_core(order) | {
        "origClientOrderId": order.client_order_id,
        "clientOrderId": cancel_id,
        "transactTime": order.updated_at_ms,
    }


def own_trade(fill: Fill) -> Document:
    """One row of myTrades."""
    return {
        "symbol": fill.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "orderListId": _NO_LIST,
        "price": amount(fill.price_quote),
        "qty": amount(fill.quantity_base),
        "quoteQty": amount(fill.amount_quote),
        "commission": amount(fill.fee_amount),
        "commissionAsset": fill.fee_asset,
        "time": fill.at_ms,
        "isBuyer": fill.side is Side.BUY,
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def levels(book_levels: list[Level] | tuple[Level, ...]) -> list[list[str]]:
    """Price and quantity of each level."""
    return [[amount(price), amount(quantity)] for price, quantity in book_levels]


def execution_report(order: Order, entry: Entry, event_ms: int) -> Document:
    """The user stream's event for one journal entry of an order, with the order's figures as they were then."""
    body, kind = entry.body, entry.kind
    is_trade, is_new = kind == "fill", kind == "order_accepted"
    status = "NEW" if is_new else str(body["status"])
    cancel_id = str(body.get("cancel_id", ""))
    return {
        "e": "executionReport",
        "E": event_ms,
        "s": order.symbol,
        "c": cancel_id or order.client_order_id,
        "S": order.side.value,
        "o": order.kind.value,
        "f": order.time_in_force.value,
        "q": amount(order.quantity_base),
        "p": amount(order.price_quote),
        "P": amount(Decimal(0)),
        "F": amount(Decimal(0)),
        "g": _NO_LIST,
        "C": order.client_order_id if cancel_id else "",
        "x": "TRADE" if is_trade else status,
        "X": status,
        "r": "NONE",
        "i": order.order_id,
        "l": amount(str(body["quantity_base"]) if is_trade else "0"),
        "z": amount("0" if is_new else str(body["filled_base"])),
        "L": amount(str(body["price_quote"]) if is_trade else "0"),
        "n": amount(str(body["fee_amount"]) if is_trade else "0"),
        "N": body["fee_asset"] if is_trade else None,
        "T": entry.at_ms,
        "t": body["trade_id"] if is_trade else -1,
        "I": entry.sequence,
        "w": status in ("NEW", "PARTIALLY_FILLED"),
        "m": body["is_maker"] if is_trade else False,
        "M": False,
        "O": order.accepted_at_ms,
        "Z": amount("0" if is_new else str(body["filled_quote"])),
        "Y": amount(str(body["amount_quote"]) if is_trade else "0"),
        "Q": amount(order.quantity_quote),
        "W": order.accepted_at_ms,
        "V": "NONE",
    }


def account_position(balances: dict[str, Balance], event_ms: int) -> Document:
    """The user stream's absolute balances of the assets that may have changed."""
    rows = [{"a": asset, "f": amount(balance.free), "l": amount(balance.locked)} for asset, balance in balances.items()]
    return {"e": "outboundAccountPosition", "E": event_ms, "u": event_ms, "B": rows}


def balance_update(entry: Entry, event_ms: int) -> Document:
    """The user stream's event for money that entered or left."""
    return {
        "e": "balanceUpdate",
        "E": event_ms,
        "a": entry.body["asset"],
        "d": amount(str(entry.body["change"])),
        "T": entry.at_ms,
    }


def _order_core(order: Order) -> Document:
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": _NO_LIST,
        "clientOrderId": order.client_order_id,
        "price": amount(order.price_quote),
        "origQty": amount(order.quantity_base),
        "executedQty": amount(order.filled_base),
        "origQuoteOrderQty": amount(order.quantity_quote),
        "cummulativeQuoteQty": amount(order.filled_quote),
        "status": order.status.value,
        "timeInForce": order.time_in_force.value,
        "type": order.kind.value,
        "side": order.side.value,
        "selfTradePreventionMode": "NONE",
    }


def _fill_of_order(fill: Fill) -> Document:
    return {
        "price": amount(fill.price_quote),
        "qty": amount(fill.quantity_base),
        "commission": amount(fill.fee_amount),
        "commissionAsset": fill.fee_asset,
        "tradeId": fill.trade_id,
    }
