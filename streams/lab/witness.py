"""Who watches: tells the invariants what happened, checks each request at its last moment, and counts the rare states."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.ledger import EntryKind, Flag, LedgerEntry, OrderState
from schemas.orders import (
    AccountHalted,
    CommandEvent,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    OrderAbsent,
    OrderClosed,
    OrderFound,
    OrderIntended,
    OrderRejected,
    OrderUnknown,
    OrderUnsent,
    OwnerStarted,
    PlaceOrder,
)
from streams.agents.executor.takeover import resource_of
from streams.domain.ledger.books import Books
from streams.domain.orders.authority import for_account
from streams.domain.orders.outcome import VenueReply
from streams.domain.orders.stimuli import CancelRequest, OrderRequest, SendCancel, SendOrder
from streams.lab.invariants import Account, Violation, may_open
from streams.lab.outside.log import AccountLog, Written
from streams.lab.outside.venue import VENUE
from streams.matching import orders as core

if TYPE_CHECKING:
    from streams.lab.executor.process import Process
    from streams.lab.executor.tenure import Tenure
    from streams.lab.world import World

FORGIVEN_MS = 10_000
"""After the database gave a lease away under its owner, so long nobody can know better."""


HEARD_MS = 100
"""What control says reaches an owner's protocol within this time."""


@dataclass(slots=True)
class Left:
    """A request whose bytes left."""

    epoch: int
    at_ms: int
    woken: bool


class Witness:
    """Sees everything of one history. `checks` judge each account; `owners` hold them now."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.steps = 0
        self.checks = {account: Account(world.venue) for account in world.plan.accounts}
        self.owners: dict[str, Tenure | None] = dict.fromkeys(world.plan.accounts)
        self._books = Books()
        self._left: dict[str, Left] = {}
        self._kept: set[tuple[str, int, int]] = set()
        self._started: dict[str, dict[int, int]] = {account: {} for account in world.plan.accounts}

    # The log

    def landed(self, log: AccountLog, written: Written) -> int:
        """An event is durable: it is checked, booked, and told to those who follow."""
        offset, event = log.write(written), written.event
        if self._world.telling:
            self._world.tell(f"  {event.account}: {_words(event)}")
        if isinstance(event, OwnerStarted):
            self._started[log.account][event.epoch] = self._world.engine.now_ms
        checks = self.checks[log.account]
        if isinstance(event, OwnerStarted) and event.epoch == checks.epoch:
            self._world.seen["an epoch announced twice"] += 1
        if checks.written(event):
            self._note(checks, event)
        else:
            self._world.seen["a former owner's event came after its successor"] += 1
        entry = self._books.book(event, written.ce_id)
        if entry is not None:
            self._booked(checks, entry)
        if self._world.chance.strikes(3000, "the ledger reads again", offset):
            again = log.events[max(0, offset - 5) :]
            if any(self._books.book(old.event, old.ce_id) is not None for old in again):
                raise Violation("I17", "an event that was booked made another entry")
            self._world.seen["events booked again, without effect"] += len(again)
        if isinstance(event, OrderIntended | OwnerStarted) or event.TYPE == "orders.cancel-intended":
            for follower in tuple(log.event_followers):
                follower(offset)
        return offset

    def _booked(self, checks: Account, entry: LedgerEntry) -> None:
        checks.entry(entry)
        if Flag.LATE_FILL in entry.flags:
            self._world.seen["late fill"] += 1
        if entry.kind is EntryKind.FILL_UNPLACED:
            self._world.seen["fill unplaced, two days after its order"] += 1

    def _note(self, checks: Account, event: object) -> None:
        """Count rare states by what the log says."""
        world, seen = self._world, self._world.seen
        match event:
            case OrderFound():
                seen["UNKNOWN, then found"] += 1
            case OrderAbsent():
                seen["UNKNOWN, then absent"] += 1
            case OrderUnknown() if event.cause == "inherited":
                seen["inherited intent"] += 1
            case OrderUnknown() if event.cause.startswith("the stream tells"):
                seen["UNKNOWN, although its trade was told"] += 1
            case OrderUnknown():
                seen["UNKNOWN"] += 1
            case OrderUnsent():
                seen[f"unsent: {event.cause.partition(':')[0]}"] += 1
            case OrderIntended() if event.attempt > 1:
                seen["absent or unsent, then another attempt"] += 1
            case OrderRejected():
                seen["rejected"] += 1
            case CommandExpiredUnsent():
                seen[f"expired unsent: {event.cause}"] += 1
            case CommandNotAdmitted():
                seen[f"not admitted: {event.cause.partition(':')[0]}"] += 1
            case OrderClosed():
                seen[f"closed as {event.closed_as.value}"] += 1
            case AccountHalted():
                seen["account halted by itself"] += 1
                world.engine.at(
                    world.engine.now_ms + 2500, world.happenings.resume, (event.halt_id,), f"account:{event.account}"
                )
            case CommandEvent() if getattr(event, "own_cause", ""):
                seen[f"own cancel: {event.own_cause.partition(':')[0]}"] += 1  # type: ignore[attr-defined]

    # The executor

    def taken_over(self, tenure: "Tenure") -> None:
        """A tenure begins."""
        self.owners[tenure.seat.account.account] = tenure
        self._world.seen["take-over"] += 1

    def tenure_ended(self, tenure: "Tenure") -> None:
        """A tenure is over."""
        if self.owners[tenure.seat.account.account] is tenure:
            self.owners[tenure.seat.account.account] = None
        if tenure.requests and tenure.process.up:
            self._world.seen["lease lost in flight"] += 1

    def process_died(self, process: "Process") -> None:
        """What a process leaves behind when it dies."""
        self._world.seen["executor killed"] += 1
        for seat in process.seats:
            tenure = seat.tenure
            if tenure is None or tenure.state is None:
                continue
            if tenure.requests:
                self._world.seen["killed with a request in flight"] += 1
            departed = self.checks[seat.account.account].departed
            for order in tenure.state.books.orders.values():
                if order.state is OrderState.INTENDED and order.intent is not None and not order.is_cancel:
                    unsent = (order.command_id, order.intent.attempt, 0) not in departed
                    self._world.seen["killed between intent and request"] += unsent

    def process_woke(self, process: "Process") -> None:
        """A process goes on after a sleep."""
        for seat in process.seats:
            tenure = seat.tenure
            if tenure is not None and not tenure.over and self.owners[seat.account.account] is not tenure:
                self._world.seen["paused owner woke to a successor"] += 1

    def intended(self, tenure: "Tenure", event: OrderIntended) -> None:
        """An owner decided to send."""
        if self._world.engine.now_ms < tenure.paused_until_ms:
            raise Violation("I9", "an order is intended although the venue asked for a pause")

    def kept(self, effect: SendCancel, epoch: int) -> None:
        """A cancel leaves under the HALT file: its machine has kept it, and it need not wait for the log."""
        self._kept.add((effect.command_id, effect.attempt, epoch))

    def permitted(self, tenure: "Tenure", effect: SendOrder | SendCancel) -> None:
        """The last look let a request pass: was that right?"""
        request = effect.request
        if (effect.command_id, effect.attempt, tenure.claimed.epoch) not in self._kept:
            checks = self.checks[tenure.seat.account.account]
            checks.released(effect.command_id, effect.attempt, request.client_order_id, request.timestamp_ms)
        self._lease_holds(tenure, request)
        if isinstance(effect, SendOrder):
            self._may_open(tenure, tenure.process, effect.command_id)

    def _lease_holds(self, tenure: "Tenure", request: OrderRequest | CancelRequest) -> None:
        """I11: the row is ours for longer than the request's window, unless the row or all clocks cheated."""
        account = tenure.seat.account.account
        row, now_ms, process = self._world.rows.get(resource_of(account)), self._world.engine.now_ms, tenure.process
        if now_ms - self._world.cheated_ms[account] < FORGIVEN_MS or not process.sleep_left_clocks:
            return
        ours = row is not None and (row.owner, row.epoch) == (tenure.seat.config.owner, tenure.claimed.epoch)
        if not ours or row is None or row.expires_ms < now_ms + request.window_ms:
            raise Violation("I11", f"{process.name} sends although its lease does not outlast the request's window")

    def _may_open(self, tenure: "Tenure", process: "Process", command: str) -> None:
        """I8, I16: a new order only on fresh inputs, and when nobody said no."""
        assert tenure.state is not None
        order, machine = tenure.state.books.orders[command].command, process.machine
        assert isinstance(order, PlaceOrder)
        stopped, voided_before_ms = machine.halt_file or machine.freeze_file, 0
        if process.control_at_boot_ms is not None and machine.boot_ms() - process.control_at_boot_ms > HEARD_MS:
            authority = for_account(process.authority, order.account, VENUE)
            withdrawn = "canceled" if authority.withdraws(order.command_id, order.decided_at_ms) else None
            stopped, voided_before_ms = stopped or authority.stop or withdrawn, authority.voided_before_ms
        may_open(order, machine.wall_ms(), self._world.prices[order.symbol].received_at_ms, stopped, voided_before_ms)

    def departed(self, tenure: "Tenure", effect: SendOrder | SendCancel) -> None:
        """The bytes leave."""
        account, process, client_order_id = tenure.seat.account.account, tenure.process, effect.request.client_order_id
        woken = self._world.engine.now_ms - process.woke_ms < 10
        epoch = tenure.claimed.epoch if isinstance(effect, SendCancel) else 0
        self.checks[account].left(effect.command_id, effect.attempt, epoch)
        self._left[client_order_id] = Left(tenure.claimed.epoch, self._world.engine.now_ms, woken)
        what = "a cancel of" if isinstance(effect, SendCancel) else "order"
        self._world.tell(f"  {process.name} sends {what} {client_order_id[:8]} of {account}")
        if woken:
            self._world.seen["sent after waking, with the old timestamp"] += 1

    def replied(self, tenure: "Tenure", effect: SendOrder | SendCancel, reply: VenueReply) -> None:
        """A request came to its end."""
        if reply.http_status == 429:
            tenure.paused_until_ms = self._world.engine.now_ms + (reply.retry_after_ms or 0)
            self._world.seen["budget pause after 429"] += 1
        left = self._left.get(effect.request.client_order_id)
        if reply.code == "-1021" and left is not None and left.woken:
            self._world.seen["paused owner refused by the window"] += 1
        if tenure.over:
            self._world.seen["reply to an owner that is none"] += 1
        self._world.tell(
            f"  {effect.request.client_order_id[:6]} answered: {reply.http_status} {reply.code or ''} {reply.failure or ''}"
        )

    # The venue

    def accepted(self, account: str, order: core.Order) -> None:
        """The venue accepted an order."""
        self.checks[account].taken(order.client_order_id)
        name, filled, wanted = order.client_order_id[:6], order.filled_base, order.quantity_base
        self._world.tell(f"  the venue accepts {name}, filled {filled} of {wanted}")
        left = self._left[order.client_order_id]
        for epoch, at_ms in self._started[account].items():
            if epoch <= left.epoch:
                continue
            self._world.seen["bytes of a former owner accepted after the take-over"] += 1
            if left.at_ms > at_ms and left.at_ms - self._world.cheated_ms[account] > FORGIVEN_MS:
                raise Violation("I11", "an order was accepted whose bytes left after another owner had started")


def _words(event: object) -> str:
    fields = []
    for name in ("command_id", "attempt", "client_order_id", "cause", "epoch", "own_cause", "trade_id", "quantity_base"):
        value = getattr(event, name, None)
        if value not in (None, ""):
            fields.append(f"{name.removesuffix('_id')} {str(value)[:8] if name.endswith('id') else value}")
    return f"{getattr(event, 'TYPE', '')} ({', '.join(fields)})"
