"""Who watches: tells the invariants what happened, checks each request at its last moment, and counts the rare states."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

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
from streams.domain.orders.books import Order
from streams.domain.orders.outcome import OrderNews, VenueReply
from streams.domain.orders.state import State
from streams.domain.orders.stimuli import CancelRequest, OrderRequest, SendCancel, SendOrder
from streams.lab.happenings import Happenings
from streams.lab.history import History
from streams.lab.invariants import Account, Violation, may_open
from streams.lab.outside.leases import Database
from streams.lab.outside.log import AccountLog
from streams.lab.outside.venue import VENUE, Venue
from streams.lab.process import Process
from streams.matching import orders as core

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


class Holder(Protocol):
    """Who trades an account under a lease, as far as it is seen."""

    account: str
    owner: str
    epoch: int
    process: Process
    state: State | None
    requests: int
    over: bool

    def has_read_all(self) -> bool:
        """Whether every command given was taken."""
        ...


class Witness:
    """Sees everything of one history. `checks` judge each account."""

    def __init__(
        self, history: History, logs: Mapping[str, AccountLog], database: Database, venue: Venue, happenings: Happenings
    ) -> None:
        self._history = history
        self._database = database
        self._happenings = happenings
        self.steps = 0
        self.checks = {account: Account(venue) for account in logs}
        self._holders: dict[str, Holder | None] = dict.fromkeys(logs)
        self._books = Books()
        self._left: dict[str, Left] = {}
        self._kept: set[tuple[str, int, int]] = set()
        self._paused_until_ms: dict[Holder, int] = {}
        self._started: dict[str, dict[int, int]] = {account: {} for account in logs}
        venue.witnesses.append(self._accepted)
        for log in logs.values():
            log.event_followers.append(partial(self._landed, log))

    def at_rest(self) -> bool:
        """Whether every account has an owner that has read all and has nothing open."""
        for holder in self._holders.values():
            if holder is None or holder.state is None or holder.state.books.orders or not holder.has_read_all():
                return False
        return True

    # The log

    def _landed(self, log: AccountLog, offset: int) -> None:
        """An event is durable: it is checked and booked."""
        written = log.events[offset]
        event = written.event
        if self._history.telling:
            self._history.tell(f"  {event.account}: {_words(event)}")
        if isinstance(event, OwnerStarted):
            self._started[log.account][event.epoch] = self._history.engine.now_ms
        checks = self.checks[log.account]
        if isinstance(event, OwnerStarted) and event.epoch == checks.epoch:
            self._history.seen["an epoch announced twice"] += 1
        if checks.written(event):
            self._note(event)
        else:
            self._history.seen["a former owner's event came after its successor"] += 1
        entry = self._books.book(event, written.ce_id)
        if entry is not None:
            self._booked(checks, entry)
        if self._history.chance.strikes(3000, "the ledger reads again", offset):
            again = log.events[max(0, offset - 5) :]
            if any(self._books.book(old.event, old.ce_id) is not None for old in again):
                raise Violation("I17", "an event that was booked made another entry")
            self._history.seen["events booked again, without effect"] += len(again)

    def _booked(self, checks: Account, entry: LedgerEntry) -> None:
        checks.entry(entry)
        if Flag.LATE_FILL in entry.flags:
            self._history.seen["late fill"] += 1
        if entry.kind is EntryKind.FILL_UNPLACED:
            self._history.seen["fill unplaced, two days after its order"] += 1

    def _note(self, event: object) -> None:
        """Count rare states by what the log says."""
        history, seen = self._history, self._history.seen
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
                resume, scope = self._happenings.resume, f"account:{event.account}"
                history.engine.at(history.engine.now_ms + 2500, resume, (event.halt_id,), scope)
            case CommandEvent() if getattr(event, "own_cause", ""):
                seen[f"own cancel: {event.own_cause.partition(':')[0]}"] += 1  # type: ignore[attr-defined]

    # The executor

    def taken_over(self, holder: Holder) -> None:
        """A tenure begins."""
        self._holders[holder.account] = holder
        self._history.seen["take-over"] += 1

    def tenure_ended(self, holder: Holder) -> None:
        """A tenure is over."""
        if self._holders[holder.account] is holder:
            self._holders[holder.account] = None
        if holder.requests and holder.process.up:
            self._history.seen["lease lost in flight"] += 1

    def killed(self, holder: Holder) -> None:
        """What a holder leaves behind when its process dies."""
        assert holder.state is not None
        if holder.requests:
            self._history.seen["killed with a request in flight"] += 1
        departed = self.checks[holder.account].departed
        for order in holder.state.books.orders.values():
            if order.state is OrderState.INTENDED and order.intent is not None and not order.is_cancel:
                unsent = (order.command_id, order.intent.attempt, 0) not in departed
                self._history.seen["killed between intent and request"] += unsent

    def woke(self, holder: Holder) -> None:
        """A holder's process goes on after a sleep."""
        if not holder.over and self._holders[holder.account] is not holder:
            self._history.seen["paused owner woke to a successor"] += 1

    def intended(self, holder: Holder, event: OrderIntended) -> None:
        """An owner decided to send."""
        if self._history.engine.now_ms < self._paused_until_ms.get(holder, 0):
            raise Violation("I9", "an order is intended although the venue asked for a pause")

    def kept(self, effect: SendCancel, epoch: int) -> None:
        """A cancel leaves under the HALT file: its machine has kept it, and it need not wait for the log."""
        self._kept.add((effect.command_id, effect.attempt, epoch))

    def permitted(self, holder: Holder, effect: SendOrder | SendCancel) -> None:
        """The last look let a request pass: was that right?"""
        request = effect.request
        if (effect.command_id, effect.attempt, holder.epoch) not in self._kept:
            checks = self.checks[holder.account]
            checks.released(effect.command_id, effect.attempt, request.client_order_id, request.timestamp_ms)
        self._lease_holds(holder, request)
        if isinstance(effect, SendOrder):
            self._may_open(holder, effect.command_id)

    def _lease_holds(self, holder: Holder, request: OrderRequest | CancelRequest) -> None:
        """I11: the row is ours for longer than the request's window, unless the row or all clocks cheated."""
        account, process, now_ms = holder.account, holder.process, self._history.engine.now_ms
        row = self._database.rows.get(resource_of(account))
        if now_ms - self._database.cheated_ms[account] < FORGIVEN_MS or not process.sleep_left_clocks:
            return
        ours = row is not None and (row.owner, row.epoch) == (holder.owner, holder.epoch)
        if not ours or row is None or row.expires_ms < now_ms + request.window_ms:
            raise Violation("I11", f"{process.name} sends although its lease does not outlast the request's window")

    def _may_open(self, holder: Holder, command: str) -> None:
        """I8, I16: a new order only on fresh inputs, and when nobody said no."""
        assert holder.state is not None
        process, machine = holder.process, holder.process.machine
        order = holder.state.books.orders[command].command
        assert isinstance(order, PlaceOrder)
        stopped, voided_before_ms = machine.halt_file or machine.freeze_file, 0
        if process.control_at_boot_ms is not None and machine.boot_ms() - process.control_at_boot_ms > HEARD_MS:
            authority = for_account(process.authority, order.account, VENUE)
            withdrawn = "canceled" if authority.withdraws(order.command_id, order.decided_at_ms) else None
            stopped, voided_before_ms = stopped or authority.stop or withdrawn, authority.voided_before_ms
        may_open(order, machine.wall_ms(), self._history.prices[order.symbol].received_at_ms, stopped, voided_before_ms)

    def departed(self, holder: Holder, effect: SendOrder | SendCancel) -> None:
        """The bytes leave."""
        account, process, client_order_id = holder.account, holder.process, effect.request.client_order_id
        woken = self._history.engine.now_ms - process.woke_ms < 10
        epoch = holder.epoch if isinstance(effect, SendCancel) else 0
        self.checks[account].left(effect.command_id, effect.attempt, epoch)
        self._left[client_order_id] = Left(holder.epoch, self._history.engine.now_ms, woken)
        what = "a cancel of" if isinstance(effect, SendCancel) else "order"
        self._history.tell(f"  {process.name} sends {what} {client_order_id[:8]} of {account}")
        if woken:
            self._history.seen["sent after waking, with the old timestamp"] += 1

    def replied(self, holder: Holder, effect: SendOrder | SendCancel, reply: VenueReply) -> None:
        """A request came to its end."""
        if reply.http_status == 429:
            self._paused_until_ms[holder] = self._history.engine.now_ms + (reply.retry_after_ms or 0)
            self._history.seen["budget pause after 429"] += 1
        left = self._left.get(effect.request.client_order_id)
        if reply.code == "-1021" and left is not None and left.woken:
            self._history.seen["paused owner refused by the window"] += 1
        if holder.over:
            self._history.seen["reply to an owner that is none"] += 1
        self._history.tell(
            f"  {effect.request.client_order_id[:6]} answered: {reply.http_status} {reply.code or ''} {reply.failure or ''}"
        )

    def heard(self, holder: Holder, news: OrderNews) -> None:
        """The venue's stream tells something: rare states, by what is known by then."""
        assert holder.state is not None
        state, seen, trade = holder.state, self._history.seen, news.trade
        ended = state.books.ended.get(news.client_order_id)
        order = _order_of(state, news.client_order_id)
        if ended is not None and trade is not None:
            seen[f"trade told {'again' if trade.trade_id in ended.trade_ids else 'late'}, after the end"] += 1
        elif order is None:
            return
        elif trade is not None and trade.trade_id in (*order.traded, *_early(state, order)):
            seen["trade told twice"] += 1
        elif order.state is OrderState.INTENDED and trade is not None:
            seen["fill overtook its reply"] += 1
        elif order.state is OrderState.INTENDED and news.ended:
            seen["end overtook its reply"] += 1
        elif order.state is OrderState.UNKNOWN and trade is not None:
            seen["UNKNOWN, then found by its trade"] += 1

    # The venue

    def _accepted(self, account: str, order: core.Order) -> None:
        """The venue accepted an order."""
        self.checks[account].taken(order.client_order_id)
        name, filled, wanted = order.client_order_id[:6], order.filled_base, order.quantity_base
        self._history.tell(f"  the venue accepts {name}, filled {filled} of {wanted}")
        left = self._left[order.client_order_id]
        for epoch, at_ms in self._started[account].items():
            if epoch <= left.epoch:
                continue
            self._history.seen["bytes of a former owner accepted after the take-over"] += 1
            if left.at_ms > at_ms and left.at_ms - self._database.cheated_ms[account] > FORGIVEN_MS:
                raise Violation("I11", "an order was accepted whose bytes left after another owner had started")


def _words(event: object) -> str:
    fields = []
    for name in ("command_id", "attempt", "client_order_id", "cause", "epoch", "own_cause", "trade_id", "quantity_base"):
        value = getattr(event, name, None)
        if value not in (None, ""):
            fields.append(f"{name.removesuffix('_id')} {str(value)[:8] if name.endswith('id') else value}")
    return f"{getattr(event, 'TYPE', '')} ({', '.join(fields)})"


def _order_of(state: State, client_order_id: str) -> Order | None:
    for order in state.books.orders.values():
        if not order.is_cancel and order.intent is not None and order.intent.client_order_id == client_order_id:
            return order
    return None


def _early(state: State, order: Order) -> tuple[str, ...]:
    """The trades of an order that came before its reply."""
    care = state.care.get(order.command_id)
    return () if care is None else tuple(trade.trade_id for trade in care.heard)
