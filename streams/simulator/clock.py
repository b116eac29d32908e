"""The venue's clock and the tape's clock."""

import time


class VenueClock:
    """Wall clock plus an offset that a test may turn. `now_ms` may step back when the offset is lowered."""

    def __init__(self, offset_ms: int = 0):
        self.offset_ms = offset_ms

    def now_ms(self) -> int:
        """UTC milliseconds as the venue sees them."""
        return time.time_ns() // 1_000_000 + self.offset_ms


class TapeClock:
    """Tape time: stands at its start until it is let run, then runs `speed` times as fast as the machine's clock."""

    def __init__(self, start_ms: int, speed: int, end_ms: int):
        self._from_ms = start_ms
        self._end_ms = end_ms
        self._since_ns: int | None = None
        self._speed = speed

    @property
    def is_running(self) -> bool:
        """Whether time was let run and the tape's end is not reached."""
        return self._since_ns is not None and self.now_ms() < self._end_ms

    def start(self) -> None:
        """Let time run; once it runs, this does nothing."""
        if self._since_ns is None:
            self._since_ns = time.monotonic_ns()

    def set_speed(self, speed: int) -> None:
        """Run faster or slower from now on; the instant on the tape does not jump."""
        if self._since_ns is not None:
            self._from_ms, self._since_ns = self.now_ms(), time.monotonic_ns()
        self._speed = speed

    def now_ms(self) -> int:
        """The instant on the tape (UTC ms of the recorded day), never past its end."""
        if self._since_ns is None:
            return self._from_ms
        elapsed_ms = (time.monotonic_ns() - self._since_ns) * self._speed // 1_000_000
        return min(self._from_ms + elapsed_ms, self._end_ms)
