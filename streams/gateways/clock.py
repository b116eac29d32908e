"""The port Clock over the system's own clocks."""

import time

# CLOCK_BOOTTIME counts through a suspended machine; where it does not exist (not Linux) the monotonic clock comes closest.
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The clocks of this machine."""

    def wall_ms(self) -> int:
        """UTC milliseconds; may step."""
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        """Milliseconds since boot, sleep included; never steps."""
        return time.clock_gettime_ns(_BOOT) // 1_000_000
