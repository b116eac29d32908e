"""Quotes and books on their way to the log: validated, timed, compared with REST when a socket is silent."""

import logging

import orjson

from schemas.market import Ticker
from streams import topics
from streams.agents.feed import messages
from streams.agents.feed.config import FeedConfig
from streams.agents.feed.liveness import Liveness
from streams.agents.feed.publish import Publisher
from streams.domain.errors import RefusedError, UnknownOutcomeError
from streams.ports.process import Clock
from streams.ports.venue import Frame, VenueReads, VenueStreams

BOOK_RESET_PAUSE_MS_MAX = 60_000

log = logging.getLogger("trimtab.feed")


class Quotes:
    """The FrameSink of one venue's sockets, and the polls that stand in for them."""

    def __init__(
        self, config: FeedConfig, reads: VenueReads, streams: VenueStreams, publisher: Publisher, clock: Clock
    ) -> None:
        self._config = config
        self._reads = reads
        self._streams = streams
        self._publisher = publisher
        self._clock = clock
        now_ms = clock.boot_ms()
        self._liveness = Liveness(
            config.symbols, config.stall_after_ms, config.fallback_after_ms, config.fallback_every_ms, started_at_ms=now_ms
        )
        self._book_sequences: dict[str, object] = {}
        self._books_at_ms = dict.fromkeys(config.symbols, now_ms)
        self._books_reset_at_ms = now_ms
        self._books_pause_ms = 0
        self._refused = 0

    def quote(self, frame: Frame) -> None:
        """See the port FrameSink."""
        ticker = self._published(frame, "socket")
        if ticker is not None and self._liveness.heard(ticker, self._clock.boot_ms()):
            log.warning("venue %s: the socket brings %s again; polling ends", self._config.venue, frame.symbol)

    def refused(self, raw: bytes, reason: str) -> None:
        """See the port FrameSink."""
        self._refused += 1
        if self._refused.bit_count() == 1:  # at 1, 2, 4, 8, ...: one flood is one story
            log.warning("venue %s: %d frames refused so far, the last one: %s", self._config.venue, self._refused, reason)
        self._publisher.dead_letter(messages.dead_letter(self._config.venue, raw, reason, self._clock.wall_ms(), self._refused))

    async def poll_one(self) -> None:
        """Ask by REST for the symbol that most needs it, if any. Raises as every read does."""
        now_ms = self._clock.boot_ms()
        for symbol in self._liveness.fallen(now_ms):
            log.warning(
                "venue %s: no live socket for %s in %d ms; polling takes over",
                self._config.venue,
                symbol,
                self._config.fallback_after_ms,
            )
        for symbol in self._liveness.due(now_ms)[:1]:
            self._liveness.asked(symbol, now_ms)
            ticker = self._published(await self._ask(symbol), "rest")
            socket_open = self._streams.socket_age_ms() is not None
            if ticker is not None and self._liveness.polled(ticker, self._clock.boot_ms(), socket_open):
                why = f"{symbol} moves by REST but not on the socket"
                log.warning("venue %s: stalled socket: %s; dialling anew", self._config.venue, why)
                self._streams.reset(books=False, why=why)

    async def _ask(self, symbol: str) -> Frame:
        try:
            return await self._reads.quote(symbol)
        except RefusedError as error:  # of one symbol: the others' turns must not wait for a person
            raise UnknownOutcomeError(str(error)) from None

    def publish_books(self) -> None:
        """Publish each book that changed; dial anew for books that stand still while quotes move."""
        now_ms = self._clock.boot_ms()
        for frame in self._streams.books(self._config.book_levels):
            sequence = frame.fields.get("venue_sequence")
            if self._book_sequences.get(frame.symbol) == sequence:
                continue
            self._book_sequences[frame.symbol] = sequence
            self._books_at_ms[frame.symbol] = now_ms
            self._books_pause_ms = 0
            self._publish_book(frame)
        stalled = [symbol for symbol, at_ms in self._books_at_ms.items() if self._book_stalled(symbol, at_ms)]
        if stalled and now_ms - self._books_reset_at_ms >= max(self._books_pause_ms, self._config.stall_after_ms):
            self._books_reset_at_ms = now_ms
            self._books_pause_ms = min(max(2 * self._books_pause_ms, 2 * self._config.stall_after_ms), BOOK_RESET_PAUSE_MS_MAX)
            log.warning("venue %s: books stand still: %s; dialling anew", self._config.venue, ", ".join(stalled))
            self._streams.reset(books=True, why="books stand still while quotes move")

    def _book_stalled(self, symbol: str, book_at_ms: int) -> bool:
        return self._liveness.news_at_ms(symbol) - book_at_ms > self._config.stall_after_ms

    def _publish_book(self, frame: Frame) -> None:
        try:
            book = messages.book(self._config.venue, frame)
        except messages.Refused as error:
            self.refused(orjson.dumps(frame.fields, default=str), f"book of {frame.symbol}: {error}")
            return
        key = f"{book.venue}:{book.symbol}"
        cause = str(book.venue_sequence), str(book.received_at_ms)
        self._publisher.publish(messages.output(topics.MARKET_BOOKS, key, book, book.received_at_ms, *cause))

    def _published(self, frame: Frame, origin: str) -> Ticker | None:
        try:
            ticker = messages.ticker(self._config.venue, frame)
        except messages.Refused as error:
            self.refused(frame.raw, f"{frame.symbol}: {error}")
            return None
        key = f"{ticker.venue}:{ticker.symbol}"
        cause = origin, str(ticker.venue_sequence), str(ticker.received_at_ms)
        self._publisher.publish(messages.output(topics.MARKET_TICKERS, key, ticker, ticker.received_at_ms, *cause))
        return ticker
