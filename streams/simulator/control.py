"""The control port: what a test, a demo or a proof may ask of the venue besides trading. Never on the venue's own port.

    GET  /control/ready                 200 once orders are taken
    GET  /control/state                 accounts' balances, user streams, tape time, prices, limits, faults done
    GET  /control/journal?from=1        the journal from a sequence on, as JSON lines (at most 50 000; 410: no longer here)
    POST /control/start                 let tape time run
    POST /control/speed                 {"speed": 30}: how fast tape time runs from now on; prices do not jump
    POST /control/faults                {"faults": [{"fault": "reply_lost", "next": 1}], "seed": 0}: replaces all (`faults`)
    POST /control/latency               {"order": 300, ...}: milliseconds, replaces all
    POST /control/limits                {"orders_10s_max": 1000, ...}: replaces the limits and forgets counts and bans
    POST /control/balances              {"account": {"USDT": "1000"}}: what is free
    POST /control/clock                 {"offset_ms": 0}: the venue's clock against the machine's
    POST /control/trading               {"symbol": "BTCUSDT", "open": false}: suspend or resume new orders
    POST /control/disconnect            end all stream connections

Wrong input is answered 400 with what is wrong, and changes nothing.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from schemas.values import Holding, plain
from streams.simulator.binance.dialect import Dialect
from streams.simulator.faults import FaultPlan
from streams.simulator.limits import Limits
from streams.simulator.settings import SPEED_MAX, LatencySettings, LimitSettings
from streams.simulator.venue import Venue

ENTRIES_MAX = 50_000


class _Balances(RootModel[dict[str, dict[str, Holding]]]):
    pass


class _Clock(BaseModel):
    model_config = ConfigDict(extra="forbid")

    offset_ms: int = Field(ge=-3_600_000, le=3_600_000)


class _Speed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    speed: int = Field(ge=1, le=SPEED_MAX)


class _Trading(BaseModel):
    model_config = ConfigDict(extra="forbid")

    symbol: str
    open: bool


class Control:
    """All control routes over one venue."""

    def __init__(self, venue: Venue, dialect: Dialect):
        self._venue = venue
        self._dialect = dialect

    def routes(self) -> list[web.RouteDef]:
        """Every control route."""
        return [
            web.get("/control/ready", self._ready),
            web.get("/control/state", self._get_state),
            web.get("/control/journal", self._journal),
            web.post("/control/start", self._start),
            web.post("/control/speed", self._posted(_Speed.model_validate_json, self._set_speed)),
            web.post("/control/faults", self._posted(FaultPlan.model_validate_json, self._venue.faults.install)),
            web.post("/control/latency", self._posted(LatencySettings.model_validate_json, self._set_latency)),
            web.post("/control/limits", self._posted(LimitSettings.model_validate_json, self._set_limits)),
            web.post("/control/balances", self._posted(_Balances.model_validate_json, self._set_balances)),
            web.post("/control/clock", self._posted(_Clock.model_validate_json, self._set_clock)),
            web.post("/control/trading", self._posted(_Trading.model_validate_json, self._set_trading)),
            web.post("/control/disconnect", self._disconnect),
        ]

    def _posted(self, parse: Callable[[bytes], Any], apply: Callable[[Any], None]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            try:
                apply(parse(await request.read()))
            except (ValidationError, ValueError) as error:
                return web.json_response({"error": str(error)}, status=400)
            return self._state()

        return handle

    async def _ready(self, request: web.Request) -> web.Response:
        return web.json_response({"ready": True})

    async def _get_state(self, request: web.Request) -> web.Response:
        return self._state()

    async def _start(self, request: web.Request) -> web.Response:
        self._venue.tape_clock.start()
        return self._state()

    async def _disconnect(self, request: web.Request) -> web.Response:
        self._dialect.disconnect()
        return self._state()

    async def _journal(self, request: web.Request) -> web.Response:
        try:
            entries = self._venue.market.journal.since(int(request.query.get("from", "1")), ENTRIES_MAX)
        except LookupError as error:
            return web.json_response({"error": str(error)}, status=410)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        body = b"".join(entry.line() for entry in entries)
        return web.Response(body=body, content_type="application/x-ndjson")

    def _set_speed(self, tape: _Speed) -> None:
        self._venue.tape_clock.set_speed(tape.speed)

    def _set_latency(self, settings: LatencySettings) -> None:
        self._venue.latency = settings

    def _set_limits(self, settings: LimitSettings) -> None:
        self._venue.limits = Limits(settings)

    def _set_balances(self, balances: _Balances) -> None:
        unknown = set(balances.root) - set(self._venue.settings.accounts)
        if unknown:
            raise ValueError(f"unknown accounts: {', '.join(sorted(unknown))}")
        for account, assets in balances.root.items():
            for asset, free in assets.items():
                self._venue.set_balance(account, asset, free)

    def _set_clock(self, clock: _Clock) -> None:
        self._venue.clock.offset_ms = clock.offset_ms

    def _set_trading(self, trading: _Trading) -> None:
        market = self._venue.market
        if trading.symbol not in market.rules:
            raise ValueError(f"{trading.symbol} is not listed")
        if trading.open:
            market.closed_symbols.discard(trading.symbol)
        else:
            market.closed_symbols.add(trading.symbol)

    def _state(self) -> web.Response:
        venue, market = self._venue, self._venue.market
        at_ms = venue.tape_clock.now_ms()
        accounts = {
            account: {
                asset: {"free": plain(balance.free), "locked": plain(balance.locked)}
                for asset, balance in market.funds.balances(account)
            }
            for account in market.funds.accounts()
        }
        prices: dict[str, Decimal] = {symbol: venue.tape.mid_price(symbol, at_ms) for symbol in market.rules}
        document = {
            "now_ms": venue.clock.now_ms(),
            "tape_at_ms": at_ms,
            "tape_is_running": venue.tape_clock.is_running,
            "prices": {symbol: plain(price) for symbol, price in prices.items()},
            "accounts": accounts,
            "user_streams": {account: venue.readers_of(account) for account in venue.settings.accounts},
            "journal_sequence": market.journal.sequence,
            "requests_refused": venue.limits.refused,
            "bans": venue.limits.bans,
            "faults_done": {fault.value: count for fault, count in venue.faults.done.items()},
            "latency": venue.latency.model_dump(),
        }
        return web.Response(body=orjson.dumps(document), content_type="application/json")
