"""Order tokens of one venue account: a bucket that fills with time and lets one order out for each token.

All integer: a token is a million parts, so that no rate drifts. Times are CLOCK_BOOTTIME milliseconds.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from streams.domain.ids import digest_id
from streams.domain.numbers import DECISION

_TOKEN = 1_000_000
_BACK_OFF_MS = (1000, 2000, 4000, 8000)
_SPREAD_PARTS = 251


@dataclass(frozen=True, slots=True)
class Bucket:
    """Tokens as of `filled_at_boot_ms`. `parts_per_ms` None means that the budget is lifted: only pauses hold. `salt` spreads
    the back-off of accounts that are refused together, so that they do not come back together."""

    parts_per_ms: int | None
    parts_max: int
    parts: int
    filled_at_boot_ms: int = 0
    paused_until_boot_ms: int = 0
    refusals: int = 0
    salt: int = 0


def bucket(orders_per_second: Decimal | None, salt: int = 0) -> Bucket:
    """A full bucket for that rate: it holds one second's tokens, one at least. None lifts the budget."""
    if orders_per_second is None:
        return Bucket(None, 0, 0, salt=salt)
    parts_per_second = int(DECISION.multiply(orders_per_second, Decimal(_TOKEN)))
    if parts_per_second < 1000:
        raise ValueError("a budget allows at least one order in 1000 seconds")
    parts_max = max(_TOKEN, parts_per_second)
    return Bucket(parts_per_second // 1000, parts_max, parts_max, salt=salt)


def salt_of(account: str) -> int:
    """What spreads the back-off of this account."""
    return int(digest_id("back-off", account)[:4], 16)


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
    """The venue's limiter said no: nothing goes out for as long as it asked, else for 1, 2, 4, 8 s as it repeats, and up to a
    quarter longer."""
    back_off_ms = _BACK_OFF_MS[min(state.refusals, len(_BACK_OFF_MS) - 1)]
    back_off_ms += back_off_ms * (state.salt * (state.refusals + 1) % _SPREAD_PARTS) // 1000
    return replace(wait(state, boot_ms + max(back_off_ms, retry_after_ms or 0)), refusals=state.refusals + 1)


def wait(state: Bucket, until_boot_ms: int) -> Bucket:
    """Nothing goes out before that moment."""
    return replace(state, paused_until_boot_ms=max(until_boot_ms, state.paused_until_boot_ms))


def refund(state: Bucket) -> Bucket:
    """An order that took a token provably never left: its token counts again."""
    return state if state.parts_per_ms is None else replace(state, parts=min(state.parts_max, state.parts + _TOKEN))


def relax(state: Bucket) -> Bucket:
    """An order went through: the next refusal starts from the shortest pause again."""
    return replace(state, refusals=0) if state.refusals else state
