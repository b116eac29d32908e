"""What the venue says of an account's orders and trades by itself, over ccxt.pro: its dialling and signing, our reading.

Every frame passes through our tap (`streams.py` tells why). Reports of orders end there, as exact text; only the answer to
our subscription reaches ccxt. A report that nobody can read is a hint that is lost: requests will show what it would have told.
Whether the stream still speaks is not known here: whoever takes the news keeps the clock and calls `hang_up`.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import orjson

from streams.gateways.venue import orders as words
from streams.gateways.venue.budget import RequestBudget
from streams.gateways.venue.client import Credentials, make_client
from streams.gateways.venue.profile import VenueProfile
from streams.gateways.venue.sockets import SOCKET_LIFE_S, Sockets
from streams.ports.process import Clock
from streams.ports.venue import NewsSink

log = logging.getLogger("trimtab.venue")

_FAREWELLS = frozenset({"eventStreamTerminated", "serverShutdown"})


class CcxtNews:
    """The private stream of one account. `signed` sets the time that a subscription is signed with."""

    def __init__(
        self,
        profile: VenueProfile,
        credentials: Credentials,
        clock: Clock,
        budget: RequestBudget,
        signed: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._client: Any = make_client(profile, credentials, True, budget)
        self._client.frame_tap = self._tap
        self._client.markets = {}  # ccxt would ask for them; reports name symbols in the venue's own words
        self._url: str = self._client.urls["api"]["ws"]["ws-api"]["spot"]
        self._sockets = Sockets(self._client, clock, f"venue {profile.name}: account")
        self._name = profile.name
        self._subscribed_within_s = profile.subscribed_within_ms / 1000
        self._signed = signed
        self._symbols: Mapping[str, str] = {}
        self._sink: NewsSink | None = None
        self._deadline: asyncio.Timeout | None = None
        self._unreadable = 0

    async def listen(self, symbols: Mapping[str, str], sink: NewsSink) -> None:
        """Subscribe, and stay subscribed until cancelled. `symbols` gives ours for the dialect's."""
        self._symbols, self._sink = symbols, sink
        await self._sockets.stay(self._url, self._watch)

    def hang_up(self, why: str) -> None:
        """Close the connection; it is dialled and subscribed anew."""
        self._sockets.hang_up(self._url, why)

    async def close(self) -> None:
        """Close everything."""
        await self._client.close()

    async def _watch(self, _number: int) -> None:
        async with asyncio.timeout(self._subscribed_within_s) as self._deadline:
            with self._signed():
                await self._client.watch_my_trades()

    def _tap(self, socket: Any, ccxt_handler: Callable[[Any], None]) -> None:
        def handle(data: str | bytes) -> None:
            try:
                self._take(data, ccxt_handler)
            except Exception as error:  # noqa: BLE001  whatever a frame does to its reader, the connection lives on
                self._unreadable += 1
                if self._unreadable == 1:
                    log.warning("venue %s: a frame of the account's stream cannot be read: %s", self._name, str(error)[:200])

        socket.handle_text_or_binary_message = handle

    def _take(self, data: str | bytes, ccxt_handler: Callable[[Any], None]) -> None:
        message = orjson.loads(data)
        if not isinstance(message, Mapping):
            raise ValueError(f"a frame is an object, not a {type(message).__name__}")
        event = message.get("event")
        if isinstance(event, Mapping):
            self._hear(event)
            return
        ccxt_handler(data)
        result = message.get("result")
        if self._sink is not None and isinstance(result, Mapping) and "subscriptionId" in result:
            if self._deadline is not None:
                self._deadline.reschedule(asyncio.get_running_loop().time() + SOCKET_LIFE_S)
            self._unreadable = 0
            self._sink.connected()

    def _hear(self, event: Mapping[str, Any]) -> None:
        kind = event.get("e")
        if kind in _FAREWELLS:
            self.hang_up(f"the venue says {kind}")
        elif kind == words.ORDER_REPORT and self._sink is not None and event.get("s") in self._symbols:
            self._sink.told(words.order_news(event, self._symbols))
