"""A Binance-dialect spot server that is not ours: one file, one price for each symbol, no line shared with the simulated venue.

It knows what ccxt asks for and nothing of streams. Fees are taken in a third asset, ids are small, amounts have no trailing
zeros, and what it does is decided here alone: whatever agrees with it agrees with the dialect and not with our other server.
"""

import hashlib
import hmac
import json
import time
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

KEY, SECRET = "their-key", "their-secret"
PRICES = {"BTCUSDT": Decimal("50010.5"), "ETHUSDT": Decimal("2500.25")}
FEE_BNB = Decimal("0.0001")
FILTERS = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
    {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
    {"filterType": "NOTIONAL", "minNotional": "5", "applyMinToMarket": True, "maxNotional": "9000000"},
]
Row = dict[str, Any]


class Refusal(Exception):
    def __init__(self, code: int, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.body, self.status = {"code": code, "msg": words}, status


class Stranger:
    """The server and its books; `port` is known once it listens."""

    def __init__(self, **balances: str) -> None:
        self.held = {asset: Decimal(amount) for asset, amount in balances.items()}
        self.orders: list[Row] = []
        self.trades: list[Row] = []
        self.deposits: list[Row] = []
        self.requests: list[tuple[str, str]] = []
        self.replies_lost = 0
        self.port = 0

    async def __aenter__(self) -> "Stranger":
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    # HTTP

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.method} {request.path}"
        self.requests.append((request.method, request.path))
        raw = await request.text() if request.method == "POST" else request.raw_path.partition("?")[2]
        asked = dict(parse_qsl(raw))
        try:
            if name in PUBLIC:
                answer = PUBLIC[name](self, asked)
            elif name in SIGNED:
                self._authenticate(request, raw, asked)
                answer = SIGNED[name](self, asked)
            else:
                return web.Response(status=404, text="nothing here")
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.status)
        if request.method in ("POST", "DELETE") and self.replies_lost:
            self.replies_lost -= 1
            assert request.transport is not None
            request.transport.close()
        return web.json_response(answer)

    def _authenticate(self, request: web.Request, raw: str, asked: dict[str, str]) -> None:
        if request.headers.get("X-MBX-APIKEY") != KEY:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        signed, _, signature = raw.rpartition("&signature=")
        if not hmac.compare_digest(hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest(), signature):
            raise Refusal(-1022, "Signature for this request is not valid.")
        age_ms = _now_ms() - int(asked["timestamp"])
        if not -1000 < age_ms <= int(asked.get("recvWindow", "5000")):
            raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")

    # Questions

    def time(self, asked: dict[str, str]) -> Row:
        return {"serverTime": _now_ms()}

    def exchange_info(self, asked: dict[str, str]) -> Row:
        wanted = json.loads(asked.get("symbols", "null")) or list(PRICES)
        common = {"status": "TRADING", "quoteAsset": "USDT", "orderTypes": ["LIMIT", "MARKET"], "filters": FILTERS}
        symbols = [
            {"symbol": name, "baseAsset": name.removesuffix("USDT"), "isSpotTradingAllowed": True} | common for name in wanted
        ]
        limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}]
        return {"timezone": "UTC", "serverTime": _now_ms(), "rateLimits": limits, "symbols": symbols}

    def depth(self, asked: dict[str, str]) -> Row:
        price = PRICES[asked["symbol"]]
        return {"lastUpdateId": 1, "bids": [[str(price - 1), "3"]], "asks": [[str(price), "3"]]}

    def restrictions(self, asked: dict[str, str]) -> Row:
        return {"ipRestrict": True, "enableReading": True, "enableSpotAndMarginTrading": True, "enableWithdrawals": False}

    def account(self, asked: dict[str, str]) -> Row:
        locked = {asset: Decimal(0) for asset in self.held}
        for order in self._open():
            left = Decimal(order["origQty"]) - Decimal(order["executedQty"])
            asset, amount = ("USDT", left * Decimal(order["price"])) if order["side"] == "BUY" else (_base(order), left)
            locked[asset] += amount
        balances = [
            {"asset": asset, "free": _text(total - locked[asset]), "locked": _text(locked[asset])}
            for asset, total in self.held.items()
        ]
        return {"canTrade": True, "balances": balances, "updateTime": _now_ms()}

    def query(self, asked: dict[str, str]) -> Row:
        return self._find(asked, Refusal(-2013, "Order does not exist."))

    def open_orders(self, asked: dict[str, str]) -> list[Row]:
        return [order for order in self._open() if order["symbol"] == asked["symbol"]]

    def my_trades(self, asked: dict[str, str]) -> list[Row]:
        found = [trade for trade in self.trades if trade["symbol"] == asked["symbol"]]
        for name, field in (("orderId", "orderId"), ("startTime", "time"), ("fromId", "id")):
            if name in asked:
                wanted = int(asked[name])
                found = [trade for trade in found if (trade[field] == wanted if name == "orderId" else trade[field] >= wanted)]
        return found[: int(asked.get("limit", "500"))]

    def came_in(self, asked: dict[str, str]) -> list[Row]:
        return self.deposits

    def went_out(self, asked: dict[str, str]) -> list[Row]:
        return []

    def deposit(self, asset: str, amount: str) -> None:
        """Somebody sends something: whoever knows an address may."""
        self.held[asset] = self.held.get(asset, Decimal(0)) + Decimal(amount)
        row: Row = {"id": str(len(self.deposits) + 1), "coin": asset, "amount": amount, "status": 1, "completeTime": _now_ms()}
        self.deposits.append(row)

    # Orders

    def place(self, asked: dict[str, str]) -> Row:
        symbol, quantity, price = asked["symbol"], Decimal(asked["quantity"]), Decimal(asked["price"])
        if any(order["clientOrderId"] == asked["newClientOrderId"] for order in self._open()):
            raise Refusal(-2010, "Duplicate order sent.")
        if asked["side"] == "BUY" and quantity * price > self.held["USDT"]:
            raise Refusal(-2010, "Account has insufficient balance for requested action.")
        now_ms = _now_ms()
        order = {
            "symbol": symbol,
            "orderId": len(self.orders) + 1,
            "orderListId": -1,
            "clientOrderId": asked["newClientOrderId"],
            "price": asked["price"],
            "origQty": asked["quantity"],
            "executedQty": "0",
            "cummulativeQuoteQty": "0",
            "status": "NEW",
            "timeInForce": asked["timeInForce"],
            "type": asked["type"],
            "side": asked["side"],
            "time": now_ms,
            "updateTime": now_ms,
        }
        self.orders.append(order)
        meets = price >= PRICES[symbol] if asked["side"] == "BUY" else price <= PRICES[symbol]
        if meets:
            half = (quantity / 2).quantize(Decimal("0.00001"))
            self.trade(order["orderId"], half, PRICES[symbol])
            self.trade(order["orderId"], quantity - half, PRICES[symbol])
        elif asked["timeInForce"] == "IOC":
            order["status"] = "EXPIRED"
        return {name: value for name, value in order.items() if name != "time"} | {"transactTime": now_ms, "fills": []}

    def cancel(self, asked: dict[str, str]) -> Row:
        refusal = Refusal(-2011, "Unknown order sent.")
        order = self._find(asked, refusal)
        if order not in self._open():
            raise refusal
        order |= {"status": "CANCELED", "updateTime": _now_ms()}
        return order | {"origClientOrderId": order["clientOrderId"], "clientOrderId": "theirs", "transactTime": _now_ms()}

    def trade(self, order_id: int, quantity: Decimal, price: Decimal) -> None:
        """Somebody trades with an order."""
        order, quote = self.orders[order_id - 1], quantity * price
        sign = 1 if order["side"] == "BUY" else -1
        for asset, change in ((_base(order), sign * quantity), ("USDT", -sign * quote), ("BNB", -FEE_BNB)):
            self.held[asset] += change
        filled = Decimal(order["executedQty"]) + quantity
        order |= {
            "executedQty": _text(filled),
            "cummulativeQuoteQty": _text(Decimal(order["cummulativeQuoteQty"]) + quote),
            "status": "FILLED" if filled == Decimal(order["origQty"]) else "PARTIALLY_FILLED",
            "updateTime": _now_ms(),
        }
        self.trades.append(
            {
                "symbol": order["symbol"],
                "id": len(self.trades) + 1,
                "orderId": order_id,
                "price": _text(price),
                "qty": _text(quantity),
                "quoteQty": _text(quote),
                "commission": _text(FEE_BNB),
                "commissionAsset": "BNB",
                "time": _now_ms(),
                "isBuyer": order["side"] == "BUY",
                "isMaker": False,
                "isBestMatch": True,
            }
        )

    def _open(self) -> list[Row]:
        return [order for order in self.orders if order["status"] in ("NEW", "PARTIALLY_FILLED")]

    def _find(self, asked: dict[str, str], otherwise: Refusal) -> Row:
        name, field = ("orderId", "orderId") if "orderId" in asked else ("origClientOrderId", "clientOrderId")
        for order in reversed(self.orders):
            if order["symbol"] == asked["symbol"] and str(order[field]) == asked[name]:
                return order
        raise otherwise


PUBLIC = {
    "GET /api/v3/ping": lambda server, asked: {},
    "GET /api/v3/time": Stranger.time,
    "GET /api/v3/exchangeInfo": Stranger.exchange_info,
    "GET /api/v3/depth": Stranger.depth,
    "GET /sapi/v1/system/status": lambda server, asked: {"status": 0, "msg": "normal"},
}
SIGNED = {
    "GET /sapi/v1/account/apiRestrictions": Stranger.restrictions,
    "GET /sapi/v1/capital/deposit/hisrec": Stranger.came_in,
    "GET /sapi/v1/capital/withdraw/history": Stranger.went_out,
    "GET /api/v3/account": Stranger.account,
    "GET /api/v3/order": Stranger.query,
    "GET /api/v3/openOrders": Stranger.open_orders,
    "GET /api/v3/myTrades": Stranger.my_trades,
    "POST /api/v3/order": Stranger.place,
    "DELETE /api/v3/order": Stranger.cancel,
}


def _base(order: Row) -> str:
    return str(order["symbol"]).removesuffix("USDT")


def _text(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
