"""How long a portfolio was within its band, in journal time, and how long it waits before it tries again.

Time counts from one change to the next: what was seen last holds until something else is seen, so a look that finds the same
changes nothing.
"""

from streams.domain.portfolio.state import TimeInBand

PAUSE_MS_MAX = 60_000
_PAUSE_MS = 1_000


def seen(clock: TimeInBand, now_ms: int, in_band: bool | None) -> TimeInBand:
    """The clock after a look at `now_ms`; `in_band` None: the drift is not known, and the time does not count."""
    if in_band is clock.in_band:
        return clock
    total_ms, in_band_ms = time_in_band(clock, now_ms)
    return TimeInBand(now_ms, in_band, total_ms, in_band_ms)


def time_in_band(clock: TimeInBand, now_ms: int) -> tuple[int, int]:
    """(journal time with a known drift, its part within the band) up to `now_ms`, in milliseconds."""
    elapsed_ms = 0 if clock.in_band is None else now_ms - clock.since_ms
    return clock.total_ms + elapsed_ms, clock.in_band_ms + (elapsed_ms if clock.in_band else 0)


def pause_ms(fruitless: int) -> int:
    """How long to wait after that many plans in a row that filled nothing: 1, 2, 4 ... 60 s; 0 after none."""
    return min(_PAUSE_MS * 2 ** min(fruitless - 1, 10), PAUSE_MS_MAX) if fruitless else 0
