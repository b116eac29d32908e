"""Is a symbol's socket alive? Our own data clock, since pongs, open connections and repeated old frames prove nothing.

Only news counts: a valid quote whose sequence grew. A symbol without news for `stall_after_ms` is compared with the venue's
REST answer. An equal answer on an open socket means a quiet market. Two different answers in a row, with no news between them,
mean that the socket is stalled: it must be closed and dialled again, ever more seldom while that does not help. Without life
for `fallback_after_ms` the symbol is polled until its socket brings news. Times are BOOTTIME milliseconds.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from schemas.market import Ticker

RESET_PAUSE_MS_MAX = 60_000


class Mode(StrEnum):
    """Where a symbol's quotes come from."""

    SOCKET = "socket"
    POLLING = "polling"


@dataclass(slots=True)
class _Pulse:
    news_at_ms: int
    life_at_ms: int
    polled_at_ms: int
    sequence: int = -1  # of the last news; the first quote of a symbol is news whatever its number
    quote: tuple[object, ...] = ()
    differed: int = 0
    mode: Mode = Mode.SOCKET


@dataclass(slots=True)
class Liveness:
    """The data clocks of one venue's symbols."""

    symbols: tuple[str, ...]
    stall_after_ms: int
    fallback_after_ms: int
    fallback_every_ms: int
    started_at_ms: int
    _pulses: dict[str, _Pulse] = field(init=False)
    _reset_pause_ms: int = field(init=False, default=0)
    _reset_at_ms: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        # The poll of long ago makes the first comparison due at once: a quiet symbol sends nothing when it is subscribed.
        long_ago = self.started_at_ms - self.stall_after_ms - self.fallback_every_ms
        self._pulses = {
            symbol: _Pulse(news_at_ms=long_ago, life_at_ms=self.started_at_ms, polled_at_ms=long_ago) for symbol in self.symbols
        }

    def heard(self, ticker: Ticker, now_ms: int) -> bool:
        """A valid quote came from a socket. True iff that ended polling."""
        pulse = self._pulses[ticker.symbol]
        if ticker.venue_sequence <= pulse.sequence:
            return False
        pulse.sequence, pulse.quote = ticker.venue_sequence, _quote(ticker)
        pulse.news_at_ms = pulse.life_at_ms = now_ms
        pulse.differed = 0
        self._reset_pause_ms = 0
        back = pulse.mode is Mode.POLLING
        pulse.mode = Mode.SOCKET
        return back

    def polled(self, ticker: Ticker, now_ms: int, socket_open: bool) -> bool:
        """A valid quote came by REST. True iff the symbol's socket is stalled and must be closed now."""
        pulse, quote = self._pulses[ticker.symbol], _quote(ticker)
        if not pulse.quote:
            pulse.quote = quote
        if quote == pulse.quote:
            pulse.differed = 0
            if socket_open:
                pulse.life_at_ms = now_ms
            return False
        pulse.differed += 1
        if not socket_open or pulse.differed < 2 or now_ms - self._reset_at_ms < self._reset_pause_ms:
            return False
        # The next socket owes changes from here on; it does not repeat what its predecessor missed.
        pulse.quote, pulse.differed = quote, 0
        self._reset_at_ms = now_ms
        self._reset_pause_ms = min(max(2 * self._reset_pause_ms, 2 * self.stall_after_ms), RESET_PAUSE_MS_MAX)
        return True

    def due(self, now_ms: int) -> list[str]:
        """Symbols whose REST quote should be asked for now, the longest waiting first."""
        waiting = [(pulse.polled_at_ms, symbol) for symbol, pulse in self._pulses.items() if self._is_due(pulse, now_ms)]
        return [symbol for _, symbol in sorted(waiting)]

    def asked(self, symbol: str, now_ms: int) -> None:
        """The symbol's REST quote was asked for, whatever comes of it."""
        self._pulses[symbol].polled_at_ms = now_ms

    def fallen(self, now_ms: int) -> list[str]:
        """Symbols for which polling takes over now."""
        fallen = [
            symbol
            for symbol, pulse in self._pulses.items()
            if pulse.mode is Mode.SOCKET and now_ms - pulse.life_at_ms >= self.fallback_after_ms
        ]
        for symbol in fallen:
            self._pulses[symbol].mode = Mode.POLLING
        return fallen

    def news_at_ms(self, symbol: str) -> int:
        """When a socket last brought news of the symbol."""
        return self._pulses[symbol].news_at_ms

    def _is_due(self, pulse: _Pulse, now_ms: int) -> bool:
        if now_ms - pulse.news_at_ms < self.stall_after_ms:
            return False
        hurried = pulse.mode is Mode.POLLING or pulse.differed > 0
        return now_ms - pulse.polled_at_ms >= (self.fallback_every_ms if hurried else self.stall_after_ms)


def _quote(ticker: Ticker) -> tuple[object, ...]:
    return ticker.bid_price_quote, ticker.bid_quantity_base, ticker.ask_price_quote, ticker.ask_quantity_base
