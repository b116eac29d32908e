"""What must hold after every step (design 6), told from outside: by the log, the venue's own journal, the ledger's entries.

Nothing here asks the protocol what it thinks, and no word of its life cycle is used: a rule that is wrong there must not hide
itself here. One `Account` follows one account; `Violation` names the invariant that broke.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from schemas.ledger import EntryKind, LedgerEntry
from schemas.orders import (
    AccountHalted,
    AccountOpened,
    AccountResumed,
    AttemptEvent,
    CancelEnded,
    CancelIntended,
    ClosedAs,
    CommandAdmitted,
    CommandEvent,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    ExecutionEvent,
    OrderAbsent,
    OrderClosed,
    OrderFilled,
    OrderIntended,
    OrderRejected,
    OrderUnknown,
    OrderUnsent,
    OwnerStarted,
    PlaceOrder,
)
from streams.domain.orders.state import Rules

STEP_MS = Rules(account="", venue="", dialect="").wall_step_ms_max
"""By so much the wall clock may step before its deadlines count as unproven."""

_ENDS = (OrderRejected, OrderClosed, CommandExpiredUnsent, CancelEnded)
_SETTLED = (OrderAbsent, OrderUnsent)
_GENESIS = "0" * 64
_ZERO = Decimal(0)


class Violation(BaseException):
    """An invariant does not hold. `invariant` is its name in the design. No handler of ordinary errors may swallow it."""

    def __init__(self, invariant: str, words: str) -> None:
        super().__init__(invariant, words)
        self.invariant = invariant
        self.words = words

    def __str__(self) -> str:
        """As a report tells it."""
        return f"{self.invariant}: {self.words}"


@dataclass(frozen=True, slots=True)
class TrueTrade:
    """A trade as the venue made it."""

    quantity_base: Decimal
    quote_amount: Decimal
    fee_amount: Decimal


class Truth(Protocol):
    """The venue's own journal. Only checks read it."""

    def holds(self, client_order_id: str) -> bool:
        """Whether an order was ever accepted under this client id."""
        ...

    def quantity(self, client_order_id: str) -> Decimal:
        """How much an accepted order is for, in base units."""
        ...

    def ended(self, client_order_id: str) -> ClosedAs | None:
        """How an accepted order ended, None while it stands."""
        ...

    def shown_base(self, client_order_id: str) -> Decimal:
        """How much of an order that ended every question shows as filled, in base units; what is shown later is left out."""
        ...

    def trade(self, client_order_id: str, trade_id: str) -> TrueTrade | None:
        """A trade of an order by its id."""
        ...


@dataclass(slots=True)
class Life:
    """What the log says of one command."""

    symbol: str
    target: str | None
    own: bool
    attempt: int = 0
    settled: bool = True
    unknown: bool = False
    client_order_id: str = ""
    timestamp_ms: int = 0
    end: str = ""


@dataclass(slots=True)
class Account:
    """One account's log, requests, orders and books, as they come about."""

    truth: Truth
    epoch: int = 0
    lives: dict[str, Life] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    halts: set[str] = field(default_factory=set)
    fills: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    departed: set[tuple[str, int, int]] = field(default_factory=set)
    accepted: dict[str, str] = field(default_factory=dict)
    by_client_id: dict[str, str] = field(default_factory=dict)
    opened: bool = False
    sequence: int = 0
    head_hash: str = _GENESIS
    unplaced: int = 0
    holdings: dict[str, Decimal] = field(default_factory=dict)
    sums: dict[str, Decimal] = field(default_factory=dict)

    # The log

    def written(self, event: ExecutionEvent) -> bool:
        """One event became durable. False for evidence: what a former owner says after its successor started."""
        if event.epoch < self.epoch:
            return False
        if isinstance(event, OwnerStarted):
            self.epoch = event.epoch  # one that is announced twice is nobody's: both stand back
            return True
        _require(event.epoch == self.epoch, "I11", f"{event.TYPE} of epoch {event.epoch}, which nobody announced")
        match event:
            case AccountHalted():
                self.halts.add(event.halt_id)
            case AccountResumed():
                self.halts.difference_update(event.halt_ids)
            case AccountOpened():
                _require(not self.opened, "I2", "the account was opened twice")
                self.opened = True
            case CommandNotAdmitted():
                known = event.command_id in self.lives or event.command_id in self.refused
                _require(not known, "I2", f"command {event.command_id[:8]} was answered twice")
                self.refused.add(event.command_id)
            case CommandAdmitted():
                self._admitted(event)
            case OrderFilled():
                self._filled(event)
            case CommandEvent():
                self._progressed(event)
        return True

    def _admitted(self, event: CommandAdmitted) -> None:
        known = self.lives.get(event.command_id)
        if known is not None and known.own and event.own_cause and not known.end:
            return  # kept on a machine, and published again
        again = known is not None or event.command_id in self.refused
        _require(not again, "I2", f"command {event.command_id[:8]} was answered twice")
        self.lives[event.command_id] = Life(event.symbol, event.target_command_id, bool(event.own_cause))

    def _progressed(self, event: CommandEvent) -> None:
        life = self.lives.get(event.command_id)
        if life is None:
            raise Violation("I5", f"{event.TYPE} of command {event.command_id[:8]}, which was never admitted")
        again = isinstance(event, CancelIntended) and (event.attempt, event.timestamp_ms) == (life.attempt, life.timestamp_ms)
        if life.own and again:
            return  # kept on a machine, and published again
        _require(not life.end, "I2", f"{event.TYPE} of command {event.command_id[:8]} after {life.end}")
        if isinstance(event, AttemptEvent):
            self._attempted(life, event)
        if isinstance(event, OrderUnknown):
            life.unknown = True
        elif not isinstance(event, CancelIntended):
            life.unknown = False
        if isinstance(event, _SETTLED) and life.target is None:
            self._settled(life, event)
        if isinstance(event, _ENDS):
            self._ended(life, event)

    def _attempted(self, life: Life, event: AttemptEvent) -> None:
        if not isinstance(event, OrderIntended | CancelIntended):
            right = event.attempt == life.attempt or (isinstance(event, CancelEnded) and not life.attempt)
            _require(right, "I5", f"{event.TYPE} is about attempt {event.attempt} of {life.attempt}")
            return
        _require(event.attempt == life.attempt + 1, "I1", f"attempt {event.attempt} follows {life.attempt}")
        life.attempt, life.timestamp_ms = event.attempt, event.timestamp_ms
        if isinstance(event, CancelIntended):
            return
        _require(life.settled, "I1", f"attempt {event.attempt} without proof that the one before is absent")
        _require(not self.halts, "I16", f"an order is intended while {len(self.halts)} halts stand")
        fresh = event.client_order_id not in self.by_client_id
        _require(fresh, "I1", f"two attempts under the client id {event.client_order_id}")
        _require(event.command_id not in self.accepted, "I1", "another attempt of a command whose order the venue holds")
        self.by_client_id[event.client_order_id] = event.command_id
        life.client_order_id, life.settled = event.client_order_id, False

    def _settled(self, life: Life, event: AttemptEvent) -> None:
        life.settled = True
        held = self.truth.holds(event.client_order_id)
        _require(not held, "I1", f"{event.TYPE} of attempt {event.attempt}, but the venue holds the order")
        if isinstance(event, OrderUnsent):
            left = (event.command_id, event.attempt, 0) in self.departed
            _require(not left, "I1", f"attempt {event.attempt} is called unsent, but its bytes left")
        self.absent.add(event.client_order_id)

    def _ended(self, life: Life, event: CommandEvent) -> None:
        life.end = event.TYPE
        match event:
            case OrderRejected():
                held = self.truth.holds(event.client_order_id)
                _require(not held, "I2", "an order is called rejected, but the venue holds it")
                self.absent.add(event.client_order_id)
            case OrderClosed():
                ended = self.truth.ended(event.client_order_id)
                _require(ended is event.closed_as, "I2", f"closed as {event.closed_as}, but at the venue it is {ended}")
                booked = sum(self.fills.get(event.client_order_id, {}).values(), _ZERO)
                _require(event.filled_base == booked, "I4", f"closed with {event.filled_base}, but {booked} was booked")
                shown = self.truth.shown_base(event.client_order_id)
                _require(booked >= shown, "I4", f"closed with {booked}, but the venue shows {shown} as filled")
            case CancelEnded():
                target = self.lives.get(event.target_command_id)
                open_ = target is not None and not target.end
                _require(not open_, "I2", "a cancel ended while its order stands")
            case CommandExpiredUnsent():
                _require(life.settled, "I2", "a command expired although its last attempt was not proven absent")

    def _filled(self, event: OrderFilled) -> None:
        known = self.fills.setdefault(event.client_order_id, {})
        _require(event.trade_id not in known, "I4", f"trade {event.trade_id} was stated twice")
        known[event.trade_id] = event.quantity_base
        true = self.truth.trade(event.client_order_id, event.trade_id)
        said = TrueTrade(event.quantity_base, event.quote_amount, event.fee_amount)
        _require(true == said, "I4", f"trade {event.trade_id} was {true}, but {said} is stated")
        total = sum(known.values(), _ZERO)
        _require(total <= self.truth.quantity(event.client_order_id), "I4", f"{total} filled is more than was ordered")
        if (life := self.lives.get(event.command_id)) is not None:
            life.unknown = False

    # Requests and orders

    def released(self, command_id: str, attempt: int, client_order_id: str, timestamp_ms: int) -> None:
        """A request may leave from here on: its INTENT stands in the log, below no higher owner, and says the same."""
        life = self.lives.get(command_id)
        there = life is not None and (life.attempt, life.timestamp_ms) == (attempt, timestamp_ms)
        _require(there, "I11", f"attempt {attempt} is released, but the log holds no such INTENT of a present owner")
        assert life is not None
        if life.target is None:
            same = life.client_order_id == client_order_id
            _require(same, "I1", f"client id {client_order_id} is sent, {life.client_order_id} was intended")

    def left(self, command_id: str, attempt: int, epoch: int = 0) -> None:
        """The bytes of an order leave, once for each attempt; those of a cancel once for each attempt of an owner (`epoch`):
        what it kept on its machine under the HALT file may come too late to be known to the next one."""
        _require((command_id, attempt, epoch) not in self.departed, "I1", f"bytes left twice for attempt {attempt}")
        self.departed.add((command_id, attempt, epoch))

    def taken(self, client_order_id: str) -> None:
        """The venue accepted an order."""
        command_id = self.by_client_id.get(client_order_id)
        if command_id is None:
            raise Violation("I1", f"the venue accepted {client_order_id}, which nobody intended")
        _require(command_id not in self.accepted, "I1", "the venue accepted a second order of one command")
        _require(client_order_id not in self.absent, "I1", "the venue accepted an order that was proven absent")
        self.accepted[command_id] = client_order_id

    # The books

    def entry(self, entry: LedgerEntry) -> None:
        """The ledger wrote an entry."""
        _require(entry.sequence == self.sequence + 1, "I17", f"entry {entry.sequence} follows {self.sequence}")
        _require(entry.previous_hash == self.head_hash, "I17", "the chain of entries is broken")
        self.sequence, self.head_hash = entry.sequence, entry.entry_hash
        self.unplaced += entry.kind is EntryKind.FILL_UNPLACED
        sums: dict[str, Decimal] = {}
        for line in entry.postings:
            sums[line.asset] = sums.get(line.asset, _ZERO) + line.amount
            if line.ledger_account.startswith("assets:"):
                self.holdings[line.asset] = self.holdings.get(line.asset, _ZERO) + line.amount
        _require(not any(sums.values()), "I3", f"postings of entry {entry.sequence} do not sum to zero: {sums}")

    # The end

    def drained(self, given: Mapping[str, str], totals: Mapping[str, Decimal], trades: int) -> None:
        """After the last fault: every command given is answered, nothing is open, the books hold what the venue holds.

        `given` are command ids and what they are; `trades` is how many own trades the venue made.
        """
        for command_id, what in given.items():
            life = self.lives.get(command_id)
            answered = command_id in self.refused or (life is not None and bool(life.end))
            _require(answered, "I13", f"{what} ({command_id[:8]}) has no end: {life}")
        for client_order_id in self.accepted.values():
            _require(self.truth.ended(client_order_id) is not None, "I13", f"order {client_order_id} still stands at the venue")
        booked = sum(len(fills) for fills in self.fills.values())
        _require(booked == trades, "I13", f"the venue made {trades} trades, {booked} are booked")
        if self.unplaced:
            return  # by design not posted: it comes when its order is two days forgotten, and a person must look
        for asset in {*totals, *self.holdings}:
            ours, theirs = self.holdings.get(asset, _ZERO), totals.get(asset, _ZERO)
            _require(ours == theirs, "I3", f"{asset}: the venue holds {theirs}, the ledger {ours}")

    # What stands

    def standing(self) -> set[str]:
        """Commands that were admitted and have not ended, by the log."""
        return {command_id for command_id, life in self.lives.items() if not life.end}

    def symbols_in_doubt(self) -> set[str]:
        """Symbols of orders whose fate is unknown, by the log."""
        return {life.symbol for life in self.lives.values() if life.unknown and not life.end and life.target is None}


def may_open(order: PlaceOrder, wall_ms: int, market_seen_ms: int, stopped: str | None, voided_before_ms: int) -> None:
    """The bytes of an order are about to leave: only on fresh inputs and a market that was seen, and when nobody said no."""
    fresh = wall_ms <= order.admit_by_ms + STEP_MS and wall_ms - order.oldest_received_at_ms <= order.input_age_ms_max + STEP_MS
    _require(fresh, "I8", "an order is sent after its admission or on inputs that are too old")
    seen = wall_ms - market_seen_ms <= order.input_age_ms_max + STEP_MS
    _require(seen, "I8", "an order is sent although its market was not seen for too long")
    _require(stopped is None, "I16", f"an order is sent although it is stopped: {stopped}")
    _require(order.decided_at_ms >= voided_before_ms, "I16", "an order is sent that a resume voided")


def _require(holds: bool, invariant: str, words: str) -> None:
    if not holds:
        raise Violation(invariant, words)
