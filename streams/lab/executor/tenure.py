"""An account, owned in virtual time: what the agent's own tenure does, with what is lost between its steps and their effects.

All decisions are production code: the protocol's `step`, the fence, the last look, the questions to the venue, the checkpoint.
What is modelled here is the waiting between them: who hears what, in which order, and what is lost when a process dies.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from schemas.orders import AttemptEvent, CancelIntended, ExecutionEvent, OrderFilled, OrderIntended, OwnerStarted
from streams.agents.executor import looking
from streams.agents.executor.fence import Fence, LostError, acknowledged, last_look, last_look_at_cancel
from streams.agents.executor.letters import event_id, event_output
from streams.agents.executor.spool import Kept
from streams.agents.executor.takeover import Claim, Past, resource_of
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.domain.orders.authority import for_account
from streams.domain.orders.budget import bucket, salt_of
from streams.domain.orders.checkpoint import checkpoint
from streams.domain.orders.outcome import OrderNews, VenueReply
from streams.domain.orders.protocol import next_wake, step
from streams.domain.orders.state import State
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
    LookUp,
    Now,
    OrderHeard,
    Publish,
    ReadVenueTime,
    Remark,
    Replied,
    SendCancel,
    SendOrder,
    SnapshotRead,
    Superseded,
    TakenOver,
    Ticked,
    VenueTimeRead,
)
from streams.lab.engine import Pause, Signal
from streams.lab.executor.seat import Seat
from streams.lab.outside.log import Written
from streams.lab.outside.stream import Stream
from streams.ports.database import LeaseUnreachableError
from streams.ports.process import Point

_VENUE_ERRORS = (UnreachableError, UnknownOutcomeError, RefusedError)


class Tenure:
    """One account, owned by one process under one epoch."""

    def __init__(self, seat: Seat, claimed: Claim) -> None:
        self._seat = seat
        self._history = seat.history
        self._claimed = claimed
        self.process = seat.process
        self.account = seat.account.account
        self.owner = seat.config.owner
        self.epoch = claimed.epoch
        self.state: State | None = None
        self.over = False
        self.ended = Signal()
        self.requests = 0
        self._venue = seat.connect()
        silence_ms = seat.config.stream_silence_ms
        self._stream = Stream(seat.history, seat.venue, seat.process, self.account, silence_ms, self._told)
        self._early: list[tuple[type[Input], dict[str, Any]]] = []
        self._fence = Fence(self.epoch, self.owner)
        self._events_next = 0
        self._commands_next = 0
        self._tick_ms: int | None = None

    # Life

    async def keep_lease(self) -> None:
        """Renew for ever; the tenure ends when the row is somebody else's."""
        config, machine = self._seat.config, self.process.machine
        renewed = {"asked_wall_ms": self._claimed.asked_wall_ms, "asked_boot_ms": self._claimed.asked_boot_ms}
        self.hear(LeaseRenewed, **renewed, ttl_ms=config.lease_ttl_ms)
        while not self.over:
            await Pause(config.lease_renew_ms)
            asked_wall_ms, asked_boot_ms = machine.wall_ms(), machine.boot_ms()
            try:
                ours = await self._seat.leases.renew(resource_of(self.account), self.owner, self.epoch, config.lease_ttl_ms)
            except LeaseUnreachableError:
                continue
            if not ours:
                self.hear(Superseded)
                self.end()
                return
            self.hear(LeaseRenewed, asked_wall_ms=asked_wall_ms, asked_boot_ms=asked_boot_ms, ttl_ms=config.lease_ttl_ms)

    def begin(self, past: Past) -> None:
        """Own the account: `past` was read up to the own OwnerStarted."""
        seat = self._seat
        rules = seat.config.rules(seat.account, self._venue.dialect)
        self.state = State(rules, past.books, bucket(seat.account.orders_per_second, salt_of(self.account)))
        self._events_next, self._commands_next = past.next_offset, past.books.commands_next_offset
        seat.witness.taken_over(self)
        early, self._early = self._early, []
        for kind, fields in early:
            self.hear(kind, **fields)
        self.authority_changed()
        self.hear(TakenOver)
        seat.records.event_followers.append(self._follow_events)
        seat.records.command_followers.append(self._follow_commands)
        self._follow(len(seat.records.events) - 1)
        self.read_commands()
        for loop in (self._watch_time, self._take_snapshots, self._write_checkpoints, self._stream.listen):
            seat.spawn(loop())

    def end(self) -> None:
        """Nothing is done here any more; what is out is out."""
        if self.over:
            return
        self.over = True
        records = self._seat.records
        if self._follow_events in records.event_followers:
            records.event_followers.remove(self._follow_events)
            records.command_followers.remove(self._follow_commands)
        self._stream.close()
        self._seat.witness.tenure_ended(self)
        self.ended.fire()

    # Stepping

    def now(self) -> Now:
        """This machine's clocks and HALT file."""
        machine = self.process.machine
        return Now(machine.wall_ms(), machine.boot_ms(), machine.halt_file, self._history.prices, machine.freeze_file)

    def hear(self, kind: type[Input], **fields: Any) -> None:
        """One input, and its effects in order."""
        if self.over:
            return
        if self.state is None:
            self._early.append((kind, fields))
            return
        before = self.state
        self.state, effects = step(before, kind(now=self.now(), **fields))
        if self.state.repeats != before.repeats:
            self._history.seen["repeated command dropped"] += 1
        for effect in effects:
            self._perform(effect)
        self._seat.witness.steps += 1
        if before.owner and not self.state.owner:
            self.end()
        else:
            self._wake()

    def _wake(self) -> None:
        """Step again when the protocol wants it."""
        assert self.state is not None
        wake_boot_ms = next_wake(self.state)
        if wake_boot_ms is None:
            return
        engine = self._history.engine
        when_ms = engine.now_ms + max(1, wake_boot_ms - self.process.machine.boot_ms())
        if self._tick_ms is None or when_ms < self._tick_ms:
            self._tick_ms = when_ms
            engine.at(when_ms, self.process.hear, self._tick, when_ms)

    def _tick(self, when_ms: int) -> None:
        if self._tick_ms == when_ms:
            self._tick_ms = None
            self.hear(Ticked)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Publish():
                self._publish(effect.event, effect.keep)
                self._history.seen["kept on this machine under the HALT file"] += effect.sync
            case SendOrder() | SendCancel():
                if isinstance(effect, SendCancel) and self.process.machine.halt_file is not None:
                    self._seat.witness.kept(effect, self.epoch)
                self.process.reach(Point.BEFORE_REQUEST)
                self._seat.spawn(self._send(effect))
            case LookUp():
                self._seat.spawn(self._look(effect))
            case ReadVenueTime():
                self._seat.spawn(self._read_time())
            case Remark():
                self._history.seen[f"remark: {effect.kind}"] += 1

    # Events

    def _publish(self, event: ExecutionEvent, keep: bool) -> None:
        process, ce_id = self.process, event_id(event)
        intends = isinstance(event, OrderIntended | CancelIntended)
        if intends:
            process.reach(Point.BEFORE_INTENT)
            self._fence.intend(ce_id, event)
            if isinstance(event, OrderIntended):
                self._seat.witness.intended(self, event)
        written = Written(event, ce_id)
        if keep:
            _, written.output = event_output(event)
            process.keep(Kept(ce_id, event.account, event.epoch, self._events_next, written.output))
        self._seat.producer.append(written, lambda _, error: self._acked(event, ce_id, keep, error))
        if intends:
            process.reach(Point.INTENT_APPENDED)
        elif isinstance(event, AttemptEvent):
            process.reach(Point.EVENT_APPENDED)
        if isinstance(event, OrderFilled):
            self._stream.booked(event)

    def _acked(self, event: ExecutionEvent, ce_id: str, keep: bool, error: str | None) -> None:
        try:
            acknowledged(error)
        except LostError:
            return self.end()
        if isinstance(event, OrderIntended | CancelIntended):
            self.process.reach(Point.INTENT_DURABLE)
        if keep:
            self.process.acknowledged(event.account, event.epoch, ce_id)
        return None

    def _follow_events(self, offset: int) -> None:
        """An event stands in the log: this tail has use for intents and owners only."""
        if isinstance(self._seat.records.events[offset].event, OrderIntended | CancelIntended | OwnerStarted):
            self._follow(offset)

    def _follow(self, offset: int) -> None:
        """This tail reads up to that offset a little later."""
        delay_ms = self._history.chance.between(0, 6, "tail", offset, self.process.number)
        self._history.engine.at(self._history.engine.now_ms + delay_ms, self.process.hear, self._read_up_to, offset)

    def _read_up_to(self, offset: int) -> None:
        events = self._seat.records.events
        while self._events_next <= offset and not self.over:
            written = events[self._events_next]
            self._events_next += 1
            if isinstance(written.event, OwnerStarted) and self._fence.overtaken(written.event):
                self.hear(Superseded)
            intent = self._fence.proven(written.ce_id)
            if intent is not None:
                self.process.reach(Point.INTENT_READ_BACK)
                self.hear(IntentReadBack, command_id=intent[0], attempt=intent[1])

    async def _write_checkpoints(self) -> None:
        every_ms = self._seat.config.checkpoint_every_ms
        while not self.over:
            assert self.state is not None
            self.process.reach(Point.BEFORE_CHECKPOINT)
            message = checkpoint(self.state.books, self.owner, self.process.machine.wall_ms(), self._events_next)
            self._seat.producer.append(Written(message, event_id(message)), self._checkpointed)
            await Pause(every_ms)

    def _checkpointed(self, offset: int, error: str | None) -> None:
        if error is None and not self.over:
            self.process.reach(Point.CHECKPOINT_DURABLE)
            self._seat.spawn(self._point(offset))

    async def _point(self, offset: int) -> None:
        try:
            await self._seat.leases.point(resource_of(self.account), self.owner, self.epoch, offset)
        except LeaseUnreachableError:
            self._history.seen["lease row keeps its older checkpoint"] += 1

    # Commands

    def _follow_commands(self, offset: int) -> None:
        """A command stands in the log: this tail reads up to it a little later."""
        history = self._history
        delay_ms = history.chance.between(0, 20, "command", offset, self.process.number)
        read_ms = max(history.engine.now_ms, history.log_away_until_ms) + delay_ms
        history.engine.at(read_ms, self.process.hear, self.read_commands)

    def read_commands(self) -> None:
        """Take what stands in the log of commands."""
        commands = self._seat.records.commands
        while self._commands_next < len(commands) and not self.over:
            offset, self._commands_next = self._commands_next, self._commands_next + 1
            command = commands[offset]
            self.process.reach(Point.COMMAND_READ)
            if command is not None:
                self.hear(CommandRead, command=command, offset=offset)
            elif self._history.chance.number("garbage", offset) % 2:
                self.hear(CommandDistrusted, offset=offset, cause="unsigned", detail="nobody signed this")
            else:
                self.hear(CommandSkipped, offset=offset)

    def has_read_all(self) -> bool:
        """Whether every command given was taken."""
        return self._commands_next == len(self._seat.records.commands)

    def look_again(self) -> None:
        """The HALT file changed."""
        self.hear(Ticked)

    def authority_changed(self) -> None:
        """Control was read on."""
        if self.process.control_at_boot_ms is None:
            return
        authority = for_account(self.process.authority, self.account, self._seat.account.venue)
        self.hear(AuthorityRead, authority=authority, asked_boot_ms=self.process.control_at_boot_ms)

    # The venue

    def _told(self, news: OrderNews) -> None:
        self._seat.witness.heard(self, news)
        self.hear(OrderHeard, news=news)

    async def _send(self, effect: SendOrder | SendCancel) -> None:
        self.requests += 1
        venue = self._seat.connect(lambda: self._seat.witness.departed(self, effect))
        if isinstance(effect, SendOrder):
            order_look = partial(last_look, sending=effect)
            reply = await venue.place(effect.request, lambda: self._permit(order_look, effect))
        else:
            cancel_look = partial(last_look_at_cancel, sending=effect)
            reply = await venue.cancel(effect.request, lambda: self._permit(cancel_look, effect))
        self._replied(effect, reply)

    def _permit(self, look: Callable[[State | None, Now], None], effect: SendOrder | SendCancel) -> None:
        if self.over:
            raise LostError("the tenure is over")  # its tasks are cancelled
        look(self.state, self.now())
        self._seat.witness.permitted(self, effect)

    def _replied(self, effect: SendOrder | SendCancel, reply: VenueReply) -> None:
        self.requests -= 1
        self.process.reach(Point.REPLY_READ)
        self._seat.witness.replied(self, effect, reply)
        self.hear(Replied, command_id=effect.command_id, attempt=effect.attempt, reply=reply)

    async def _look(self, wanted: LookUp) -> None:
        found = await looking.look(self._venue, wanted)
        self.hear(Looked, command_id=wanted.command_id, attempt=wanted.attempt, look=found)

    async def _watch_time(self) -> None:
        while not self.over:
            known = await self._read_time()
            await Pause(self._seat.config.time_every_ms if known else 500)

    async def _read_time(self) -> bool:
        asked_boot_ms = self.process.machine.boot_ms()
        try:
            venue_time_ms = await self._venue.time_ms()
        except _VENUE_ERRORS:
            return False
        answered_boot_ms = self.process.machine.boot_ms()
        self.hear(VenueTimeRead, venue_time_ms=venue_time_ms, asked_boot_ms=asked_boot_ms, answered_boot_ms=answered_boot_ms)
        return True

    async def _take_snapshots(self) -> None:
        config = self._seat.config
        rounds = looking.Rounds(self._venue, self._seat.account.symbols, config.opening_gap_ms, config.reconcile_every_ms)
        while not self.over:
            assert self.state is not None
            asked_boot_ms = self.process.machine.boot_ms()
            taken, pause_ms = await rounds.next(self.state.books)
            if taken is not None:
                self.hear(SnapshotRead, snapshot=taken, asked_boot_ms=asked_boot_ms)
            await Pause(pause_ms)
