"""The port VenueReads over ccxt: raw replies, exact text, one budget for the whole venue.

Requests bypass ccxt's unified parsing, which makes floats and guesses; its markets and its signing are what we use.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import ccxt

from schemas.values import exact
from streams.domain.errors import RefusedError, TrimtabError, UnknownOutcomeError, UnreachableError
from streams.gateways.venue import binance as dialect
from streams.gateways.venue.budget import PausedError, RequestBudget
from streams.gateways.venue.client import Credentials, Failure, VenueProfile, facts_of, make_client
from streams.ports.process import Clock
from streams.ports.venue import Frame, KeyRights, Probe

log = logging.getLogger("trimtab.venue")

FEE_DEFAULT = Decimal("0.001")  # the dialect's list price, where no account says its own
DEPTH_FOR_QUOTE = 5
_REFUSALS = frozenset({Failure.REFUSED, Failure.AUTHENTICATION, Failure.CERTIFICATE})


class VenueClosedError(UnknownOutcomeError):
    """The venue answers nothing but that it is under maintenance."""


class CcxtReads:
    """Requests to one venue: public ones, and signed ones for each account with that account's key."""

    def __init__(
        self, profile: VenueProfile, credentials: Mapping[str, Credentials], clock: Clock, budget: RequestBudget | None = None
    ) -> None:
        self.profile = profile
        self.clock = clock
        self._budget = budget or RequestBudget(profile.name, clock, profile.capabilities.weight_per_minute)
        self.client: Any = make_client(profile, None, True, self._budget)
        self.market_ids: dict[str, str] = {}
        self._accounts = {account: make_client(profile, key, False, self._budget) for account, key in credentials.items()}
        self._fees: dict[str, tuple[Decimal, Decimal]] = {}
        self._nameless: set[str] = set()

    async def open(self, symbols: Sequence[str]) -> None:
        """See the port. Refuses a venue whose precision is not given in ticks: its rules would be misread."""
        if self.client.precisionMode != ccxt.TICK_SIZE:
            raise RefusedError(
                f"venue {self.profile.name}: its precision mode is not tick size; no certified profile covers it"
            )
        markets = await self._ask("exchange information", lambda: self.client.load_markets(True))
        unknown = [symbol for symbol in symbols if symbol not in markets or not markets[symbol].get("spot")]
        if unknown:
            raise RefusedError(
                f"venue {self.profile.name} has no spot symbol {', '.join(unknown)}; correct venues.{self.profile.name}.symbols"
            )
        self.market_ids = {symbol: markets[symbol]["id"] for symbol in symbols}
        self._account_times(await self.probe())

    async def quote(self, symbol: str) -> Frame:
        """See the port. From the depth, not the ticker: only the depth carries the sequence that tells a repeat from news."""
        depth = await self.depth(symbol, DEPTH_FOR_QUOTE)
        fields = dialect.depth_quote_fields(depth)
        return Frame(symbol, fields, self.clock.wall_ms(), json.dumps(depth, separators=(",", ":")).encode())

    async def depth(self, symbol: str, levels: int) -> Mapping[str, Any]:
        """A book snapshot as the venue wrote it. Raises as every read does."""
        request = {"symbol": self.market_ids[symbol], "limit": levels}
        return await self._ask_object(f"depth of {symbol}", lambda: self.client.public_get_depth(request))

    async def probe(self) -> Probe:
        """See the port."""
        before_ms, started_s = self.clock.wall_ms(), time.perf_counter()
        reply = await self._ask_object("time", self.client.public_get_time)
        round_trip_ms = round((time.perf_counter() - started_s) * 1000)
        venue_ms = _integer(reply.get("serverTime"))
        if venue_ms is None:
            raise UnknownOutcomeError("time: the venue did not say it")
        probe = Probe(round_trip_ms, venue_ms - (before_ms + round_trip_ms // 2), self._budget.weight_left)
        self._account_times(probe)
        return probe

    async def rules(self) -> Mapping[str, Mapping[str, object]]:
        """See the port. Fees are the highest that one of our accounts pays."""
        request = {"symbols": json.dumps(list(self.market_ids.values()), separators=(",", ":"))}
        info = await self._ask_object("exchange information", lambda: self.client.public_get_exchangeinfo(request))
        listed = info.get("symbols")
        if not isinstance(listed, list) or not listed:
            raise UnknownOutcomeError("exchange information: the reply lists no symbols")
        if (weight := dialect.weight_per_minute(info)) is not None:
            self._budget.set_weight_per_minute(weight)
        markets = {market.get("symbol"): market for market in listed if isinstance(market, Mapping)}
        maker, taker = self._fee()
        return {
            symbol: dialect.rules_fields(markets[market_id], str(maker), str(taker))
            for symbol, market_id in self.market_ids.items()
            if market_id in markets
        }

    async def maintenance(self) -> bool:
        """See the port."""
        try:
            reply = await self._ask_object("system status", self.client.sapi_get_system_status)
        except VenueClosedError:
            return True
        status = reply.get("status")
        if status not in (0, 1, "0", "1"):
            raise UnknownOutcomeError("system status: neither normal nor maintenance")
        return str(status) == "1"

    async def rights(self, account: str) -> KeyRights:
        """See the port."""
        client = self._accounts[account]
        return dialect.rights(await self._ask_object(f"key of {account}", client.sapi_get_account_apirestrictions))

    async def balances(self, account: str) -> Mapping[str, object]:
        """See the port. Assets without any units are left out, as the message says."""
        reply = await self._ask_object(f"account {account}", self._accounts[account].private_get_account)
        try:
            self._fees[account] = _fees(reply)
            held = {
                asset: {"free": exact(free), "used": exact(used)} for asset, (free, used) in dialect.balances(reply).items()
            }
        except ValueError as error:
            raise UnknownOutcomeError(f"account {account}: {error}") from None
        return {
            "balances": self._named(account, {asset: units for asset, units in held.items() if any(units.values())}),
            "venue_time_ms": _integer(reply.get("updateTime")),
            "received_at_ms": self.clock.wall_ms(),
        }

    async def close(self) -> None:
        """See the port."""
        await asyncio.gather(*(client.close() for client in (self.client, *self._accounts.values())))

    def _named(self, account: str, held: dict[str, dict[str, Decimal]]) -> dict[str, dict[str, Decimal]]:
        """Without assets whose names no message can carry."""
        nameless = {asset for asset in held if not dialect.can_be_named(asset)} - self._nameless
        if nameless:
            self._nameless |= nameless
            log.warning("account %s holds assets with names that are left out: %s", account, ", ".join(sorted(nameless)))
        return {asset: units for asset, units in held.items() if dialect.can_be_named(asset)}

    def _fee(self) -> tuple[Decimal, Decimal]:
        fees = self._fees.values() or ((FEE_DEFAULT, FEE_DEFAULT),)
        return max(maker for maker, _ in fees), max(taker for _, taker in fees)

    def _account_times(self, probe: Probe) -> None:
        for client in self._accounts.values():
            client.options["timeDifference"] = -probe.clock_offset_ms

    async def _ask_object(self, what: str, call: Callable[[], Awaitable[Any]]) -> Mapping[str, Any]:
        reply = await self._ask(what, call)
        if not isinstance(reply, Mapping):
            raise UnknownOutcomeError(f"venue {self.profile.name}: {what}: the reply is no object")
        return reply

    async def _ask(self, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        where = f"venue {self.profile.name}: {what}"
        try:
            return await call()
        except PausedError as error:
            raise UnreachableError(f"{where}: {error}") from None
        except Exception as error:  # noqa: BLE001  ccxt raises its own tree and whatever its parsers trip over
            raise self._told(where, error) from None

    def _told(self, where: str, error: Exception) -> TrimtabError:
        facts = facts_of(error)
        text = f"{where}: {facts.failure}: {facts.text}"
        if facts.failure is Failure.MAINTENANCE:
            return VenueClosedError(text)
        if facts.failure in _REFUSALS:
            return RefusedError(text)
        return UnreachableError(text) if facts.failure is Failure.UNREACHABLE else UnknownOutcomeError(text)


def _integer(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isdigit() and len(value) < 16 else None


def _fees(reply: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    rates = reply.get("commissionRates")
    if not isinstance(rates, Mapping):
        return FEE_DEFAULT, FEE_DEFAULT
    return exact(rates.get("maker")), exact(rates.get("taker"))
