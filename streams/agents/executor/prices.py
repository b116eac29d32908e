"""The executor's own subscription to `market.tickers`: what it needs to doubt a command's price by itself.

The folds see prices through the journal; this reads the topic as the feed wrote it, so that neither a sequencer nor a fold can
make an order leave at a price that the market never showed. Of a busy symbol only some quotes are decoded: the newest
whenever somebody asks, and otherwise one each few milliseconds.
"""

import asyncio
import logging
from collections.abc import Iterable

from schemas.codec import DecodeError, decode
from schemas.market import Ticker
from streams.agents.executor.tail import Tail
from streams.domain.intake.validate import AHEAD_MS_MAX
from streams.domain.orders.prices import Price, Prices, seen
from streams.ports.log import Log, PositionLostError, Record
from streams.ports.process import Clock
from streams.topics import MARKET_TICKERS, partition_of

log = logging.getLogger("trimtab.executor")

BACK_RECORDS = 2000
DECODE_EVERY_MS = 20
RETRY_S = 0.5


class PriceWatch:
    """Follows the quotes of these (venue, symbol), beginning a little back, so that a new process soon knows a median."""

    def __init__(self, log_: Log, tail: Tail, clock: Clock, symbols: Iterable[tuple[str, str]], window_ms: int) -> None:
        self._log = log_
        self._tail = tail
        self._clock = clock
        self._window_ms = window_ms
        self._wanted = {f"{venue}:{symbol}".encode(): (venue, symbol) for venue, symbol in symbols}
        self._prices: dict[str, dict[str, Price]] = {venue: {} for venue, _ in self._wanted.values()}
        self._waiting: dict[bytes, Record] = {}
        self._decoded_boot_ms: dict[bytes, int] = {}
        self._live_from: dict[int, int] = {}

    async def run(self) -> None:
        """Follow the quotes for ever; where retention overtook the reader it goes on from what is there."""
        while True:
            lost: asyncio.Future[PositionLostError] = asyncio.get_running_loop().create_future()
            if await self._follow(lost):
                log.warning("quotes were lost (%s); going on with the newest", await lost)
            else:
                await asyncio.sleep(RETRY_S)

    async def _follow(self, lost: "asyncio.Future[PositionLostError]") -> bool:
        def tell(error: PositionLostError) -> None:
            if not lost.done():
                lost.set_result(error)

        try:
            partitions = await self._log.partitions(MARKET_TICKERS)
            for partition in sorted({partition_of(key, partitions) for key in self._wanted}):
                begin = await self._log.begin_offset(MARKET_TICKERS, partition)
                end = await self._log.end_offset(MARKET_TICKERS, partition)
                self._live_from[partition] = end
                self._tail.follow(str(partition), partition, max(begin, end - BACK_RECORDS), self._take, tell)
        except Exception as error:  # noqa: BLE001  whatever the client raises while the broker is away: no price is proven
            log.warning("quotes cannot be read now (%s); trying on", type(error).__name__)
            return False
        return True

    def of(self, venue: str) -> Prices:
        """What was seen of a venue's symbols, up to the newest record read."""
        for key in tuple(self._waiting):
            self._decode(self._waiting.pop(key))
        return self._prices.get(venue, {})

    async def _take(self, record: Record) -> None:
        key = record.key
        if key is None or key not in self._wanted:
            return
        self._waiting.pop(key, None)
        past = record.offset < self._live_from[record.partition]
        if past or self._clock.boot_ms() - self._decoded_boot_ms.get(key, 0) >= DECODE_EVERY_MS:
            self._decode(record)
        else:
            self._waiting[key] = record

    def _decode(self, record: Record) -> None:
        assert record.key is not None
        self._decoded_boot_ms[record.key] = self._clock.boot_ms()
        venue, symbol = self._wanted[record.key]
        try:
            ticker = decode(Ticker.ce_type(), record.value)
        except DecodeError as error:
            # The sequencer sets it aside; here it is a quote that was not seen, and the last good one grows old.
            log.warning("%s:%d offset %d is no quote: %s", record.topic, record.partition, record.offset, error)
            return
        if not isinstance(ticker, Ticker) or (ticker.venue, ticker.symbol) != (venue, symbol):
            return
        if ticker.received_at_ms > self._clock.wall_ms() + AHEAD_MS_MAX:
            # Taken, it would make every quote until then an older one.
            log.warning("%s:%d offset %d is a quote from the future", record.topic, record.partition, record.offset)
        else:
            quote = Price(ticker.bid_price_quote, ticker.ask_price_quote, ticker.received_at_ms)
            prices = self._prices[venue]
            # A new mapping each time: inputs of the protocol hold on to the one that they were made with.
            self._prices[venue] = prices | {symbol: seen(prices.get(symbol), quote, self._window_ms)}
