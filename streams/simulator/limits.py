"""Request limits of the venue: weight for each address, new orders for each account, warnings, then a ban.

Pure: each call carries its time in UTC milliseconds. Windows are the fixed ones of the clock (each whole minute, each
whole ten seconds, each day). An order that fills at once is credited back, as the venue does.
"""

from dataclasses import dataclass

from streams.simulator.settings import LimitSettings

MINUTE_MS = 60_000
TEN_SECONDS_MS = 10_000
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A request over a limit: how long to stay away, and which limit it was."""

    limit: str
    retry_after_s: int


class _Window:
    """Counts of the current window by key; the former window is forgotten."""

    def __init__(self, length_ms: int):
        self._length_ms = length_ms
        self._index = -1
        self._counts: dict[str, int] = {}

    def count(self, key: str, now_ms: int) -> int:
        if now_ms // self._length_ms != self._index:
            self._index = now_ms // self._length_ms
            self._counts = {}
        return self._counts.get(key, 0)

    def add(self, key: str, amount: int, now_ms: int) -> int:
        self._counts[key] = max(0, self.count(key, now_ms) + amount)
        return self._counts[key]

    def left_s(self, now_ms: int) -> int:
        return 1 + (self._length_ms - now_ms % self._length_ms) // 1_000


class Limits:
    """The venue's books about requests. `refused`, `bans` and `knocks` (requests during a ban) count for ever."""

    def __init__(self, settings: LimitSettings):
        self.settings = settings
        self.refused = 0
        self.bans = 0
        self.knocks = 0
        self._weight = _Window(MINUTE_MS)
        self._warnings = _Window(MINUTE_MS)
        self._orders_10s = _Window(TEN_SECONDS_MS)
        self._orders_1d = _Window(DAY_MS)
        self._banned_until_ms: dict[str, int] = {}
        self._bans_of: dict[str, int] = {}

    def banned(self, address: str, now_ms: int) -> Exceeded | None:
        """Whether the address is banned now."""
        left_ms = self._banned_until_ms.get(address, 0) - now_ms
        if left_ms <= 0:
            return None
        self.knocks += 1
        return Exceeded("ban", 1 + left_ms // 1_000)

    def ban(self, address: str, seconds: int, now_ms: int) -> Exceeded:
        """Ban an address that long; how its requests are answered."""
        self.bans += 1
        self._banned_until_ms[address] = now_ms + seconds * 1_000
        return Exceeded("ban", seconds)

    def spend_weight(self, address: str, weight: int, now_ms: int) -> Exceeded | None:
        """Count a request; over the limit it is refused, and an address that goes on is banned, longer each time."""
        used = self._weight.add(address, weight, now_ms)
        if used <= self.settings.weight_1m_max:
            return None
        return self._refuse(address, "weight", self._weight.left_s(now_ms), now_ms)

    def spend_order(self, address: str, account: str, now_ms: int) -> Exceeded | None:
        """Count a new order of an account, unless that would exceed its limit."""
        if self._orders_10s.count(account, now_ms) >= self.settings.orders_10s_max:
            return self._refuse(address, "orders_10s", self._orders_10s.left_s(now_ms), now_ms)
        if self._orders_1d.count(account, now_ms) >= self.settings.orders_1d_max:
            return self._refuse(address, "orders_1d", self._orders_1d.left_s(now_ms), now_ms)
        self._orders_10s.add(account, 1, now_ms)
        self._orders_1d.add(account, 1, now_ms)
        return None

    def credit_order(self, account: str, now_ms: int) -> None:
        """The order just counted filled at once: it does not burden the venue."""
        self._orders_10s.add(account, -1, now_ms)
        self._orders_1d.add(account, -1, now_ms)

    def weight_used(self, address: str, now_ms: int) -> int:
        """Weight spent in this minute."""
        return self._weight.count(address, now_ms)

    def orders_used(self, account: str, now_ms: int) -> tuple[int, int]:
        """Orders counted in these ten seconds and on this day."""
        return self._orders_10s.count(account, now_ms), self._orders_1d.count(account, now_ms)

    def _refuse(self, address: str, limit: str, left_s: int, now_ms: int) -> Exceeded:
        self.refused += 1
        if self._warnings.add(address, 1, now_ms) > self.settings.warnings_max:
            self._bans_of[address] = self._bans_of.get(address, 0) + 1
            return self.ban(address, self.settings.ban_s * 2 ** min(self._bans_of[address] - 1, 10), now_ms)
        return Exceeded(limit, left_s)
