"""What an account's event log says: the durable half of the protocol's state, and the one function that advances it.

`evolve` is a fold of `orders.events`: an owner that takes over reads the log and stands exactly where its predecessor stood.
Events of a lower epoch that land after a higher OwnerStarted are evidence of a former owner and change nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from schemas.executor import AnsweredUpTo, ForeignOrder
from schemas.ledger import OrderState
from schemas.orders import (
    AccountHalted,
    AccountOpened,
    AccountResumed,
    AttemptEvent,
    CancelIntended,
    CancelOrder,
    CommandAdmitted,
    CommandEvent,
    CommandNotAdmitted,
    CommandsDistrusted,
    ExecutionEvent,
    FlowClassified,
    FlowObserved,
    ForeignOrderGone,
    ForeignOrderSeen,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderFound,
    OrderIntended,
    OwnerStarted,
    PlaceOrder,
    Side,
)
from streams.domain.errors import InvariantError
from streams.domain.frozen import changed
from streams.domain.numbers import MONEY
from streams.domain.orders.lifecycle import LEGAL, TERMINAL, advance, happened
from streams.domain.orders.limits import Turnover, booked

ENDED_MAX = 1000
FLOWS_KEPT_MS = 14 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Intent:
    """The newest attempt of a command as it was made durable. `timestamp_ms` is the venue's time."""

    attempt: int
    client_order_id: str
    timestamp_ms: int
    window_ms: int
    side: Side | None = None
    quantity_base: Decimal | None = None


@dataclass(frozen=True)
class Order:
    """A command that was admitted and has not ended.

    `reserved_quote` is what it can still trade. `command` is None only after a take-over, until it was read again from its
    offset. `traded` are the fills by the venue's trade id. `own_cause` says why the executor decided this cancel itself.
    """

    command_id: str
    portfolio: str
    symbol: str
    incarnation: str
    decision_number: int
    ordinal: int
    commands_offset: int
    state: OrderState
    target_command_id: str | None = None
    reserved_quote: Decimal = Decimal(0)
    command: PlaceOrder | CancelOrder | None = None
    intent: Intent | None = None
    venue_order_id: str | None = None
    traded: Mapping[str, Decimal] = field(default_factory=dict)
    traded_quote: Decimal = Decimal(0)
    own_cause: str = ""

    @property
    def is_cancel(self) -> bool:
        """Whether this is a command to cancel another one's order."""
        return self.target_command_id is not None

    @property
    def filled_base(self) -> Decimal:
        """The sum of its fills, in base units."""
        total = Decimal(0)
        for quantity in self.traded.values():
            total = MONEY.add(total, quantity)
        return total


@dataclass(frozen=True)
class Ended:
    """An order that ended a while ago: still known, so that a late fill finds its home and no id looks foreign."""

    command_id: str
    portfolio: str
    symbol: str
    attempt: int
    client_order_id: str
    venue_order_id: str | None = None
    side: Side | None = None
    trade_ids: frozenset[str] = frozenset()
    filled_base: Decimal = Decimal(0)
    ended_at_ms: int = 0


@dataclass(frozen=True)
class Books:
    """An account's durable state.

    `totals` is what it should hold: the opening, plus fills and flows, less fees. `opened_at_ms` is the venue's time of the
    opening: what flowed before is part of it. `flows_open` are (asset, signed amount) of flows that nobody has classified;
    `flows_seen` holds the venue's time of each flow of the last weeks, and of each announcement that explained one;
    `foreign_orders` are the orders by hand that stand on the book, by their flow's id. Up to `reconciled_ms` the account's
    trades were compared with the books: it lasts by checkpoints alone. Every order that ended after `forgotten_ms` is among
    `ended`. `refused_early` marks what was refused of an incarnation of its portfolio that is not the one of `answered`.
    """

    account: str
    epoch: int = 0
    opened: bool = False
    opened_at_ms: int = 0
    reconciled_ms: int = 0
    forgotten_ms: int = 0
    flows_open: Mapping[str, tuple[str, Decimal]] = field(default_factory=dict)
    flows_seen: Mapping[str, int] = field(default_factory=dict)
    foreign_orders: Mapping[str, ForeignOrder] = field(default_factory=dict)
    orders: Mapping[str, Order] = field(default_factory=dict)
    ended: Mapping[str, Ended] = field(default_factory=dict)
    answered: Mapping[str, AnsweredUpTo] = field(default_factory=dict)
    refused_early: Mapping[str, AnsweredUpTo] = field(default_factory=dict)
    halts: Mapping[str, str] = field(default_factory=dict)
    totals: Mapping[str, Decimal] = field(default_factory=dict)
    turnover: Turnover = field(default_factory=dict)
    commands_next_offset: int = 0

    def knows(self, client_order_id: str) -> bool:
        """Whether an order with this client id was ours within the last while."""
        if client_order_id in self.ended:
            return True
        return any(o.intent is not None and o.intent.client_order_id == client_order_id for o in self.orders.values())

    def answers(self, command: PlaceOrder | CancelOrder) -> bool:
        """Whether this command, or one that was decided after it, was answered: it is a repeat."""
        marks = (self.answered.get(command.portfolio), self.refused_early.get(command.portfolio))
        return not all(precedes(mark, command.incarnation, command.decision_number, command.ordinal) for mark in marks)

    def has_trade(self, command_id: str, client_order_id: str, trade_id: str) -> bool:
        """Whether this trade of that order is booked already."""
        order, ended = self.orders.get(command_id), self.ended.get(client_order_id)
        return (order is not None and trade_id in order.traded) or (ended is not None and trade_id in ended.trade_ids)


def evolve(books: Books, event: ExecutionEvent) -> Books:
    """The books after one event of the account. Raises InvariantError for an event that cannot follow."""
    if event.epoch < books.epoch:
        return books
    match event:
        case OwnerStarted():
            return changed(books, epoch=event.epoch)
        case AccountOpened():
            return changed(books, opened=True, opened_at_ms=event.venue_time_ms, totals=dict(event.totals))
        case FlowObserved():
            return _flowed(books, event)
        case FlowClassified():
            flows = {flow_id: flow for flow_id, flow in books.flows_open.items() if flow_id != event.flow_id}
            return changed(books, flows_open=flows, flows_seen={**books.flows_seen, event.control_id: event.at_ms})
        case ForeignOrderSeen():
            return changed(books, foreign_orders={**books.foreign_orders, event.flow_id: foreign_order(event)})
        case ForeignOrderGone():
            standing = {flow_id: order for flow_id, order in books.foreign_orders.items() if flow_id != event.flow_id}
            return changed(books, foreign_orders=standing)
        case AccountHalted():
            return changed(books, halts={**books.halts, event.halt_id: event.cause})
        case AccountResumed():
            lifted = set(event.halt_ids)
            return changed(books, halts={k: v for k, v in books.halts.items() if k not in lifted})
        case CommandAdmitted():
            return _admitted(books, event)
        case CommandNotAdmitted():
            return _not_admitted(books, event)
        case CommandsDistrusted():
            return changed(books, commands_next_offset=max(books.commands_next_offset, event.offset_to))
        case CommandEvent():
            return _progressed(books, event)
        case _:
            return books


def _flowed(books: Books, event: FlowObserved) -> Books:
    if event.flow_id in books.flows_seen:
        return books
    totals = {**books.totals, event.asset: MONEY.add(books.totals.get(event.asset, Decimal(0)), event.amount)}
    kept_from_ms = event.venue_time_ms - FLOWS_KEPT_MS
    seen = {flow_id: at_ms for flow_id, at_ms in books.flows_seen.items() if at_ms >= kept_from_ms}
    return changed(
        books,
        totals=totals,
        flows_open={**books.flows_open, event.flow_id: (event.asset, event.amount)},
        flows_seen={**seen, event.flow_id: event.venue_time_ms},
    )


def foreign_order(event: ForeignOrderSeen) -> ForeignOrder:
    """What is remembered of an order by hand."""
    return ForeignOrder.model_validate(event.model_dump(include=set(ForeignOrder.model_fields)))


def precedes(answered: AnsweredUpTo | None, incarnation: str, decision_number: int, ordinal: int) -> bool:
    """Whether (decision number, ordinal) lies above everything answered for its portfolio's incarnation."""
    if answered is None or answered.incarnation != incarnation:
        return True
    return (answered.decision_number, answered.ordinal) < (decision_number, ordinal)


def _admitted(books: Books, event: CommandAdmitted) -> Books:
    if event.own_cause and event.command_id in books.orders:
        return books  # published again from what its machine had kept
    if event.command_id in books.orders:
        raise InvariantError(f"account {books.account}: command {event.command_id} was admitted twice")
    price = max(event.price_limit_quote or Decimal(0), event.price_mid_quote or Decimal(0))
    order = Order(
        command_id=event.command_id,
        portfolio=event.portfolio,
        symbol=event.symbol,
        incarnation=event.incarnation,
        decision_number=event.decision_number,
        ordinal=event.ordinal,
        commands_offset=event.commands_offset,
        state=advance(None, happened(event)).state,
        target_command_id=event.target_command_id,
        reserved_quote=MONEY.multiply(price, event.quantity_base or Decimal(0)),
        own_cause=event.own_cause,
    )
    if event.own_cause:
        return changed(books, orders={**books.orders, event.command_id: order})
    answered = AnsweredUpTo(incarnation=event.incarnation, decision_number=event.decision_number, ordinal=event.ordinal)
    return changed(
        books,
        orders={**books.orders, event.command_id: order},
        answered={**books.answered, event.portfolio: answered},
        refused_early=_without(books.refused_early, event.portfolio, event.incarnation),
        commands_next_offset=max(books.commands_next_offset, event.commands_offset + 1),
    )


def _not_admitted(books: Books, event: CommandNotAdmitted) -> Books:
    """A refused command of another incarnation does not move the mark, it has one of its own: that incarnation may be one of
    which control was not heard yet, and when it was, what was refused already must not be admitted."""
    advance(None, happened(event))
    known = books.answered.get(event.portfolio)
    mark = AnsweredUpTo(incarnation=event.incarnation, decision_number=event.decision_number, ordinal=event.ordinal)
    next_offset = max(books.commands_next_offset, event.commands_offset + 1)
    if known is not None and known.incarnation != event.incarnation:
        early = {**books.refused_early, event.portfolio: mark}
        return changed(books, refused_early=early, commands_next_offset=next_offset)
    return changed(books, answered={**books.answered, event.portfolio: mark}, commands_next_offset=next_offset)


def _without(marks: Mapping[str, AnsweredUpTo], portfolio: str, incarnation: str) -> Mapping[str, AnsweredUpTo]:
    """The marks without one of that incarnation: everything answered from here on lies above it."""
    mark = marks.get(portfolio)
    if mark is None or mark.incarnation != incarnation:
        return marks
    return {name: other for name, other in marks.items() if name != portfolio}


def _progressed(books: Books, event: CommandEvent) -> Books:
    if isinstance(event, OrderFilled):
        if books.has_trade(event.command_id, event.client_order_id, event.trade_id):
            return books
        ended = books.ended.get(event.client_order_id)
        if ended is not None and ended.command_id == event.command_id:
            return _filled_late(_booked(books, event), event)
        if event.command_id not in books.orders:
            return books  # it belongs to nothing that anybody remembers: posted nowhere, and the account halts
        books = _booked(books, event)
    order = books.orders.get(event.command_id)
    if order is None:
        raise InvariantError(f"account {books.account}: {event.TYPE} for command {event.command_id}, which is not open")
    if order.own_cause and _is_repeat(order, event):
        return books  # published again from what its machine had kept
    after = _order_after(order, event)
    if isinstance(event, OrderIntended | CancelIntended):
        _next_attempt(order, event)
    if after.state not in TERMINAL:
        return _with_ended(changed(books, orders={**books.orders, order.command_id: after}), after, event)
    remaining = {command_id: other for command_id, other in books.orders.items() if command_id != order.command_id}
    return _with_ended(changed(books, orders=remaining), after, event)


def _order_after(order: Order, event: CommandEvent) -> Order:
    state = advance(order.state, happened(event)).state
    match event:
        case OrderIntended():
            intent = Intent(
                event.attempt, event.client_order_id, event.timestamp_ms, event.window_ms, event.side, event.quantity_base
            )
            return changed(order, state=state, intent=intent)
        case CancelIntended():
            return changed(
                order, state=state, intent=Intent(event.attempt, event.client_order_id, event.timestamp_ms, event.window_ms)
            )
        case OrderAccepted() | OrderFound():
            return changed(order, state=state, venue_order_id=event.venue_order_id)
        case OrderFilled():
            return changed(
                order,
                state=state,
                venue_order_id=event.venue_order_id,
                traded={**order.traded, event.trade_id: event.quantity_base},
                traded_quote=MONEY.add(order.traded_quote, event.quote_amount),
            )
        case _:
            return changed(order, state=state)


def _is_repeat(order: Order, event: CommandEvent) -> bool:
    """Whether a cancel of our own went past this event already."""
    intent = order.intent
    if intent is not None and isinstance(event, CancelIntended):
        return event.attempt < intent.attempt or (event.attempt, event.timestamp_ms) == (intent.attempt, intent.timestamp_ms)
    behind = intent is not None and isinstance(event, AttemptEvent) and event.attempt < intent.attempt
    return behind or (order.state, happened(event)) not in LEGAL


def _next_attempt(order: Order, event: AttemptEvent) -> None:
    last = order.intent.attempt if order.intent is not None else 0
    if event.attempt != last + 1:
        raise InvariantError(f"command {order.command_id}: attempt {event.attempt} follows {last}")


def _booked(books: Books, event: OrderFilled) -> Books:
    base, quote = event.symbol.split("/")
    sign = 1 if event.side is Side.BUY else -1
    totals = dict(books.totals)
    for asset, amount in (
        (base, MONEY.multiply(event.quantity_base, Decimal(sign))),
        (quote, MONEY.multiply(event.quote_amount, Decimal(-sign))),
        (event.fee_asset, MONEY.minus(event.fee_amount)),
    ):
        totals[asset] = MONEY.add(totals.get(asset, Decimal(0)), amount)
    return changed(books, totals=totals, turnover=booked(books.turnover, event.venue_time_ms, event.quote_amount))


def _filled_late(books: Books, event: OrderFilled) -> Books:
    """A fill of an attempt that is over: it belongs to that one alone, whatever its command does by now."""
    ended = books.ended[event.client_order_id]
    late = changed(
        ended,
        trade_ids=ended.trade_ids | {event.trade_id},
        filled_base=MONEY.add(ended.filled_base, event.quantity_base),
    )
    return changed(books, ended={**books.ended, event.client_order_id: late})


def _with_ended(books: Books, order: Order, event: CommandEvent) -> Books:
    """Remember the ids of an attempt that is over: of an ended order, and of an attempt that was unsent or absent. A command
    that ends after such an attempt forgets nothing of it: money may have moved meanwhile, against the proof."""
    intent = order.intent
    over = order.state in TERMINAL or order.state is OrderState.ABSENT
    if intent is None or order.is_cancel or not over or isinstance(event, OrderFilled):
        return books
    known = books.ended.get(intent.client_order_id)
    ended = changed(known, ended_at_ms=event.at_ms) if known is not None else _ended(order, intent, event)
    kept = {**books.ended, intent.client_order_id: ended}
    if len(kept) <= 2 * ENDED_MAX:
        return changed(books, ended=kept)
    newest = dict(list(kept.items())[-ENDED_MAX:])
    return changed(books, ended=newest, forgotten_ms=forgotten_ms(books, newest))


def _ended(order: Order, intent: Intent, event: CommandEvent) -> Ended:
    return Ended(
        command_id=order.command_id,
        portfolio=order.portfolio,
        symbol=order.symbol,
        attempt=intent.attempt,
        client_order_id=intent.client_order_id,
        venue_order_id=order.venue_order_id,
        side=intent.side,
        trade_ids=frozenset(order.traded),
        filled_base=event.filled_base if isinstance(event, OrderClosed) else order.filled_base,
        ended_at_ms=event.at_ms,
    )


def forgotten_ms(books: Books, kept: Mapping[str, Ended]) -> int:
    """Until when orders ended that are remembered no more, if of `books.ended` only `kept` remain."""
    dropped = (order.ended_at_ms for name, order in books.ended.items() if name not in kept)
    return max(books.forgotten_ms, *dropped, 0)
