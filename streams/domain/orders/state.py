"""The whole state of the protocol for one account: its books, and what is known of lease, time, control and requests now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from streams.domain.orders.authority import AccountAuthority
from streams.domain.orders.books import Books
from streams.domain.orders.budget import Bucket
from streams.domain.orders.outcome import OrderView, TradeView
from streams.domain.orders.stimuli import Snapshot


@dataclass(frozen=True, slots=True)
class Rules:
    """The protocol's settings for one account; all durations in milliseconds.

    An order is valid for `window_ms` of the venue's time from its timestamp, and absence is never concluded before another
    `margin_ms`. `absence_queries` is how many looks after that must agree. Within `compare_within_ms` the account's totals must
    have been found equal to the books. `adopted` means that an operator took over an
    account with a past of ours.
    """

    account: str
    venue: str
    dialect: str
    window_ms: int = 2000
    margin_ms: int = 2000
    intent_age_ms_max: int = 500
    control_age_ms_max: int = 5000
    wall_step_ms_max: int = 200
    venue_step_ms_max: int = 250
    opening_gap_ms: int = 5000
    absence_queries: int = 2
    attempts_max: int = 5
    commands_max: int = 256
    quiet_ms: int = 5000
    compare_within_ms: int = 600_000
    clock_offset_ms_max: int = 500
    rejections_max: int = 3


@dataclass(frozen=True, slots=True)
class LeaseProof:
    """Until when the lease is provably ours, and how the two clocks stood to each other when it was renewed."""

    deadline_boot_ms: int
    wall_minus_boot_ms: int


@dataclass(frozen=True, slots=True)
class VenueTime:
    """The newest sample: when the answer was here, the venue's time lay between `earliest_ms` and `latest_ms`."""

    earliest_ms: int
    latest_ms: int
    at_boot_ms: int

    def estimate_ms(self, boot_ms: int) -> int:
        """The venue's time now, never ahead of it: the sample plus elapsed CLOCK_BOOTTIME."""
        return self.earliest_ms + max(0, boot_ms - self.at_boot_ms)


@dataclass(frozen=True)
class Care:
    """What is under way for one open command and when to look at it next; lost with the process, and harmless so.

    `busy` is set while an answer is outstanding. `denials` counts looks that proved absence. `cleared` is set once the
    request of the newest attempt was handed out, so that it never is a second time. `heard` are trades that the stream told
    before the reply was there. `overdue_boot_ms` is since when the venue answers without showing the end of an order whose
    life is over. `strangers` are orders that looks for this one found to be others: one look asks for a few.
    """

    due_boot_ms: int = 0
    busy: bool = False
    tries: int = 0
    denials: int = 0
    cleared: bool = False
    view: OrderView | None = None
    heard: tuple[TradeView, ...] = ()
    strangers: frozenset[str] = frozenset()
    overdue_boot_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Doubts:
    """Distrusted records that no event has told of yet: how many for each cause, in [offset_from, offset_to)."""

    causes: Mapping[str, int] = field(default_factory=dict)
    detail: str = ""
    offset_from: int = 0
    offset_to: int = 0
    due_boot_ms: int = 0


@dataclass(frozen=True)
class State:
    """Everything `protocol.step` knows of one account.

    `differences` is what the venue held beyond the books (or, below zero, short of them) at the last quiet look, by asset;
    `compared_boot_ms` when both were last found equal. `rejections` are (code, boot ms) of refusals that count towards a halt.
    A renewal that was asked for before `lease_void_boot_ms` proves no lease.
    """

    rules: Rules
    books: Books
    budget: Bucket
    owner: bool = False
    lease: LeaseProof | None = None
    lease_void_boot_ms: int = 0
    venue_time: VenueTime | None = None
    authority: AccountAuthority | None = None
    authority_boot_ms: int = 0
    care: Mapping[str, Care] = field(default_factory=dict)
    first_snapshot: Snapshot | None = None
    first_snapshot_boot_ms: int = 0
    suspects: frozenset[str] = frozenset()
    filled_at_boot_ms: int = 0
    differences: Mapping[str, Decimal] = field(default_factory=dict)
    compared_boot_ms: int = 0
    rejections: tuple[tuple[str, int], ...] = ()
    clock_off: bool = False
    looks_seen: frozenset[tuple[int, str | None]] = frozenset()
    repeats: int = 0
    doubts: Doubts = Doubts()
