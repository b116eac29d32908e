"""May anything be sent now? Closed unless provably open: for a doubt there is a reason, for a reason a word.

Two kinds of closed: `forbidden` is somebody's will or a limit, and refuses new orders; `unproven` is a lack of knowledge that
may pass (lease, venue's time, control), and lets commands wait within their bounds. Cancels need the lease and nothing else.
"""

from schemas.control import StopKind
from schemas.ledger import OrderState
from schemas.orders import PlaceOrder
from streams.domain.numbers import MONEY
from streams.domain.orders import prices
from streams.domain.orders.limits import Exposure, exceeded
from streams.domain.orders.state import State
from streams.domain.orders.stimuli import Now


def lease_deadline(state: State, now: Now) -> int | None:
    """Until when (boot ms) a request may leave, or None when none may: the venue takes it for a window from its timestamp, and
    that window ends while the lease is provably ours, wherever its bytes are held up. A clock that stepped against the other
    one proves nothing."""
    lease = state.lease
    if not state.owner or lease is None:
        return None
    deadline_boot_ms = lease.deadline_boot_ms - state.rules.window_ms
    if now.boot_ms >= deadline_boot_ms:
        return None
    if abs((now.wall_ms - now.boot_ms) - lease.wall_minus_boot_ms) > state.rules.wall_step_ms_max:
        return None
    return deadline_boot_ms


def unproven_for_cancels(state: State, now: Now) -> str | None:
    """Why not even a cancel may leave now, or None."""
    if lease_deadline(state, now) is None:
        return "lease_unproven"
    return "venue_time_unknown" if state.venue_time is None else None


def unproven(state: State, now: Now) -> str | None:
    """What is not known well enough to send an order now, or None."""
    reason = unproven_for_cancels(state, now)
    if reason is not None:
        return reason
    if state.authority is None or now.boot_ms - state.authority_boot_ms > state.rules.control_age_ms_max:
        return "control_unread"
    if state.clock_off:
        return "clock_offset"
    if state.differences:
        return "books_differ"
    return "books_unchecked" if now.boot_ms - state.compared_boot_ms > state.rules.compare_within_ms else None


def forbidden(state: State, now: Now) -> str | None:
    """Whose will it is that no new order leaves this account now, or None."""
    authority = state.authority
    if now.halt_file is not None:
        return "halt_file"
    if now.freeze_file is not None:
        return "freeze_file"
    if state.books.halts:
        return "account_halted"
    if authority is None:
        return None
    if authority.stop is not None:
        return "halted" if authority.stop is StopKind.HALT else "frozen"
    if not state.books.opened:
        return "not_opened"
    if authority.limits is None:
        return "no_limits"
    if state.books.flows_open:
        return "unclassified_flow"
    if any(start <= now.wall_ms < end for start, end in authority.maintenance):
        return "maintenance"
    return None


def outdated(command: PlaceOrder, state: State, now: Now) -> str | None:
    """Why a command is too old to act on, or taken back, or None."""
    if now.wall_ms > command.admit_by_ms or now.wall_ms > command.expires_at_ms:
        return "too_late"
    if now.wall_ms > _fresh_until(command):
        return "inputs_too_old"
    if state.authority is None:
        return None
    if command.decided_at_ms < state.authority.voided_before_ms:
        return "voided"
    return "canceled" if state.authority.withdraws(command.command_id, command.decided_at_ms) else None


def outdated_at(command: PlaceOrder, now: Now) -> int:
    """The boot time from which on a command, or the quote that carries it, is too old to act on, by the wall clock as it
    stands."""
    until_ms = min(command.admit_by_ms, command.expires_at_ms, _fresh_until(command))
    if (price := now.prices.get(command.symbol)) is not None:
        until_ms = min(until_ms, price.received_at_ms + command.input_age_ms_max)
    return now.boot_ms + until_ms - now.wall_ms + 1


def _fresh_until(command: PlaceOrder) -> int:
    """Until when (UTC ms) the inputs of a decision are young enough."""
    return command.oldest_received_at_ms + command.input_age_ms_max


def over_limit(command: PlaceOrder, state: State, now: Now) -> str | None:
    """The limit this order would break beside everything that is filled or may still be, or None."""
    authority = state.authority
    if authority is None or authority.limits is None:
        return "no_limits"
    others = [order for order in state.books.orders.values() if not order.is_cancel and order.command_id != command.command_id]
    reserved = MONEY.create_decimal(0)
    for order in others:
        rest = MONEY.subtract(order.reserved_quote, order.traded_quote)
        reserved = MONEY.add(reserved, max(rest, MONEY.create_decimal(0)))
    exposure = Exposure(state.books.turnover, reserved, len(others))
    limit = exceeded(authority.limits, command, exposure, now.wall_ms)
    return f"limit:{limit}" if limit is not None else None


def price_unproven(command: PlaceOrder, state: State, now: Now) -> str | None:
    """Why the executor's own sight of the market carries no order of this symbol now, or None. A quote may be as old as the
    command's own inputs."""
    if state.authority is None or state.authority.limits is None:
        return "no_limits"
    collar = state.authority.limits.price_collar
    return prices.unproven(now.prices.get(command.symbol), now.wall_ms, command.input_age_ms_max, collar)


def off_collar(command: PlaceOrder, state: State, now: Now) -> str | None:
    """Whether the limit price is worse than the market that the executor sees allows; None too when it sees none."""
    price = now.prices.get(command.symbol)
    if price is None or command.price_limit_quote is None or price_unproven(command, state, now) is not None:
        return None
    assert state.authority is not None
    assert state.authority.limits is not None
    collar = state.authority.limits.price_collar
    return "limit:price_collar" if prices.outside(command.side, command.price_limit_quote, price, collar) else None


def symbol_blocked(state: State, symbol: str) -> bool:
    """Whether an order of unknown fate blocks the symbol."""
    return any(order.state is OrderState.UNKNOWN and order.symbol == symbol for order in state.books.orders.values())


def overtaken(symbol: str, state: State, now: Now) -> str | None:
    """Why an order whose INTENT is durable must wait all the same, or None: since then another one's fate became unknown, or
    the venue asked for a pause."""
    if symbol_blocked(state, symbol):
        return "symbol_unknown"
    return paused(state, now)


def closed(command: PlaceOrder, state: State, now: Now) -> str | None:
    """Why an order whose INTENT is durable may not leave now, or None: all that is known, looked at once more."""
    return (
        unproven(state, now)
        or price_unproven(command, state, now)
        or unwanted(command, state, now)
        or overtaken(command.symbol, state, now)
    )


def unwanted(command: PlaceOrder, state: State, now: Now) -> str | None:
    """Why an order is to be placed neither now nor later, or None: its time, somebody's will, or a limit."""
    return (
        outdated(command, state, now)
        or forbidden(state, now)
        or over_limit(command, state, now)
        or off_collar(command, state, now)
    )


def paused(state: State, now: Now) -> str | None:
    """Whether the venue asked for a pause that is not over; cancels wait for it too, else it grows into a ban."""
    return "paused" if now.boot_ms < state.budget.paused_until_boot_ms else None
