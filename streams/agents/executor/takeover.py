"""Taking over an account: the log is read, the lease row is raised, OwnerStarted is made durable, the rest is read.

What an owner knows comes from the log alone. Nothing is sent before everything below the own OwnerStarted was read: requests
that a former owner had out then belong to intents which stand there, so that each of them is known.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from schemas.codec import DecodeError, decode
from schemas.envelope import Envelope
from schemas.executor import ExecutorCheckpoint
from schemas.orders import CancelOrder, ExecutionEvent, OwnerStarted, PlaceOrder
from streams.agents.executor.leasehold import Claim, resource_of
from streams.agents.executor.letters import event_output
from streams.agents.executor.surroundings import Ground
from streams.domain.errors import InvariantError
from streams.domain.orders.books import Books, evolve
from streams.domain.orders.checkpoint import restore, with_command, without_commands
from streams.ports.database import Lease
from streams.ports.log import PositionLostError, Record
from streams.ports.process import Point
from streams.topics import ORDERS_COMMANDS, ORDERS_EVENTS, partition_of

log = logging.getLogger("trimtab.executor")

CLOCK_SLEW_MS = 250
"""How much the database's clock and ours may drift apart while a row is watched."""
SLICE = 10_000


@dataclass(frozen=True, slots=True)
class Past:
    """The books as of `next_offset` of the account's events, and whether a checkpoint was among them."""

    books: Books
    next_offset: int
    checkpointed: bool


class Watch:
    """Decides when a lease row may be taken: expired, and unrenewed for one whole life by our own clock.

    A row that the database calls expired proves nothing by itself: its clock may have jumped, and then a healthy owner renews
    within a moment. A row that its owner released, or that was never there, needs no wait.

    Only time in which questions were answered counts, since in any other nobody may have been able to renew. A question that
    was not answered stops the count and takes nothing from it: the next answer shows whether the row was renewed meanwhile.
    """

    def __init__(self, ttl_ms: int) -> None:
        self._ttl_ms = ttl_ms
        self._seen: tuple[str, int] | None = None
        self._expires_boot_ms = 0
        self._answered_boot_ms: int | None = None
        self._unrenewed_ms = 0

    def free(self, lease: Lease | None, boot_ms: int, took_ms: int = 0) -> bool:
        """Whether the row may be taken; the answer came just now, `took_ms` after the question.

        The row was looked at somewhere between question and answer, so its end is known as well as that: a renewal is what
        moved it for certain, never a slow answer.
        """
        if lease is None or not lease.owner:
            return True
        latest_boot_ms = boot_ms + lease.expires_in_ms
        renewed = latest_boot_ms - took_ms > self._expires_boot_ms + CLOCK_SLEW_MS
        if self._seen != (lease.owner, lease.epoch) or renewed:
            self._seen, self._expires_boot_ms, self._unrenewed_ms = (lease.owner, lease.epoch), latest_boot_ms, 0
        elif self._answered_boot_ms is not None:
            self._expires_boot_ms = min(self._expires_boot_ms, latest_boot_ms)
            self._unrenewed_ms += boot_ms - self._answered_boot_ms
        self._answered_boot_ms = boot_ms
        return lease.expires_in_ms <= 0 and self._unrenewed_ms >= self._ttl_ms

    def unanswered(self) -> None:
        """A question came to nothing."""
        self._answered_boot_ms = None


async def read_past(near: Ground, account: str, lease: Lease | None) -> Past:
    """Fold the account's events from its newest checkpoint, or from the log's beginning when none can be used."""
    partition = partition_of(account.encode(), await near.log.partitions(ORDERS_EVENTS))
    end = await near.log.end_offset(ORDERS_EVENTS, partition)
    pointer = lease.checkpoint_offset if lease is not None else None
    if pointer is not None:
        books = await _pointed(near, account, partition, pointer)
        if books is not None:
            return await _read_on(near, Past(books, pointer + 1, True), partition, end)
    begin = await near.log.begin_offset(ORDERS_EVENTS, partition)
    return await _read_on(near, Past(Books(account), begin, False), partition, end)


async def _pointed(near: Ground, account: str, partition: int, pointer: int) -> Books | None:
    """The books of the checkpoint that the lease row points at; None when there is none that can be used."""
    try:
        records = await near.log.read(ORDERS_EVENTS, partition, pointer, pointer + 1)
    except PositionLostError as error:
        log.warning("account %s: its checkpoint is not where the lease row says (%s); reading all", account, error)
        return None
    first = next((event for _, event in _events(records, account)), None)
    if not isinstance(first, ExecutorCheckpoint):
        log.warning("account %s: no checkpoint at offset %d of its events; reading all", account, pointer)
        return None
    try:
        return restore(first)
    except InvariantError as error:
        log.error("%s; reading all", error)
        return None


async def _read_on(near: Ground, past: Past, partition: int, end: int) -> Past:
    """Fold the log up to `end`, in slices: a long past must neither fill the memory nor keep other accounts from the log."""
    while past.next_offset < end:
        to = min(end, past.next_offset + SLICE)
        records = await near.log.read(ORDERS_EVENTS, partition, past.next_offset, to)
        past = _fold(replace(past, next_offset=to), records, past.books.account)
    return past


async def publish_kept(near: Ground, account: str) -> None:
    """Publish what a dead process of this machine kept and the log does not hold.

    Where another owner came between, its events would be void: it has asked the venue itself since.
    """
    left = near.spool.left(account)
    if not left:
        return
    partition = partition_of(account.encode(), await near.log.partitions(ORDERS_EVENTS))
    end = await near.log.end_offset(ORDERS_EVENTS, partition)
    begin = await near.log.begin_offset(ORDERS_EVENTS, partition)
    start = min(max(begin, min(kept.from_offset for kept in left)), end)
    records = [record for record in await near.log.read(ORDERS_EVENTS, partition, start, end) if record.key == account.encode()]
    held = {record.header("ce_id") for record in records}
    epoch = max((event.epoch for _, event in _events(records, account)), default=0)
    missing = [kept for kept in left if kept.ce_id.encode() not in held and kept.epoch >= epoch]
    for kept in missing:
        await near.log.append(kept.output)
    log.warning("account %s: %d of %d events kept on this machine were published late", account, len(missing), len(left))
    near.spool.discard(account)


async def claim(near: Ground, account: str, lease: Lease | None, past: Past) -> Claim | None:
    """Raise the lease row above every epoch seen; None when somebody else was faster."""
    epoch = max(lease.epoch if lease is not None else 0, past.books.epoch) + 1
    asked_wall_ms, asked_boot_ms = near.clock.wall_ms(), near.clock.boot_ms()
    config = near.config
    seen = lease.epoch if lease is not None else None
    if not await near.leases.take(resource_of(account), config.owner, seen, epoch, config.lease_ttl_ms):
        return None
    near.points.reach(Point.LEASE_TAKEN)
    return Claim(epoch, asked_wall_ms, asked_boot_ms)


async def announce(near: Ground, account: str, claimed: Claim, past: Past) -> Past | None:
    """Append OwnerStarted and read up to it; None when a higher epoch stands before it, or the same one of somebody else: a
    lease row that is lost twice gives an epoch twice, and then neither may own under it."""
    event = OwnerStarted(account=account, epoch=claimed.epoch, at_ms=near.clock.wall_ms(), owner=near.config.owner)
    ce_id, output = event_output(event)
    await near.log.append(output)
    near.points.reach(Point.OWNER_STARTED)
    partition = partition_of(account.encode(), await near.log.partitions(ORDERS_EVENTS))
    end = await near.log.end_offset(ORDERS_EVENTS, partition)
    records = await near.log.read(ORDERS_EVENTS, partition, past.next_offset, end)
    own = next((record for record in records if record.header("ce_id") == ce_id.encode()), None)
    if own is None:
        raise InvariantError(f"account {account}: OwnerStarted of epoch {claimed.epoch} was acknowledged but is not in the log")
    before = [record for record in records if record.offset < own.offset]
    if any(isinstance(other, OwnerStarted) and other.epoch >= claimed.epoch for _, other in _events(before, account)):
        return None
    return _fold(Past(past.books, own.offset + 1, past.checkpointed), [*before, own], account)


async def with_texts(near: Ground, books: Books) -> Books:
    """Read the open commands themselves again, from where the log of commands holds them."""
    partition = partition_of(books.account.encode(), await near.log.partitions(ORDERS_COMMANDS))
    for command_id, offset in without_commands(books).items():
        try:
            records = await near.log.read(ORDERS_COMMANDS, partition, offset, offset + 1)
        except PositionLostError:
            records = []
        command = _command(records, command_id)
        if command is None:
            log.error("account %s: command %s is not at offset %d any more", books.account, command_id, offset)
        else:
            books = with_command(books, command_id, command)
    return books


async def commands_from(near: Ground, past: Past) -> tuple[int, int]:
    """The account's partition of the commands, and where to read on. What retention took away could not be admitted any more,
    and whoever decided it knows that it was not answered."""
    partition = partition_of(past.books.account.encode(), await near.log.partitions(ORDERS_COMMANDS))
    begin, known = await near.log.begin_offset(ORDERS_COMMANDS, partition), past.books.commands_next_offset
    if past.checkpointed and known < begin:
        log.warning("account %s: commands from %d to %d are gone by age; reading on there", past.books.account, known, begin)
    return partition, max(known, begin)


def _command(records: Iterable[Record], command_id: str) -> PlaceOrder | CancelOrder | None:
    for record in records:
        try:
            message = decode(Envelope.read(record.headers).type, record.value)
        except (DecodeError, ValueError):
            return None
        if isinstance(message, PlaceOrder | CancelOrder) and message.command_id == command_id:
            return message
    return None


def _fold(past: Past, records: Iterable[Record], account: str) -> Past:
    books, checkpointed = past.books, past.checkpointed
    for _, event in _events(records, account):
        checkpointed = checkpointed or isinstance(event, ExecutorCheckpoint)
        books = evolve(books, event)
    return Past(books, past.next_offset, checkpointed)


def _events(records: Iterable[Record], account: str) -> Iterable[tuple[Record, ExecutionEvent]]:
    key = account.encode()
    for record in records:
        if record.key != key:
            continue
        try:
            message = decode((record.header("ce_type") or b"").decode(), record.value)
        except (DecodeError, ValueError) as error:
            # We alone write here: an event that cannot be read may be the one that says an order is out.
            raise InvariantError(f"{record.topic}:{record.partition} offset {record.offset}: {error}") from None
        if isinstance(message, ExecutionEvent) and message.account == account:
            yield record, message
