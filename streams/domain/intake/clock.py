"""The time that decisions see: `sequenced_at` of journal records never runs back."""

from streams.domain.errors import InvariantError

AHEAD_MS_MAX = 5_000


def sequenced_at(clock_ms: int, last_ms: int) -> int:
    """The time of the next record: the clock's, or the last record's where the clock is behind it.

    Raises InvariantError when the last record is more than 5 s ahead of the clock: one of two clocks is wrong, and ages of
    prices could not be trusted.
    """
    if last_ms > clock_ms + AHEAD_MS_MAX:
        raise InvariantError(
            f"the journal's last record is {last_ms - clock_ms} ms ahead of this machine's clock; compare the clock with NTP"
        )
    return max(clock_ms, last_ms)
