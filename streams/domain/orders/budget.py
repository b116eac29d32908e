"""Order tokens of one venue account: a bucket that fills with time and lets one order out for each token.

All integer: a token is a million parts, so that no rate drifts. Times are CLOCK_BOOTTIME milliseconds.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from streams.domain.numbers import DECISION

_TOKEN = 1_000_000
_BACK_OFF_MS = (1000, 2000, 4000, 8000)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Tokens as of `filled_at_boot_ms`. `parts_per_ms` None means that the budget is lifted: only pauses hold."""

    parts_per_ms: int | None
    parts_max: int
    parts: int
    filled_at_boot_ms: int = 0
    paused_until_boot_ms: int = 0
    refusals: int = 0


def bucket(orders_per_second: Decimal | None) -> Bucket:
    """A full bucket for that rate: it holds one second's tokens, one at least. None lifts the budget."""
    if orders_per_second is None:
        return Bucket(None, 0, 0)
    parts_per_second = int(DECISION.multiply(orders_per_second, Decimal(_TOKEN)))
    if parts_per_second < 1000:
        raise ValueError("a budget allows at least one order in 1000 seconds")
    parts_max = max(_TOKEN, parts_per_second)
    return Bucket(parts_per_second // 1000, parts_max, parts_max)


def take(state: Bucket, boot_ms: int) -> tuple[Bucket, int]:
    """Take one token: (the bucket after it, 0), or (the bucket unchanged, the boot time at which to ask again)."""
    if boot_ms < state.paused_until_boot_ms:
        return state, state.paused_until_boot_ms
    if state.parts_per_ms is None:
        return state, 0
    elapsed = max(0, boot_ms - state.filled_at_boot_ms)
    parts = min(state.parts_max, state.parts + elapsed * state.parts_per_ms)
    if parts < _TOKEN:
        wait_ms = -(-(_TOKEN - parts) // state.parts_per_ms)
        return state, boot_ms + wait_ms
    return replace(state, parts=parts - _TOKEN, filled_at_boot_ms=boot_ms), 0


def pause(state: Bucket, boot_ms: int, retry_after_ms: int | None) -> Bucket:
    """The venue's limiter said no: nothing goes out for as long as it asked, else for 1, 2, 4, 8 s as it repeats."""
    back_off_ms = _BACK_OFF_MS[min(state.refusals, len(_BACK_OFF_MS) - 1)]
    until = boot_ms + max(back_off_ms, retry_after_ms or 0)
    return replace(state, paused_until_boot_ms=max(until, state.paused_until_boot_ms), refusals=state.refusals + 1)


def relax(state: Bucket) -> Bucket:
    """An order went through: the next refusal starts from the shortest pause again."""
    return replace(state, refusals=0) if state.refusals else state
