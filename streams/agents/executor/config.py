"""What an executor is told at its start."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from streams.domain.orders.state import Rules

LEASE_TTL_MS = 5000
WINDOW_MS = 2000


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """One account. `orders_per_second` None lifts the budget; `adopted` takes over an account with a past of ours."""

    account: str
    venue: str
    symbols: tuple[str, ...]
    orders_per_second: Decimal | None = Decimal(3)
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """One executor process. Durations in milliseconds; `owner` must be unlike any other process's, past or present.

    The lease must outlast window and margin, so that a take-over adds no wait.
    """

    owner: str
    accounts: tuple[AccountConfig, ...]
    state_dir: Path
    lease_ttl_ms: int = LEASE_TTL_MS
    lease_renew_ms: int = 1000
    window_ms: int = WINDOW_MS
    margin_ms: int = 2000
    control_every_ms: int = 1000
    time_every_ms: int = 10_000
    checkpoint_every_ms: int = 60_000
    reconcile_every_ms: int = 30_000
    opening_gap_ms: int = 5000
    collar_window_ms: int = 60_000
    clock_offset_ms_max: int = 500
    rights_every_ms: int = 60_000
    stream_silence_ms: int = 5000
    connections_warm: int = 2
    stop_within_ms: int = 3000
    unacked_ms_max: int = 60_000

    def __post_init__(self) -> None:
        if self.lease_ttl_ms < self.window_ms + self.margin_ms:
            raise ValueError("the lease must outlast an order's window and margin together")
        if self.lease_renew_ms * 2 > self.lease_ttl_ms - self.window_ms:
            raise ValueError("the lease must be renewed at least twice before it may not outlast an order's window any more")

    def rules(self, account: AccountConfig, dialect: str) -> Rules:
        """The protocol's settings for one account."""
        return Rules(
            account=account.account,
            venue=account.venue,
            dialect=dialect,
            window_ms=self.window_ms,
            margin_ms=self.margin_ms,
            opening_gap_ms=self.opening_gap_ms,
            clock_offset_ms_max=self.clock_offset_ms_max,
            control_age_ms_max=max(5000, 3 * self.control_every_ms),
        )
