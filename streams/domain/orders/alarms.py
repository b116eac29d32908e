"""What makes an account halt by itself besides its orders: its totals, its key, this machine's clock, repeated refusals.

Each is judged by what was seen twice or proven once. Until a first doubt is settled the gate is closed (`gate.unproven`).
"""

from decimal import Decimal

from schemas.ledger import OrderState
from schemas.orders import PlaceOrder
from streams.domain import halts
from streams.domain.numbers import DECISION, MONEY
from streams.domain.orders import gate
from streams.domain.orders.books import Order
from streams.domain.orders.stimuli import ReadVenueTime, Remark, RightsRead, Snapshot, VenueTimeRead
from streams.domain.orders.turn import Turn

MATERIAL = Decimal("0.0001")
"""A difference below this part of what the account is worth is remarked, not acted on."""
REJECTIONS_WINDOW_MS = 60_000
OVERDUE_MS = 60_000


def compare(turn: Turn, snapshot: Snapshot) -> None:
    """Compare a quiet account with its books. What differs twice in a row, each time with all that the venue knows of
    trades, deposits and withdrawals booked before, halts. A difference that an operator has resumed is accepted."""
    zero, booked = Decimal(0), turn.books.totals
    differing: dict[str, Decimal] = {}
    for asset in sorted({*booked, *snapshot.totals}):
        ours, theirs = booked.get(asset, zero), snapshot.totals.get(asset, zero)
        difference = MONEY.subtract(theirs, ours)
        if not difference or turn.was_lifted(halts.LEDGER_DIFFERS, _seed(asset, difference)):
            continue
        detail = f"{asset}: the venue holds {theirs}, the books say {ours}"
        turn.ask(Remark("balance_differs", detail))
        if not _is_material(turn, asset, difference):
            continue
        differing[asset] = difference
        if asset in turn.state.differences:
            turn.halt_own(halts.LEDGER_DIFFERS, detail, _seed(asset, difference))
    turn.change(differences=differing)
    if not differing:
        turn.change(compared_boot_ms=turn.now.boot_ms)


def _seed(asset: str, difference: Decimal) -> str:
    return f"{asset} {difference.normalize()}"


def _is_material(turn: Turn, asset: str, difference: Decimal) -> bool:
    """Whether a difference counts: of an asset that is traded here, and not dust. Worth that is not known is not dust."""
    authority = turn.state.authority
    symbols = authority.limits.symbols if authority is not None and authority.limits is not None else ()
    prices = turn.now.prices
    marks = {symbol.split("/")[0]: prices[symbol].mid_quote if symbol in prices else None for symbol in symbols}
    marks |= {symbol.split("/")[1]: Decimal(1) for symbol in symbols}
    if symbols and asset not in marks:
        return False
    if not symbols or None in marks.values():
        return True
    worth = Decimal(0)
    for held, mark in marks.items():
        worth = DECISION.add(worth, DECISION.multiply(turn.books.totals.get(held, Decimal(0)), mark or Decimal(0)))
    return DECISION.multiply(abs(difference), marks[asset] or Decimal(0)) > DECISION.multiply(worth, MATERIAL)


def overdue(turn: Turn, command_id: str) -> None:
    """The venue has answered a question about an order. One whose life is over, or is not known any more, must end within a
    minute of answers, if its cancel could leave all the while."""
    order = turn.books.orders.get(command_id)
    if order is None or order.state is not OrderState.OPEN:
        return
    if isinstance(order.command, PlaceOrder) and turn.now.wall_ms <= order.command.expires_at_ms:
        return
    since_boot_ms = turn.care(command_id).overdue_boot_ms
    if gate.unproven_for_cancels(turn.state, turn.now) or gate.paused(turn.state, turn.now):
        turn.tend(command_id, overdue_boot_ms=None)
    elif since_boot_ms is None:
        turn.tend(command_id, overdue_boot_ms=turn.now.boot_ms)
    elif turn.now.boot_ms - since_boot_ms > OVERDUE_MS:
        detail = f"{order.symbol} {order.venue_order_id}: {order.filled_base} booked, no end"
        turn.halt(order.portfolio, halts.ORDER_OVERDUE, detail, command_id)


def rejected(turn: Turn, order: Order, code: str) -> None:
    """The venue refused an order; three of the same code within a minute halt."""
    since = turn.now.boot_ms - REJECTIONS_WINDOW_MS
    recent = (*(entry for entry in turn.state.rejections if entry[1] > since), (code, turn.now.boot_ms))
    if sum(entry[0] == code for entry in recent) < turn.state.rules.rejections_max:
        return turn.change(rejections=recent)
    turn.change(rejections=())
    assert order.intent is not None
    return turn.halt_own(halts.REJECTED_BY_VENUE, f"code {code}", order.intent.client_order_id)


def rights_read(turn: Turn, event: RightsRead) -> None:
    """What the key may do now; at the start it could trade and read, and not withdraw."""
    wrong = [
        words
        for words, is_so in (
            ("the venue does not take it any more", event.refused),
            ("it may withdraw", event.withdraw),
            ("it may not trade", not event.refused and not event.trade),
            ("it may not read", not event.refused and not event.read),
        )
        if is_so
    ]
    if wrong and not _halted_for(turn, halts.PERMISSION_CHANGE):
        turn.halt_own(halts.PERMISSION_CHANGE, "; ".join(wrong), str(turn.now.wall_ms))


def clock_compared(turn: Turn, event: VenueTimeRead) -> None:
    """This machine's clock beside the venue's: beyond the bound once the gate closes, twice in a row the account halts."""
    wall_ms = turn.now.wall_ms - (turn.now.boot_ms - event.answered_boot_ms)
    round_trip_ms = event.answered_boot_ms - event.asked_boot_ms
    off_ms = max(event.venue_time_ms - wall_ms, wall_ms - event.venue_time_ms - round_trip_ms)
    off = off_ms > turn.state.rules.clock_offset_ms_max
    if off and not turn.state.clock_off:
        turn.ask(Remark("clock_offset", f"at least {off_ms} ms from the venue's time; asking again"))
        turn.ask(ReadVenueTime())
    elif off and not _halted_for(turn, halts.CLOCK_OFFSET):
        turn.halt_own(halts.CLOCK_OFFSET, f"at least {off_ms} ms from the venue's time", str(turn.now.wall_ms))
    turn.change(clock_off=off)


def _halted_for(turn: Turn, cause: str) -> bool:
    return cause in turn.books.halts.values()
