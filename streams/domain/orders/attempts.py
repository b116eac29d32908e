"""The attempts of one command to place an order: from the gate to the order's end at the venue."""

from dataclasses import replace

from schemas.ledger import OrderState
from schemas.orders import (
    ClosedAs,
    CommandExpiredUnsent,
    OrderAbsent,
    OrderAccepted,
    OrderClosed,
    OrderFound,
    OrderIntended,
    OrderRejected,
    OrderUnknown,
    OrderUnsent,
    PlaceOrder,
    TimeInForce,
)
from streams.domain import halts
from streams.domain.ids import client_order_id
from streams.domain.orders import alarms, budget, fills, gate
from streams.domain.orders.books import Intent, Order
from streams.domain.orders.outcome import (
    Consequence,
    OrderNews,
    OrderView,
    Outcome,
    Proof,
    Standing,
    TradeView,
    VenueReply,
    judge,
)
from streams.domain.orders.stimuli import Look, Looked, LookUp, OrderRequest, ReadVenueTime, Remark, Scope, SendOrder
from streams.domain.orders.turn import Turn

WAIT_MS = 100
POLL_MS = 1000
_PATIENT = frozenset({TimeInForce.GTC, TimeInForce.POST_ONLY})
_CLOSED_AS = {
    Standing.FILLED: ClosedAs.FILLED,
    Standing.CANCELED: ClosedAs.CANCELED,
    Standing.EXPIRED: ClosedAs.EXPIRED,
    Standing.REJECTED: ClosedAs.EXPIRED,
}


def rank(order: Order) -> int:
    """Who gets a scarce token or request first: cancels, then residuals of a plan, then urgent orders, then patient ones."""
    if order.is_cancel:
        return 0
    command = order.command
    if not isinstance(command, PlaceOrder):
        return 3
    if command.round:
        return 1
    return 3 if command.time_in_force in _PATIENT else 2


def advance(turn: Turn, order: Order) -> None:
    """Do what is due for a command: intend its next attempt, ask about an unknown one, follow an open one."""
    match order.state:
        case OrderState.ADMITTED | OrderState.ABSENT:
            _attempt(turn, order)
        case OrderState.UNKNOWN:
            _look(turn, order, Scope.PROOF)
        case OrderState.OPEN:
            _follow(turn, order)


def _attempt(turn: Turn, order: Order) -> None:
    """Intend the next attempt, or wait for what is missing, or end a command that may no longer be sent."""
    state, now = turn.state, turn.now
    attempt = order.intent.attempt + 1 if order.intent is not None else 1
    command = order.command
    if not isinstance(command, PlaceOrder):
        return _expire(turn, order, "command_lost")
    cause = gate.unwanted(command, state, now)
    if cause is None and attempt > state.rules.attempts_max:
        cause = "attempts_exhausted"
    if cause is not None:
        doubt = gate.price_unproven(command, state, now)
        return _expire(turn, order, f"{cause}: {doubt}" if cause == "too_late" and doubt is not None else cause)
    doubt = gate.unproven(state, now) or gate.price_unproven(command, state, now)
    if doubt is not None or gate.symbol_blocked(state, order.symbol):
        return turn.later(order.command_id, WAIT_MS)
    bucket, again_boot_ms = budget.take(state.budget, now.boot_ms)
    if again_boot_ms:
        return turn.tend(order.command_id, due_boot_ms=again_boot_ms)
    turn.change(budget=bucket)
    return _intend(turn, order, command, attempt)


def _expire(turn: Turn, order: Order, cause: str) -> None:
    turn.say(CommandExpiredUnsent(**turn.about(order), cause=cause))


def _intend(turn: Turn, order: Order, command: PlaceOrder, attempt: int) -> None:
    assert turn.state.venue_time is not None
    intent = OrderIntended(
        **turn.about(order),
        attempt=attempt,
        client_order_id=client_order_id(order.command_id, attempt),
        side=command.side,
        order_type=command.order_type,
        time_in_force=command.time_in_force,
        quantity_base=command.quantity_base,
        price_limit_quote=command.price_limit_quote,
        timestamp_ms=turn.state.venue_time.estimate_ms(turn.now.boot_ms),
        window_ms=turn.state.rules.window_ms,
    )
    turn.say(intent)
    turn.tend(order.command_id, busy=True, tries=0, denials=0, cleared=False, view=None, heard=(), strangers=frozenset())


def release(turn: Turn, order: Order) -> None:
    """The INTENT is durable and nobody stands above us in the log: one last look, and the one request leaves."""
    intent, command, now = order.intent, order.command, turn.now
    assert intent is not None
    assert isinstance(command, PlaceOrder)
    cause = gate.closed(command, turn.state, now) or too_old(turn, intent)
    if cause is not None:
        turn.tend(order.command_id, busy=False, cleared=True)
        turn.change(budget=budget.refund(turn.state.budget))
        turn.say(OrderUnsent(**turn.about_attempt(order), cause=cause))
        return turn.later(order.command_id)
    request = OrderRequest(
        client_order_id=intent.client_order_id,
        symbol=order.symbol,
        side=command.side,
        order_type=command.order_type,
        time_in_force=command.time_in_force,
        quantity_base=command.quantity_base,
        price_limit_quote=command.price_limit_quote,
        timestamp_ms=intent.timestamp_ms,
        window_ms=intent.window_ms,
    )
    turn.tend(order.command_id, cleared=True)
    deadline_boot_ms = min(send_before(turn, intent), gate.outdated_at(command, now))
    return turn.ask(SendOrder(order.command_id, intent.attempt, request, deadline_boot_ms))


def too_old(turn: Turn, intent: Intent) -> str | None:
    """Whether an intent is too far from the venue's time, on either side, to be sent."""
    assert turn.state.venue_time is not None
    age_ms = turn.state.venue_time.estimate_ms(turn.now.boot_ms) - intent.timestamp_ms
    return "intent_too_old" if abs(age_ms) >= turn.state.rules.intent_age_ms_max else None


def send_before(turn: Turn, intent: Intent) -> int:
    """The boot time after which the request may not leave any more: the lease's deadline or the intent's age."""
    assert turn.state.venue_time is not None
    deadline = gate.lease_deadline(turn.state, turn.now)
    assert deadline is not None
    age_ms = turn.state.venue_time.estimate_ms(turn.now.boot_ms) - intent.timestamp_ms
    return min(deadline, turn.now.boot_ms + turn.state.rules.intent_age_ms_max - age_ms)


def replied(turn: Turn, order: Order, reply: VenueReply) -> None:
    """Judge what came back of the one request."""
    assert order.intent is not None
    outcome = judge(turn.state.rules.dialect, reply, order.symbol, order.intent.client_order_id)
    heard = turn.care(order.command_id).heard
    if heard and outcome.proof is not Proof.ACCEPTED:
        outcome = Outcome(Proof.UNKNOWN, f"the stream tells of its trades, the reply says {outcome.cause}")
    turn.tend(order.command_id, busy=False, due_boot_ms=turn.now.boot_ms, heard=())
    heed(turn, outcome, reply)
    match outcome.proof:
        case Proof.ACCEPTED:
            assert reply.order is not None
            turn.change(budget=budget.relax(turn.state.budget))
            _present(turn, order, reply.order, OrderAccepted, heard)
        case Proof.REFUSED:
            turn.say(OrderRejected(**turn.about_attempt(order), code=outcome.cause, detail=reply.text[:500]))
            suffer(turn, order, outcome)
            if outcome.consequence is not Consequence.PAUSE:
                alarms.rejected(turn, order, outcome.cause)
        case Proof.UNREACHABLE:
            turn.change(budget=budget.refund(turn.state.budget))
            turn.say(OrderUnsent(**turn.about_attempt(order), cause=outcome.cause[:500]))
            turn.later(order.command_id)
        case _:
            turn.say(OrderUnknown(**turn.about_attempt(order), cause=outcome.cause[:500]))
            _take_heard(turn, turn.books.orders[order.command_id], heard)


def heed(turn: Turn, outcome: Outcome, reply: VenueReply) -> None:
    """What the venue asks of every request to come, whatever this reply is about."""
    if outcome.consequence is Consequence.PAUSE:
        turn.change(budget=budget.pause(turn.state.budget, turn.now.boot_ms, reply.retry_after_ms))
        turn.ask(Remark("venue_limit", f"code {outcome.cause}: {reply.text}"))
    elif reply.retry_after_ms is not None and outcome.proof is not Proof.REFUSED:
        turn.change(budget=budget.wait(turn.state.budget, turn.now.boot_ms + reply.retry_after_ms))


def unawaited(turn: Turn, reply: VenueReply) -> None:
    """The reply to a request whose command has ended or gone on meanwhile: its limit counts all the same."""
    heed(turn, judge(turn.state.rules.dialect, reply, "", ""), reply)


def suffer(turn: Turn, order: Order, outcome: Outcome) -> None:
    """What a refusal asks for besides being recorded and heeded."""
    match outcome.consequence:
        case Consequence.HALT:
            assert order.intent is not None
            turn.halt(order.portfolio, halts.KEY_REFUSED, f"code {outcome.cause}", f"{order.command_id}/{order.intent.attempt}")
        case Consequence.RESYNC:
            turn.ask(ReadVenueTime())


def looked(turn: Turn, event: Looked) -> None:
    """A look at one order came back."""
    order = turn.books.orders.get(event.command_id)
    if order is None or order.intent is None or order.intent.attempt != event.attempt or order.is_cancel:
        return None
    if order.state not in (OrderState.UNKNOWN, OrderState.OPEN):
        return None
    turn.tend(order.command_id, busy=False)
    if event.look is None:
        turn.tend(order.command_id, overdue_boot_ms=None)
        return turn.later(order.command_id)
    if event.look.order is not None:
        _seen(turn, order, event.look.order, event.look.trades)
    elif order.state is OrderState.UNKNOWN:
        _denied(turn, order, event.look)
    else:
        fills.take(turn, order, event.look.trades)
        _settle(turn, order.command_id)
    return alarms.overdue(turn, order.command_id)


def heard(turn: Turn, news: OrderNews) -> None:
    """The venue's stream spoke of an order: a trade is booked, and what else changed is a reason to look at once."""
    order = next((each for each in turn.books.orders.values() if _is_about(each, news)), None)
    ended = turn.books.ended.get(news.client_order_id)
    if order is not None:
        _heard_open(turn, order, news)
    elif ended is not None and ended.command_id and news.trade is not None:
        fills.take_late(turn, ended, news.trade)


def _heard_open(turn: Turn, order: Order, news: OrderNews) -> None:
    """While the request is out its reply comes first: a trade is kept for as long."""
    strange = None if news.trade is None else fills.mismatch(order, news.trade)
    if strange is not None:
        return turn.halt(order.portfolio, halts.ORDER_MISMATCH, strange, order.command_id)
    care, trades = turn.care(order.command_id), () if news.trade is None else (news.trade,)
    if order.state is OrderState.INTENDED:
        return turn.tend(order.command_id, heard=(*care.heard, *trades))
    _take_heard(turn, order, trades)
    if care.view is not None and care.view.standing.ended:
        return _settle(turn, order.command_id)
    if not care.busy and (news.ended or order.state is OrderState.UNKNOWN):
        return turn.tend(order.command_id, due_boot_ms=turn.now.boot_ms)
    return None


def _take_heard(turn: Turn, order: Order, trades: tuple[TradeView, ...]) -> None:
    """Book trades that the stream told; the first one proves that an order of unknown fate stands or stood at the venue."""
    if trades and order.state is OrderState.UNKNOWN:
        first = trades[0]
        where = {"venue_order_id": first.venue_order_id, "venue_time_ms": first.venue_time_ms}
        turn.say(OrderFound(**turn.about_attempt(order), **where))
    fills.take(turn, turn.books.orders[order.command_id], trades)


def _is_about(order: Order, news: OrderNews) -> bool:
    stands = order.state in (OrderState.INTENDED, OrderState.UNKNOWN, OrderState.OPEN) and not order.is_cancel
    return stands and order.intent is not None and order.intent.client_order_id == news.client_order_id


def _seen(turn: Turn, order: Order, view: OrderView, trades: tuple[TradeView, ...]) -> None:
    mismatch = _mismatch(order, view)
    if mismatch is not None:
        turn.halt(order.portfolio, halts.ORDER_MISMATCH, mismatch, order.command_id)
        return turn.later(order.command_id)
    turn.tend(order.command_id, tries=0)
    if order.state is OrderState.UNKNOWN:
        _present(turn, order, view, OrderFound, trades)
    else:
        _remember(turn, order, view)
        fills.take(turn, order, trades)
        _settle(turn, order.command_id)
    return None


def _mismatch(order: Order, view: OrderView) -> str | None:
    """Why the order that the venue shows cannot be the one that was sent, or None."""
    intent = order.intent
    assert intent is not None
    if view.symbol != order.symbol or view.client_order_id != intent.client_order_id:
        return f"{view.symbol} {view.client_order_id} instead of {order.symbol} {intent.client_order_id}"
    if view.side is not intent.side or view.quantity_base != intent.quantity_base:
        return f"{view.side} {view.quantity_base} instead of {intent.side} {intent.quantity_base}"
    if view.venue_time_ms < intent.timestamp_ms - fills.CLOCK_TOLERANCE_MS:
        return f"taken at {view.venue_time_ms}, before its intent of {intent.timestamp_ms}"
    if order.venue_order_id is not None and view.venue_order_id != order.venue_order_id:
        return f"venue order {view.venue_order_id} instead of {order.venue_order_id}"
    return None


def _present(
    turn: Turn,
    order: Order,
    view: OrderView,
    message: type[OrderAccepted] | type[OrderFound],
    trades: tuple[TradeView, ...] = (),
) -> None:
    """The order stands at the venue, proven by its reply or by a look."""
    turn.say(message(**turn.about_attempt(order), venue_order_id=view.venue_order_id, venue_time_ms=view.venue_time_ms))
    order = turn.books.orders[order.command_id]
    _remember(turn, order, view)
    fills.take(turn, order, trades)
    _settle(turn, order.command_id)


def _remember(turn: Turn, order: Order, view: OrderView) -> None:
    """Keep the newest view: fills only grow, and an order that ended stays ended, whatever an older answer says."""
    known = turn.care(order.command_id).view
    if known is not None:
        filled = max(known.filled_base, view.filled_base)
        standing = known.standing if known.standing.ended and not view.standing.ended else view.standing
        view = replace(view, filled_base=filled, standing=standing)
    turn.tend(order.command_id, view=view)


def _denied(turn: Turn, order: Order, look: Look) -> None:
    """The venue shows nothing. That is proof only in the venue's own time after window and margin, and repeated."""
    intent, rules = order.intent, turn.state.rules
    assert intent is not None
    provable_ms = intent.timestamp_ms + intent.window_ms + rules.margin_ms
    turn.tend(order.command_id, strangers=turn.care(order.command_id).strangers | look.strangers)
    if look.venue_time_ms <= provable_ms:
        turn.later(order.command_id)
        provable_boot_ms = turn.now.boot_ms + provable_ms - look.venue_time_ms + 1
        return turn.tend(order.command_id, due_boot_ms=min(turn.care(order.command_id).due_boot_ms, provable_boot_ms))
    if not look.conclusive:
        return turn.later(order.command_id)
    denials = turn.care(order.command_id).denials + 1
    turn.tend(order.command_id, denials=denials)
    if denials < rules.absence_queries:
        return turn.later(order.command_id, WAIT_MS)
    turn.say(OrderAbsent(**turn.about_attempt(order), venue_time_ms=look.venue_time_ms, queries=denials))
    return turn.tend(order.command_id, tries=0, due_boot_ms=turn.now.boot_ms)


def _follow(turn: Turn, order: Order) -> None:
    view = turn.care(order.command_id).view
    only_trades = view is not None and view.standing.ended and order.filled_base < view.filled_base
    _look(turn, order, Scope.TRADES if only_trades else Scope.ORDER)


def _look(turn: Turn, order: Order, scope: Scope) -> None:
    intent = order.intent
    assert intent is not None
    orders = [other for other in turn.books.orders.values() if other.command_id != order.command_id]
    known = [*orders, *(turn.books.ended.values() if scope is Scope.PROOF else ())]
    others = {other.venue_order_id for other in known if other.symbol == order.symbol}
    others |= turn.care(order.command_id).strangers
    turn.tend(order.command_id, busy=True)
    turn.ask(
        LookUp(
            command_id=order.command_id,
            attempt=intent.attempt,
            symbol=order.symbol,
            client_order_id=intent.client_order_id,
            venue_order_id=order.venue_order_id,
            since_ms=max(0, intent.timestamp_ms - fills.CLOCK_TOLERANCE_MS),
            scope=scope,
            known_order_ids=frozenset(other for other in others if other is not None),
        )
    )


def _settle(turn: Turn, command_id: str) -> None:
    """Close an order that ended at the venue, once all its fills are booked; else look again."""
    order, view = turn.books.orders[command_id], turn.care(command_id).view
    if view is None or not view.standing.ended:
        return turn.later(command_id, POLL_MS)
    if order.filled_base < view.filled_base:
        tries = turn.care(command_id).tries
        return turn.later(command_id) if tries else turn.tend(command_id, due_boot_ms=turn.now.boot_ms, tries=1)
    turn.say(
        OrderClosed(
            **turn.about_attempt(order),
            closed_as=_CLOSED_AS[view.standing],
            filled_base=order.filled_base,
            filled_quote=order.traded_quote,
            venue_time_ms=view.venue_time_ms,
        )
    )
    return None
