"""One tenure: from the take-over of an account to the loss or release of its lease.

One task steps the protocol, one input at a time, and performs the effects: events are appended in order, requests and questions
run beside it and come back as inputs. Whatever fails here ends the tenure; the log knows enough for the next one.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

from schemas.codec import DecodeError, decode
from schemas.control import StopKind
from schemas.envelope import Envelope
from schemas.orders import (
    AttemptEvent,
    CancelIntended,
    CancelOrder,
    ExecutionEvent,
    OrderFilled,
    OrderIntended,
    OwnerStarted,
    PlaceOrder,
)
from streams.agents.deadletter import Few, dead_letter_of
from streams.agents.executor import looking
from streams.agents.executor.config import AccountConfig
from streams.agents.executor.fence import Fence, LostError, acknowledged, last_look, last_look_at_cancel
from streams.agents.executor.inbox import Inbox
from streams.agents.executor.leasehold import Claim, resource_of
from streams.agents.executor.letters import event_output
from streams.agents.executor.listening import Ear
from streams.agents.executor.spool import Kept
from streams.agents.executor.surroundings import Surroundings
from streams.agents.executor.takeover import Past, commands_from
from streams.agents.executor.watching import VenueWatch
from streams.domain.orders.authority import for_account
from streams.domain.orders.books import Books
from streams.domain.orders.budget import bucket, salt_of
from streams.domain.orders.checkpoint import DoesNotFitError, checkpoint
from streams.domain.orders.outcome import VenueReply
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
    Publish,
    ReadAccount,
    ReadVenueTime,
    Remark,
    Replied,
    SendCancel,
    SendOrder,
    Superseded,
    TakenOver,
    Ticked,
)
from streams.ports.database import LeaseUnreachableError
from streams.ports.log import PositionLostError, Record, UntrustedError
from streams.ports.process import Point
from streams.ports.venue import ListeningVenue
from streams.topics import ORDERS_EVENTS, partition_of

log = logging.getLogger("trimtab.executor")

WAIT_S_MAX = 1.0


class Tenure:
    """One account, owned under one epoch."""

    def __init__(self, near: Surroundings, account: AccountConfig, venue: ListeningVenue, claimed: Claim, inbox: Inbox) -> None:
        self._near = near
        self._account = account
        self._venue = venue
        self.claimed = claimed
        self._inbox = inbox
        self._state: State | None = None
        self._fence = Fence(claimed.epoch, near.config.owner)
        self._traces: dict[str, str] = {}
        self._requests = 0
        self._repeats_told = 0
        self._strangers = Few()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch = VenueWatch(near, account, venue, inbox)
        self._ear = Ear(account.account, venue, near.clock, inbox, near.config.stream_silence_ms)
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._checkpoint_due = True
        self._stopping = False

    def renewed(self, asked_wall_ms: int, asked_boot_ms: int) -> None:
        """See Holder."""
        ttl_ms = self._near.config.lease_ttl_ms
        self._inbox.put(LeaseRenewed, asked_wall_ms=asked_wall_ms, asked_boot_ms=asked_boot_ms, ttl_ms=ttl_ms)

    def superseded(self) -> None:
        """See Holder."""
        self._inbox.put(Superseded)

    def stop(self) -> None:
        """End the tenure in order: take no more commands, wait for what is out, write a checkpoint."""
        self._stopping = True
        self._inbox.put(Ticked)

    def look_again(self) -> None:
        """Something outside changed, such as the HALT file."""
        self._inbox.put(Ticked)

    def authority_changed(self) -> None:
        """Control was read on."""
        current = self._near.control.current_at_boot_ms
        if current is not None:
            authority = for_account(self._near.control.authority, self._account.account, self._account.venue)
            self._inbox.put(AuthorityRead, authority=authority, asked_boot_ms=current)

    async def run(self, past: Past) -> None:
        """Own the account until stopped or lost. `past` was read up to the own OwnerStarted. Raises LostError."""
        rules = self._near.config.rules(self._account, self._venue.dialect)
        self._state = State(rules, past.books, bucket(self._account.orders_per_second, salt_of(self._account.account)))
        self.authority_changed()
        self._inbox.put(TakenOver)
        await self._follow(past)
        watch = self._watch
        for loop in (watch.time, watch.rights, self._call_checkpoints, self._ear.listen):
            self._spawn(loop())
        self._spawn(watch.totals(self._books))
        try:
            await self._step_for_ever()
        finally:
            name = self._account.account
            self._near.commands.unfollow(name)
            self._near.events.unfollow(name)
            self._inbox.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # Stepping

    async def _step_for_ever(self) -> None:
        while not self._failure.done():
            self._take_all()
            assert self._state is not None
            if not self._state.owner:
                raise LostError("a higher epoch stands in the log or in the lease row")
            if self._checkpoint_due:
                self._checkpoint_due = False
                self._write_checkpoint()
            if self._stopping:
                return await self._wind_up()
            wake_boot_ms = next_wake(self._state)
            if wake_boot_ms is not None and wake_boot_ms <= self._near.clock.boot_ms():
                self._step(Ticked(self._now()))
                wake_boot_ms = next_wake(self._state)
            wait_s = WAIT_S_MAX
            if wake_boot_ms is not None:
                wait_s = min(wait_s, (wake_boot_ms - self._near.clock.boot_ms()) / 1000)
            await self._inbox.wait(wait_s)
        return self._failure.result()

    def _take_all(self) -> None:
        while (item := self._inbox.take()) is not None:
            kind, fields = item
            self._step(kind(now=self._now(), **fields))

    def _books(self) -> Books:
        assert self._state is not None
        return self._state.books

    def _now(self) -> Now:
        clock, account = self._near.clock, self._account
        authority = self._state.authority if self._state is not None else None
        portfolio = authority.portfolio if authority is not None else None
        stop = self._near.halt_file.stop(account.account, account.venue, portfolio)
        by_file = {} if stop is None else {stop.kind: stop.why}
        prices = self._near.prices.of(account.venue)
        return Now(clock.wall_ms(), clock.boot_ms(), by_file.get(StopKind.HALT), prices, by_file.get(StopKind.FREEZE))

    def _step(self, event: Input) -> None:
        assert self._state is not None
        opened = self._state.books.opened
        self._state, effects = step(self._state, event)
        for effect in effects:
            self._perform(effect)
        if self._state.books.opened and not opened:
            log.info("account %s is opened", self._account.account)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Publish():
                self._publish(effect.event, keep=effect.keep, sync=effect.sync)
            case SendOrder():
                self._near.points.reach(Point.BEFORE_REQUEST)
                self._requests += 1
                self._spawn(self._send_order(effect))
            case SendCancel():
                self._near.points.reach(Point.BEFORE_REQUEST)
                self._requests += 1
                self._spawn(self._send_cancel(effect))
            case LookUp():
                self._spawn(self._look(effect))
            case ReadVenueTime():
                self._spawn(self._watch.read_time())
            case ReadAccount():
                self._watch.look_soon()
            case Remark():
                log.warning("account %s: %s: %s", self._account.account, effect.kind, effect.detail)

    # Events

    def _publish(self, event: ExecutionEvent, *, keep: bool = False, sync: bool = False) -> "asyncio.Future[int]":
        command_id = getattr(event, "command_id", "")
        intends = isinstance(event, OrderIntended | CancelIntended)
        ce_id, output = event_output(event, self._traces.get(command_id, ""))
        if intends:
            self._near.points.reach(Point.BEFORE_INTENT)
        if keep:
            self._keep(Kept(ce_id, event.account, event.epoch, self._near.events.next_offset(event.account), output), sync)
        ack = asyncio.ensure_future(self._near.log.append_nowait(output))
        ack.add_done_callback(self._acknowledged)
        if keep:
            ack.add_done_callback(lambda done: self._unkeep(done, event.epoch, ce_id))
        if intends:
            self._fence.intend(ce_id, event)
            ack.add_done_callback(lambda _: self._stamp("intent_acked", command_id))
            ack.add_done_callback(lambda _: self._near.points.reach(Point.INTENT_DURABLE))
            self._near.points.reach(Point.INTENT_APPENDED)
        elif isinstance(event, AttemptEvent):
            self._near.points.reach(Point.EVENT_APPENDED)
        if isinstance(event, OrderFilled):
            self._ear.hearing.booked(event)
        if self._state is not None and command_id not in self._state.books.orders:
            self._traces.pop(command_id, None)
        return ack

    def _acknowledged(self, ack: "asyncio.Future[int]") -> None:
        if not ack.cancelled():
            try:
                acknowledged(ack.exception())
            except LostError as lost:
                self._fail(lost)

    def _keep(self, kept: Kept, sync: bool) -> None:
        """Keep an event on this machine. Where nothing hangs on its disk, a disk that is full stops nothing."""
        try:
            self._near.spool.keep(kept, sync=sync)
        except OSError as error:
            if sync:
                raise
            log.warning("account %s: an event could not be kept on this machine: %s", kept.account, error)

    def _unkeep(self, ack: "asyncio.Future[int]", epoch: int, ce_id: str) -> None:
        if not ack.cancelled() and ack.exception() is None:
            self._near.spool.acknowledged(self._account.account, epoch, ce_id)

    def _write_checkpoint(self) -> None:
        self._near.points.reach(Point.BEFORE_CHECKPOINT)
        self._spawn(self._checkpoint())

    async def _checkpoint(self) -> None:
        """Write the books as they are now, and point the lease row there. One too large to be read again is not written."""
        assert self._state is not None
        self._tell_repeats(self._state.repeats)
        config, next_offset = self._near.config, self._near.events.next_offset(self._account.account)
        try:
            message = checkpoint(self._state.books, config.owner, self._near.clock.wall_ms(), next_offset)
        except DoesNotFitError as error:
            log.error("%s; the next owner reads the log from the one before on", error)
            return
        offset = await self._publish(message)
        if offset < 0:
            return
        self._near.points.reach(Point.CHECKPOINT_DURABLE)
        try:
            await self._near.leases.point(
                resource_of(self._account.account), self._near.config.owner, self.claimed.epoch, offset
            )
        except LeaseUnreachableError as error:
            log.debug("account %s: the lease row keeps its older checkpoint: %s", self._account.account, error)

    def _tell_repeats(self, repeats: int) -> None:
        """Repeated commands are dropped without an event; a line at each checkpoint behind more of them counts them."""
        if repeats > self._repeats_told:
            self._repeats_told = repeats
            log.info("account %s: %d repeated commands were dropped under this epoch", self._account.account, repeats)

    async def _wind_up(self) -> None:
        """No more commands; answers to requests that are out are worth a short wait, then a checkpoint closes the tenure."""
        self._near.commands.unfollow(self._account.account)
        deadline = time.monotonic() + self._near.config.stop_within_ms / 1000
        while self._requests and time.monotonic() < deadline:
            await self._inbox.wait(0.05)
            self._take_all()
        try:
            async with asyncio.timeout(self._near.config.stop_within_ms / 1000):
                await self._checkpoint()
        except TimeoutError:
            log.warning("account %s: the last checkpoint is not acknowledged", self._account.account)

    # Reading

    async def _follow(self, past: Past) -> None:
        name = self._account.account
        key = name.encode()
        events = partition_of(key, await self._near.log.partitions(ORDERS_EVENTS))
        commands, start = await commands_from(self._near, past)
        self._near.events.follow(name, events, past.next_offset, self._take_event, self._lost)
        self._near.commands.follow(name, commands, start, self._take_command, self._lost)

    def _lost(self, error: PositionLostError) -> None:
        log.critical("account %s: %s; nothing can be sent until an operator looks at it", self._account.account, error)
        self._fail(LostError(str(error)))

    async def _take_event(self, record: Record) -> None:
        """Our own tail of the events: proof that an INTENT stands in the log, and news of a higher epoch."""
        if record.key != self._account.account.encode():
            return
        ce_id = (record.header("ce_id") or b"").decode(errors="replace")
        if (record.header("ce_type") or b"").decode(errors="replace") == OwnerStarted.ce_type():
            started = decode(OwnerStarted.ce_type(), record.value)
            assert isinstance(started, OwnerStarted)
            if self._fence.overtaken(started):
                self._inbox.put(Superseded)
        intent = self._fence.proven(ce_id)
        if intent is not None:
            self._stamp("intent_read_back", intent[0])
            self._near.points.reach(Point.INTENT_READ_BACK)
            self._inbox.put(IntentReadBack, command_id=intent[0], attempt=intent[1])

    async def _take_command(self, record: Record) -> None:
        """Who signed it comes first: nothing of a record is believed, or even read, before that."""
        if record.key != self._account.account.encode():
            return
        try:
            self._near.verifier.check(record, self._near.clock.wall_ms())
        except UntrustedError as doubt:
            await self._set_aside(record, doubt)
            await self._inbox.put_when_room(CommandDistrusted, offset=record.offset, cause=doubt.cause, detail=str(doubt))
            return
        try:
            envelope = Envelope.read(record.headers)
            command = decode(envelope.type, record.value)
            if not isinstance(command, PlaceOrder | CancelOrder):
                raise ValueError(f"{envelope.type} is no command")
            if command.account != self._account.account:
                raise ValueError(f"key {self._account.account}, but a command for {command.account}")
        except (DecodeError, ValueError) as error:
            log.error("%s:%d offset %d is no command: %s", record.topic, record.partition, record.offset, error)
            await self._near.log.append(dead_letter_of(record, "executor", error))
            await self._inbox.put_when_room(CommandSkipped, offset=record.offset)
            return
        if envelope.traceparent:
            self._traces[command.command_id] = envelope.traceparent
        self._stamp("command_received", command.command_id)
        self._near.points.reach(Point.COMMAND_READ)
        await self._inbox.put_when_room(CommandRead, command=command, offset=record.offset)

    async def _set_aside(self, record: Record, doubt: UntrustedError) -> None:
        """Keep the original bytes, but only of a few a minute: a stranger's flood lies in the topic itself already."""
        if self._strangers.another(self._near.clock.boot_ms()):
            await self._near.log.append(dead_letter_of(record, "executor", doubt))

    # The venue

    async def _send_order(self, effect: SendOrder) -> None:
        def permit() -> None:
            last_look(self._state, self._now(), effect)
            self._stamp("request_out", effect.command_id)

        self._replied(effect, await self._venue.place(effect.request, permit))

    async def _send_cancel(self, effect: SendCancel) -> None:
        def permit() -> None:
            last_look_at_cancel(self._state, self._now(), effect)

        self._replied(effect, await self._venue.cancel(effect.request, permit))

    def _replied(self, effect: SendOrder | SendCancel, reply: VenueReply) -> None:
        self._requests -= 1
        self._near.points.reach(Point.REPLY_READ)
        self._stamp("replied", effect.command_id)
        self._inbox.put(Replied, command_id=effect.command_id, attempt=effect.attempt, reply=reply)

    async def _look(self, wanted: LookUp) -> None:
        found = await looking.look(self._venue, wanted)
        self._inbox.put(Looked, command_id=wanted.command_id, attempt=wanted.attempt, look=found)

    async def _call_checkpoints(self) -> None:
        while True:
            await asyncio.sleep(self._near.config.checkpoint_every_ms / 1000)
            self._checkpoint_due = True
            self._inbox.put(Ticked)

    # Tasks

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()
        self._inbox.put(Ticked)

    def _stamp(self, stage: str, command_id: str) -> None:
        if self._near.stamp is not None:
            self._near.stamp(stage, command_id, time.monotonic_ns())
