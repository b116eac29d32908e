"""One installation of a test: topics under a prefix, a lease database, a venue in this process, and short ways to use them."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from aiokafka.errors import KafkaError

from schemas import control
from schemas.codec import decode, encode
from schemas.control import KeyPurpose
from schemas.envelope import Envelope, Message
from schemas.market import Ticker
from schemas.orders import AccountOpened, CancelOrder, ExecutionEvent, OrderCommand, OwnerStarted, PlaceOrder
from streams.agents.executor.agent import Executor
from streams.domain.ids import command_id, digest_id
from streams.gateways.clock import SystemClock
from streams.gateways.kafka import KafkaLog
from streams.gateways.kafka_admin import Floors, create_topics
from streams.gateways.keys import make_pair, private_key_in
from streams.gateways.signing import Ed25519Signer
from streams.gateways.venue.profile import VenueProfile
from streams.ports.log import KafkaConnection, Output, Record
from streams.simulator.server import Server
from streams.simulator.settings import SimulatorSettings
from streams.topics import MARKET_TICKERS, OPERATOR_CONTROL, ORDERS_COMMANDS, ORDERS_EVENTS, all_topics, partition_of
from tests.stack.executor.process import PLAIN, Fitting, build, profile_of

CLOCK = SystemClock()
SYMBOLS = ("BTC/USDT", "ETH/USDT")
QUICK = {
    "opening_gap_ms": 300,
    "checkpoint_every_ms": 1000,
    "reconcile_every_ms": 1000,
    "control_every_ms": 200,
    "time_every_ms": 2000,
}
INCARNATION = "a" * 32
ENVIRONMENT = "test"
HOUR_MS = 3_600_000
QUOTE_EVERY_S = 0.2


class Installation:
    """Topics, venue and clients of one test."""

    def __init__(
        self, bootstrap: str, prefix: str, dsn: str, state_dir: Path, accounts: tuple[str, ...] = ("alice",), venue: str = "sim"
    ) -> None:
        self.connection = KafkaConnection(bootstrap, topic_prefix=prefix)
        self.dsn = dsn
        self.state_dir = state_dir
        self.accounts = accounts
        self.venue = venue
        self.log = KafkaLog(self.connection)
        self.decisions = 0
        self.trusted = state_dir / "trusted.toml"
        self.signers: dict[KeyPurpose, Ed25519Signer] = {}
        self._exits = contextlib.AsyncExitStack()

    async def open(self, refresh_ms: int = 100) -> None:
        """Start it; the venue renews its book each `refresh_ms`, which costs time on a busy machine."""
        # No request weight limit gets in the way of many quick questions.
        settings = {
            "accounts": {name: {"balances": {"BTC": "2", "ETH": "20", "USDT": "200000"}} for name in self.accounts},
            "keys": {f"sim-{name}": {"account": name, "secret": f"sim-{name}-secret"} for name in self.accounts}
            | {
                "sim-reader": {"account": self.accounts[0], "secret": "sim-reader-secret", "may_trade": False},
                "sim-owner": {"account": self.accounts[0], "secret": "sim-owner-secret", "may_withdraw": True},
            },
            "limits": {"weight_1m_max": 1_000_000, "orders_10s_max": 10_000},
            "tape": {"refresh_ms": refresh_ms},
        }
        self.server = await self._exits.enter_async_context(Server(SimulatorSettings.model_validate(settings)))
        self.http = await self._exits.enter_async_context(aiohttp.ClientSession())
        await self.connect()

    async def connect(self) -> None:
        """Keys, topics and quotes alone, for a venue that is somebody else's."""
        for purpose in KeyPurpose:
            private = self.state_dir / f"{purpose}.pem"
            make_pair(purpose, private, self.trusted, CLOCK.wall_ms(), HOUR_MS)
            self.signers[purpose] = Ed25519Signer(ENVIRONMENT, purpose, private_key_in(private))
        await create_topics(self.connection, all_topics(2), Floors(1, 1))
        await self.log.start()
        self._exits.push_async_callback(self.log.close)
        self.quoting = asyncio.create_task(self._quote())
        self._exits.push_async_callback(self.fall_silent)

    async def _quote(self) -> None:
        """A feed's part: the market of `place()` at rest, quoted again and again, also after a broker was away."""
        for sequence in itertools.count():
            for symbol, mid in (("BTC/USDT", 60_000), ("ETH/USDT", 2_000)):
                with contextlib.suppress(KafkaError):
                    await self.quote(symbol, mid - 1, mid + 1, sequence)
            await asyncio.sleep(QUOTE_EVERY_S)

    async def quote(self, symbol: str, bid: int, ask: int, sequence: int) -> None:
        """One quote, received now."""
        fields = {"bid_price_quote": str(bid), "ask_price_quote": str(ask), "received_at_ms": CLOCK.wall_ms()}
        fields |= {"bid_quantity_base": "1", "ask_quantity_base": "1", "venue_sequence": sequence}
        ticker = Ticker.model_validate({"venue": self.venue, "symbol": symbol} | fields)
        await self.write(MARKET_TICKERS, f"{self.venue}:{symbol}", ticker)

    async def fall_silent(self) -> None:
        """No quote from here on."""
        self.quoting.cancel()
        await asyncio.gather(self.quoting, return_exceptions=True)

    async def close(self) -> None:
        await self._exits.aclose()

    def profile(self) -> VenueProfile:
        """The venue as a role is told of it."""
        return profile_of(self.server.port)

    def settings(self, owner: str, **changes: Any) -> dict[str, Any]:
        return {
            "owner": owner,
            "accounts": list(self.accounts),
            "symbols": list(SYMBOLS),
            "state_dir": str(self.state_dir),
            "bootstrap": self.connection.bootstrap,
            "topic_prefix": self.connection.topic_prefix,
            "dsn": self.dsn,
            "venue_port": self.server.port,
            "environment": ENVIRONMENT,
            "trusted": str(self.trusted),
            "config": QUICK,
        } | changes

    @asynccontextmanager
    async def executor(
        self, owner: str = "one", stamp: Any = None, fitting: Fitting = PLAIN, **changes: Any
    ) -> AsyncIterator[Executor]:
        """An executor in this process, stopped in order at the end."""
        executor, log, leases = await build(self.settings(owner, **changes), stamp, fitting=fitting)
        running = asyncio.create_task(executor.run())
        try:
            yield executor
        finally:
            executor.stop()
            try:
                await asyncio.wait_for(running, 20)
            finally:
                await log.close()
                await leases.close()

    @asynccontextmanager
    async def process(self, owner: str, **changes: Any) -> AsyncIterator[asyncio.subprocess.Process]:
        """An executor as a process of its own; it is killed at the end if it still lives."""
        path = self.state_dir / f"{owner}.json"
        path.write_text(json.dumps(self.settings(owner, **changes)))
        with (self.state_dir / f"{owner}.log").open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.stack.executor.process", str(path), stdout=output, stderr=output
            )
            try:
                yield process
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
                    await process.wait()

    # Control

    async def allow(self, **limits: Any) -> None:
        """Portfolios for the accounts, and limits that let orders through."""
        for name in self.accounts:
            at = {"at_ms": CLOCK.wall_ms(), "who": "tester"}
            portfolio = f"p-{name}"
            created = {"scope": f"portfolio:{portfolio}", "portfolio": portfolio, "incarnation": INCARNATION}
            created |= {"shard": 0, "quote": "USDT", "accounts": {name: self.venue}}
            await self.control(control.PortfolioCreated.model_validate(at | created))
            allowed = {
                "scope": f"account:{name}",
                "account": name,
                "order_notional_max_quote": "100000",
                "turnover_5min_max_quote": "10000000",
                "turnover_day_max_quote": "10000000",
                "open_orders_max": 100,
                "price_collar": "0.5",
                "symbols": list(SYMBOLS),
            }
            await self.control(control.AccountLimitsSet.model_validate(at | allowed | limits))

    async def control(self, event: control.ControlEvent) -> None:
        await self.write(OPERATOR_CONTROL, event.scope, event)

    async def fault(self, *rules: dict[str, Any]) -> None:
        await self.post("faults", {"faults": list(rules), "seed": 0})

    async def post(self, path: str, document: Any = None) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.server.control_port}/control/{path}"
        async with self.http.post(url, json=document) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()

    async def expire_leases_as(self, owner: str, epoch: int) -> None:
        """What a jump of the database's clock does: the rows are somebody else's, and expired, while their owners live."""
        async with await psycopg.AsyncConnection.connect(self.dsn) as connection:
            await connection.execute(
                "UPDATE control.leases SET owner = %s, epoch = %s, expires_at = clock_timestamp()", (owner, epoch)
            )

    # Commands and events

    def place(self, account: str = "alice", **changes: Any) -> PlaceOrder:
        """A command to buy a little at a price that fills at once."""
        fields = self._command(account) | {
            "side": "buy",
            "order_type": "limit",
            "time_in_force": "ioc",
            "quantity_base": "0.01",
            "price_limit_quote": "70000",
            "price_mid_quote": "60000",
            "oldest_received_at_ms": CLOCK.wall_ms(),
            "input_age_ms_max": 60_000,
        }
        return PlaceOrder.model_validate(fields | changes)

    def cancel(self, target: str, account: str = "alice") -> CancelOrder:
        return CancelOrder.model_validate(self._command(account) | {"target_command_id": target})

    def _command(self, account: str) -> dict[str, Any]:
        self.decisions += 1
        signal_id = digest_id("test", account, str(self.decisions))
        now = CLOCK.wall_ms()
        return {
            "command_id": command_id(signal_id, 0),
            "signal_id": signal_id,
            "portfolio": f"p-{account}",
            "incarnation": INCARNATION,
            "decision_number": self.decisions,
            "ordinal": 0,
            "account": account,
            "venue": self.venue,
            "symbol": "BTC/USDT",
            "decided_at_ms": now,
            "admit_by_ms": now + 60_000,
            "expires_at_ms": now + 120_000,
        }

    async def command(self, command: OrderCommand) -> str:
        await self.write(ORDERS_COMMANDS, command.account, command)
        return command.command_id

    async def write(self, topic: str, key: str, message: Message) -> int:
        envelope = Envelope(
            id=digest_id(key, encode(message).hex()), type=message.ce_type(), source="test", time_ms=CLOCK.wall_ms()
        )
        output = Output(topic, key.encode(), encode(message), envelope.headers())
        for signer in self.signers.values():
            output = signer.sign(output)
        return await self.write_raw(topic, key, output.value, output.headers)

    async def write_raw(self, topic: str, key: str, value: bytes, headers: Any = ()) -> int:
        partition = partition_of(key.encode(), await self.log.partitions(topic))
        return await self.log.append(Output(topic, key.encode(), value, headers, partition))

    async def records(self, topic: str, partition: int) -> list[Record]:
        begin, end = await self.log.begin_offset(topic, partition), await self.log.end_offset(topic, partition)
        return list(await self.log.read(topic, partition, begin, end))

    async def events(self, account: str = "alice", kind: type[ExecutionEvent] = ExecutionEvent) -> list[Any]:
        """All events of an account so far."""
        partition = partition_of(account.encode(), await self.log.partitions(ORDERS_EVENTS))
        records = [record for record in await self.records(ORDERS_EVENTS, partition) if record.key == account.encode()]
        messages = [decode(Envelope.read(record.headers).type, record.value) for record in records]
        return [message for message in messages if isinstance(message, kind)]

    async def story(self, command: str, account: str = "alice") -> list[str]:
        """The types of the events about one command, in order; what a former owner still says after a higher one is void."""
        told: list[str] = []
        epoch = 0
        for event in await self.events(account):
            if isinstance(event, OwnerStarted):
                epoch = max(epoch, event.epoch)
            if event.epoch >= epoch and getattr(event, "command_id", "") == command:
                told.append(event.TYPE.removeprefix("orders."))
        return told

    def canceled(self) -> list[dict[str, Any]]:
        """The orders that the venue's own journal says were canceled."""
        entries = self.server.venue.market.journal.since(1)
        return [entry.body for entry in entries if entry.kind == "order_closed" and entry.body["cancel_id"]]

    def accepted(self) -> list[dict[str, Any]]:
        """The orders that the venue's own journal says it accepted."""
        return [entry.body for entry in self.server.venue.market.journal.since(1) if entry.kind == "order_accepted"]


async def until(holds: Callable[[], Awaitable[Any]], deadline_s: float = 60.0) -> Any:
    """Wait for a condition, at most until the deadline; its value."""
    async with asyncio.timeout(deadline_s):
        while not (value := await holds()):  # noqa: ASYNC110  a condition of another process's making, with a deadline
            await asyncio.sleep(0.05)
    return value


async def ended(installation: Installation, command: str, *last: str) -> list[str]:
    """The story of a command once its last event is one of `last`."""

    async def story() -> list[str]:
        told = await installation.story(command)
        return told if told and told[-1] in last else []

    return await until(story, 60)


async def opened(installation: Installation) -> None:
    """Allow trading, and wait until the accounts are opened."""
    await installation.allow()
    await until(lambda: installation.events(kind=AccountOpened), 90)
