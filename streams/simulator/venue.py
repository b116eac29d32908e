"""The running venue, without a dialect: the core with a clock, a tape, faults, latency, and readers of what happens.

Everything that changes the core goes through here, so that after each change the new journal entries are written to the
file and handed to the accounts' readers. An order or trade that is late (see `faults`) is held back from readers and queries.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from streams.matching.journal import Entry
from streams.matching.market import Market
from streams.matching.orders import Order, OrderRequest, Refused, Side
from streams.simulator.clock import TapeClock, VenueClock
from streams.simulator.faults import Faults
from streams.simulator.limits import Limits
from streams.simulator.settings import LatencySettings, SimulatorSettings
from streams.simulator.tapes.bars import TAPE_END_MS
from streams.simulator.tapes.listings import LISTINGS
from streams.simulator.tapes.tape import Tape

IDS_A_MS = 1_000  # more than any book changes in a millisecond, and still exact in every JSON reader

Reader = Callable[[Sequence[Entry]], None]


class Venue:
    """One venue. Use on one event loop; `run` renews the background liquidity until it is cancelled."""

    def __init__(self, settings: SimulatorSettings):
        self.settings = settings
        self.clock = VenueClock(settings.clock_offset_ms)
        self.tape = Tape(settings.tape.seed)
        self.tape_clock = TapeClock(settings.tape.start_ms, settings.tape.speed, TAPE_END_MS)
        # A venue that comes back never gives an id of its past again: readers drop what they saw before.
        ids_from = self.clock.now_ms() * IDS_A_MS
        self.market = Market((listing.rules for listing in LISTINGS.values()), ids_from=ids_from)
        self.faults = Faults(settings.faults)
        self.limits = Limits(settings.limits)
        self.latency: LatencySettings = settings.latency
        self.transfers: list[Entry] = []
        self._now_ms = 0
        self._beat = 0
        self._published = 0
        self._late_orders: dict[int, int] = {}
        self._late_fills: dict[int, int] = {}
        self._readers: dict[str, list[Reader]] = {}
        self._refresh_readers: list[Callable[[], None]] = []
        self._file = _open_journal(settings)
        for account, account_settings in settings.accounts.items():
            self.market.open_account(account, account_settings.fee_schedule())
            for asset, free in account_settings.balances.items():
                self.transfers.append(self.market.set_balance(account, asset, free, self.now_ms()))
        self.refresh()

    def now_ms(self) -> int:
        """Venue time for the core: as the clock, but it never goes back."""
        self._now_ms = max(self._now_ms, self.clock.now_ms())
        return self._now_ms

    async def run(self) -> None:
        """Renew the background liquidity at every beat."""
        period_s = self.settings.tape.refresh_ms / 1_000
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + period_s, loop.time())
            await asyncio.sleep(due - loop.time())
            self._beat += 1
            self.refresh()

    def refresh(self) -> None:
        """Quote what the tape says now, and tell the readers of the books."""
        for symbol in self.market.books:
            bids, asks = self.tape.quote(symbol, self.tape_clock.now_ms(), self._beat)
            self.market.quote(symbol, bids, asks, self.now_ms())
        self._publish()
        for reader in self._refresh_readers:
            reader()

    def submit(self, request: OrderRequest, *, late_ms: int = 0) -> Order | Refused:
        """Give an order to the core; a late one stays invisible for a while."""
        outcome = self.market.submit(request, self.now_ms())
        if late_ms and isinstance(outcome, Order):
            self._late_orders[outcome.order_id] = self.now_ms() + late_ms
        self._publish()
        return outcome

    def cancel(self, order: Order, cancel_id: str) -> Refused | None:
        """Cancel an order that was found."""
        outcome = self.market.cancel(order, cancel_id, self.now_ms())
        self._publish()
        return outcome

    def meet(self, order: Order, quantity_base: Decimal, *, late_ms: int = 0) -> None:
        """Somebody trades with an order that stands, at its price; the read side knows of it after `late_ms`.

        Orders that stand before it in the book trade first.
        """
        trades_before = len(order.fills)
        level, now_ms = (order.price_quote, quantity_base), self.now_ms()
        bids, asks = ((level,), ()) if order.side is Side.SELL else ((), (level,))
        self.market.quote(order.symbol, bids, asks, now_ms)
        for fill in order.fills[trades_before:] if late_ms else ():
            self._late_fills[fill.trade_id] = now_ms + late_ms
        self.refresh()

    def shown(self, order: Order) -> Order:
        """The order as the read side knows it: without the trades that are late."""
        late = [fill for fill in order.fills if not self.is_shown(fill.trade_id)]
        if not late:
            return order
        return replace(
            order,
            fills=[fill for fill in order.fills if fill not in late],
            filled_base=order.filled_base - sum(fill.quantity_base for fill in late),
            filled_quote=order.filled_quote - sum(fill.amount_quote for fill in late),
        )

    def is_shown(self, trade_id: int) -> bool:
        """Whether the read side knows a trade already."""
        return self._late_fills.get(trade_id, 0) <= self.now_ms()

    def set_balance(self, account: str, asset: str, free: Decimal) -> None:
        """Put money in or take it out. Raises KeyError for an unknown account."""
        self.transfers.append(self.market.set_balance(account, asset, free, self.now_ms()))
        self._publish()

    def find(self, account: str, symbol: str, order_id: int | None, client_order_id: str | None) -> Order | None:
        """An account's visible order by either id."""
        register = self.market.register
        if order_id is not None:
            order = register.by_id(account, symbol, order_id)
        else:
            order = register.by_client_id(account, symbol, client_order_id or "")
        return order if order and self.is_visible(order.order_id) else None

    def is_visible(self, order_id: int) -> bool:
        """Whether the venue's read side knows an order already."""
        return self._late_orders.get(order_id, 0) <= self.now_ms()

    def read_account(self, account: str, reader: Reader) -> Callable[[], None]:
        """Hand an account's entries to a reader as they become visible; call the result to stop."""
        readers = self._readers.setdefault(account, [])
        readers.append(reader)
        return lambda: readers.remove(reader)

    def readers_of(self, account: str) -> int:
        """How many readers an account has."""
        return len(self._readers.get(account, ()))

    def read_books(self, reader: Callable[[], None]) -> Callable[[], None]:
        """Call a reader after each renewal of the books; call the result to stop."""
        self._refresh_readers.append(reader)
        return lambda: self._refresh_readers.remove(reader)

    def close(self) -> None:
        """Close the journal's file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _publish(self) -> None:
        entries = self.market.journal.since(self._published + 1)
        if not entries:
            return
        self._published = entries[-1].sequence
        if self._file is not None:
            _write_all(self._file, b"".join(entry.line() for entry in entries))
        by_account: dict[tuple[str, int], list[Entry]] = {}
        for entry in entries:
            account = str(entry.body["account"])
            if self._readers.get(account):
                by_account.setdefault((account, self._known_at_ms(entry)), []).append(entry)
        for (account, known_at_ms), chosen in by_account.items():
            self._hand_over(account, known_at_ms, chosen)

    def _known_at_ms(self, entry: Entry) -> int:
        """When the read side knows the order and the trade that an entry is about."""
        order_id, trade_id = (int(entry.body.get(name, 0)) for name in ("order_id", "trade_id"))
        return max(self._late_orders.get(order_id, 0), self._late_fills.get(trade_id, 0))

    def _hand_over(self, account: str, known_at_ms: int, entries: list[Entry]) -> None:
        wait_ms = known_at_ms - self.now_ms()
        if wait_ms > 0:
            asyncio.get_running_loop().call_later(wait_ms / 1_000, self._hand_over, account, known_at_ms, entries)
            return
        for reader in list(self._readers.get(account, ())):
            reader(entries)


def _open_journal(settings: SimulatorSettings) -> int | None:
    if settings.journal_path is None:
        return None
    settings.journal_path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(settings.journal_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o644)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
