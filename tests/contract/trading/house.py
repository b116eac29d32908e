"""A whole executor in this process: the real agent, protocol and gateway, unmodified ccxt, a venue over HTTP, a log in memory.

The log begins with an opened account, so that trading starts at once. At the end `settled` looks at what must hold whatever
happened: every command ended once, the venue took no command twice, and the books hold what the venue holds.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from schemas import control
from schemas.codec import decode, encode
from schemas.envelope import Envelope, Message
from schemas.ledger import LedgerEntry
from schemas.market import Ticker
from schemas.orders import (
    AccountHalted,
    AccountOpened,
    CancelOrder,
    ExecutionEvent,
    OrderCommand,
    OwnerStarted,
    PlaceOrder,
)
from streams.agents.executor.agent import Executor
from streams.agents.executor.config import AccountConfig, ExecutorConfig
from streams.agents.executor.letters import event_output
from streams.domain.ids import client_order_id, command_id, digest_id
from streams.domain.ledger.books import Books
from streams.domain.ledger.postings import assets
from streams.domain.orders.lifecycle import TERMINAL
from streams.gateways.clock import SystemClock
from streams.gateways.signing import AnyAuthor
from streams.gateways.venue.client import Credentials
from streams.gateways.venue.profile import VenueProfile
from streams.gateways.venue.trading import CcxtTrading
from streams.ports.log import Output
from streams.ports.process import NO_CRASH_POINTS, CrashPoints
from streams.topics import MARKET_TICKERS, OPERATOR_CONTROL, ORDERS_COMMANDS, ORDERS_EVENTS
from tests.unit.executor.memory import Broker, MemoryLeases, MemoryLog, MemoryReader

ACCOUNT = "alice"
PORTFOLIO = "main"
INCARNATION = "a" * 32
SYMBOLS = ("BTC/USDT", "ETH/USDT")
CLOCK = SystemClock()
DEADLINE_S = 30.0
QUICK = {
    "lease_renew_ms": 200,
    "margin_ms": 400,
    "control_every_ms": 200,
    "time_every_ms": 2000,
    "reconcile_every_ms": 500,
    "checkpoint_every_ms": 60_000,
    "stop_within_ms": 1000,
}
_E = TypeVar("_E", bound=ExecutionEvent)


def addresses(port: int) -> dict[str, str]:
    """Where a venue of this machine listens."""
    return {
        "rest": f"http://127.0.0.1:{port}",
        "stream": f"ws://127.0.0.1:{port}/stream/ws",
        "ws_api": f"ws://127.0.0.1:{port}/ws-api/v3",
    }


class House:
    """One account, its log, and as many executors, one after the other, as a story needs."""

    def __init__(self, urls: Mapping[str, str], key: tuple[str, str], state_dir: Path, totals: Mapping[str, str]) -> None:
        self.urls = urls
        self.key = key
        self.state_dir = state_dir
        self.broker = Broker()
        self.leases = MemoryLeases(CLOCK)
        self.decisions = 0
        self.owners = 0
        now_ms = CLOCK.wall_ms()
        self.publish(OwnerStarted(account=ACCOUNT, epoch=1, at_ms=now_ms, owner="past"))
        opened = {asset: Decimal(total) for asset, total in totals.items()}
        self.publish(
            AccountOpened(
                account=ACCOUNT, epoch=1, at_ms=now_ms, portfolio=PORTFOLIO, venue="sim", totals=opened, venue_time_ms=now_ms
            )
        )
        at = {"at_ms": now_ms, "who": "tester"}
        created = {"scope": f"portfolio:{PORTFOLIO}", "portfolio": PORTFOLIO, "incarnation": INCARNATION, "shard": 0}
        self.control(control.PortfolioCreated.model_validate(at | created | {"quote": "USDT", "accounts": {ACCOUNT: "sim"}}))
        limits = {
            "scope": f"account:{ACCOUNT}",
            "account": ACCOUNT,
            "order_notional_max_quote": "100000",
            "turnover_5min_max_quote": "10000000",
            "turnover_day_max_quote": "10000000",
            "open_orders_max": 100,
            "price_collar": "0.5",
            "symbols": list(SYMBOLS),
        }
        self.control(control.AccountLimitsSet.model_validate(at | limits))

    @asynccontextmanager
    async def executor(self, points: CrashPoints = NO_CRASH_POINTS, **changes: Any) -> AsyncIterator[Executor]:
        """An executor, stopped in order at the end."""
        executor = self.build(points, **changes)
        running = asyncio.create_task(executor.run())
        try:
            yield executor
        finally:
            executor.stop()
            await asyncio.wait_for(running, DEADLINE_S)

    def build(
        self,
        points: CrashPoints = NO_CRASH_POINTS,
        timeout_ms: int = 1500,
        log: MemoryLog | None = None,
        leases: MemoryLeases | None = None,
        **changes: Any,
    ) -> Executor:
        """An executor that does not run yet."""
        self.owners += 1
        profile = VenueProfile("sim", "binance", self.urls, timeout_ms=timeout_ms)
        venue = CcxtTrading(profile, Credentials(*self.key), CLOCK, points=points)
        config = ExecutorConfig(
            f"owner-{self.owners}",
            (AccountConfig(ACCOUNT, "sim", SYMBOLS, None, adopted=True),),
            self.state_dir,
            **QUICK | changes,
        )
        return Executor(
            config,
            log or MemoryLog(self.broker),
            lambda: MemoryReader(self.broker),
            leases or self.leases,
            {ACCOUNT: venue},
            CLOCK,
            AnyAuthor(),
            points=points,
        )

    # What others say

    def control(self, event: control.ControlEvent) -> None:
        self._write(OPERATOR_CONTROL, event.scope, event)

    def publish(self, event: ExecutionEvent) -> None:
        """An event of a past owner."""
        self.broker.append(event_output(event)[1])

    def place(self, **changes: Any) -> PlaceOrder:
        """A command to buy a little at a price that fills at once, beside a quote that allows it."""
        self._quote(60_000)
        fields = self._command() | {
            "side": "buy",
            "order_type": "limit",
            "time_in_force": "ioc",
            "quantity_base": "0.01",
            "price_limit_quote": "70000",
            "price_mid_quote": "60000",
            "oldest_received_at_ms": CLOCK.wall_ms(),
            "input_age_ms_max": 120_000,
        }
        return PlaceOrder.model_validate(fields | changes)

    def resting(self, **changes: Any) -> PlaceOrder:
        """A command to buy a little at a price that nobody meets."""
        return self.place(time_in_force="gtc", price_limit_quote="45000", **changes)

    def cancel(self, target: str) -> CancelOrder:
        return CancelOrder.model_validate(self._command() | {"target_command_id": target})

    def command(self, command: OrderCommand) -> str:
        self._write(ORDERS_COMMANDS, ACCOUNT, command)
        return command.command_id

    def _quote(self, mid: int) -> None:
        fields = {"venue": "sim", "symbol": "BTC/USDT", "received_at_ms": CLOCK.wall_ms(), "venue_sequence": self.decisions}
        fields |= {"bid_price_quote": str(mid - 1), "ask_price_quote": str(mid + 1)}
        quote = Ticker.model_validate(fields | {"bid_quantity_base": "1", "ask_quantity_base": "1"})
        self._write(MARKET_TICKERS, "sim:BTC/USDT", quote)

    def _command(self) -> dict[str, Any]:
        self.decisions += 1
        signal_id, now_ms = digest_id("house", str(self.decisions)), CLOCK.wall_ms()
        return {
            "command_id": command_id(signal_id, 0),
            "signal_id": signal_id,
            "portfolio": PORTFOLIO,
            "incarnation": INCARNATION,
            "decision_number": self.decisions,
            "ordinal": 0,
            "account": ACCOUNT,
            "venue": "sim",
            "symbol": "BTC/USDT",
            "decided_at_ms": now_ms,
            "admit_by_ms": now_ms + 120_000,
            "expires_at_ms": now_ms + 300_000,
        }

    def _write(self, topic: str, key: str, message: Message) -> None:
        ce_id = digest_id(key, encode(message).hex())
        envelope = Envelope(id=ce_id, type=message.ce_type(), source="test", time_ms=CLOCK.wall_ms())
        self.broker.append(Output(topic, key.encode(), encode(message), envelope.headers()))

    # What came of it

    def events(self, kind: type[_E] = ExecutionEvent) -> list[_E]:
        """The account's events so far."""
        records = [record for (topic, _), kept in self.broker.topics.items() if topic == ORDERS_EVENTS for record in kept]
        messages = [decode(Envelope.read(record.headers).type, record.value) for record in records]
        return [message for message in messages if isinstance(message, kind)]

    def story(self, command: str) -> list[str]:
        """The types of the events about one command; what a former owner still says after a higher one is void.

        An intent that grew too old on a busy machine is left out: it was provably not sent, and the next one followed.
        """
        told: list[str] = []
        epoch = 0
        for event in self.events():
            epoch = max(epoch, event.epoch) if isinstance(event, OwnerStarted) else epoch
            if event.epoch >= epoch and getattr(event, "command_id", "") == command:
                told.append(event.TYPE.removeprefix("orders."))
        while ["unsent", "intended"] in (pairs := [told[at : at + 2] for at in range(len(told))]):
            del told[(at := pairs.index(["unsent", "intended"])) : at + 2]
        return told

    async def ended(self, command: str, *last: str) -> list[str]:
        """The story of a command once it came to one of these ends."""
        await until(lambda: (self.story(command) or [""])[-1] in last, lambda: f"{self.story(command)} {self.halts()}")
        return self.story(command)

    async def reached(self, command: str, step: str) -> list[str]:
        """The story of a command once it holds a step."""
        await until(lambda: step in self.story(command), lambda: f"{self.story(command)} {self.halts()}")
        return self.story(command)

    def halts(self) -> list[str]:
        """Why the account halted by itself."""
        return [event.cause for event in self.events(AccountHalted)]

    def entries(self) -> list[LedgerEntry]:
        """The books that the ledger makes of the events."""
        books = Books()
        entries = [books.book(event, event_output(event)[0]) for event in self.events()]
        return [entry for entry in entries if entry is not None]

    def held(self) -> dict[str, Decimal]:
        """What the books say the account holds."""
        held: Counter[str] = Counter()
        lines = [line for entry in self.entries() for line in entry.postings if line.ledger_account == assets(ACCOUNT)]
        for line in lines:
            held[line.asset] += line.amount  # type: ignore[assignment]
        return {asset: Decimal(amount) for asset, amount in held.items() if amount}

    def settled(self, taken: list[str], holds: Mapping[str, Decimal]) -> None:
        """I1 to I5 at the end of a story: `taken` are the client ids that the venue accepted, `holds` what it says is there."""
        assert len(taken) == len(set(taken)), f"the venue took {taken}"
        states = {entry.command_id: entry.state for entry in self.entries() if entry.command_id is not None and entry.state}
        assert states
        assert all(state in TERMINAL for state in states.values()), states
        for command in states:
            assert sum(client_order_id(command, attempt) in taken for attempt in range(1, 6)) <= 1, f"{command} was taken twice"
        assert self.held() == {asset: amount for asset, amount in holds.items() if amount}


async def until(holds: Callable[[], Any], otherwise: Callable[[], str] = lambda: "") -> None:
    """Wait for a condition, with a deadline; `otherwise` says what there was instead."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():  # noqa: ASYNC110  a condition of another task's making, with a deadline
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it never came to pass: {otherwise()}") from None
