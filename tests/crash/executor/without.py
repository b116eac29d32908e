"""The fence without some of its parts, in processes of the tests alone: what then goes wrong shows what each is for.

Every part is replaced where the executor meets the outside: its settings, its log, its leases, its way to the venue. The
product knows nothing of it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from schemas.codec import decode, encode
from schemas.orders import CommandAdmitted, CommandEvent, OrderIntended, OwnerStarted
from streams.agents.executor.config import AccountConfig, ExecutorConfig
from streams.domain.orders.outcome import Failure, VenueReply
from streams.domain.orders.state import Rules
from streams.domain.orders.stimuli import OrderRequest
from streams.ports.database import Lease, LeaseUnreachableError, ManyLeases
from streams.ports.log import Log, LogReader, Record
from streams.ports.process import Clock
from streams.ports.venue import TradingVenue
from streams.topics import ORDERS_EVENTS
from tests.stack.executor.process import Fitting

FOR_EVER = 10**12
LONG_WINDOW_MS = 60_000
RENEWAL_PATIENCE_S = 0.25


class Part(StrEnum):
    """What can be left out."""

    LEASE = "lease"  # nothing is sent unless the lease outlasts the request's window
    READ_BACK = "read-back"  # nothing is sent once a higher OwnerStarted stands before the own INTENT
    TIMESTAMP = "timestamp"  # a request carries its INTENT's time, which is the venue's, never the wall clock's
    WINDOW = "window"  # the venue takes a request for a short time only
    WALL_STEP = "wall-step"  # wall minus BOOTTIME that moves voids the lease
    VENUE_STEP = "venue-step"  # a venue's time that jumps voids the lease
    LAST_CHECK = "last-check"  # the last check stands behind the connection
    PROOF = "proof"  # absence is proven in the venue's time, after window and margin, twice
    INHERITED = "inherited"  # what a former owner intended is UNKNOWN, and its symbol blocked
    ANSWERED = "answered"  # what was answered is not answered again


def fitting(without: Sequence[str], clock: Clock, owner: str) -> Fitting:
    """What the tests' executor is made of, without these parts. Raises ValueError for a part that there is not."""
    parts = frozenset(Part(name) for name in without)
    if not parts:
        return Fitting(config=lambda config: _loosened(config, parts))
    return Fitting(
        config=lambda config: _loosened(config, parts),
        log=lambda log: Forgetful(log, parts),
        reader=lambda reader: Deaf(reader, owner) if Part.READ_BACK in parts else reader,
        leases=lambda leases: Hopeful(leases, parts),
        venue=lambda venue: Careless(venue, clock, parts),
    )


@dataclass(frozen=True)
class LooseConfig(ExecutorConfig):
    """Settings whose rules are others than they say."""

    loosened: Mapping[str, int] = field(default_factory=dict)

    def rules(self, account: AccountConfig, dialect: str) -> Rules:
        return replace(ExecutorConfig.rules(self, account, dialect), **self.loosened)


def _loosened(config: ExecutorConfig, parts: frozenset[Part]) -> ExecutorConfig:
    # A busy machine delivers requests after their window again and again: what must hold is the fence, not the halt for that.
    loosened: dict[str, int] = {"rejections_max": FOR_EVER}
    if Part.WALL_STEP in parts:
        loosened["wall_step_ms_max"] = FOR_EVER
    if Part.VENUE_STEP in parts:
        loosened["venue_step_ms_max"] = FOR_EVER
    if Part.PROOF in parts:  # the first "not found" is believed
        loosened |= {"margin_ms": -config.window_ms, "absence_queries": 1}
    return LooseConfig(**{known.name: getattr(config, known.name) for known in fields(config)}, loosened=loosened)


class Around:
    """Something of the real kind inside; what is not said here is its own."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Deaf(Around):
    """A LogReader that hears of no other owner."""

    def __init__(self, inner: LogReader, owner: str) -> None:
        super().__init__(inner)
        self._owner = owner

    async def poll(self, timeout_ms: int, records_max: int = 2000) -> Sequence[Record]:
        return [record for record in await self._inner.poll(timeout_ms, records_max) if not self._foreign(record)]

    def _foreign(self, record: Record) -> bool:
        return _is(record, OwnerStarted) and _event(record).owner != self._owner


class Hopeful(Around):
    """Leases whose renewals always work, or which knows of no checkpoint."""

    def __init__(self, inner: ManyLeases, parts: frozenset[Part]) -> None:
        super().__init__(inner)
        self._parts = parts

    async def read_all(self, resources: Collection[str]) -> Mapping[str, Lease]:
        rows = await self._inner.read_all(resources)
        if Part.ANSWERED not in self._parts:
            return rows
        return {resource: replace(lease, checkpoint_offset=None) for resource, lease in rows.items()}

    async def renew_all(self, owner: str, epochs: Mapping[str, int], ttl_ms: int) -> Collection[str]:
        if Part.LEASE not in self._parts:
            return await self._inner.renew_all(owner, epochs, ttl_ms)
        with contextlib.suppress(TimeoutError, LeaseUnreachableError):
            async with asyncio.timeout(RENEWAL_PATIENCE_S):
                await self._inner.renew_all(owner, epochs, ttl_ms)
        return tuple(epochs)


class Forgetful(Around):
    """A Log that, read at a take-over, holds no intent without outcome, or nothing of what was answered."""

    def __init__(self, inner: Log, parts: frozenset[Part]) -> None:
        super().__init__(inner)
        self._parts = parts

    async def read(self, topic: str, partition: int, offset_from: int, offset_to: int) -> Sequence[Record]:
        records = await self._inner.read(topic, partition, offset_from, offset_to)
        if topic != ORDERS_EVENTS:
            return records
        if Part.INHERITED in self._parts:
            records = [record for record, open_ in zip(records, _open_intents(records), strict=True) if not open_]
        if Part.ANSWERED in self._parts:
            records = [_unmarked(record) for record in records]
        return records


def _open_intents(records: Sequence[Record]) -> list[bool]:
    """For each record, whether it is an INTENT after which nothing is said about its command."""
    newest: dict[str, int] = {}
    for number, record in enumerate(records):
        if isinstance(event := _event(record), CommandEvent):
            newest[event.command_id] = number
    return [_is(record, OrderIntended) and newest[_event(record).command_id] == n for n, record in enumerate(records)]


def _unmarked(record: Record) -> Record:
    if not _is(record, CommandAdmitted):
        return record
    nothing = {"decision_number": 0, "ordinal": 0, "commands_offset": 0}
    return replace(record, value=encode(_event(record).model_copy(update=nothing)))


def _is(record: Record, kind: type[Any]) -> bool:
    return record.header("ce_type") == kind.ce_type().encode()


def _event(record: Record) -> Any:
    return decode((record.header("ce_type") or b"").decode(), record.value)


class Careless(Around):
    """A TradingVenue that sends another timestamp or window than it was told, or asks for the permit too early."""

    def __init__(self, inner: TradingVenue, clock: Clock, parts: frozenset[Part]) -> None:
        super().__init__(inner)
        self._clock = clock
        self._parts = parts

    async def place(self, request: OrderRequest, permit: Callable[[], None]) -> VenueReply:
        if Part.TIMESTAMP in self._parts:
            request = replace(request, timestamp_ms=self._clock.wall_ms())
        if Part.WINDOW in self._parts:
            request = replace(request, window_ms=LONG_WINDOW_MS)
        if Part.LAST_CHECK in self._parts:
            try:
                permit()
            except Exception as error:  # noqa: BLE001  as the last check does
                return VenueReply(failure=Failure.NOT_SENT, text=str(error))
            return await self._inner.place(request, lambda: None)
        return await self._inner.place(request, permit)
