"""The books: execution events in, ledger entries out, and nothing else is looked at.

For each account they keep what the next entry needs: the head of the chain, the highest owner epoch, and of each command
its life cycle, what was filled, and the ids of its events and trades. Execution events come at least once: a repeat is
known by its event id, a trade by (venue, symbol, trade id, side) even when two owners report it. What an owner says after its
successor has started is evidence and never an outcome: it makes no entry. A command's memory goes 48 hours after its end;
a fill that comes later still is FILL_UNPLACED: it is not posted, and whoever trades on these books halts the account.

Postings begin with AccountOpened: what was traded before is in the opening totals already, so it makes entries without any.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from schemas.executor import ExecutorCheckpoint
from schemas.ledger import EntryKind, Flag, LedgerEntry, Posting
from schemas.orders import (
    AccountHalted,
    AccountOpened,
    AccountResumed,
    AttemptEvent,
    CancelEnded,
    CancelIntended,
    CommandAdmitted,
    CommandEvent,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    CommandsDistrusted,
    ExecutionEvent,
    FlowClassified,
    FlowObserved,
    ForeignOrderGone,
    ForeignOrderSeen,
    OrderAbsent,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderFound,
    OrderIntended,
    OrderRejected,
    OrderUnknown,
    OrderUnsent,
    OwnerStarted,
)
from schemas.values import plain
from streams.domain.errors import InvariantError
from streams.domain.ledger import postings
from streams.domain.ledger.chain import GENESIS, sealed
from streams.domain.ledger.memory import Life, Memory
from streams.domain.numbers import MONEY
from streams.domain.orders.lifecycle import TERMINAL, advance, happened

STATE_VERSION = 1

_KINDS: dict[type[CommandEvent], EntryKind] = {
    CommandAdmitted: EntryKind.ADMITTED,
    CommandNotAdmitted: EntryKind.NOT_ADMITTED,
    OrderIntended: EntryKind.INTENDED,
    OrderUnsent: EntryKind.UNSENT,
    OrderAccepted: EntryKind.ACCEPTED,
    OrderRejected: EntryKind.REJECTED,
    OrderUnknown: EntryKind.UNKNOWN,
    OrderFound: EntryKind.FOUND,
    OrderAbsent: EntryKind.ABSENT,
    OrderFilled: EntryKind.FILLED,
    OrderClosed: EntryKind.CLOSED,
    CommandExpiredUnsent: EntryKind.EXPIRED_UNSENT,
    CancelIntended: EntryKind.CANCEL_INTENDED,
    CancelEnded: EntryKind.CANCEL_ENDED,
}


@dataclass(slots=True)
class AccountBooks:
    """The books of one account: `book` turns its next event into the entry it makes, or None."""

    account: str
    sequence: int = 0
    head_hash: str = GENESIS
    epoch: int = 0
    opened_by: str = ""
    flows_open: dict[str, tuple[str, Decimal]] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)

    def book(self, event: ExecutionEvent, event_id: str) -> LedgerEntry | None:
        """The entry of `event`; None for repeats, for evidence of a former owner, and for what books do not tell.

        Raises InvariantError when the event contradicts what is booked.
        """
        if isinstance(event, OwnerStarted):
            self.epoch = max(self.epoch, event.epoch)
            return None
        if event.epoch > self.epoch:
            raise InvariantError(
                f"account {self.account}: event {event_id} carries epoch {event.epoch}, but only {self.epoch} was announced"
            )
        if (
            event.epoch < self.epoch
            or isinstance(event, ExecutorCheckpoint | CommandsDistrusted)
            or event_id in self.memory.event_ids
        ):
            return None
        fields = self._command(event, event_id) if isinstance(event, CommandEvent) else self._account(event, event_id)
        self.memory.forget(event.at_ms)
        return None if fields is None else self._seal(event, event_id, fields)

    def _seal(self, event: ExecutionEvent, event_id: str, fields: dict[str, Any]) -> LedgerEntry:
        common = {"account": self.account, "sequence": self.sequence + 1, "event_id": event_id, "at_ms": event.at_ms}
        entry = sealed(common | fields, self.head_hash)
        self.sequence, self.head_hash = entry.sequence, entry.entry_hash
        return entry

    # What happens to the account itself.

    def _account(self, event: ExecutionEvent, event_id: str) -> dict[str, Any] | None:
        book = _ACCOUNT_EVENTS.get(type(event))
        if book is None:
            raise InvariantError(f"account {self.account}: the books have no place for a {type(event).__name__}")
        self.memory.remember(event_id, event.at_ms)
        return book(self, event, event_id)

    def _opened(self, event: AccountOpened, event_id: str) -> dict[str, Any] | None:
        if self.opened_by == event_id:
            return None
        if self.opened_by:
            raise InvariantError(f"account {self.account} was opened by {self.opened_by}; {event_id} cannot open it again")
        self.opened_by = event_id
        lines = postings.opening(self.account, event.totals)
        return {"kind": EntryKind.ACCOUNT_OPENED, "portfolio": event.portfolio, "postings": lines}

    def _flow_observed(self, event: FlowObserved, event_id: str) -> dict[str, Any] | None:
        if not self.memory.first_flow(event.flow_id, event.at_ms) or event.flow_id in self.flows_open:
            return None
        if not self.opened_by:
            return self._flow(EntryKind.FLOW_OBSERVED, event, ()) | {"cause": "part of the opening"}
        self.flows_open[event.flow_id] = (event.asset, event.amount)
        lines = postings.flow_observed(self.account, event.asset, event.amount)
        return self._flow(EntryKind.FLOW_OBSERVED, event, lines)

    def _flow_classified(self, event: FlowClassified, event_id: str) -> dict[str, Any]:
        """A classification of a flow that is not open any more is noted and moves nothing."""
        flow = self.flows_open.pop(event.flow_id, None)
        if flow is None:
            return self._flow(EntryKind.FLOW_CLASSIFIED, event, ()) | {"cause": "this flow is not open"}
        if flow != (event.asset, event.amount):
            raise InvariantError(
                f"account {self.account}: flow {event.flow_id} was observed as {flow[1]} {flow[0]}, "
                f"but classified as {event.amount} {event.asset}"
            )
        lines = postings.flow_classified(event.asset, event.amount)
        return self._flow(EntryKind.FLOW_CLASSIFIED, event, lines) | {"cause": event.flow_kind.value}

    def _flow(self, kind: EntryKind, event: FlowObserved | FlowClassified, lines: tuple[Posting, ...]) -> dict[str, Any]:
        return {"kind": kind, "portfolio": event.portfolio, "flow_id": event.flow_id, "postings": lines}

    def _foreign_order(self, event: ForeignOrderSeen, event_id: str) -> dict[str, Any]:
        """It moves nothing; whoever plans with these books leaves what it binds alone."""
        return {
            "kind": EntryKind.FOREIGN_ORDER_SEEN,
            "portfolio": event.portfolio,
            "flow_id": event.flow_id,
            "venue_order_id": event.venue_order_id,
            "symbol": event.symbol,
            "side": event.side,
            "quantity_base": event.quantity_base,
            "filled_base": event.filled_base,
            "price_limit_quote": event.price_limit_quote,
        }

    def _foreign_order_gone(self, event: ForeignOrderGone, event_id: str) -> dict[str, Any]:
        return {"kind": EntryKind.FOREIGN_ORDER_GONE, "portfolio": event.portfolio, "flow_id": event.flow_id}

    def _halted(self, event: AccountHalted, event_id: str) -> dict[str, Any]:
        return {
            "kind": EntryKind.ACCOUNT_HALTED,
            "portfolio": event.portfolio,
            "halt_ids": (event.halt_id,),
            "cause": _words(event.cause, event.detail),
        }

    def _resumed(self, event: AccountResumed, event_id: str) -> dict[str, Any]:
        return {"kind": EntryKind.ACCOUNT_RESUMED, "portfolio": event.portfolio, "halt_ids": event.halt_ids}

    # What happens to a command.

    def _command(self, event: CommandEvent, event_id: str) -> dict[str, Any] | None:
        if isinstance(event, OrderFilled):
            return self._fill(event, event_id)
        life = self.memory.lives.get(event.command_id)
        step = advance(life.state if life else None, happened(event))
        if life is None:
            life = self.memory.begin(event.command_id, Life.of(event, step.state))
        _same_command(life, event)
        life.attempted(event)
        life.state = step.state
        self.memory.remember(event_id, event.at_ms, event.command_id)
        if life.state in TERMINAL:
            self.memory.end(event.command_id, event.at_ms)
        flags = (Flag.CLOSED_BEFORE_FILLS,) if _fills_missing(life, event) else ()
        return self._life(_KINDS[type(event)], event, life, flags) | {"cause": _cause(event)}

    def _fill(self, event: OrderFilled, event_id: str) -> dict[str, Any] | None:
        """A trade: booked once, also when another owner or another query shows it again."""
        if not self.memory.first_trade(event):
            self.memory.remember(event_id, event.at_ms, event.command_id)
            return None
        life = self.memory.lives.get(event.command_id)
        self.memory.remember(event_id, event.at_ms, event.command_id)
        if life is None:
            return self._unplaced(event)
        _same_command(life, event)
        flags = life.fill(event)
        lines = postings.fill(event) if self.opened_by else ()
        return self._life(EntryKind.FILLED, event, life, flags) | _trade(event) | {"postings": lines}

    def _unplaced(self, event: OrderFilled) -> dict[str, Any]:
        return {
            "kind": EntryKind.FILL_UNPLACED,
            "portfolio": event.portfolio,
            "command_id": event.command_id,
            "client_order_id": event.client_order_id,
            "venue_order_id": event.venue_order_id,
            "attempt": event.attempt,
            "symbol": event.symbol,
            "side": event.side,
            **_trade(event),
        }

    def _life(self, kind: EntryKind, event: CommandEvent, life: Life, flags: tuple[Flag, ...]) -> dict[str, Any]:
        return {
            "kind": kind,
            "portfolio": event.portfolio,
            "command_id": event.command_id,
            "symbol": event.symbol,
            "target_command_id": life.target_command_id,
            "client_order_id": event.client_order_id if isinstance(event, AttemptEvent) else life.client_order_id,
            "venue_order_id": life.venue_order_id,
            "attempt": event.attempt if isinstance(event, AttemptEvent) else life.attempt or None,
            "side": life.side,
            "state": life.state,
            "quantity_base": life.quantity_base,
            "price_limit_quote": life.price_limit_quote,
            "price_mid_quote": life.price_mid_quote,
            "filled_base": life.filled_base,
            "filled_quote": life.filled_quote,
            "flags": flags,
        }

    # State as plain JSON.

    def state(self) -> dict[str, Any]:
        """The books as plain JSON values."""
        return {
            "sequence": self.sequence,
            "head_hash": self.head_hash,
            "epoch": self.epoch,
            "opened_by": self.opened_by,
            "flows_open": {flow: [asset, plain(amount)] for flow, (asset, amount) in self.flows_open.items()},
            "memory": self.memory.state(),
        }

    @classmethod
    def of_state(cls, account: str, state: dict[str, Any]) -> "AccountBooks":
        """The books that `state` was taken of."""
        flows = {flow: (asset, Decimal(amount)) for flow, (asset, amount) in state["flows_open"].items()}
        memory = Memory.of_state(state["memory"])
        return cls(account, state["sequence"], state["head_hash"], state["epoch"], state["opened_by"], flows, memory)


_ACCOUNT_EVENTS: dict[type[ExecutionEvent], Callable[[AccountBooks, Any, str], dict[str, Any] | None]] = {
    AccountOpened: AccountBooks._opened,
    FlowObserved: AccountBooks._flow_observed,
    FlowClassified: AccountBooks._flow_classified,
    ForeignOrderSeen: AccountBooks._foreign_order,
    ForeignOrderGone: AccountBooks._foreign_order_gone,
    AccountHalted: AccountBooks._halted,
    AccountResumed: AccountBooks._resumed,
}


@dataclass(slots=True)
class Books:
    """The books of every account whose events stand in one partition."""

    accounts: dict[str, AccountBooks] = field(default_factory=dict)

    def book(self, event: ExecutionEvent, event_id: str) -> LedgerEntry | None:
        """The entry that `event` makes in its account's books, or None. Raises InvariantError."""
        books = self.accounts.get(event.account)
        if books is None:
            books = self.accounts[event.account] = AccountBooks(event.account)
        return books.book(event, event_id)

    def snapshot(self) -> bytes:
        """The whole state as canonical bytes: equal books give equal bytes."""
        state = {"version": STATE_VERSION, "accounts": {name: books.state() for name, books in self.accounts.items()}}
        return orjson.dumps(state, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def load(cls, snapshot: bytes) -> "Books":
        """The books as of `snapshot`. Raises ValueError on bytes that no `snapshot` of this version wrote."""
        try:
            state = orjson.loads(snapshot)
            if state["version"] != STATE_VERSION:
                raise ValueError(f"books of state version {state['version']}; this program knows {STATE_VERSION}")
            return cls({name: AccountBooks.of_state(name, books) for name, books in state["accounts"].items()})
        except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise ValueError(f"not a snapshot of books: {error!r}") from error


def _same_command(life: Life, event: CommandEvent) -> None:
    if (life.portfolio, life.symbol) != (event.portfolio, event.symbol):
        raise InvariantError(
            f"command {event.command_id} belongs to {life.portfolio} {life.symbol}, not to {event.portfolio} {event.symbol}"
        )


def _fills_missing(life: Life, event: CommandEvent) -> bool:
    return isinstance(event, OrderClosed) and MONEY.compare(life.filled_base, event.filled_base) < 0


def _trade(event: OrderFilled) -> dict[str, Any]:
    return {
        "trade_id": event.trade_id,
        "fill_price_quote": event.price_quote,
        "fill_quantity_base": event.quantity_base,
        "fill_quote_amount": event.quote_amount,
        "fee_asset": event.fee_asset,
        "fee_amount": event.fee_amount,
    }


def _cause(event: CommandEvent) -> str | None:
    match event:
        case CommandNotAdmitted():
            return _words(event.cause, event.detail)
        case OrderRejected():
            return _words(event.code, event.detail)
        case OrderUnsent() | OrderUnknown() | CommandExpiredUnsent() | CancelEnded():
            return event.cause
        case _:
            return None


def _words(cause: str, detail: str) -> str:
    return f"{cause}: {detail}"[:500] if detail else cause
