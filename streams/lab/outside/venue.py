"""A venue in virtual time: the matching core behind a front that lies, delays and forgets as real ones do.

It keeps its documented rules: a request counts only from its timestamp to its timestamp plus window in the venue's own time,
and what it accepted is shown to every question `margin_ms` later at the latest. All else may happen: lost requests, lost
replies, errors after acceptance, pages instead of documents, trades that are shown late.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from schemas.orders import Liquidity, Side, TimeInForce
from streams.domain.errors import UnknownOutcomeError, UnreachableError
from streams.domain.orders.outcome import Failure, FlowView, OrderView, Standing, TradeView, VenueReply
from streams.domain.orders.stimuli import CancelRequest, OrderRequest
from streams.lab.engine import Pause
from streams.matching import orders as core
from streams.matching.market import Market
from streams.matching.rules import SymbolRules
from streams.matching.settlement import FeeSchedule
from streams.ports import KeyRights

if TYPE_CHECKING:
    from streams.lab.executor import Tenure
    from streams.lab.world import World

VENUE = "sim"
MARGIN_MS = 2000
AHEAD_MS_MAX = 1000
REQUEST_TIMEOUT_MS = 3000
QUESTION_TIMEOUT_MS = 1500
TICKS = {"BTC/USDT": 20_000, "ETH/USDT": 1_500, "SOL/USDT": 40}
FUNDS = {"USDT": Decimal(5_000_000), "BTC": Decimal(100), "ETH": Decimal(1_000), "SOL": Decimal(50_000)}
_STANDINGS = {
    core.Status.NEW: Standing.OPEN,
    core.Status.PARTIALLY_FILLED: Standing.OPEN,
    core.Status.FILLED: Standing.FILLED,
    core.Status.CANCELED: Standing.CANCELED,
    core.Status.EXPIRED: Standing.EXPIRED,
}
_SIDES = {Side.BUY: core.Side.BUY, Side.SELL: core.Side.SELL}
_OURS = {ours: theirs for theirs, ours in _SIDES.items()}
_IN_FORCE = {
    TimeInForce.IOC: core.TimeInForce.IOC,
    TimeInForce.FOK: core.TimeInForce.FOK,
    TimeInForce.GTC: core.TimeInForce.GTC,
    TimeInForce.POST_ONLY: core.TimeInForce.GTC,
}
_REFUSALS = {
    core.Refusal.INSUFFICIENT_FUNDS: ("-2010", "Account has insufficient balance for requested action."),
    core.Refusal.DUPLICATE: ("-2010", "Duplicate order sent."),
    core.Refusal.WOULD_TAKE: ("-2010", "Order would immediately match and take."),
    core.Refusal.UNKNOWN_ORDER: ("-2011", "Unknown order sent."),
}
_FILTER = ("-1013", "Filter failure")


@dataclass(slots=True)
class Accepted:
    """What the venue remembers of an order beside the core's own memory; `hidden` are fills that it shows later."""

    order: core.Order
    visible_ms: int
    hidden_until_ms: int = 0
    hidden: int = 0


class Venue:
    """Market, clock and journal of accepted orders, by client id."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.offset_ms = 0
        self.accepted: dict[str, Accepted] = {}
        self.by_venue_id: dict[str, Accepted] = {}
        rules = [_rules(symbol) for symbol in TICKS]
        self.market = Market(rules, orders_kept_max=1_000_000, entries_kept_max=1_000)
        self.best: dict[str, tuple[Decimal, Decimal]] = {}
        self._mids = {symbol: price * 100 for symbol, price in TICKS.items()}

    def open_account(self, account: str) -> None:
        """A customer with funds and fees."""
        self.market.open_account(account, FeeSchedule(Decimal("0.0002"), Decimal("0.0005")))
        for asset, amount in FUNDS.items():
            self.market.set_balance(account, asset, amount, self.now_ms())

    def now_ms(self) -> int:
        """The venue's own time."""
        return self._world.wall_ms() + self.offset_ms

    def mid_cents(self, symbol: str) -> int:
        """The middle of its prices, in hundredths of the quote."""
        return self._mids[symbol]

    def move(self, number: int) -> None:
        """Prices walk, and the venue's own liquidity with them."""
        chance = self._world.chance
        for index, (symbol, start) in enumerate(TICKS.items()):
            step = max(1, start * 100 // 2000)
            mid = self._mids[symbol] + chance.between(-step, step, "price", number, index)
            self._mids[symbol] = min(max(mid, start * 80), start * 120)
            mid, size = self._mids[symbol], Decimal(chance.between(5, 400, "size", number, index)).scaleb(-3)
            bids = [(Decimal(mid - 2).scaleb(-2), size), (Decimal(mid - 6).scaleb(-2), size)]
            asks = [(Decimal(mid + 2).scaleb(-2), size), (Decimal(mid + 6).scaleb(-2), size)]
            self.market.quote(symbol, bids, asks, self.now_ms())
            self.best[symbol] = (bids[0][0], asks[0][0])

    # Requests, as they arrive

    def place(self, account: str, request: OrderRequest, about: tuple[int, ...]) -> VenueReply:
        """Check the window as documented, then the order."""
        refused = self._gate(account, request, about)
        if refused is not None:
            return refused
        world, chance = self._world, self._world.chance
        order = self.market.submit(_core_request(account, request), self.now_ms())
        if isinstance(order, core.Refused):
            code, text = _REFUSALS.get(order.reason, _FILTER)
            world.seen[f"refused: {order.reason.value.lower()}"] += 1
            return VenueReply(http_status=400, code=code, text=text)
        lag_ms = chance.between(50, MARGIN_MS, "lag", *about) if chance.strikes(25_000, "order shown late", *about) else 0
        accepted = Accepted(order, self.now_ms() + lag_ms)
        world.accepted(account, order, request)
        self.accepted[request.client_order_id] = self.by_venue_id[str(order.order_id)] = accepted
        return VenueReply(http_status=200, order=self.view(accepted))

    def cancel(self, account: str, request: CancelRequest, about: tuple[int, ...]) -> VenueReply:
        """Check the window, then take the order off the book."""
        refused = self._gate(account, request, about)
        if refused is not None:
            return refused
        accepted = self.by_venue_id.get(request.venue_order_id)
        if accepted is None:
            return VenueReply(http_status=400, code="-2011", text="Unknown order sent.")
        order, chance = accepted.order, self._world.chance
        if isinstance(no := self.market.cancel(order, "c", self.now_ms()), core.Refused):
            if order.status is core.Status.FILLED:
                self._world.seen["cancel crossed a fill"] += 1
            code, text = _REFUSALS[no.reason]
            return VenueReply(http_status=400, code=code, text=text)
        if order.fills and chance.strikes(300_000, "fill shown after the cancel", *about):
            accepted.hidden = 1
            accepted.hidden_until_ms = self.now_ms() + chance.between(500, 9_000, "fill hidden", *about)
        return VenueReply(http_status=200, order=self.view(accepted))

    def _gate(self, account: str, request: OrderRequest | CancelRequest, about: tuple[int, ...]) -> VenueReply | None:
        now_ms, world = self.now_ms(), self._world
        if not request.timestamp_ms - AHEAD_MS_MAX < now_ms <= request.timestamp_ms + request.window_ms:
            world.seen["refused by the window"] += 1
            return VenueReply(http_status=400, code="-1021", text="Timestamp for this request is outside of the recvWindow.")
        if world.chance.strikes(3000, "too many requests", *about):
            return VenueReply(http_status=429, code="-1003", text="Too much request weight used.", retry_after_ms=2000)
        if world.chance.strikes(1200, "key refused", *about):
            return VenueReply(http_status=401, code="-2015", text="Invalid API-key, IP, or permissions for action.")
        return None

    # What it shows

    def view(self, accepted: Accepted) -> OrderView:
        """An order as it is shown now."""
        order = accepted.order
        hidden = order.fills[len(order.fills) - self._hidden(accepted) :]
        return OrderView(
            venue_order_id=str(order.order_id),
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=_OURS[order.side],
            quantity_base=order.quantity_base,
            filled_base=order.filled_base - sum((fill.quantity_base for fill in hidden), Decimal(0)),
            standing=_STANDINGS[order.status],
            venue_time_ms=order.accepted_at_ms,
        )

    def shown(self, accepted: Accepted | None) -> OrderView | None:
        """The order, if questions see it by now."""
        return self.view(accepted) if accepted is not None and accepted.visible_ms <= self.now_ms() else None

    def open_orders(self, account: str, symbol: str) -> list[OrderView]:
        """All that stand on the book, and are shown."""
        standing = (self.accepted[order.client_order_id] for order in self.market.register.open(account, symbol))
        return [view for accepted in standing if (view := self.shown(accepted)) is not None]

    def trades(self, account: str, symbol: str, since_ms: int, venue_order_id: str | None) -> list[TradeView]:
        """Own trades that are shown by now."""
        if venue_order_id is not None:
            one = self.by_venue_id.get(venue_order_id)
            return [] if one is None else [trade_view(fill) for fill in self._shown_fills(one)]
        fills = self.market.register.fills(account, symbol, 1000, at_ms_from=since_ms)
        seen: dict[str, set[int]] = {}
        for fill in fills:
            if fill.client_order_id not in seen:
                seen[fill.client_order_id] = {f.trade_id for f in self._shown_fills(self.accepted[fill.client_order_id])}
        return [trade_view(fill) for fill in fills if fill.trade_id in seen[fill.client_order_id]]

    def _shown_fills(self, accepted: Accepted) -> list[core.Fill]:
        if accepted.visible_ms > self.now_ms():
            return []
        fills = accepted.order.fills
        return fills[: len(fills) - self._hidden(accepted)]

    def _hidden(self, accepted: Accepted) -> int:
        return accepted.hidden if self.now_ms() < accepted.hidden_until_ms else 0

    def totals(self, account: str) -> dict[str, Decimal]:
        """Free and locked together."""
        balances = self.market.funds.balances(account)
        return {asset: balance.free + balance.locked for asset, balance in balances}


def _rules(symbol: str) -> SymbolRules:
    base, quote = symbol.split("/")
    step = Decimal("0.001")
    return SymbolRules(symbol, base, quote, Decimal("0.01"), step, Decimal(0), Decimal(0), step, Decimal(0))


def trade_view(fill: core.Fill) -> TradeView:
    """A trade as the venue shows it."""
    return TradeView(
        trade_id=str(fill.trade_id),
        venue_order_id=str(fill.order_id),
        symbol=fill.symbol,
        side=_OURS[fill.side],
        price_quote=fill.price_quote,
        quantity_base=fill.quantity_base,
        quote_amount=fill.amount_quote,
        fee_asset=fill.fee_asset,
        fee_amount=fill.fee_amount,
        liquidity=Liquidity.MAKER if fill.is_maker else Liquidity.TAKER,
        venue_time_ms=fill.at_ms,
    )


def _core_request(account: str, request: OrderRequest) -> core.OrderRequest:
    post_only = request.time_in_force is TimeInForce.POST_ONLY
    assert request.price_limit_quote is not None
    return core.OrderRequest(
        account=account,
        symbol=request.symbol,
        side=_SIDES[request.side],
        kind=core.Kind.LIMIT_MAKER if post_only else core.Kind.LIMIT,
        client_order_id=request.client_order_id,
        time_in_force=_IN_FORCE[request.time_in_force],
        quantity_base=request.quantity_base,
        price_quote=request.price_limit_quote,
    )


# How a request may fare, and how many of a million do so.
_FARES: tuple[tuple[str, int], ...] = (
    ("request lost", 4000),
    ("reply lost", 5000),
    ("server error, taken all the same", 3000),
    ("server error, not taken", 1500),
    ("a page instead of a document", 1500),
    ("reply cut off", 1500),
    ("reply of another order", 1000),
    ("held up beyond its window", 3000),
    ("held up within its window", 10_000),
    ("reply beyond the client's patience", 1500),
    ("not connected", 3000),
)


class VenueClient:
    """The port TradingVenue: one process's connection for one account. `departed` is told when a request's bytes leave."""

    dialect = "binance"

    def __init__(self, world: "World", tenure: "Tenure", departed: Callable[[], None] | None = None) -> None:
        self._world = world
        self._departed = departed
        self._process = tenure.process
        self._account = tenure.seat.account.account
        self._asked = 0

    async def place(self, request: OrderRequest, permit: Callable[[], None]) -> VenueReply:
        """Send one order."""
        about = self._world.identity(request.client_order_id)
        return await self._send(request, permit, about, self._world.venue.place)

    async def cancel(self, request: CancelRequest, permit: Callable[[], None]) -> VenueReply:
        """Send one cancel."""
        about = (*self._world.identity(request.client_order_id), request.timestamp_ms)
        return await self._send(request, permit, about, self._world.venue.cancel)

    async def _send(
        self, request: Any, permit: Callable[[], None], about: tuple[int, ...], arrive: Callable[..., VenueReply]
    ) -> VenueReply:
        world, chance = self._world, self._world.chance
        fare = next((what for what, parts in _FARES if chance.strikes(parts, what, *about)), "")
        if chance.strikes(6000, "asleep in connect", *about):
            self._process.sleep(chance.between(300, 9000, "asleep for", *about), "while it connects")
        await Pause(chance.between(0, 2, "connect", *about))
        if fare == "not connected":
            world.fared[fare] += 1
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
            world.fared[fare] += 1
            world.tell(f"  {request.client_order_id[:6]}: {fare}")
        out_ms, back_ms = chance.between(2, 25, "out", *about), chance.between(2, 25, "back", *about)
        if fare.startswith("held up"):
            out_ms += chance.between(1, 1200, fare, *about) if "within" in fare else chance.between(1900, 6000, fare, *about)
            if chance.strikes(200_000, "row lost meanwhile", *about):
                world.lose_row(self._account)
        if fare.startswith("reply beyond"):
            back_ms += REQUEST_TIMEOUT_MS
        box: list[VenueReply] = []
        if fare not in ("request lost", "server error, not taken"):
            world.engine.at(world.engine.now_ms + out_ms, lambda: box.append(arrive(self._account, request, about)))
        patience = REQUEST_TIMEOUT_MS if fare in ("request lost", "reply lost") else out_ms + back_ms
        reply = await Pause(min(patience, REQUEST_TIMEOUT_MS), lambda: box[0] if box else None)
        if out_ms + back_ms >= REQUEST_TIMEOUT_MS or fare in ("request lost", "reply lost"):
            return VenueReply(failure=Failure.NO_REPLY, text="timed out")
        return self._bent(fare, reply)

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
        return await self._ask(self._world.venue.now_ms)

    async def order(self, symbol: str, client_order_id: str) -> OrderView | None:
        """By client id."""
        venue = self._world.venue
        return await self._ask(lambda: venue.shown(venue.accepted.get(client_order_id)))

    async def order_by_venue_id(self, symbol: str, venue_order_id: str) -> OrderView | None:
        """By the venue's id."""
        venue = self._world.venue
        return await self._ask(lambda: venue.shown(venue.by_venue_id.get(venue_order_id)))

    async def open_orders(self, symbol: str) -> Sequence[OrderView]:
        """All that stand on a book."""
        return await self._ask(lambda: self._world.venue.open_orders(self._account, symbol))

    async def trades(self, symbol: str, since_ms: int, venue_order_id: str | None = None) -> Sequence[TradeView]:
        """Own trades."""
        return await self._ask(lambda: self._world.venue.trades(self._account, symbol, since_ms, venue_order_id))

    async def last_trades(self, symbol: str, count: int) -> Sequence[TradeView]:
        """The newest own trades."""
        return (await self.trades(symbol, 0))[-count:]

    async def flows(self, since_ms: int) -> Sequence[FlowView]:
        """Deposits and withdrawals."""
        return await self._ask(lambda: [flow for flow in self._world.flows[self._account] if flow.venue_time_ms >= since_ms])

    async def totals(self) -> dict[str, Decimal]:
        """What the account holds."""
        return await self._ask(lambda: self._world.venue.totals(self._account))

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
        world, self._asked = self._world, self._asked + 1
        about = (self._process.number, world.engine.now_ms, self._asked % 8)
        if world.chance.strikes(4000, "question lost", *about):
            await Pause(QUESTION_TIMEOUT_MS)
            raise UnknownOutcomeError("the venue did not answer")
        if world.chance.strikes(1500, "question not sent", *about):
            await Pause(1)
            raise UnreachableError("the venue could not be reached")
        number = world.chance.number("question", *about)
        answered = await Pause(1 + number % 12, answer)
        await Pause(1 + number // 16 % 12)
        return answered
