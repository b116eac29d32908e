"""The core of a venue: takes orders and cancels, trades them in exact price-time order, and writes down what it did.

Pure: no clock (each call carries its time in UTC milliseconds), no randomness, no I/O. The same calls in the same order
give the same journal, to the byte. A call either is refused and changes nothing, or is accepted and journalled.

How an order goes: the filters, the client id, then a *plan* of the trades it would make now. The plan answers what must
be known before anything moves: whether a post-only order would take, whether a fill-or-kill can be filled, what a market
order costs. Funds are locked for exactly that, the plan is carried out, and what remains rests or ends.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from schemas.values import plain
from streams.matching.amounts import ZERO, exactly
from streams.matching.book import Book, Level, Match
from streams.matching.funds import BACKGROUND, FEES, Funds
from streams.matching.journal import Entry, Journal
from streams.matching.orders import (
    Fill,
    Kind,
    Order,
    OrderRequest,
    Refusal,
    Refused,
    Side,
    Status,
    TimeInForce,
)
from streams.matching.register import Register
from streams.matching.rules import SymbolRules, check_order
from streams.matching.settlement import NO_FEES, FeeSchedule, needed, settle, spend_asset


class Market:
    """All books, funds and orders of one venue."""

    def __init__(
        self,
        symbols: Iterable[SymbolRules],
        *,
        orders_kept_max: int = 100_000,
        entries_kept_max: int = 1_000_000,
        ids_from: int = 0,
    ):
        self.rules = {rules.symbol: rules for rules in symbols}
        self.books = {symbol: Book(ids_from) for symbol in self.rules}
        self.funds = Funds()
        self.journal = Journal(entries_kept_max)
        self.register = Register(orders_kept_max)
        self.closed_symbols: set[str] = set()
        """Symbols whose trading is suspended: new orders are refused, cancels pass."""
        self._fees: dict[str, FeeSchedule] = {}
        self._background: dict[str, dict[tuple[Side, Decimal], Order]] = {symbol: {} for symbol in self.rules}
        self._order_id = ids_from
        self._trade_id = ids_from

    def open_account(self, account: str, fees: FeeSchedule = NO_FEES) -> None:
        """Admit a customer with a fee schedule. Raises ValueError for the venue's own names."""
        if account in (BACKGROUND, FEES):
            raise ValueError(f"{account} is the venue's own account")
        self.funds.open(account)
        self._fees[account] = fees

    def fees(self, account: str) -> FeeSchedule:
        """The schedule of a customer. Raises KeyError for an unknown one."""
        return self._fees[account]

    @exactly
    def set_balance(self, account: str, asset: str, free: Decimal, now_ms: int) -> Entry:
        """Set what an account has free of an asset: money that enters or leaves the venue, as the entry says."""
        change = self.funds.put(account, asset, free)
        locked = self.funds.balance(account, asset).locked
        return self.journal.append(
            now_ms,
            "balance_set",
            account=account,
            asset=asset,
            change=plain(change),
            free=plain(free),
            locked=plain(locked),
        )

    @exactly
    def submit(self, request: OrderRequest, now_ms: int) -> Order | Refused:
        """Accept an order and trade it as far as it goes, or refuse it. Raises KeyError for an unknown account."""
        fees = self._fees[request.account]
        refusal = self._refusal(request)
        if refusal:
            return Refused(refusal)
        rules, matches = self.rules[request.symbol], self._plan(request)
        quantity_base, amount_quote = _extent(request, matches)
        if request.kind is Kind.LIMIT_MAKER and matches:
            return Refused(Refusal.WOULD_TAKE)
        if request.time_in_force is TimeInForce.FOK and _total(matches) < quantity_base:
            matches = []
        locked = needed(fees, request.side, quantity_base, amount_quote)
        if not self.funds.lock(request.account, spend_asset(rules, request.side), locked):
            return Refused(Refusal.INSUFFICIENT_FUNDS)
        order = self._accept(request, quantity_base, locked, now_ms)
        for match in matches:
            self._trade(order, match, now_ms)
        self._rest_or_end(order, now_ms)
        return order

    @exactly
    def cancel(self, order: Order, cancel_id: str, now_ms: int) -> Refused | None:
        """End an open order and free its funds; refused when it is no longer open."""
        if not order.status.is_open:
            return Refused(Refusal.UNKNOWN_ORDER)
        self.books[order.symbol].remove(order)
        self._close(order, Status.CANCELED, now_ms, cancel_id)
        return None

    @exactly
    def quote(self, symbol: str, bids: Sequence[Level], asks: Sequence[Level], now_ms: int) -> None:
        """Set the venue's own liquidity to these levels.

        A level that stays as it is keeps its place in time; all others leave first and then arrive anew, trading with
        customers' orders that they meet, at the customers' prices.
        """
        wanted = {(Side.BUY, price): total for price, total in bids} | {(Side.SELL, price): total for price, total in asks}
        standing = self._background[symbol]
        for key, order in list(standing.items()):
            if not order.status.is_open or wanted.get(key) != order.remaining_base:
                del standing[key]
                if order.status.is_open:
                    order.status = Status.CANCELED
                    self.books[symbol].remove(order)
        for (side, price), total in wanted.items():
            if (side, price) not in standing:
                self._provide(symbol, side, price, total, now_ms)

    def _refusal(self, request: OrderRequest) -> Refusal | None:
        rules = self.rules.get(request.symbol)
        if rules is None:
            return Refusal.UNKNOWN_SYMBOL
        if request.symbol in self.closed_symbols:
            return Refusal.MARKET_CLOSED
        refusal = check_order(rules, request, self.books[request.symbol].best(request.side.opposite))
        if refusal:
            return refusal
        former = self.register.by_client_id(request.account, request.symbol, request.client_order_id)
        return Refusal.DUPLICATE if former and former.status.is_open else None

    def _plan(self, request: OrderRequest) -> list[Match]:
        book = self.books[request.symbol]
        if request.quantity_quote > 0:
            return book.plan_amount(request.side, request.quantity_quote, self.rules[request.symbol].step_size)
        limit = None if request.kind is Kind.MARKET else request.price_quote
        return book.plan(request.side, request.quantity_base, limit)

    def _accept(self, request: OrderRequest, quantity_base: Decimal, locked: Decimal, now_ms: int) -> Order:
        self._order_id += 1
        order = Order(
            order_id=self._order_id,
            account=request.account,
            symbol=request.symbol,
            client_order_id=request.client_order_id,
            side=request.side,
            kind=request.kind,
            time_in_force=request.time_in_force,
            price_quote=request.price_quote,
            quantity_base=quantity_base,
            quantity_quote=request.quantity_quote,
            accepted_at_ms=now_ms,
            updated_at_ms=now_ms,
            locked=locked,
        )
        self.register.add(order)
        self.journal.append(
            now_ms,
            "order_accepted",
            account=order.account,
            symbol=order.symbol,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            side=order.side.value,
            order_kind=order.kind.value,
            time_in_force=order.time_in_force.value,
            price_quote=plain(order.price_quote),
            quantity_base=plain(order.quantity_base),
            quantity_quote=plain(order.quantity_quote),
        )
        return order

    def _provide(self, symbol: str, side: Side, price: Decimal, total: Decimal, now_ms: int) -> None:
        order = Order(
            order_id=-self.books[symbol].update_id - 1,
            account=BACKGROUND,
            symbol=symbol,
            client_order_id="",
            side=side,
            kind=Kind.LIMIT,
            time_in_force=TimeInForce.GTC,
            price_quote=price,
            quantity_base=total,
            quantity_quote=ZERO,
            accepted_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        for match in self.books[symbol].plan(side, total, price):
            self._trade(order, match, now_ms)
        if order.remaining_base > 0:
            self.books[symbol].add(order)
            self._background[symbol][(side, price)] = order

    def _trade(self, taker: Order, match: Match, now_ms: int) -> None:
        """Both sides of one trade, at the resting order's price."""
        maker, quantity = match.maker, match.quantity_base
        amount_quote = maker.price_quote * quantity
        self._trade_id += 1
        for order in (taker, maker):
            order.filled_base += quantity
            order.filled_quote += amount_quote
            order.updated_at_ms = now_ms
            order.status = Status.PARTIALLY_FILLED if order.remaining_base else Status.FILLED
        book = self.books[maker.symbol]
        book.reduce(maker, quantity)
        if not maker.status.is_open:
            book.remove(maker)
        self._book_fill(taker, maker, match, now_ms)
        self._book_fill(maker, taker, match, now_ms)
        if maker.account != BACKGROUND and not maker.status.is_open:
            self._close(maker, Status.FILLED, now_ms)

    def _book_fill(self, order: Order, other: Order, match: Match, now_ms: int) -> None:
        """Move the funds of one side; customers' fills are remembered and journalled."""
        rules, fees = self.rules[order.symbol], self._fees.get(order.account, NO_FEES)
        is_maker, quantity = order is match.maker, match.quantity_base
        amount_quote = match.maker.price_quote * quantity
        fee = settle(self.funds, rules, fees, order, quantity, amount_quote, is_maker=is_maker)
        if order.account == BACKGROUND:
            return
        fill = Fill(
            trade_id=self._trade_id,
            account=order.account,
            symbol=order.symbol,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            side=order.side,
            price_quote=match.maker.price_quote,
            quantity_base=quantity,
            amount_quote=amount_quote,
            fee_amount=fee.amount,
            fee_asset=fee.asset,
            is_maker=is_maker,
            at_ms=now_ms,
        )
        order.fills.append(fill)
        self.register.record(fill)
        if is_maker and order.status.is_open:
            self._release(order, self._still_needed(order))
        self._journal_fill(order, fill, other.account, now_ms)

    def _journal_fill(self, order: Order, fill: Fill, counterparty: str, now_ms: int) -> None:
        self.journal.append(
            now_ms,
            "fill",
            trade_id=fill.trade_id,
            account=fill.account,
            symbol=fill.symbol,
            order_id=fill.order_id,
            client_order_id=fill.client_order_id,
            side=fill.side.value,
            price_quote=plain(fill.price_quote),
            quantity_base=plain(fill.quantity_base),
            amount_quote=plain(fill.amount_quote),
            fee_amount=plain(fill.fee_amount),
            fee_asset=fill.fee_asset,
            is_maker=fill.is_maker,
            filled_base=plain(order.filled_base),
            filled_quote=plain(order.filled_quote),
            status=order.status.value,
            counterparty=counterparty,
        )

    def _rest_or_end(self, order: Order, now_ms: int) -> None:
        """After its trades a taker is filled, rests in the book, or expires."""
        if order.status is Status.FILLED:
            self._close(order, Status.FILLED, now_ms)
        elif order.kind is Kind.MARKET or order.time_in_force is not TimeInForce.GTC:
            self._close(order, Status.EXPIRED, now_ms)
        else:
            self._release(order, self._still_needed(order))
            self.books[order.symbol].add(order)

    def _close(self, order: Order, status: Status, now_ms: int, cancel_id: str = "") -> None:
        order.status, order.updated_at_ms = status, now_ms
        self._release(order, ZERO)
        self.register.close(order)
        self.journal.append(
            now_ms,
            "order_closed",
            account=order.account,
            symbol=order.symbol,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            status=status.value,
            filled_base=plain(order.filled_base),
            filled_quote=plain(order.filled_quote),
            cancel_id=cancel_id,
        )

    def _still_needed(self, order: Order) -> Decimal:
        remaining = order.remaining_base
        fees = self._fees[order.account]
        return needed(fees, order.side, remaining, remaining * order.price_quote)

    def _release(self, order: Order, keep: Decimal) -> None:
        """Unlock what the order holds beyond what it still needs (price improvement, the fee's reserve, its end)."""
        asset = spend_asset(self.rules[order.symbol], order.side)
        self.funds.unlock(order.account, asset, order.locked - keep)
        order.locked = keep


def _total(matches: Sequence[Match]) -> Decimal:
    return sum((match.quantity_base for match in matches), ZERO)


def _extent(request: OrderRequest, matches: Sequence[Match]) -> tuple[Decimal, Decimal]:
    """How much base the order is for, and the quote amount that it may come to."""
    if request.kind is not Kind.MARKET:
        return request.quantity_base, request.quantity_base * request.price_quote
    cost = sum((match.quantity_base * match.maker.price_quote for match in matches), ZERO)
    return (request.quantity_base or _total(matches)), cost
