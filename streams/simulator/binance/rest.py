"""REST: each route with its weight, the right that it needs, and the kind of latency that it has.

The way of a request: ban and weight, key and signature and window, form, the first half of its latency, the window once
more, the core, the second half, the reply. Faults strike on that way (see `faults`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from aiohttp import web

from streams.matching.journal import Entry
from streams.matching.orders import Order, Refused, Side
from streams.simulator.binance import codec, errors, requests, tickers
from streams.simulator.binance.errors import Answer, RefusedRequest
from streams.simulator.binance.signer import Signed, verify
from streams.simulator.binance.spoil import spoilt
from streams.simulator.faults import Fault, FaultRule
from streams.simulator.limits import Exceeded
from streams.simulator.venue import Venue

Params = dict[str, str]
Latency = Literal["order", "cancel", "query", "account", "market"]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ORDERS_MAX = 1_000
FAULT_PAUSE_S = 1  # how long a refusal of the limiter that was switched on asks its client to stay away


class _Spoiled(Exception):
    """What the core did stays done; what the client gets is spoiled by a fault. Without a document the core did nothing."""

    def __init__(self, rule: FaultRule, document: codec.Document | None = None):
        super().__init__()
        self.rule = rule
        self.document = document


@dataclass(frozen=True, slots=True)
class _OrderReply:
    """The reply to a new order, which also tells how many orders its account has counted."""

    document: codec.Document
    account: str


class Rest:
    """All REST routes over one venue."""

    def __init__(self, venue: Venue):
        self._venue = venue
        self._given_ids = 0

    def routes(self) -> list[web.RouteDef]:
        """Every route that the venue answers."""
        public, signed = self._public, self._signed
        return [
            web.get("/api/v3/ping", public(lambda params: {}, _flat(1))),
            web.get("/api/v3/time", public(lambda params: {"serverTime": self._venue.clock.now_ms()}, _flat(1))),
            web.get("/api/v3/exchangeInfo", public(self._exchange_info, _flat(20))),
            web.get("/api/v3/depth", public(self._depth, _depth_weight)),
            web.get("/api/v3/ticker/24hr", public(self._tickers(tickers.day_ticker), _day_weight)),
            web.get("/api/v3/ticker/bookTicker", public(self._tickers(tickers.book_ticker), _book_weight)),
            web.get("/sapi/v1/system/status", public(lambda params: {"status": 0, "msg": "normal"}, _flat(0))),
            web.get("/api/v3/account", signed(self._account, _flat(20), "account")),
            web.get("/api/v3/order", signed(self._order, _flat(4), "query")),
            web.get("/api/v3/openOrders", signed(self._open_orders, _open_orders_weight, "query")),
            web.get("/api/v3/allOrders", signed(self._all_orders, _flat(20), "query")),
            web.get("/api/v3/myTrades", signed(self._own_trades, _own_trades_weight, "query")),
            web.get("/sapi/v1/account/apiRestrictions", signed(lambda s: codec.restrictions(s.key), _flat(0), "account")),
            web.get("/sapi/v1/asset/tradeFee", signed(self._trade_fee, _flat(0), "account")),
            web.get("/sapi/v1/capital/deposit/hisrec", signed(self._transfers(codec.deposit), _flat(1), "account")),
            web.get("/sapi/v1/capital/withdraw/history", signed(self._transfers(codec.withdrawal), _flat(1), "account")),
            web.post("/api/v3/order", self._guarded(self._place)),
            web.delete("/api/v3/order", self._guarded(self._cancel)),
        ]

    def _public(self, answer: Callable[[Params], Any], weight: Callable[[Params], int]) -> Handler:
        async def handle(request: web.Request) -> Any:
            params = dict(request.query)
            self._spend_weight(request, weight(params))
            await self._wait("market")
            document = answer(params)
            await self._wait("market")
            return document

        return self._guarded(handle)

    def _signed(self, answer: Callable[[Signed], Any], weight: Callable[[Params], int], latency: Latency) -> Handler:
        async def handle(request: web.Request) -> Any:
            self._spend_weight(request, weight(dict(request.query)))
            signed = await self._verified(request)
            if not signed.key.may_read:
                raise RefusedRequest(errors.NO_RIGHT)
            await self._wait(latency)
            document = answer(signed)
            await self._wait(latency)
            return document

        return self._guarded(handle)

    def _guarded(self, handle: Callable[[web.Request], Awaitable[Any]]) -> Handler:
        """Turn refusals into answers and lost connections into closed ones."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                self._check_ban(request)
                document = await handle(request)
            except RefusedRequest as refused:
                return self._refusal(request, refused.answer)
            except _Spoiled as spoiled:
                return await spoilt(request, spoiled.rule, spoiled.document)
            headers = self._usage(request)
            if isinstance(document, _OrderReply):
                headers |= self._orders_used(document.account)
                document = document.document
            return web.Response(body=orjson.dumps(document), content_type="application/json", headers=headers)

        return answer

    async def _place(self, request: web.Request) -> Any:
        self._spend_weight(request, 1)
        signed = await self._verified(request)
        venue, account = self._venue, signed.key.account
        if not signed.key.may_trade:
            raise RefusedRequest(errors.NO_RIGHT)
        order_request = requests.order_request(signed.params, account, venue.market.rules, self._give_id())
        exceeded = venue.limits.spend_order(_address(request), account, venue.clock.now_ms())
        if exceeded:
            raise RefusedRequest(errors.limit_exceeded(exceeded, venue.limits))
        fault = self._fault("order", request)
        try:
            await self._wait("order")
            signed.check_window(venue.clock.now_ms())
            late_ms = fault.late_ms if fault is not None and fault.fault is Fault.LATE_ORDER else 0
            order = _accepted(venue.submit(order_request, late_ms=late_ms))
        except RefusedRequest:
            self._give_back(fault)
            raise
        if order.filled_base:
            venue.limits.credit_order(account, venue.clock.now_ms())
        reply = codec.order_reply(order, signed.params.get("newOrderRespType", "FULL"))
        await self._wait("order")
        if fault:
            raise _Spoiled(fault, reply)
        return _OrderReply(reply, account)

    async def _cancel(self, request: web.Request) -> Any:
        self._spend_weight(request, 1)
        signed = await self._verified(request)
        venue = self._venue
        if not signed.key.may_trade:
            raise RefusedRequest(errors.NO_RIGHT)
        symbol, ids = requests.symbol_of(signed.params, venue.market.rules), requests.order_ids(signed.params)
        cancel_id = requests.client_id_of(signed.params, "newClientOrderId", self._give_id())
        fault = self._fault("cancel", request)
        try:
            await self._wait("cancel")
            signed.check_window(venue.clock.now_ms())
            order = venue.find(signed.key.account, symbol, *ids)
            if order is not None and fault is not None and order.status.is_open:
                self._cross(order, fault)
            if order is None or venue.cancel(order, cancel_id):
                raise RefusedRequest(errors.CANCEL_REJECTED)
        except RefusedRequest:
            self._give_back(fault)
            raise
        reply = codec.cancel_reply(venue.shown(order), cancel_id)
        await self._wait("cancel")
        if fault and fault.fault is not Fault.FILL_AFTER_CANCEL:
            raise _Spoiled(fault, reply)
        return reply

    def _cross(self, order: Order, fault: FaultRule) -> None:
        """Somebody trades with the order just before its cancel."""
        if fault.fault is Fault.CANCEL_CROSSED:
            self._venue.meet(order, order.remaining_base)
        elif fault.fault is Fault.FILL_AFTER_CANCEL:
            step = self._venue.market.rules[order.symbol].step_size
            self._venue.meet(order, order.remaining_base // (2 * step) * step, late_ms=fault.late_ms)

    def _fault(self, kind: Literal["order", "cancel"], request: web.Request) -> FaultRule | None:
        """The fault of this request; what ends before the core ends here."""
        rule = self._venue.faults.choose(kind)
        if rule is None:
            return None
        limits = self._venue.limits
        match rule.fault:
            case Fault.REQUEST_LOST:
                raise _Spoiled(rule)
            case Fault.REFUSED_429:
                raise RefusedRequest(errors.limit_exceeded(Exceeded("weight", FAULT_PAUSE_S), limits))
            case Fault.REFUSED_418:
                banned = limits.ban(_address(request), FAULT_PAUSE_S, self._venue.clock.now_ms())
                raise RefusedRequest(errors.limit_exceeded(banned, limits))
        return rule

    def _give_back(self, fault: FaultRule | None) -> None:
        """A refused request gives its fault back, but for the one that made the core refuse."""
        if fault and fault.fault is not Fault.CANCEL_CROSSED:
            self._venue.faults.give_back(fault)

    def _exchange_info(self, params: Params) -> Any:
        market = self._venue.market
        return {
            "timezone": "UTC",
            "serverTime": self._venue.clock.now_ms(),
            "rateLimits": codec.rate_limits(self._venue.limits),
            "exchangeFilters": [],
            "symbols": [
                codec.symbol_info(market.rules[symbol], is_open=symbol not in market.closed_symbols)
                for symbol in self._chosen(params) or market.rules
            ],
        }

    def _depth(self, params: Params) -> Any:
        symbol = requests.symbol_of(params, self._venue.market.rules)
        count = min(requests.whole(params, "limit") or 100, 5_000)
        book = self._venue.market.books[symbol]
        return {
            "lastUpdateId": book.update_id,
            "bids": codec.levels(book.levels(Side.BUY, count)),
            "asks": codec.levels(book.levels(Side.SELL, count)),
        }

    def _tickers(self, ticker: Callable[[Venue, str], Any]) -> Callable[[Params], Any]:
        def answer(params: Params) -> Any:
            if "symbol" in params:
                return ticker(self._venue, requests.symbol_of(params, self._venue.market.rules))
            return [ticker(self._venue, symbol) for symbol in self._chosen(params) or self._venue.market.rules]

        return answer

    def _chosen(self, params: Params) -> list[str]:
        """The symbols named by `symbol` or by the JSON list `symbols`; none named means all."""
        if "symbol" in params:
            return [requests.symbol_of(params, self._venue.market.rules)]
        try:
            symbols = orjson.loads(params.get("symbols", "[]"))
        except orjson.JSONDecodeError as error:
            raise RefusedRequest(errors.illegal("symbols", '^\\["[A-Z0-9-_.]{1,20}"(,...)*\\]$')) from error
        if not isinstance(symbols, list) or any(symbol not in self._venue.market.rules for symbol in symbols):
            raise RefusedRequest(errors.INVALID_SYMBOL)
        return symbols

    def _account(self, signed: Signed) -> Any:
        market, account = self._venue.market, signed.key.account
        balances = dict(market.funds.balances(account))
        return codec.account_info(account, signed.key, market.fees(account), balances, self._venue.clock.now_ms())

    def _order(self, signed: Signed) -> Any:
        symbol = requests.symbol_of(signed.params, self._venue.market.rules)
        order = self._venue.find(signed.key.account, symbol, *requests.order_ids(signed.params))
        if order is None:
            raise RefusedRequest(errors.NO_SUCH_ORDER)
        return codec.order_info(self._venue.shown(order))

    def _open_orders(self, signed: Signed) -> Any:
        market = self._venue.market
        symbol = requests.symbol_of(signed.params, market.rules) if "symbol" in signed.params else None
        return self._visible(market.register.open(signed.key.account, symbol))

    def _all_orders(self, signed: Signed) -> Any:
        symbol = requests.symbol_of(signed.params, self._venue.market.rules)
        count = min(requests.whole(signed.params, "limit") or 500, ORDERS_MAX)
        order_id_from = requests.whole(signed.params, "orderId") or 0
        orders = self._venue.market.register.all(signed.key.account, symbol, count)
        return self._visible([order for order in orders if order.order_id >= order_id_from])

    def _own_trades(self, signed: Signed) -> Any:
        params, register = signed.params, self._venue.market.register
        symbol = requests.symbol_of(params, self._venue.market.rules)
        count = min(requests.whole(params, "limit") or 500, ORDERS_MAX)
        order_id, end_ms = requests.whole(params, "orderId"), requests.whole(params, "endTime")
        if order_id is not None:
            order = register.by_id(signed.key.account, symbol, order_id)
            fills = order.fills if order else []
        else:
            trade_id_from, at_ms_from = requests.whole(params, "fromId"), requests.whole(params, "startTime")
            fills = register.fills(signed.key.account, symbol, count, trade_id_from=trade_id_from, at_ms_from=at_ms_from)
        return [
            codec.own_trade(fill)
            for fill in fills
            if (end_ms is None or fill.at_ms <= end_ms)
            and self._venue.is_visible(fill.order_id)
            and self._venue.is_shown(fill.trade_id)
        ]

    def _transfers(self, document: Callable[[Entry], codec.Document | None]) -> Callable[[Signed], Any]:
        """Money put in or taken out of the account, newest first, a page at most."""

        def answer(signed: Signed) -> list[codec.Document]:
            from_ms = requests.whole(signed.params, "startTime") or 0
            count = min(requests.whole(signed.params, "limit") or ORDERS_MAX, ORDERS_MAX)
            moved = [e for e in self._venue.transfers if e.body["account"] == signed.key.account and e.at_ms >= from_ms]
            return [made for entry in reversed(moved) if (made := document(entry)) is not None][:count]

        return answer

    def _trade_fee(self, signed: Signed) -> Any:
        fees = self._venue.market.fees(signed.key.account)
        return [
            {
                "symbol": symbol,
                "makerCommission": codec.amount(fees.maker_rate),
                "takerCommission": codec.amount(fees.taker_rate),
            }
            for symbol in self._chosen(signed.params) or self._venue.market.rules
        ]

    def _visible(self, orders: list[Order]) -> list[codec.Document]:
        return [codec.order_info(self._venue.shown(order)) for order in orders if self._venue.is_visible(order.order_id)]

    async def _verified(self, request: web.Request) -> Signed:
        query = request.raw_path.partition("?")[2]
        body = await request.text() if request.can_read_body else ""
        keys, now_ms = self._venue.settings.keys, self._venue.clock.now_ms()
        return verify(keys, request.headers.get("X-MBX-APIKEY"), query, body, now_ms)

    async def _wait(self, kind: Latency) -> None:
        """Half of the latency of this kind of request."""
        latency_ms = getattr(self._venue.latency, kind)
        if latency_ms:
            await asyncio.sleep(latency_ms / 2_000)

    def _give_id(self) -> str:
        self._given_ids += 1
        return f"sim{self._given_ids:019d}"

    def _check_ban(self, request: web.Request) -> None:
        banned = self._venue.limits.banned(_address(request), self._venue.clock.now_ms())
        if banned:
            raise RefusedRequest(errors.limit_exceeded(banned, self._venue.limits))

    def _spend_weight(self, request: web.Request, weight: int) -> None:
        exceeded = self._venue.limits.spend_weight(_address(request), weight, self._venue.clock.now_ms())
        if exceeded:
            raise RefusedRequest(errors.limit_exceeded(exceeded, self._venue.limits))

    def _usage(self, request: web.Request) -> dict[str, str]:
        now_ms, limits = self._venue.clock.now_ms(), self._venue.limits
        used = str(limits.weight_used(_address(request), now_ms))
        return {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}

    def _orders_used(self, account: str) -> dict[str, str]:
        orders_10s, orders_1d = self._venue.limits.orders_used(account, self._venue.clock.now_ms())
        return {"X-MBX-ORDER-COUNT-10S": str(orders_10s), "X-MBX-ORDER-COUNT-1D": str(orders_1d)}

    def _refusal(self, request: web.Request, answer: Answer) -> web.Response:
        return web.Response(
            status=answer.http_status,
            body=orjson.dumps(answer.document()),
            content_type="application/json",
            headers=self._usage(request) | answer.headers,
        )


def _accepted(outcome: Order | Refused) -> Order:
    if isinstance(outcome, Refused):
        raise RefusedRequest(errors.OF_REFUSAL[outcome.reason])
    return outcome


def _address(request: web.Request) -> str:
    return request.remote or ""


def _flat(weight: int) -> Callable[[Params], int]:
    return lambda params: weight


def _depth_weight(params: Params) -> int:
    limit = requests.whole(params, "limit") or 100
    return next(weight for bound, weight in ((100, 5), (500, 25), (1_000, 50), (10**19, 250)) if limit <= bound)


def _day_weight(params: Params) -> int:
    if "symbol" in params:
        return 2
    return 2 if params.get("symbols", "[]").count(",") < 20 and "symbols" in params else 80


def _book_weight(params: Params) -> int:
    return 2 if "symbol" in params else 4


def _open_orders_weight(params: Params) -> int:
    return 6 if "symbol" in params else 80


def _own_trades_weight(params: Params) -> int:
    return 5 if "orderId" in params else 20
