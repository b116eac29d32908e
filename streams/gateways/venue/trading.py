"""The ports TradingVenue and ListeningVenue over ccxt: the only code that can send an order.

ccxt is used as it is: it builds, signs and sends; nothing of it retries, throttles or chooses a time. The timestamp of a
request is the caller's, set for this call alone. A last permit is asked for when only the bytes are missing (`request.py`).
Replies come back as facts with the venue's own exact text; a reply that cannot be read is a fact as well.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp

from schemas.orders import OrderType
from schemas.values import exact, plain
from streams.domain.errors import RefusedError, TrimtabError, UnknownOutcomeError, UnreachableError
from streams.domain.numbers import MONEY
from streams.domain.orders.outcome import NOT_FOUND, Failure, FlowView, OrderView, TradeView, VenueReply
from streams.domain.orders.stimuli import CancelRequest, OrderRequest
from streams.gateways.venue import binance as accounts
from streams.gateways.venue import client
from streams.gateways.venue import orders as words
from streams.gateways.venue.budget import PausedError, RequestBudget
from streams.gateways.venue.client import Credentials, facts_of, make_client, signed_at
from streams.gateways.venue.news import CcxtNews
from streams.gateways.venue.profile import VenueProfile
from streams.gateways.venue.request import NotPermittedError, connection_traces, sending
from streams.ports.process import NO_CRASH_POINTS, Clock, CrashPoints
from streams.ports.venue import KeyRights, NewsSink

log = logging.getLogger("trimtab.venue")

PAGES_MAX = 20
_REFUSALS = frozenset({client.Failure.REFUSED, client.Failure.AUTHENTICATION, client.Failure.CERTIFICATE})
_NO_BYTES = frozenset({client.Failure.UNREACHABLE, client.Failure.CERTIFICATE})


class CcxtTrading:
    """One account at one venue, with the key that may trade."""

    def __init__(
        self,
        profile: VenueProfile,
        credentials: Credentials,
        clock: Clock,
        budget: RequestBudget | None = None,
        points: CrashPoints = NO_CRASH_POINTS,
    ) -> None:
        self.dialect = profile.dialect
        self._profile = profile
        self._clock = clock
        self._budget = budget or RequestBudget(profile.name, clock, profile.capabilities.weight_per_minute)
        self._client: Any = make_client(profile, credentials, False, self._budget)
        self._order_limits: Mapping[str, int] = {}
        self._points = points
        self._client.trace_configs = connection_traces(points)
        self._news = CcxtNews(profile, credentials, clock, self._budget, self._signed)
        self._symbols: dict[str, str] = {}
        self._nameless: set[str] = set()
        self._venue_time: tuple[int, int] | None = None

    async def open(self, symbols: Sequence[str]) -> None:
        """See the port."""
        self._symbols = {words.market_id(symbol): symbol for symbol in symbols}
        listed = json.dumps(list(self._symbols), separators=(",", ":"))
        await self._ask("exchange information", lambda: self._client.load_markets(True, {"symbols": listed}))
        unknown = [symbol for symbol in symbols if symbol not in self._client.markets]
        if unknown:
            raise RefusedError(
                f"venue {self._profile.name} has no symbol {', '.join(unknown)}; correct venues.{self._profile.name}.symbols"
            )
        await self._learn_limits(listed)

    async def rights(self) -> KeyRights:
        """See the port."""
        return accounts.rights(await self._ask("key permissions", self._client.sapi_get_account_apirestrictions))

    async def time_ms(self) -> int:
        """See the port."""
        reply = await self._ask("time", self._client.public_get_time)
        return self._read("time", lambda: words.whole(reply.get("serverTime") if isinstance(reply, Mapping) else None))

    def synchronize(self, venue_time_ms: int, boot_ms: int) -> None:
        """See the port."""
        self._venue_time = (venue_time_ms, boot_ms)

    async def warm(self, connections: int) -> None:
        """See the port."""
        calls = [self._client.public_get_time() for _ in range(connections)]
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(answer, Exception):
                log.debug("venue %s: a connection could not be kept warm: %s", self._profile.name, facts_of(answer).text)

    async def place(self, request: OrderRequest, permit: Callable[[], None]) -> VenueReply:
        """See the port."""
        altered = words.unaltered(self._client, request)
        if altered is not None:
            return VenueReply(failure=Failure.NOT_SENT, text=altered)
        price = None if request.price_limit_quote is None else plain(request.price_limit_quote)
        kind = "limit" if request.order_type is OrderType.LIMIT else "market"
        return await self._send(
            permit,
            request.timestamp_ms,
            lambda: self._client.create_order(
                request.symbol, kind, request.side.value, plain(request.quantity_base), price, words.order_params(request)
            ),
        )

    async def cancel(self, request: CancelRequest, permit: Callable[[], None]) -> VenueReply:
        """See the port."""
        params = {"recvWindow": request.window_ms}
        return await self._send(
            permit,
            request.timestamp_ms,
            lambda: self._client.cancel_order(request.venue_order_id, request.symbol, params),
        )

    async def order(self, symbol: str, client_order_id: str) -> OrderView | None:
        """See the port."""
        params = {"origClientOrderId": client_order_id}
        return await self._one_order(symbol, None, params)

    async def order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderView | None:
        """See the port."""
        return await self._one_order(symbol, venue_order_id, {})

    async def open_orders(self, symbol: str) -> Sequence[OrderView]:
        """See the port."""
        orders = await self._ask("open orders", lambda: self._client.fetch_open_orders(symbol))
        return self._read("open orders", lambda: [words.order_view(order["info"], self._symbols) for order in orders])

    async def trades(self, symbol: str, since_ms: int, venue_order_id: str | None = None) -> Sequence[TradeView]:
        """See the port. Pages until the list is whole: a list that is cut is no answer."""
        first = {"startTime": since_ms} if venue_order_id is None else {"orderId": venue_order_id}
        follow = {} if venue_order_id is None else first
        found = await self._trades_page(symbol, first)
        page = found
        for _ in range(PAGES_MAX):
            if len(page) < words.TRADES_PAGE:
                return found
            page = await self._trades_page(symbol, follow | {"fromId": int(found[-1].trade_id) + 1})
            found += page
        raise UnknownOutcomeError(f"venue {self._profile.name}: own trades of {symbol} do not end")

    async def last_trades(self, symbol: str, count: int) -> Sequence[TradeView]:
        """See the port."""
        return await self._trades_page(symbol, {"limit": count})

    async def flows(self, since_ms: int) -> Sequence[FlowView]:
        """See the port."""
        request = {"startTime": since_ms, "limit": accounts.FLOWS_PAGE}
        deposits = await self._ask("deposits", lambda: self._client.sapi_get_capital_deposit_hisrec(request))
        withdrawals = await self._ask("withdrawals", lambda: self._client.sapi_get_capital_withdraw_history(request))
        found = self._read("flows", lambda: accounts.flows(deposits, withdrawals))
        return [flow for flow in found if flow.venue_time_ms >= since_ms and self._is_named(flow.asset, flow.amount)]

    async def totals(self) -> Mapping[str, Decimal]:
        """See the port."""
        reply = await self._ask("balances", self._client.private_get_account)
        held = self._read("balances", lambda: accounts.balances(reply if isinstance(reply, Mapping) else {}))
        totals = self._read(
            "balances",
            lambda: {asset: MONEY.add(exact(free), exact(used)) for asset, (free, used) in held.items()},
        )
        return {asset: total for asset, total in totals.items() if self._is_named(asset, total)}

    async def listen(self, sink: NewsSink) -> None:
        """See the port."""
        await self._news.listen(self._symbols, sink)

    def hang_up(self, why: str) -> None:
        """See the port."""
        self._news.hang_up(why)

    async def close(self) -> None:
        """See the port. ccxt leaves the closing of a session that it did not make to whoever made it."""
        await self._news.close()
        await self._client.close()

    async def _one_order(self, symbol: str, venue_order_id: str | None, params: dict[str, Any]) -> OrderView | None:
        try:
            with self._signed():
                reply = await self._client.fetch_order(venue_order_id, symbol, params)
        except Exception as error:  # noqa: BLE001  ccxt raises its own tree and whatever its parsers trip over
            if facts_of(error).api_code in NOT_FOUND[self.dialect]:
                return None
            raise self._told("order", error) from None
        return self._read("order", lambda: words.order_view(reply["info"], self._symbols))

    async def _trades_page(self, symbol: str, params: dict[str, Any]) -> list[TradeView]:
        request = {"symbol": self._client.market(symbol)["id"], "limit": words.TRADES_PAGE} | params
        reply = await self._ask("own trades", lambda: self._client.private_get_mytrades(request))
        if not isinstance(reply, list):
            raise UnknownOutcomeError(f"venue {self._profile.name}: own trades: the reply is no list")
        return self._read("own trades", lambda: [words.trade_view(trade, self._symbols) for trade in reply])

    async def _send(
        self, permit: Callable[[], None], timestamp_ms: int, call: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> VenueReply:
        with sending(permit, self._points) as request:
            try:
                with signed_at(timestamp_ms, effect=True):
                    reply = await call()
                order = words.order_view(reply.get("info"), self._symbols)
                return VenueReply(http_status=200, order=order, retry_after_ms=self._orders_used_up_ms(timestamp_ms))
            except Exception as error:  # noqa: BLE001  whatever happens to a request is a fact, and the protocol judges it
                told = _reply_of(error)
                if told.failure is Failure.NOT_CONNECTED and request.written:
                    return replace(told, failure=Failure.NO_REPLY)
                return told

    def _is_named(self, asset: str, amount: Decimal) -> bool:
        """Whether messages can name the asset. What they cannot name is in no books; that there is some is said once."""
        named = accounts.can_be_named(asset)
        if not named and amount and asset not in self._nameless:
            self._nameless.add(asset)
            log.warning("venue %s: %s of an asset with a name that is left out: %s", self._profile.name, amount, asset)
        return named

    async def _learn_limits(self, listed: str) -> None:
        info = await self._ask("exchange information", lambda: self._client.public_get_exchangeinfo({"symbols": listed}))
        if not isinstance(info, Mapping):
            raise UnknownOutcomeError(f"venue {self._profile.name}: exchange information: the reply is no object")
        if (weight := accounts.weight_per_minute(info)) is not None:
            self._budget.set_weight_per_minute(weight)
        self._order_limits = accounts.order_limits(info)

    def _orders_used_up_ms(self, venue_time_ms: int) -> int | None:
        """How long until the venue takes a new order of this account again, when its own count has reached its limit."""
        counted = self._client.orders_counted
        full = [name for name, limit in self._order_limits.items() if counted.get(name, 0) >= limit]
        left = [(length_ms := accounts.interval_ms(name)) - venue_time_ms % length_ms for name in full]
        return max(left, default=None)

    async def _ask(self, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            with self._signed():
                return await call()
        except Exception as error:  # noqa: BLE001  as above
            raise self._told(what, error) from None

    @contextmanager
    def _signed(self) -> Iterator[None]:
        """Reads carry the venue's own time as far as it is known."""
        if self._venue_time is None:
            yield
            return
        venue_time_ms, boot_ms = self._venue_time
        with signed_at(venue_time_ms + self._clock.boot_ms() - boot_ms):
            yield

    def _read(self, what: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (words.UnreadableError, ValueError, KeyError, TypeError) as error:
            raise UnknownOutcomeError(f"venue {self._profile.name}: {what}: {error}"[:300]) from None

    def _told(self, what: str, error: Exception) -> TrimtabError:
        if isinstance(error, PausedError):
            return UnreachableError(f"venue {self._profile.name}: {what}: {error}")
        if isinstance(error, TrimtabError):
            return error
        facts = facts_of(error)
        text = f"venue {self._profile.name}: {what}: {facts.failure}: {facts.text}"
        if facts.failure in _REFUSALS:
            return RefusedError(text)
        return UnreachableError(text) if facts.failure in _NO_BYTES else UnknownOutcomeError(text)


def _reply_of(error: Exception) -> VenueReply:
    if isinstance(error, NotPermittedError):
        return VenueReply(failure=Failure.NOT_SENT, text=str(error))
    if isinstance(error, PausedError):
        return VenueReply(failure=Failure.NOT_SENT, text=str(error), retry_after_ms=error.left_ms)
    if isinstance(error, words.UnreadableError):
        return VenueReply(http_status=200, failure=Failure.UNUSABLE, text=str(error))
    facts = facts_of(error)
    if facts.api_code is not None:
        return VenueReply(facts.http_status, facts.api_code, facts.text, retry_after_ms=facts.retry_after_ms)
    if facts.http_status is None and isinstance(error.__cause__, aiohttp.ClientConnectorError | socket.gaierror):
        return VenueReply(failure=Failure.NOT_CONNECTED, text=facts.text)
    failure = Failure.NO_REPLY if facts.http_status is None else Failure.UNUSABLE
    return VenueReply(facts.http_status, failure=failure, text=facts.text)
