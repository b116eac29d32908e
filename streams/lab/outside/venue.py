"""A venue in virtual time: the matching core behind a front that lies, delays and forgets as real ones do.

It keeps its documented rules: a request counts only from its timestamp to its timestamp plus window in the venue's own time,
and what it accepted is shown to every question `margin_ms` later at the latest. All else may happen: lost requests, lost
replies, errors after acceptance, pages instead of documents, trades that are shown late.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from schemas.orders import ClosedAs, Liquidity, Side, TimeInForce
from streams.domain.orders.outcome import FlowView, OrderNews, OrderView, Standing, TradeView, VenueReply
from streams.domain.orders.stimuli import CancelRequest, OrderRequest
from streams.lab.history import History
from streams.lab.invariants import TrueTrade
from streams.matching import orders as core
from streams.matching.market import Market
from streams.matching.rules import SymbolRules
from streams.matching.settlement import FeeSchedule

VENUE = "sim"
MARGIN_MS = 2000
AHEAD_MS_MAX = 1000
TICKS = {"BTC/USDT": 20_000, "ETH/USDT": 1_500, "SOL/USDT": 40}
FUNDS = {"USDT": Decimal(5_000_000), "BTC": Decimal(100), "ETH": Decimal(1_000), "SOL": Decimal(50_000)}
_STANDINGS = {
    core.Status.NEW: Standing.OPEN,
    core.Status.PARTIALLY_FILLED: Standing.OPEN,
    core.Status.FILLED: Standing.FILLED,
    core.Status.CANCELED: Standing.CANCELED,
    core.Status.EXPIRED: Standing.EXPIRED,
}
_ENDED = {core.Status.FILLED: ClosedAs.FILLED, core.Status.CANCELED: ClosedAs.CANCELED, core.Status.EXPIRED: ClosedAs.EXPIRED}
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
_REFUSED = {"too many requests": 3000, "key refused": 1200}
_FILTER = ("-1013", "Filter failure")


@dataclass(slots=True)
class Accepted:
    """What the venue remembers of an order beside the core's own memory; `hidden` are fills that it shows later."""

    order: core.Order
    visible_ms: int
    hidden_until_ms: int = 0
    hidden: int = 0


class Venue:
    """Market, clock and journal of accepted orders, by client id. Its journal is the checks' Truth as well.

    The `followers` of an account are told its news, `witnesses` are told of each order that is accepted.
    """

    def __init__(self, history: History, offset_ms: int) -> None:
        self._history = history
        self.offset_ms = offset_ms
        self.flows: dict[str, list[FlowView]] = {}
        self.followers: dict[str, list[Callable[[OrderNews], None]]] = {}
        self.witnesses: list[Callable[[str, core.Order], None]] = []
        self._told = 0
        self.accepted: dict[str, Accepted] = {}
        self.by_venue_id: dict[str, Accepted] = {}
        rules = [_rules(symbol) for symbol in TICKS]
        self.market = Market(rules, orders_kept_max=1_000_000, entries_kept_max=1_000)
        self.best: dict[str, tuple[Decimal, Decimal]] = {}
        self._mids = {symbol: price * 100 for symbol, price in TICKS.items()}

    def open_account(self, account: str) -> None:
        """A customer with funds and fees."""
        self.market.open_account(account, FeeSchedule(Decimal("0.0002"), Decimal("0.0005")))
        self.flows[account], self.followers[account] = [], []
        for asset, amount in FUNDS.items():
            self.market.set_balance(account, asset, amount, self.now_ms())

    def now_ms(self) -> int:
        """The venue's own time."""
        return self._history.wall_ms() + self.offset_ms

    def mid_cents(self, symbol: str) -> int:
        """The middle of its prices, in hundredths of the quote."""
        return self._mids[symbol]

    def move(self, number: int) -> None:
        """Prices walk, and the venue's own liquidity with them."""
        chance = self._history.chance
        for index, (symbol, start) in enumerate(TICKS.items()):
            step = max(1, start * 100 // 2000)
            mid = self._mids[symbol] + chance.between(-step, step, "price", number, index)
            self._mids[symbol] = min(max(mid, start * 80), start * 120)
            mid, size = self._mids[symbol], Decimal(chance.between(5, 400, "size", number, index)).scaleb(-3)
            bids = [(Decimal(mid - 2).scaleb(-2), size), (Decimal(mid - 6).scaleb(-2), size)]
            asks = [(Decimal(mid + 2).scaleb(-2), size), (Decimal(mid + 6).scaleb(-2), size)]
            self.market.quote(symbol, bids, asks, self.now_ms())
            self.best[symbol] = (bids[0][0], asks[0][0])
        self._tell()

    def deposit(self, account: str, flow_id: str, asset: str, amount: Decimal) -> None:
        """Money enters an account, or leaves it."""
        free = self.market.funds.balance(account, asset).free
        self.market.set_balance(account, asset, free + amount, self.now_ms())
        self.flows[account].append(FlowView(flow_id, asset, amount, self.now_ms()))

    # Requests, as they arrive

    def place(self, account: str, request: OrderRequest, about: tuple[int, ...]) -> VenueReply:
        """Check the window as documented, then the order."""
        refused = self._gate(request, about)
        if refused is not None:
            return refused
        history, chance = self._history, self._history.chance
        order = self.market.submit(_core_request(account, request), self.now_ms())
        if isinstance(order, core.Refused):
            code, text = _REFUSALS.get(order.reason, _FILTER)
            history.seen[f"refused: {order.reason.value.lower()}"] += 1
            return VenueReply(http_status=400, code=code, text=text)
        lag_ms = chance.between(50, MARGIN_MS, "lag", *about) if chance.strikes(25_000, "order shown late", *about) else 0
        accepted = Accepted(order, self.now_ms() + lag_ms)
        for witness in self.witnesses:
            witness(account, order)
        self.accepted[request.client_order_id] = self.by_venue_id[str(order.order_id)] = accepted
        self._tell()
        return VenueReply(http_status=200, order=self.view(accepted))

    def cancel(self, account: str, request: CancelRequest, about: tuple[int, ...]) -> VenueReply:
        """Check the window, then take the order off the book."""
        refused = self._gate(request, about)
        if refused is not None:
            return refused
        accepted = self.by_venue_id.get(request.venue_order_id)
        if accepted is None:
            return VenueReply(http_status=400, code="-2011", text="Unknown order sent.")
        order, chance = accepted.order, self._history.chance
        if isinstance(no := self.market.cancel(order, "c", self.now_ms()), core.Refused):
            if order.status is core.Status.FILLED:
                self._history.seen["cancel crossed a fill"] += 1
            code, text = _REFUSALS[no.reason]
            return VenueReply(http_status=400, code=code, text=text)
        self._tell()
        if order.fills and chance.strikes(300_000, "fill shown after the cancel", *about):
            hidden_ms = chance.between(500, 9_000, "fill hidden", *about)
            accepted.hidden, accepted.hidden_until_ms = 1, self.now_ms() + hidden_ms
            self._history.engine.at(self._history.engine.now_ms + hidden_ms, self._tell_last_fill, order)
        return VenueReply(http_status=200, order=self.view(accepted))

    def _gate(self, request: OrderRequest | CancelRequest, about: tuple[int, ...]) -> VenueReply | None:
        now_ms, history = self.now_ms(), self._history
        if not request.timestamp_ms - AHEAD_MS_MAX < now_ms <= request.timestamp_ms + request.window_ms:
            history.seen["refused by the window"] += 1
            return VenueReply(http_status=400, code="-1021", text="Timestamp for this request is outside of the recvWindow.")
        mishap = history.chance.which(_REFUSED, *about)
        if mishap == "too many requests":
            return VenueReply(http_status=429, code="-1003", text="Too much request weight used.", retry_after_ms=2000)
        if mishap:
            return VenueReply(http_status=401, code="-2015", text="Invalid API-key, IP, or permissions for action.")
        return None

    def _tell(self) -> None:
        """Hand what happened to orders since the last time to those who listen to their accounts."""
        journal = self.market.journal
        for entry in journal.since(self._told + 1):
            body = entry.body
            followers = self.followers.get(str(body["account"]))
            if not followers or entry.kind == "balance_set":
                continue
            client_order_id, symbol = str(body["client_order_id"]), str(body["symbol"])
            trade, ended = None, entry.kind == "order_closed"
            if entry.kind == "fill":
                fills = self.accepted[client_order_id].order.fills
                trade = trade_view(next(fill for fill in reversed(fills) if fill.trade_id == body["trade_id"]))
                ended = body["status"] == core.Status.FILLED.value
            for follower in followers:
                follower(OrderNews(client_order_id, symbol, ended, trade))
        self._told = journal.sequence

    def _tell_last_fill(self, order: core.Order) -> None:
        """A fill that was hidden comes to light, on the stream as well."""
        for follower in self.followers[order.account]:
            follower(OrderNews(order.client_order_id, order.symbol, True, trade_view(order.fills[-1])))

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

    # The truth, for checks alone

    def holds(self, client_order_id: str) -> bool:
        """Whether an order was ever accepted under this id."""
        return client_order_id in self.accepted

    def quantity(self, client_order_id: str) -> Decimal:
        """How much it is for, in base units."""
        return self.accepted[client_order_id].order.quantity_base

    def ended(self, client_order_id: str) -> ClosedAs | None:
        """How it ended, None while it stands."""
        accepted = self.accepted.get(client_order_id)
        return None if accepted is None else _ENDED.get(accepted.order.status)

    def shown_base(self, client_order_id: str) -> Decimal:
        """How much of it was never hidden, in base units."""
        accepted = self.accepted[client_order_id]
        fills = accepted.order.fills
        return sum((fill.quantity_base for fill in fills[: len(fills) - accepted.hidden]), Decimal(0))

    def trade(self, client_order_id: str, trade_id: str) -> TrueTrade | None:
        """A trade of it."""
        accepted = self.accepted.get(client_order_id)
        for fill in accepted.order.fills if accepted is not None else ():
            if str(fill.trade_id) == trade_id:
                return TrueTrade(fill.quantity_base, fill.amount_quote, fill.fee_amount)
        return None


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
