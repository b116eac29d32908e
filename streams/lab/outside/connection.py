"""One process's connection for one account, as the port TradingVenue: requests that fare badly, questions that get lost."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from streams.domain.errors import UnknownOutcomeError, UnreachableError
from streams.domain.orders.outcome import Failure, FlowView, OrderView, TradeView, VenueReply
from streams.domain.orders.stimuli import CancelRequest, OrderRequest
from streams.lab.chance import identity
from streams.lab.engine import Pause
from streams.lab.history import History
from streams.lab.outside.leases import Database
from streams.lab.outside.venue import Venue
from streams.lab.process import Process
from streams.ports.venue import KeyRights

REQUEST_TIMEOUT_MS = 3000
QUESTION_TIMEOUT_MS = 1500
_FARES = {
    "request lost": 4000,
    "reply lost": 5000,
    "server error, taken all the same": 3000,
    "server error, not taken": 1500,
    "a page instead of a document": 1500,
    "reply cut off": 1500,
    "reply of another order": 1000,
    "held up beyond its window": 3000,
    "held up within its window": 10_000,
    "reply beyond the client's patience": 1500,
    "not connected": 3000,
}
"""How a request may fare, and how many of a million do so."""
_QUESTIONS = {"question lost": 4000, "question not sent": 1500}
_CONNECTS = {"asleep in connect": 6000, "HALT file laid in connect": 3000}


class VenueClient:
    """The port TradingVenue: one process's connection for one account. `departed` is told when a request's bytes leave."""

    dialect = "binance"

    def __init__(
        self,
        history: History,
        venue: Venue,
        database: Database,
        process: Process,
        account: str,
        departed: Callable[[], None] | None = None,
    ) -> None:
        self._history = history
        self._venue = venue
        self._database = database
        self._process = process
        self._account = account
        self._departed = departed
        self._asked = 0

    async def place(self, request: OrderRequest, permit: Callable[[], None]) -> VenueReply:
        """Send one order."""
        about = identity(request.client_order_id)
        return await self._send(request, permit, about, self._venue.place)

    async def cancel(self, request: CancelRequest, permit: Callable[[], None]) -> VenueReply:
        """Send one cancel."""
        about = (*identity(request.client_order_id), request.timestamp_ms)
        return await self._send(request, permit, about, self._venue.cancel)

    async def _send(
        self, request: Any, permit: Callable[[], None], about: tuple[int, ...], arrive: Callable[..., VenueReply]
    ) -> VenueReply:
        history, chance = self._history, self._history.chance
        fare = chance.which(_FARES, *about)
        await self._connect(about)
        if fare == "not connected":
            history.seen[f"fared: {fare}"] += 1
            return VenueReply(failure=Failure.NOT_CONNECTED)
        try:
            permit()
        except Exception as no:  # noqa: BLE001  as the gateway: whatever the permit raises keeps the bytes here
            return VenueReply(failure=Failure.NOT_SENT, text=str(no))
        if chance.strikes(6000, "asleep before the bytes", *about):
            self._process.sleep(chance.between(300, 9000, "asleep for", *about), "between the last check and the bytes")
        await Pause(0)
        assert self._departed is not None
        self._departed()
        if fare:
            history.seen[f"fared: {fare}"] += 1
            history.tell(f"  {request.client_order_id[:6]}: {fare}")
        out_ms, back_ms = chance.between(2, 25, "out", *about), chance.between(2, 25, "back", *about)
        if fare.startswith("held up"):
            out_ms += chance.between(1, 1200, fare, *about) if "within" in fare else chance.between(1900, 6000, fare, *about)
            if chance.strikes(200_000, "row lost meanwhile", *about):
                self._database.lose_row(self._account)
        if fare.startswith("reply beyond"):
            back_ms += REQUEST_TIMEOUT_MS
        box: list[VenueReply] = []
        if fare not in ("request lost", "server error, not taken"):
            history.engine.at(history.engine.now_ms + out_ms, lambda: box.append(arrive(self._account, request, about)))
        patience = REQUEST_TIMEOUT_MS if fare in ("request lost", "reply lost") else out_ms + back_ms
        reply = await Pause(min(patience, REQUEST_TIMEOUT_MS), lambda: box[0] if box else None)
        if out_ms + back_ms >= REQUEST_TIMEOUT_MS or fare in ("request lost", "reply lost"):
            return VenueReply(failure=Failure.NO_REPLY, text="timed out")
        return self._bent(fare, reply)

    async def _connect(self, about: tuple[int, ...]) -> None:
        chance, process = self._history.chance, self._process
        mishap = chance.which(_CONNECTS, *about)
        if mishap == "asleep in connect":
            process.sleep(chance.between(300, 9000, "asleep for", *about), "while it connects")
        elif mishap:
            process.lay_halt_file(chance.between(300, 3000, "halt file for", *about))
        await Pause(chance.between(0, 2, "connect", *about))

    def _bent(self, fare: str, reply: VenueReply | None) -> VenueReply:
        """What becomes of a reply on its way."""
        if fare.startswith("server error"):
            return VenueReply(http_status=503, text="Service unavailable")
        if fare == "a page instead of a document":
            return VenueReply(http_status=200, text="<html>")
        if fare == "reply cut off":
            return VenueReply(http_status=200, failure=Failure.UNUSABLE, text="unexpected end of data")
        assert reply is not None
        if fare == "reply of another order" and reply.order is not None:
            return replace(reply, order=replace(reply.order, client_order_id="another", venue_order_id="0"))
        return reply

    # Questions

    async def time_ms(self) -> int:
        """The venue's time."""
        return await self._ask(self._venue.now_ms)

    async def order(self, symbol: str, client_order_id: str) -> OrderView | None:
        """By client id."""
        return await self._ask(lambda: self._venue.shown(self._venue.accepted.get(client_order_id)))

    async def order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderView | None:
        """By the venue's id."""
        return await self._ask(lambda: self._venue.shown(self._venue.by_venue_id.get(venue_order_id)))

    async def open_orders(self, symbol: str) -> Sequence[OrderView]:
        """All that stand on a book."""
        return await self._ask(lambda: self._venue.open_orders(self._account, symbol))

    async def trades(self, symbol: str, since_ms: int, venue_order_id: str | None = None) -> Sequence[TradeView]:
        """Own trades."""
        return await self._ask(lambda: self._venue.trades(self._account, symbol, since_ms, venue_order_id))

    async def last_trades(self, symbol: str, count: int) -> Sequence[TradeView]:
        """The newest own trades."""
        return (await self.trades(symbol, 0))[-count:]

    async def flows(self, since_ms: int) -> Sequence[FlowView]:
        """Deposits and withdrawals."""
        return await self._ask(lambda: [flow for flow in self._venue.flows[self._account] if flow.venue_time_ms >= since_ms])

    async def totals(self) -> dict[str, Decimal]:
        """What the account holds."""
        return await self._ask(lambda: self._venue.totals(self._account))

    async def rights(self) -> KeyRights:
        """A key that may trade."""
        return KeyRights(read=True, trade=True, withdraw=False)

    async def open(self, symbols: Sequence[str]) -> None:
        """The markets are known."""

    async def warm(self, connections: int) -> None:
        """No connections here."""

    async def close(self) -> None:
        """No connections here."""

    def synchronize(self, venue_time_ms: int, boot_ms: int) -> None:
        """Questions need no signature here."""

    async def _ask(self, answer: Callable[[], Any]) -> Any:
        history, self._asked = self._history, self._asked + 1
        about = (self._process.number, history.engine.now_ms, self._asked % 8)
        mishap = history.chance.which(_QUESTIONS, *about)
        if mishap == "question lost":
            await Pause(QUESTION_TIMEOUT_MS)
            raise UnknownOutcomeError("the venue did not answer")
        if mishap:
            await Pause(1)
            raise UnreachableError("the venue could not be reached")
        number = history.chance.number("question", *about)
        answered = await Pause(1 + number % 12, answer)
        await Pause(1 + number // 16 % 12)
        return answered
