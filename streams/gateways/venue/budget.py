"""The request budget of one venue in one role: its share of the weight, and the pause that everybody keeps.

Venues count request weight for each address, and this installation has one for all its roles. So each role has a share and
never uses more of it in any minute; what the venue itself counted (its header) holds besides. The first refusal for too many
requests pauses all roles: who was refused writes `paused_until`, and everybody reads it before each request.
Orders and cancels do not wait for a share: their own budget is the token bucket that goes with the lease.
"""

import logging
from collections import deque
from decimal import ROUND_FLOOR, Decimal

from streams.domain.errors import UnreachableError
from streams.domain.numbers import DECISION
from streams.ports.database import Pauses
from streams.ports.process import Clock

log = logging.getLogger("trimtab.venue")

MINUTE_MS = 60_000
READ_EVERY_MS = 50
"""A pause that was read so short a time ago is not read again."""
SILENT_MS = 1_000
"""How long a store that did not answer is left alone, so that it delays no request but one each second."""


class PausedError(UnreachableError):
    """Not asked: the venue said to wait, or the share is used up. `left_ms` from now on it may be asked again."""

    def __init__(self, text: str, left_ms: int) -> None:
        super().__init__(text)
        self.left_ms = left_ms


class RequestBudget:
    """Admits requests of one role to one venue. `pauses` None keeps a pause to this process (one role alone)."""

    def __init__(
        self, venue: str, clock: Clock, weight_per_minute: int, share: Decimal = Decimal(1), pauses: Pauses | None = None
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._pauses = pauses
        self._share = share
        self._paused_until_boot_ms = 0
        self._read_again_boot_ms = 0
        self._spent: deque[tuple[int, int]] = deque()
        self._spent_weight = 0
        self._venue_used = 0
        self._venue_minute = -1
        self.set_weight_per_minute(weight_per_minute)

    def set_weight_per_minute(self, weight: int) -> None:
        """What the venue allows one address in a minute, by its own word."""
        self._weight_max = weight
        self._share_max = int(DECISION.multiply(Decimal(weight), self._share).to_integral_value(ROUND_FLOOR))

    @property
    def weight_left(self) -> int:
        """What the venue's own count leaves of this minute, for all roles together."""
        return max(0, self._weight_max - self._used_by_all())

    def observe(self, weight_used: int) -> None:
        """The venue's own count of this minute's weight, from a reply."""
        self._venue_minute, self._venue_used = self._clock.wall_ms() // MINUTE_MS, weight_used

    async def admit(self, weight: int, *, effect: bool) -> None:
        """Count one request about to leave. Raises PausedError when it must not; `effect` (an order, a cancel) asks only for
        the pause, never for the share."""
        await self._read_pause()
        now_ms = self._clock.boot_ms()
        if (left_ms := self._paused_until_boot_ms - now_ms) > 0:
            raise PausedError(f"not asked, requests are paused for {left_ms} ms more at the venue's word", left_ms)
        while self._spent and self._spent[0][0] <= now_ms - MINUTE_MS:
            self._spent_weight -= self._spent.popleft()[1]
        if not effect:
            self._require(weight, now_ms)
        self._spent.append((now_ms, weight))
        self._spent_weight += weight

    async def pause(self, for_ms: int, cause: str) -> None:
        """The venue refused for too many requests: nobody asks anything for that long."""
        log.error("venue %s: over its limit (%s); all requests pause for %d ms", self._venue, cause, for_ms)
        self._paused_until_boot_ms = max(self._paused_until_boot_ms, self._clock.boot_ms() + for_ms)
        if self._pauses is not None:
            try:
                await self._pauses.extend(self._venue, for_ms, cause)
            except UnreachableError as error:
                log.error("venue %s: the other roles do not hear of the pause: %s", self._venue, error)

    def _require(self, weight: int, now_ms: int) -> None:
        if self._spent_weight + weight > self._share_max:
            left_ms = self._spent[0][0] + MINUTE_MS - now_ms if self._spent else MINUTE_MS
            raise PausedError(
                f"not asked, this role's {self._share_max} of the request weight of a minute are used; "
                f"some is free again in {left_ms} ms",
                left_ms,
            )
        if self._used_by_all() + weight > self._weight_max:
            left_ms = MINUTE_MS - self._clock.wall_ms() % MINUTE_MS
            raise PausedError(
                f"not asked, the venue counts {self._venue_used} of {self._weight_max} weight in this minute, which ends in "
                f"{left_ms} ms",
                left_ms,
            )

    def _used_by_all(self) -> int:
        return self._venue_used if self._clock.wall_ms() // MINUTE_MS == self._venue_minute else 0

    async def _read_pause(self) -> None:
        """Learn of a pause that another role was told. A store that is away hides it: what this process knows still holds."""
        if self._pauses is None or self._clock.boot_ms() < self._read_again_boot_ms:
            return
        self._read_again_boot_ms = self._clock.boot_ms() + READ_EVERY_MS
        try:
            left_ms = await self._pauses.left_ms(self._venue)
        except UnreachableError as error:
            self._read_again_boot_ms = self._clock.boot_ms() + SILENT_MS
            log.debug("venue %s: pauses of other roles are not known: %s", self._venue, error)
        else:
            self._paused_until_boot_ms = max(self._paused_until_boot_ms, self._clock.boot_ms() + left_ms)
