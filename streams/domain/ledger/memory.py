"""What the books remember of an account's commands, so that every event and every trade counts once.

Ids are kept as long as a repeat of them can come: of an open command without end, of an ended one, and of events that belong
to no command, for 48 hours by the time in the events themselves.
"""

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from schemas.ledger import Flag, OrderState
from schemas.orders import AttemptEvent, CancelIntended, CommandAdmitted, CommandEvent, OrderFilled, OrderIntended, Side
from schemas.values import plain
from streams.domain.errors import InvariantError
from streams.domain.numbers import MONEY
from streams.domain.orders.lifecycle import REMEMBERED_MS, Happened, advance

_ZERO = Decimal(0)


@dataclass(slots=True)
class Life:
    """One command's life so far. `filled_*` are cumulative over its attempts; `attempt` 0 means none was begun."""

    portfolio: str
    symbol: str
    state: OrderState
    side: Side | None = None
    quantity_base: Decimal | None = None
    price_limit_quote: Decimal | None = None
    price_mid_quote: Decimal | None = None
    target_command_id: str | None = None
    attempt: int = 0
    client_order_id: str | None = None
    venue_order_id: str | None = None
    filled_base: Decimal = _ZERO
    filled_quote: Decimal = _ZERO
    event_ids: list[str] = field(default_factory=list)
    trades: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, event: CommandEvent, state: OrderState) -> "Life":
        """The life that begins with `event`; only an admission knows what was ordered."""
        life = cls(event.portfolio, event.symbol, state)
        if isinstance(event, CommandAdmitted):
            life.side, life.quantity_base = event.side, event.quantity_base
            life.price_limit_quote, life.price_mid_quote = event.price_limit_quote, event.price_mid_quote
            life.target_command_id = event.target_command_id
        return life

    def attempted(self, event: CommandEvent) -> None:
        """Follow the attempts: intents count up by one, anything else is about the current one. Raises InvariantError."""
        if not isinstance(event, AttemptEvent):
            return
        if isinstance(event, OrderIntended | CancelIntended):
            self._next(event)
        elif event.attempt != self.attempt and self.attempt:
            raise InvariantError(
                f"command {event.command_id}: {type(event).__name__} is about attempt {event.attempt}, "
                f"but the current one is {self.attempt}"
            )
        self.venue_order_id = getattr(event, "venue_order_id", self.venue_order_id)

    def fill(self, event: OrderFilled) -> tuple[Flag, ...]:
        """Count a trade and return what was odd about it. A trade of a former attempt moves money but no state."""
        flags: list[Flag] = []
        if event.attempt == self.attempt:
            step = advance(self.state, Happened.FILL)
            self.state, self.venue_order_id = step.state, event.venue_order_id
            flags += [step.flag] if step.flag else []
        elif event.attempt < self.attempt:
            flags.append(Flag.LATE_FILL)
        else:
            raise InvariantError(f"command {event.command_id}: a fill of attempt {event.attempt}, which was never intended")
        self.filled_base = MONEY.add(self.filled_base, event.quantity_base)
        self.filled_quote = MONEY.add(self.filled_quote, event.quote_amount)
        if self.quantity_base is not None and self.filled_base > self.quantity_base:
            flags.append(Flag.OVERFILL)
        return tuple(flags)

    def _next(self, event: AttemptEvent) -> None:
        if event.attempt != self.attempt + 1:
            raise InvariantError(f"command {event.command_id}: attempt {event.attempt} after attempt {self.attempt}")
        self.attempt, self.client_order_id, self.venue_order_id = event.attempt, event.client_order_id, None

    def row(self) -> dict[str, Any]:
        """The life as plain JSON values."""
        return {
            "portfolio": self.portfolio,
            "symbol": self.symbol,
            "state": self.state.value,
            "side": self.side.value if self.side else None,
            "quantity_base": _text(self.quantity_base),
            "price_limit_quote": _text(self.price_limit_quote),
            "price_mid_quote": _text(self.price_mid_quote),
            "target_command_id": self.target_command_id,
            "attempt": self.attempt,
            "client_order_id": self.client_order_id,
            "venue_order_id": self.venue_order_id,
            "filled_base": plain(self.filled_base),
            "filled_quote": plain(self.filled_quote),
            "event_ids": self.event_ids,
            "trades": self.trades,
        }

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> "Life":
        """The life that `row` was taken of."""
        decimals = ("quantity_base", "price_limit_quote", "price_mid_quote", "filled_base", "filled_quote")
        typed: dict[str, Any] = {name: _number(row[name]) for name in decimals}
        typed["state"] = OrderState(row["state"])
        typed["side"] = Side(row["side"]) if row["side"] else None
        return cls(**row | typed)


@dataclass(slots=True)
class Memory:
    """Lives by command id, in the order they ended; and the ids of events and trades, each known once."""

    lives: dict[str, Life] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    loose: dict[str, int] = field(default_factory=dict)
    loose_trades: dict[str, tuple[str, int]] = field(default_factory=dict)
    clock_ms: int = 0
    event_ids: set[str] = field(default_factory=set)
    trades: dict[str, str] = field(default_factory=dict)

    def begin(self, command_id: str, life: Life) -> Life:
        """Remember a new command."""
        self.lives[command_id] = life
        return life

    def end(self, command_id: str, at_ms: int) -> None:
        """The command has ended: it may be forgotten from 48 hours on."""
        self.clock_ms = max(self.clock_ms, at_ms)
        self.ended.setdefault(command_id, self.clock_ms)

    def remember(self, event_id: str, at_ms: int, command_id: str = "") -> None:
        """Remember an event id as long as its command, or for 48 hours."""
        self.clock_ms = max(self.clock_ms, at_ms)
        self.event_ids.add(event_id)
        life = self.lives.get(command_id)
        if life is None:
            self.loose.setdefault(event_id, self.clock_ms)
        else:
            life.event_ids.append(event_id)

    def first_flow(self, flow_id: str, at_ms: int) -> bool:
        """Whether this flow was not seen within 48 hours; from here on it was."""
        key = f"flow {flow_id}"
        first = key not in self.event_ids
        if first:
            self.remember(key, at_ms)
        return first

    def first_trade(self, event: OrderFilled) -> bool:
        """Whether this side of a trade is new; from here on it is known. Both sides are ours when two own orders meet. Raises
        InvariantError for one with other figures."""
        key, figures = f"{event.venue} {event.symbol} {event.trade_id} {event.side.value}", _figures(event)
        known = self.trades.get(key)
        if known is not None and known != figures:
            raise InvariantError(f"trade {key} of command {event.command_id} was booked with other figures")
        if known is None:
            self.trades[key] = figures
            life = self.lives.get(event.command_id)
            if life is None:
                self.clock_ms = max(self.clock_ms, event.at_ms)
                self.loose_trades[key] = (figures, self.clock_ms)
            else:
                life.trades[key] = figures
        return known is None

    def forget(self, at_ms: int) -> None:
        """Let go of what is 48 hours old by the newest event time."""
        self.clock_ms = max(self.clock_ms, at_ms)
        limit = self.clock_ms - REMEMBERED_MS
        while self.ended and next(iter(self.ended.values())) < limit:
            command_id = next(iter(self.ended))
            del self.ended[command_id]
            life = self.lives.pop(command_id)
            self.event_ids.difference_update(life.event_ids)
            for key in life.trades:
                del self.trades[key]
        while self.loose and next(iter(self.loose.values())) < limit:
            event_id = next(iter(self.loose))
            del self.loose[event_id]
            self.event_ids.discard(event_id)
        while self.loose_trades and next(iter(self.loose_trades.values()))[1] < limit:
            key = next(iter(self.loose_trades))
            del self.loose_trades[key], self.trades[key]

    def state(self) -> dict[str, Any]:
        """The memory as plain JSON values; what is kept in the order of forgetting is a list."""
        return {
            "lives": {command_id: life.row() for command_id, life in self.lives.items()},
            "ended": list(self.ended.items()),
            "loose": list(self.loose.items()),
            "loose_trades": [[key, figures, at_ms] for key, (figures, at_ms) in self.loose_trades.items()],
            "clock_ms": self.clock_ms,
        }

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "Memory":
        """The memory that `state` was taken of; the sets of known ids follow from it."""
        lives = {command_id: Life.of_row(row) for command_id, row in state["lives"].items()}
        loose = dict(state["loose"])
        loose_trades = {key: (figures, at_ms) for key, figures, at_ms in state["loose_trades"]}
        ended = dict(state["ended"])
        memory = cls(lives, ended, loose, loose_trades, state["clock_ms"])
        memory.event_ids.update(loose, *(life.event_ids for life in lives.values()))
        memory.trades.update({key: figures for key, (figures, _) in loose_trades.items()})
        for life in lives.values():
            memory.trades.update(life.trades)
        return memory


def _figures(event: OrderFilled) -> str:
    """What must be equal in every report of one trade, in 64 bits."""
    numbers = (event.price_quote, event.quantity_base, event.quote_amount, event.fee_amount)
    text = " ".join((event.command_id, event.side.value, *map(plain, numbers), event.fee_asset))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
