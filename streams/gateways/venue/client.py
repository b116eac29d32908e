"""One way to build a ccxt client, and one way to read its errors.

ccxt alone is not enough for money: it keeps addresses of the real exchange beside overridden ones, loses the spot error table
on any other address, hides HTTP status, venue code and Retry-After, calls a revoked key a passing ban once a call worked, and
shares a rate limiter between orders and everything else. `make_client` builds a thin subclass in the one configuration that
was proven; `facts_of` tells from an exception what really happened, by codes and never by class alone.
"""

import logging
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any

import aiohttp
import ccxt.async_support
import ccxt.pro

from streams.domain.errors import RefusedError
from streams.domain.numbers import DECISION
from streams.gateways.venue.budget import RequestBudget
from streams.gateways.venue.profile import Credentials, VenueProfile
from streams.gateways.venue.request import CheckedRequest

__all__ = ["Credentials", "Failure", "VenueFacts", "VenueProfile", "facts_of", "make_client", "redact", "signed_at"]

CLOSED_PORT_HTTP = "http://127.0.0.1:1"
CLOSED_PORT_WS = "ws://127.0.0.1:1"
KEEPALIVE_S = 75.0
DNS_TTL_S = 300
RETRY_AFTER_DEFAULT_MS = 60_000

# ccxt prints headers with the API key and signed addresses at DEBUG.
logging.getLogger("ccxt").setLevel(logging.WARNING)

_ORDER_COUNT = "x-mbx-order-count-"
_ORDER_LIMITS = frozenset({"-1015"})  # a limit of the account's orders, not of the address: the order budget keeps it

_effect: ContextVar[bool] = ContextVar("effect", default=False)
_request_time_ms: ContextVar[int | None] = ContextVar("request_time_ms", default=None)
_QUERY = re.compile(r"\?[^\s\"']+")
_SIGNED = re.compile(r"(?i)\b(signature|apikey|x-mbx-apikey|secret)([\"']?\s*[=:]\s*[\"']?)[^\s&\"',}]+")


class Failure(StrEnum):
    """What a failed call means for whoever made it.

    REFUSED: the venue understood and said no. AUTHENTICATION: the key is wrong or may not. LIMITED: over a limit or banned,
    all requests to this venue must pause. CLOCK: our timestamp was outside the window; refused. MAINTENANCE: the venue is
    closed. UNREACHABLE: provably nothing was sent. CERTIFICATE: the other side is not who it should be; nothing was sent.
    UNKNOWN: anything else; a request with an effect may have had it.
    """

    REFUSED = "refused"
    AUTHENTICATION = "authentication"
    LIMITED = "limited"
    CLOCK = "clock"
    MAINTENANCE = "maintenance"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class VenueFacts:
    """What an exception of a venue call says: its meaning, the raw code, HTTP status, Retry-After, and redacted words."""

    failure: Failure
    api_code: str | None
    http_status: int | None
    retry_after_ms: int | None
    text: str


# Venue codes that mean the same whatever HTTP status or exception class they come with.
_CODES: dict[str, dict[str, Failure]] = {
    "binance": {
        "-1000": Failure.UNKNOWN,
        "-1001": Failure.UNKNOWN,
        "-1002": Failure.AUTHENTICATION,
        "-1003": Failure.LIMITED,
        "-1004": Failure.UNKNOWN,
        "-1006": Failure.UNKNOWN,
        "-1007": Failure.UNKNOWN,
        "-1008": Failure.UNKNOWN,
        "-1015": Failure.LIMITED,
        "-1021": Failure.CLOCK,
        "-1022": Failure.AUTHENTICATION,
        "-2014": Failure.AUTHENTICATION,
        "-2015": Failure.AUTHENTICATION,
    }
}
_LIMITED_STATUS = frozenset({403, 418, 429, 451})


def make_client(profile: VenueProfile, credentials: Credentials | None, pro: bool, budget: RequestBudget) -> Any:
    """A ccxt client of the profile's dialect: spot only, no retries, addresses as configured, requests admitted by `budget`.

    With `pro` it has the streaming calls. The caller closes it. Its extra members: `orders_counted` (the venue's own counts of
    new orders by interval, from its newest reply) and `frame_tap` (see `streams.py`). Raises RefusedError when an address of
    the dialect's own would remain reachable beside configured ones.
    """
    base = getattr(ccxt.pro if pro else ccxt.async_support, profile.dialect)
    kind: Any = type(f"Trimtab{base.__name__.title()}", (_StrictClient, base), {})
    config: dict[str, Any] = {
        "enableRateLimit": False,
        "timeout": profile.timeout_ms,
        "streaming": {"keepAlive": profile.socket_ping_ms},
        "options": {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},
            "fetchMargins": False,
            "fetchCurrencies": False,
            "adjustForTimeDifference": False,
            "recvWindow": profile.read_window_ms,
            "fetchOpenOrders": {"warnWithoutSymbol": False},
            "createOrder": {"quoteOrderQty": False},
            "ws": {"keepAlive": profile.socket_ping_ms},
        },
    }
    if credentials is not None:
        config |= {"apiKey": credentials.api_key, "secret": credentials.secret}
    client = kind(config)
    client.budget, client.orders_counted = budget, {}
    client.weight_of_cost = profile.capabilities.weight_of_cost
    # The spot table is chosen by the address's prefix and is lost on every other address, and on the private socket always.
    client.exceptions["exact"] = client.exceptions["exact"] | client.exceptions["spot"]["exact"]
    if profile.urls:
        _rewrite(client, profile)
    return client


class _StrictClient:
    """Mixed in before a ccxt class: errors that carry their facts, our request time, our connections, no surprises."""

    urls: dict[str, Any]
    id: str
    session: Any
    ssl_context: Any
    tcp_connector: Any
    cafile: Any
    closed_by_user: bool
    addresses_fixed = False
    budget: RequestBudget
    weight_of_cost: Decimal
    orders_counted: dict[str, int]
    frame_tap: "Callable[[Any, Any], Any] | None" = None
    trace_configs: Sequence[aiohttp.TraceConfig] = ()

    def nonce(self) -> int:
        """The request's timestamp: as set by `signed_at`, else ccxt's clock."""
        chosen = _request_time_ms.get()
        return chosen if chosen is not None else int(super().nonce())  # pyright: ignore[reportAttributeAccessIssue]

    async def throttle(self, cost: Any = None) -> None:
        """ccxt's limiter queues orders behind reads; reaching it is a fault of ours."""
        raise AssertionError("the client's own rate limiter must stay unused")

    async def fetch2(self, path: str, api: Any = "public", method: str = "GET", params: Any = None, config: Any = None) -> Any:
        """ccxt's one way out for requests: ours admits each, and tells everybody when the venue says that it is too many."""
        params, config = params or {}, config or {}
        cost = self.calculate_rate_limiter_cost(api, method, path, params, config)  # pyright: ignore[reportAttributeAccessIssue]
        weight = int(DECISION.multiply(Decimal(str(cost)), self.weight_of_cost).to_integral_value(ROUND_CEILING))
        await self.budget.admit(weight, effect=_effect.get())
        try:
            return await super().fetch2(path, api, method, params, config)  # pyright: ignore[reportAttributeAccessIssue]
        except Exception as error:
            facts = facts_of(error)
            if facts.failure is Failure.LIMITED and facts.api_code not in _ORDER_LIMITS:
                await self.budget.pause(facts.retry_after_ms or RETRY_AFTER_DEFAULT_MS, facts.text)
            raise

    def open(self, lazy: bool = False) -> None:
        """Open connections that stay warm: idle ones are kept longer than the venue's quietest minute."""
        if self.session is None and not (lazy and self.closed_by_user):
            if self.ssl_context is None:
                self.ssl_context = _trust(self.cafile)
            self.tcp_connector = aiohttp.TCPConnector(
                ssl=self.ssl_context, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=DNS_TTL_S
            )
            self.session = aiohttp.ClientSession(
                connector=self.tcp_connector, request_class=CheckedRequest, trace_configs=list(self.trace_configs)
            )
        super().open(lazy)  # pyright: ignore[reportAttributeAccessIssue]

    def client(self, url: str) -> Any:
        """ccxt's socket for an address, with our tap around its frame handler."""
        made = super().client(url)  # pyright: ignore[reportAttributeAccessIssue]
        if self.frame_tap is not None and not getattr(made, "tapped", False):
            made.tapped = True
            self.frame_tap(made, made.handle_text_or_binary_message)
        return made

    def on_rest_response(
        self, code: int, reason: str, url: str, method: str, headers: Mapping[str, str], body: str, *rest: Any
    ) -> Any:
        """Read the venue's own counts from each reply; ccxt's copy of headers races between calls."""
        used = _header(headers, "x-mbx-used-weight-1m")
        if used is not None and used.isdigit():
            self.budget.observe(int(used))
        for name, value in headers.items():
            if name.lower().startswith(_ORDER_COUNT) and value.isdigit():
                self.orders_counted[name.lower().removeprefix(_ORDER_COUNT)] = int(value)
        return super().on_rest_response(code, reason, url, method, headers, body, *rest)  # pyright: ignore[reportAttributeAccessIssue]

    def handle_errors(
        self, code: int, reason: str, url: str, method: str, headers: Any, body: Any, response: Any, *rest: Any
    ) -> Any:
        """ccxt's mapping, with the facts attached to whatever it raises, its status table included."""
        try:
            answer = super().handle_errors(code, reason, url, method, headers, body, response, *rest)  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(code, int) and code >= 400 and method:
                self.handle_http_status_code(code, reason, url, method, body)
            return answer
        except Exception as error:
            code_raw = response.get("code") if isinstance(response, dict) else None
            error.venue_facts = (  # type: ignore[attr-defined]
                str(code_raw) if code_raw is not None else None,
                code if isinstance(code, int) and code >= 100 else None,
                _retry_after_ms(headers),
                self.id,
            )
            raise

    def handle_http_status_code(self, code: int, reason: str, url: str, method: str, body: Any) -> None:
        """ccxt's status table; what it does not list but is no success is raised as well, never returned as a result."""
        super().handle_http_status_code(code, reason, url, method, body)  # pyright: ignore[reportAttributeAccessIssue]
        if not 200 <= code < 300:
            raise ccxt.ExchangeNotAvailable(f"{self.id} {method} {code} {reason}")

    def set_sandbox_mode(self, enabled: bool) -> None:
        """Refused on configured addresses: it would silently replace them by public ones."""
        self._refuse_switch()
        super().set_sandbox_mode(enabled)  # pyright: ignore[reportAttributeAccessIssue]

    def enable_demo_trading(self, enable: bool) -> None:
        """Refused on configured addresses: it would silently replace them by public ones."""
        self._refuse_switch()
        super().enable_demo_trading(enable)  # pyright: ignore[reportAttributeAccessIssue]

    def _refuse_switch(self) -> None:
        if self.addresses_fixed:
            raise RefusedError("sandbox and demo modes would replace the configured addresses; configure theirs instead")


@lru_cache
def _trust(cafile: str | None) -> ssl.SSLContext:
    """Whom connections trust, read once: it takes longer than all the rest of making a client."""
    return ssl.create_default_context(cafile=cafile)


@contextmanager
def signed_at(request_time_ms: int, *, effect: bool = False) -> Iterator[None]:
    """Within it, and in this task alone, signed requests carry this timestamp (venue time, UTC ms).

    `effect` says that the request is an order or a cancel: it has a budget of its own and asks for no share of the weight.
    """
    token, meant = _request_time_ms.set(request_time_ms), _effect.set(effect)
    try:
        yield
    finally:
        _effect.reset(meant)
        _request_time_ms.reset(token)


def facts_of(error: BaseException) -> VenueFacts:
    """What an exception raised by a client's call says. Never raises, never shows a secret."""
    code, status, retry_after_ms, dialect = getattr(error, "venue_facts", (None, None, None, ""))
    failure = _failure(error, code, status, dialect)
    if failure is Failure.LIMITED and retry_after_ms is None:
        retry_after_ms = RETRY_AFTER_DEFAULT_MS
    words = redact(str(error)).strip()[:300]
    return VenueFacts(
        failure, code, status, retry_after_ms, f"{type(error).__name__}: {words}" if words else type(error).__name__
    )


def redact(text: str) -> str:
    """`text` without the query part of addresses and without anything that looks like a key or signature."""
    return _SIGNED.sub(r"\1\2[redacted]", _QUERY.sub("?[redacted]", text))


def _failure(error: BaseException, code: str | None, status: int | None, dialect: str) -> Failure:
    if status in _LIMITED_STATUS:
        return Failure.LIMITED
    known = _CODES.get(dialect, {}).get(code or "")
    if known is not None:
        return known
    if isinstance(error, ccxt.OnMaintenance):
        return Failure.MAINTENANCE
    if status is not None and 400 <= status < 500 and code is not None:
        return Failure.REFUSED
    if status is not None:
        return Failure.UNKNOWN
    return _failure_without_reply(error)


def _failure_without_reply(error: BaseException) -> Failure:
    cause = error.__cause__ or error
    if isinstance(cause, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return Failure.CERTIFICATE
    if isinstance(cause, aiohttp.ClientConnectorError | socket.gaierror | ConnectionRefusedError):
        return Failure.UNREACHABLE
    if isinstance(error, ccxt.AuthenticationError):
        return Failure.AUTHENTICATION  # raised before anything is sent: a credential is missing
    if isinstance(error, ccxt.BadSymbol | ccxt.ArgumentsRequired | ccxt.NotSupported):
        return Failure.REFUSED
    return Failure.UNKNOWN


def _header(headers: Any, name: str) -> str | None:
    if not isinstance(headers, Mapping):
        return None
    return next((str(value) for key, value in headers.items() if str(key).lower() == name), None)


def _retry_after_ms(headers: Any) -> int | None:
    text = _header(headers, "retry-after")
    return int(text) * 1000 if text is not None and text.isdigit() and len(text) < 8 else None


def _rewrite(client: Any, profile: VenueProfile) -> None:
    """Point every address of the class at the configured ones, and all others at a closed port of this machine."""
    addresses = profile.urls or {}
    rest = addresses["rest"].rstrip("/")
    kept = {
        ("public",): f"{rest}/api/v3",
        ("private",): f"{rest}/api/v3",
        ("v1",): f"{rest}/api/v1",
        ("sapi",): f"{rest}/sapi/v1",
        ("ws", "spot"): addresses["stream"].rstrip("/"),
        ("ws", "ws-api", "spot"): addresses["ws_api"].rstrip("/"),
    }

    def rewritten(node: Mapping[str, Any], trail: tuple[str, ...]) -> dict[str, Any]:
        return {
            key: rewritten(value, (*trail, key))
            if isinstance(value, Mapping)
            else kept.get((*trail, key), CLOSED_PORT_WS if trail[:1] == ("ws",) else CLOSED_PORT_HTTP)
            for key, value in node.items()
        }

    client.urls = {"api": rewritten(client.urls["api"], ()), "test": {}, "demo": {}}
    client.addresses_fixed = True
    if rest.startswith("http://"):
        client.timeout_on_exit = 0  # ccxt waits for TLS connections to go down; there are none
    allowed = {*kept.values(), CLOSED_PORT_HTTP, CLOSED_PORT_WS}
    found = set(_leaves(client.urls))
    wanted = {address for trail, address in kept.items() if trail[0] != "ws" or "ws" in client.urls["api"]}
    if not wanted <= found <= allowed:
        raise RefusedError(f"venues.{profile.name}.urls: ccxt's address tree is not the one this profile was certified with")


def _leaves(node: Mapping[str, Any]) -> Iterator[str]:
    for value in node.values():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield str(value)
