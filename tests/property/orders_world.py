"""A small world for the order protocol: a log, a venue that lags, requests under way, and owners that come and go.

The venue follows its documented rules: a request is accepted only until its timestamp plus its window in the venue's own
time, and what it accepted may stay invisible to questions for up to the margin. Every accepted order is in its journal, which
nobody but the checks reads. A former owner's requests stay under way after a take-over. The checks are those of the simulation.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from schemas.control import StopKind
from schemas.ledger import OrderState
from schemas.orders import CancelOrder, ClosedAs, ExecutionEvent, OrderIntended, OwnerStarted, PlaceOrder
from streams.domain.orders.books import Books, evolve
from streams.domain.orders.budget import bucket
from streams.domain.orders.checkpoint import with_command, without_commands
from streams.domain.orders.outcome import Failure, OrderNews, OrderView, Standing, TradeView, VenueReply
from streams.domain.orders.protocol import next_wake, step
from streams.domain.orders.state import State
from streams.domain.orders.stimuli import (
    AuthorityRead,
    CommandRead,
    Effect,
    Input,
    IntentReadBack,
    LeaseRenewed,
    Look,
    Looked,
    LookUp,
    Now,
    OrderHeard,
    OrderRequest,
    Publish,
    Replied,
    SendCancel,
    SendOrder,
    Superseded,
    TakenOver,
    Ticked,
    VenueTimeRead,
)
from streams.lab.invariants import Account, TrueTrade, may_open
from tests.unit.orders.desk import BOOT_MS, RULES, WALL_MS, authority, cancel, market, place, trade

_ENDED = {Standing.FILLED: ClosedAs.FILLED, Standing.CANCELED: ClosedAs.CANCELED}


@dataclass
class Taken:
    """An order that the venue accepted."""

    view: OrderView
    visible_at_ms: int
    trades: list[TradeView] = field(default_factory=list)


@dataclass
class Flying:
    """A request between its sender and the venue, or its answer on the way back."""

    owner: int
    effect: SendOrder | SendCancel
    reply: VenueReply | None = None
    left: bool = False


class World:
    """Everything outside the protocol, and the checks after every step."""

    def __init__(self) -> None:
        self.wall_ms = WALL_MS
        self.boot_ms = BOOT_MS
        self.log: list[tuple[int, ExecutionEvent]] = []
        self.commands: list[PlaceOrder | CancelOrder] = []
        self.read = 0
        self.journal: dict[str, Taken] = {}
        self.flying: list[Flying] = []
        self.looks: list[LookUp] = []
        self.unread: list[OrderIntended | Any] = []
        self.checks = Account(self)
        self.halted = False
        self.epoch = 0
        self.asleep: State | None = None
        self.trades = 0
        self.take_over()

    # Inputs

    def now(self) -> Now:
        return Now(self.wall_ms, self.boot_ms, "halted" if self.halted else None, market(self.wall_ms))

    def put(self, kind: type[Input], **fields: Any) -> None:
        self.state, effects = step(self.state, kind(now=self.now(), **fields))
        for effect in effects:
            self.perform(effect)
        self.check()

    def perform(self, effect: Effect) -> None:
        match effect:
            case Publish():
                self.write(effect.event)
                if effect.event.TYPE in ("orders.intended", "orders.cancel-intended"):
                    self.unread.append(effect.event)
            case SendOrder() | SendCancel():
                self.check_send(effect)
                self.flying.append(Flying(self.epoch, effect))
            case LookUp():
                self.looks.append(effect)

    def write(self, event: ExecutionEvent) -> None:
        self.log.append((self.epoch, event))
        assert self.checks.written(event), "a former owner's event"

    def take_over(self) -> None:
        """A new owner folds the log; the former one never acts again, but its requests are where they are."""
        self.epoch += 1
        books = Books("alice", opened=True)
        self.write(OwnerStarted(account="alice", epoch=self.epoch, at_ms=self.wall_ms, owner="me"))
        for _, event in self.log:
            books = evolve(books, event)
        for command_id, offset in without_commands(books).items():
            books = with_command(books, command_id, self.commands[offset])
        self.read = books.commands_next_offset
        self.state = State(RULES, books, bucket(None))
        self.looks, self.unread, self.asleep = [], [], None
        self.refresh()
        self.put(TakenOver)

    def refresh(self) -> None:
        self.put(LeaseRenewed, asked_wall_ms=self.wall_ms, asked_boot_ms=self.boot_ms, ttl_ms=5000)
        self.put(VenueTimeRead, venue_time_ms=self.wall_ms, asked_boot_ms=self.boot_ms, answered_boot_ms=self.boot_ms)
        self.put(AuthorityRead, authority=authority(), asked_boot_ms=self.boot_ms)

    # What may happen

    def give(self, symbol: str, **changes: Any) -> None:
        number = len(self.commands) + 1
        times = {"decided_at_ms": self.wall_ms, "admit_by_ms": self.wall_ms + 10_000, "expires_at_ms": self.wall_ms + 60_000}
        times |= {"oldest_received_at_ms": self.wall_ms, "quantity_base": "0.01"}
        self.commands.append(place(number, symbol=symbol, **(times | changes)))

    def give_cancel(self, index: int) -> None:
        target = self.commands[index % len(self.commands)]
        if isinstance(target, PlaceOrder):
            self.commands.append(cancel(target.command_id, len(self.commands) + 1, symbol=target.symbol))

    def repeat(self, index: int) -> None:
        """The log of commands holds a command twice."""
        self.commands.append(self.commands[index % len(self.commands)])

    def read_command(self) -> None:
        if self.read < len(self.commands):
            offset, self.read = self.read, self.read + 1
            self.put(CommandRead, command=self.commands[offset], offset=offset)

    def read_back(self) -> None:
        if self.unread:
            intent = self.unread.pop(0)
            self.put(IntentReadBack, command_id=intent.command_id, attempt=intent.attempt)

    def read_back_again(self, index: int) -> None:
        """The tail of the log shows a record that it has shown before."""
        intents = [event for _, event in self.log if event.TYPE in ("orders.intended", "orders.cancel-intended")]
        if intents:
            event: Any = intents[index % len(intents)]
            if event not in self.unread:
                self.put(IntentReadBack, command_id=event.command_id, attempt=event.attempt)

    def arrive(self, index: int, fill: str, lag_ms: int, lost: bool) -> None:
        """A request reaches the venue, which may fill it, and whose answer may be lost."""
        waiting = [flying for flying in self.flying if flying.reply is None]
        if not waiting:
            return
        flying = waiting[index % len(waiting)]
        effect = flying.effect
        self.leave(flying)
        if self.wall_ms > effect.request.timestamp_ms + effect.request.window_ms:
            flying.reply = VenueReply(http_status=400, code="-1021")
        elif isinstance(effect, SendOrder):
            flying.reply = self.accept(effect.request, fill, lag_ms)
        else:
            flying.reply = self.remove(effect.request.client_order_id)
        if lost:
            flying.reply = VenueReply(failure=Failure.NO_REPLY)

    def accept(self, request: OrderRequest, fill: str, lag_ms: int) -> VenueReply:
        self.checks.taken(request.client_order_id)
        number = str(len(self.journal) + 1)
        amount = {"none": Decimal(0), "half": request.quantity_base / 2, "full": request.quantity_base}[fill]
        standing = Standing.FILLED if fill == "full" else Standing.OPEN
        shown = OrderView(
            number, request.client_order_id, request.symbol, request.side, request.quantity_base, amount, standing, self.wall_ms
        )
        taken = Taken(shown, self.wall_ms + lag_ms)
        if amount:
            self.trades += 1
            part = trade(str(self.trades), str(amount), venue_order_id=number, symbol=request.symbol)
            taken.trades.append(replace(part, venue_time_ms=self.wall_ms))
        self.journal[request.client_order_id] = taken
        return VenueReply(http_status=200, order=shown)

    def remove(self, client_order_id: str) -> VenueReply:
        taken = self.journal[client_order_id]
        if taken.view.standing.ended:
            return VenueReply(http_status=400, code="-2011")
        taken.view = replace(taken.view, standing=Standing.CANCELED)
        return VenueReply(http_status=200, order=taken.view)

    def fill_rest(self, index: int) -> None:
        """Somebody trades with an order that stands."""
        standing = [taken for taken in self.journal.values() if not taken.view.standing.ended]
        if standing:
            taken = standing[index % len(standing)]
            self.trades += 1
            rest = taken.view.quantity_base - taken.view.filled_base
            part = trade(str(self.trades), str(rest), venue_order_id=taken.view.venue_order_id, symbol=taken.view.symbol)
            taken.trades.append(replace(part, venue_time_ms=self.wall_ms))
            taken.view = replace(taken.view, filled_base=taken.view.quantity_base, standing=Standing.FILLED)

    def lose(self, index: int) -> None:
        """A request never arrives."""
        waiting = [flying for flying in self.flying if flying.reply is None]
        if waiting:
            self.leave(waiting[index % len(waiting)])
            waiting[index % len(waiting)].reply = VenueReply(failure=Failure.NO_REPLY)

    def leave(self, flying: Flying) -> None:
        """The bytes of a request leave, once."""
        effect = flying.effect
        if not flying.left:
            flying.left = True
            self.checks.left(effect.command_id, effect.attempt, self.epoch if isinstance(effect, SendCancel) else 0)

    def not_connected(self) -> None:
        """No connection, so that no byte left."""
        waiting = [f for f in self.flying if f.reply is None and not f.left and isinstance(f.effect, SendOrder)]
        if waiting:
            waiting[-1].reply = VenueReply(failure=Failure.NOT_CONNECTED)

    def answer(self, index: int) -> None:
        """An answer reaches whoever asked, if that one still acts."""
        answered = [flying for flying in self.flying if flying.reply is not None]
        if answered:
            flying = answered[index % len(answered)]
            self.flying.remove(flying)
            if flying.owner == self.epoch:
                self.put(Replied, command_id=flying.effect.command_id, attempt=flying.effect.attempt, reply=flying.reply)

    def time_out(self) -> None:
        """The client gives up on a request that is still on its way, and that may arrive all the same."""
        for flying in self.flying:
            if flying.owner == self.epoch and flying.reply is None:
                flying.owner = 0
                self.leave(flying)
                self.put(
                    Replied,
                    command_id=flying.effect.command_id,
                    attempt=flying.effect.attempt,
                    reply=VenueReply(failure=Failure.NO_REPLY),
                )
                return

    def look(self, index: int, fails: bool) -> None:
        if not self.looks:
            return
        wanted = self.looks.pop(index % len(self.looks))
        found = None
        if not fails:
            taken = self.journal.get(wanted.client_order_id)
            seen = taken is not None and taken.visible_at_ms <= self.wall_ms
            order = taken.view if taken is not None and seen else None
            trades = tuple(taken.trades) if taken is not None and seen else ()
            found = Look(self.wall_ms, order, trades, True)
        self.put(Looked, command_id=wanted.command_id, attempt=wanted.attempt, look=found)

    def hear(self, index: int) -> None:
        """The stream tells of a trade: early, late, again, of whichever order."""
        told = [(name, trade) for name, taken in self.journal.items() for trade in taken.trades]
        if told:
            name, trade = told[index % len(told)]
            taken = self.journal[name]
            self.put(OrderHeard, news=OrderNews(name, trade.symbol, taken.view.standing.ended, trade))

    def wait(self, milliseconds: int) -> None:
        self.wall_ms += milliseconds
        self.boot_ms += milliseconds
        self.put(Ticked)

    def superseded(self) -> None:
        self.put(Superseded)

    def toggle_halt(self) -> None:
        self.halted = not self.halted
        self.put(AuthorityRead, authority=authority(StopKind.HALT if self.halted else None), asked_boot_ms=self.boot_ms)

    def drain(self) -> None:
        """The last fault is over: everything answers."""
        self.halted = False
        self.take_over()
        for _ in range(400):
            self.refresh()
            while self.read < len(self.commands):
                self.read_command()
            while self.unread:
                self.read_back()
            for _ in range(len(self.flying)):
                self.arrive(0, "full", 0, False)
                self.answer(0)
            while self.looks:
                self.look(0, False)
            standing = [order for order in self.state.books.orders.values() if order.state is OrderState.OPEN]
            for number in range(len(standing)):
                self.fill_rest(number)
            if not self.state.books.orders:
                given = {command.command_id: f"command {number}" for number, command in enumerate(self.commands)}
                return self.checks.drained(given, {}, sum(len(taken.trades) for taken in self.journal.values()))
            wake = next_wake(self.state)
            self.wait(max(1, min(500, (wake or 0) - self.boot_ms)))
        raise AssertionError(f"not drained: {self.state.books.orders}")

    # Checks

    def check_send(self, effect: SendOrder | SendCancel) -> None:
        """I1, I8, I11, I16: one request for each intent, behind it in the log, within the lease, and never in doubt."""
        request = effect.request
        self.checks.released(effect.command_id, effect.attempt, request.client_order_id, request.timestamp_ms)
        lease = self.state.lease
        assert self.state.owner
        assert lease is not None
        assert self.boot_ms < effect.deadline_boot_ms <= lease.deadline_boot_ms - request.window_ms
        if isinstance(effect, SendOrder):
            command = self.state.books.orders[effect.command_id].command
            assert isinstance(command, PlaceOrder)
            may_open(command, self.wall_ms, self.wall_ms, "halted" if self.halted else None, 0)
            assert command.symbol not in self.checks.symbols_in_doubt(), "I16: a request while a fate is unknown"

    def check(self) -> None:
        """I2 after every step: what the log says stands is exactly what the protocol has in hand."""
        assert set(self.state.books.orders) == self.checks.standing(), "I2: neither open nor ended"

    # The venue's own journal, for checks alone

    def holds(self, client_order_id: str) -> bool:
        return client_order_id in self.journal

    def quantity(self, client_order_id: str) -> Decimal:
        return self.journal[client_order_id].view.quantity_base

    def ended(self, client_order_id: str) -> ClosedAs | None:
        taken = self.journal.get(client_order_id)
        return None if taken is None else _ENDED.get(taken.view.standing)

    def shown_base(self, client_order_id: str) -> Decimal:
        return self.journal[client_order_id].view.filled_base

    def trade(self, client_order_id: str, trade_id: str) -> TrueTrade | None:
        for made in self.journal[client_order_id].trades:
            if made.trade_id == trade_id:
                return TrueTrade(made.quantity_base, made.quote_amount, made.fee_amount)
        return None
