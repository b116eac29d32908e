"""Sources that never rest: prices, ledger entries, repeats, garbage, rules and control, while servers and owners die.

Everything is a function of one seed. What was written is remembered, so that a recount knows what it must find.
"""

import asyncio
import random
from collections import Counter
from decimal import Decimal

from schemas.account import AccountBalances
from schemas.codec import encode
from schemas.envelope import Envelope, Message
from schemas.venue import VenueStatus
from streams.ports.log import Output
from streams.topics import ACCOUNT_BALANCES, MARKET_TICKERS, ORDERS_LEDGER, VENUE_STATUS, partition_of
from tests.stack.sequencer.installation import CLOCK, Installation, entries, ticker

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")
ACCOUNTS = ("first", "second", "stranger")
TICKS_A_SECOND = 100
WITHOUT_ACK_MAX = 20_000


class Sources:
    """A producer of every source of an installation."""

    def __init__(self, installation: Installation, seed: int) -> None:
        self._installation = installation
        self._random = random.Random(seed)
        self._appends: set[asyncio.Future[int]] = set()
        self._sequence = 0
        self._mids = dict.fromkeys(SYMBOLS, Decimal(100))
        self._partitions: dict[str, int] = {}
        self.booked = dict.fromkeys(ACCOUNTS, 0)
        self.written: Counter[str] = Counter()

    async def run(self) -> None:
        """Write until cancelled, at a steady pace, whatever the broker does."""
        for topic in (MARKET_TICKERS, ORDERS_LEDGER, VENUE_STATUS, ACCOUNT_BALANCES):
            self._partitions[topic] = await self._installation.log.partitions(topic)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._one()
            due += 1 / TICKS_A_SECOND
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def settle(self) -> None:
        """Wait until everything written is durable."""
        async with asyncio.timeout(60):
            await asyncio.gather(*self._appends)

    def _one(self) -> None:
        dice = self._random.random()
        if dice < 0.80:
            self._tick()
        elif dice < 0.92:
            self._book()
        elif dice < 0.94:
            self._garbage()
        elif dice < 0.97:
            status = VenueStatus.model_validate({"venue": "sim", "status": "trading", "observed_at_ms": CLOCK.wall_ms()})
            self._write(VENUE_STATUS, "sim", status)
        else:
            account = self._random.choice(ACCOUNTS)
            fields = {"account": account, "venue": "sim", "balances": {}, "received_at_ms": CLOCK.wall_ms()}
            self._write(ACCOUNT_BALANCES, account, AccountBalances.model_validate(fields))

    def _tick(self) -> None:
        symbol = self._random.choice(SYMBOLS)
        repeated = self._random.random() < 0.05
        self._sequence += not repeated
        step = Decimal(self._random.choice(["0", "0.0001", "0.0005", "-0.0005", "0.002", "-0.002"]))
        self._mids[symbol] = mid = round(self._mids[symbol] * (1 + step), 8)
        stale = 120_000 if self._random.random() < 0.05 else 0
        bid, ask = mid - Decimal("0.01"), mid + Decimal("0.01")
        quote = ticker(symbol, self._sequence, str(bid), str(ask), received_at_ms=CLOCK.wall_ms() - stale)
        self._write(MARKET_TICKERS, f"sim:{symbol}", quote)

    def _book(self) -> None:
        account = self._random.choice(ACCOUNTS)
        again = self.booked[account] > 0 and self._random.random() < 0.1
        if not again:
            self.booked[account] += 1
        (entry,) = entries(account, self.booked[account], 1)
        self.written["entries repeated" if again else "entries"] += 1
        self._write(ORDERS_LEDGER, account, entry.model_copy(update={"at_ms": 1}))

    def _garbage(self) -> None:
        self.written["garbage"] += 1
        key = f"sim:{self._random.choice(SYMBOLS)}".encode()
        value = self._random.choice([b"", b"{", b'{"bid_price_quote": NaN}', self._random.randbytes(40)])
        self._append(Output(MARKET_TICKERS, key, value, (), partition_of(key, self._partitions[MARKET_TICKERS])))

    def _write(self, topic: str, key: str, message: Message) -> None:
        self.written[topic] += 1
        envelope = Envelope(id=str(self.written.total()), type=message.ce_type(), source="test", time_ms=CLOCK.wall_ms())
        partition = partition_of(key.encode(), self._partitions[topic])
        self._append(Output(topic, key.encode(), encode(message), envelope.headers(), partition))

    def _append(self, output: Output) -> None:
        done = asyncio.ensure_future(self._installation.log.append_nowait(output))
        self._appends.add(done)
        assert len(self._appends) < WITHOUT_ACK_MAX, "the broker was away for longer than this test allows"
        done.add_done_callback(self._acknowledged)

    def _acknowledged(self, done: "asyncio.Future[int]") -> None:
        if not done.cancelled() and done.exception() is None:
            self._appends.discard(done)
