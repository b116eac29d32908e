"""The order protocol of one account: `step(state, input) -> (state, effects)`, pure; whoever calls it performs the effects.

The life of a command: admitted, gate, budget, INTENT made durable and read back from the log, a last look at lease, age and
HALT file, ONE request, and then an outcome that is proven or UNKNOWN. What is UNKNOWN is asked for until it is found or proven
absent; it is never sent again. Only an attempt that provably never reached the venue allows the next one, under a new client
id. All that lasts is in the books, which are a fold of the account's event log; the rest of the state may be lost at any time.
"""

from schemas.ledger import OrderState
from schemas.orders import (
    AccountResumed,
    CancelOrder,
    CommandAdmitted,
    CommandNotAdmitted,
    OrderType,
    OrderUnknown,
    PlaceOrder,
)
from streams.domain.frozen import changed
from streams.domain.orders import alarms, attempts, cancels, distrust, flows, gate, opening, stops
from streams.domain.orders.checkpoint import with_command
from streams.domain.orders.state import LeaseProof, State, VenueTime
from streams.domain.orders.stimuli import (
    AuthorityRead,
    CommandDistrusted,
    CommandRead,
    CommandSkipped,
    Effect,
    Input,
    IntentReadBack,
    LeaseRenewed,
    Looked,
    OrderHeard,
    ReadAccount,
    Remark,
    Replied,
    RightsRead,
    SnapshotRead,
    Superseded,
    TakenOver,
    VenueTimeRead,
)
from streams.domain.orders.turn import Turn

_SAMPLE_MS_MAX = 1000


def step(state: State, event: Input) -> tuple[State, tuple[Effect, ...]]:
    """The state after `event` and what is to be done, in order. Raises InvariantError on what cannot happen."""
    turn = Turn(state, event.now)
    _learn(turn, event)
    if turn.state.owner:
        _handle(turn, event)
        _advance(turn)
    return turn.finish()


def next_wake(state: State) -> int | None:
    """The boot time at which `step` wants a Ticked even if nothing else happens; None while nothing waits."""
    if not state.owner:
        return None
    waiting = (state.care.get(command_id) for command_id in state.books.orders)
    due = [care.due_boot_ms if care is not None else 0 for care in waiting if care is None or not care.busy]
    told = distrust.due(state.doubts)
    return min(due if told is None else [*due, told], default=None)


def _learn(turn: Turn, event: Input) -> None:
    """What is known changes, whether or not the account is ours."""
    match event:
        case TakenOver():
            turn.change(owner=True, differences={}, compared_boot_ms=turn.now.boot_ms, rejections=(), clock_off=False)
            turn.forget_care()
        case Superseded():
            turn.change(owner=False, lease=None)
        case LeaseRenewed() if event.asked_boot_ms >= turn.state.lease_void_boot_ms:
            proof = LeaseProof(event.asked_boot_ms + event.ttl_ms, event.asked_wall_ms - event.asked_boot_ms)
            turn.change(lease=proof)
        case VenueTimeRead():
            _sample(turn, event)
        case AuthorityRead():
            turn.change(authority=event.authority, authority_boot_ms=event.asked_boot_ms)


def _handle(turn: Turn, event: Input) -> None:
    match event:
        case TakenOver():
            _inherit(turn)
        case AuthorityRead():
            _resume(turn)
            _look_again(turn)
            flows.classify(turn)
        case CommandRead():
            _admit(turn, event)
        case CommandDistrusted():
            if _seen(turn, event.offset):
                distrust.distrusted(turn, event)
        case CommandSkipped():
            _seen(turn, event.offset)
        case IntentReadBack():
            _read_back(turn, event)
        case Replied():
            _replied(turn, event)
        case Looked():
            attempts.looked(turn, event)
        case VenueTimeRead():
            alarms.clock_compared(turn, event)
        case RightsRead():
            alarms.rights_read(turn, event)
        case OrderHeard():
            attempts.heard(turn, event.news)
        case SnapshotRead():
            opening.snapshot_read(turn, event)


def _advance(turn: Turn) -> None:
    """Do what can be done now, the most pressing first, then in the order in which commands were given."""
    distrust.tell(turn)
    cancels.end_with_targets(turn)
    stops.enforce(turn)
    cancels.let_go(turn)
    due = [order for order in turn.books.orders.values() if turn.is_due(order.command_id)]
    for waited in sorted(due, key=lambda order: (attempts.rank(order), order.commands_offset)):
        order = turn.books.orders.get(waited.command_id)
        if order is None or not turn.is_due(order.command_id):
            continue
        if order.is_cancel:
            cancels.advance(turn, order)
        else:
            attempts.advance(turn, order)
    cancels.end_with_targets(turn)


def _sample(turn: Turn, event: VenueTimeRead) -> None:
    """Keep a sample of the venue's time; one that contradicts the last voids the lease, and renewals asked for by then."""
    round_trip_ms = event.answered_boot_ms - event.asked_boot_ms
    known = turn.state.venue_time
    if known is not None:
        elapsed_ms = event.answered_boot_ms - known.at_boot_ms
        ahead = event.venue_time_ms - (known.latest_ms + elapsed_ms)
        behind = (known.earliest_ms + elapsed_ms) - (event.venue_time_ms + round_trip_ms)
        if max(ahead, behind) > turn.state.rules.venue_step_ms_max:
            turn.change(lease=None, lease_void_boot_ms=turn.now.boot_ms)
            turn.ask(Remark("venue_time_stepped", f"by {max(ahead, behind)} ms; nothing is sent until the lease is renewed"))
        elif round_trip_ms > _SAMPLE_MS_MAX:
            return
    sample = VenueTime(event.venue_time_ms, event.venue_time_ms + round_trip_ms, event.answered_boot_ms)
    turn.change(venue_time=sample)


def _inherit(turn: Turn) -> None:
    """Whatever a former owner intended and did not conclude may have reached the venue, or may still."""
    for order in tuple(turn.books.orders.values()):
        if order.state is OrderState.INTENDED:
            turn.say(OrderUnknown(**turn.about_attempt(order), cause="inherited"))


def _resume(turn: Turn) -> None:
    authority = turn.state.authority
    assert authority is not None
    lifted = tuple(halt_id for halt_id in turn.books.halts if halt_id in authority.resumed)
    if lifted and authority.portfolio is not None:
        turn.say(AccountResumed(**turn.common(), portfolio=authority.portfolio, halt_ids=lifted))


def _look_again(turn: Turn) -> None:
    """Ask now what operators want asked: about an order whose fate is unknown, or for the whole account."""
    authority = turn.state.authority
    assert authority is not None
    for _, command_id in sorted(authority.looks - turn.state.looks_seen, key=str):
        order = turn.books.orders.get(command_id or "")
        if command_id is None:
            turn.ask(ReadAccount())
        elif order is not None and order.state is OrderState.UNKNOWN:
            turn.tend(order.command_id, due_boot_ms=turn.now.boot_ms)
    turn.change(looks_seen=authority.looks)


def _seen(turn: Turn, offset: int) -> bool:
    """Go on past `offset`; whether it is new."""
    if offset < turn.books.commands_next_offset:
        return False
    turn.change(books=changed(turn.books, commands_next_offset=offset + 1))
    return True


def _admit(turn: Turn, event: CommandRead) -> None:
    """Answer a command once: drop repeats, refuse with a reason, or admit; from there it ends in exactly one event.

    What a former incarnation of the portfolio decided is over, whoever brings it back: it is a repeat too, else it would move
    the mark away, and what this incarnation was answered could come again.
    """
    command = event.command
    if event.offset < turn.books.commands_next_offset:
        return
    former = turn.state.authority is not None and turn.state.authority.is_former(command.portfolio, command.incarnation)
    if former or turn.books.answers(command):
        _seen(turn, event.offset)
        turn.change(repeats=turn.state.repeats + 1)
        return
    fields = turn.common() | {
        "portfolio": command.portfolio,
        "command_id": command.command_id,
        "symbol": command.symbol,
        "incarnation": command.incarnation,
        "decision_number": command.decision_number,
        "ordinal": command.ordinal,
        "commands_offset": event.offset,
    }
    cause = _refusal(turn, event)
    if cause is not None:
        turn.say(CommandNotAdmitted(**fields, cause=cause))
        return
    fields |= {"command_type": command.TYPE, "decided_at_ms": command.decided_at_ms}
    if isinstance(command, PlaceOrder):
        fields |= {name: getattr(command, name) for name in _PLACED}
    else:
        fields["target_command_id"] = command.target_command_id
    turn.say(CommandAdmitted(**fields))
    turn.change(books=with_command(turn.books, command.command_id, command))


_PLACED = ("side", "quantity_base", "price_limit_quote", "price_mid_quote")


def _refusal(turn: Turn, event: CommandRead) -> str | None:
    """Why this command is not admitted, or None. A cancel is refused only for its author, or when there are more of them than
    orders could have: one of their fold's and one of our own each."""
    command, state = event.command, turn.state
    if command.venue != state.rules.venue:
        return "wrong_venue"
    if state.authority is None:
        return "control_unread"
    if state.authority.portfolio != command.portfolio:
        return "wrong_portfolio"
    if state.authority.incarnation != command.incarnation:
        return "wrong_incarnation"
    room = state.rules.commands_max * (3 if isinstance(command, CancelOrder) else 1)
    if len(state.books.orders) >= room:
        return "too_many_commands"
    if isinstance(command, CancelOrder):
        return None
    if (command.order_type is OrderType.LIMIT) != (command.price_limit_quote is not None):
        return "malformed"
    return gate.unwanted(command, state, turn.now)


def _read_back(turn: Turn, event: IntentReadBack) -> None:
    order = turn.books.orders.get(event.command_id)
    if order is None or order.intent is None or order.intent.attempt != event.attempt:
        return
    if order.state is not OrderState.INTENDED or turn.care(order.command_id).cleared:
        return
    if order.is_cancel:
        cancels.release(turn, order)
    else:
        attempts.release(turn, order)


def _replied(turn: Turn, event: Replied) -> None:
    order = turn.books.orders.get(event.command_id)
    if order is None or order.intent is None or order.intent.attempt != event.attempt or order.state is not OrderState.INTENDED:
        return attempts.unawaited(turn, event.reply)
    return cancels.replied(turn, order, event.reply) if order.is_cancel else attempts.replied(turn, order, event.reply)
