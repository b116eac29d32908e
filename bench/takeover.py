"""How long an executor takes from its start to its first request, by the length of the account's past.

The account's events are written by this program: orders that the venue accepted and that expired unfilled, four events each,
then a checkpoint as the executor writes one each minute, and what a busy minute leaves behind it. The executor is the real one,
in this process, with the venue, the broker and the database of the flow; a command waits for it. The baseline reads and folds
every event from the beginning, in slices, as an owner without a checkpoint does.
"""

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

import psycopg

from bench.report import Line, spread
from bench.stack import START_MS, connection, flow, open_log, say, settings_text
from schemas.codec import decode, encode
from schemas.control import KeyPurpose, PortfolioCreated
from schemas.envelope import Envelope, Message
from schemas.market import Ticker
from schemas.orders import (
    AccountOpened,
    ClosedAs,
    CommandAdmitted,
    ExecutionEvent,
    OrderAccepted,
    OrderClosed,
    OrderIntended,
    OrderType,
    OwnerStarted,
    PlaceOrder,
    Side,
    TimeInForce,
)
from streams.agents.executor.agent import Executor
from streams.agents.executor.config import AccountConfig, ExecutorConfig
from streams.agents.executor.letters import event_output
from streams.agents.executor.takeover import resource_of
from streams.domain.ids import client_order_id, command_id, digest_id
from streams.domain.numbers import price_up
from streams.domain.orders.books import Books, evolve
from streams.domain.orders.checkpoint import checkpoint
from streams.gateways.clock import SystemClock
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.gateways.keys import TrustedFile
from streams.gateways.lease import PostgresLeases
from streams.gateways.signing import Ed25519Verifier
from streams.gateways.venue.profile import Credentials, VenueProfile
from streams.gateways.venue.trading import CcxtTrading
from streams.local.flow import Flow, on_target
from streams.ports.log import Output
from streams.ports.process import Point
from streams.simulator.tapes.tape import price_at
from streams.topics import MARKET_TICKERS, OPERATOR_CONTROL, ORDERS_COMMANDS, ORDERS_EVENTS, partition_of

PASTS, PASTS_SHORT = (1_000, 100_000, 1_000_000), (1_000, 2_000)
SHORT_S = 30
TAIL = 600
"""A minute of orders at 2.5/s, four events each: what lies behind the newest checkpoint at most."""
STARTS = 5
EVENTS_OF_AN_ORDER = 4
SLICE = 20_000
WAITING_MAX = 5_000
WITHIN_S = 60.0
ACCOUNT, PORTFOLIO = "a0000", "p0000"
SYMBOL, QUANTITY, TICK = "BTC/USDT", Decimal("0.001"), Decimal("0.01")
MID = price_at(SYMBOL, START_MS)
PRICE = price_up(MID * Decimal("1.005"), TICK)
FIRST = command_id(digest_id("bench", "past", "0"), 0)
VENUE_ORDER_ID = "9000000000000000"
CLOCK = SystemClock()


def measure(seconds: int) -> list[Line]:
    """A past of 1 000, 100 000 and 1 000 000 events; `seconds` below 30 take two small ones, to see that it works."""
    with flow("takeover", settings_text(1, 1), speed=1) as stack:
        stack.start_servers()
        stack.prepare()
        pasts = PASTS if seconds >= SHORT_S else PASTS_SHORT
        return [asyncio.run(_measure(stack, pasts))]


async def _measure(stack: Flow, pasts: tuple[int, ...]) -> Line:
    starts: dict[int, list[float]] = {}
    owned: dict[int, list[float]] = {}
    whole: dict[int, float] = {}
    async with open_log(stack) as log:
        past = _Past(stack, log)
        await past.begin()
        for events in pasts:
            say(f"writing the past up to {events} events")
            await past.grow_to(events)
            say("reading all of it, as the baseline")
            began = time.monotonic()
            books = await past.read_all()
            whole[events] = time.monotonic() - began
            await past.write_checkpoint(books)
            starts[events], owned[events] = [], []
            for _ in range(STARTS):
                await past.append_tail()
                owned_s, sent_s = await _start(stack, past)
                owned[events].append(owned_s)
                starts[events].append(sent_s)
    return _line(starts, owned, whole)


def _line(starts: dict[int, list[float]], owned: dict[int, list[float]], whole: dict[int, float]) -> Line:
    return Line(
        name="executor: start to the first request, by the length of the past",
        figure=_by_past({events: spread(values) for events, values in starts.items()}),
        baseline="reading and folding every event: " + _by_past({events: f"{took:.2f} s" for events, took in whole.items()}),
        details=(
            "of it until the account is owned and its past read: "
            + _by_past({events: spread(values) for events, values in owned.items()}),
            f"behind the newest checkpoint lie {TAIL} events each time",
        ),
        limit="connecting to broker and database, learning the venue's markets and rights, control up to its end; then one "
        "checkpoint and the events behind it.",
        not_shown="interpreter and imports; the wait for a dead owner's lease (5 s), which an orderly stop does not leave; "
        "a long past of the operator's control topic, which is read from its beginning.",
    )


def _by_past(figures: Mapping[int, str]) -> str:
    return "; ".join(f"{events} events: {figure}" for events, figure in figures.items())


class _Past:
    """The account's events in the log, written by this program under the epoch of whoever owned it last."""

    def __init__(self, stack: Flow, log: KafkaLog) -> None:
        self._stack = stack
        self._log = log
        self._decisions = 0
        self._epoch = 1

    async def begin(self) -> None:
        """An opened account, and a place in the log of commands for what the past was told."""
        self._events_in = partition_of(ACCOUNT.encode(), await self._log.partitions(ORDERS_EVENTS))
        self._commands_in = partition_of(ACCOUNT.encode(), await self._log.partitions(ORDERS_COMMANDS))
        records = await self._log.read(OPERATOR_CONTROL, 0, 0, await self._log.end_offset(OPERATOR_CONTROL, 0))
        said = (decode(Envelope.read(record.headers).type, record.value) for record in records)
        self._incarnation = next(event.incarnation for event in said if isinstance(event, PortfolioCreated))
        await self._log.append(Output(ORDERS_COMMANDS, b"nobody", b"{}", (), self._commands_in))
        portfolio, now_ms = self._stack.settings.portfolios[PORTFOLIO], CLOCK.wall_ms()
        opening = {
            "account": ACCOUNT,
            "epoch": self._epoch,
            "at_ms": now_ms,
            "portfolio": PORTFOLIO,
            "venue": "sim",
            "totals": on_target(portfolio.weights, portfolio.quote, self._stack.plan),
            "venue_time_ms": now_ms,
        }
        started = OwnerStarted(account=ACCOUNT, epoch=self._epoch, at_ms=now_ms, owner="bench")
        await self._append(event_output(event)[1] for event in (started, AccountOpened.model_validate(opening)))

    async def end(self) -> int:
        """Where the account's events go on."""
        return await self._log.end_offset(ORDERS_EVENTS, self._events_in)

    async def grow_to(self, events: int) -> None:
        """Append until the partition holds about so many events."""
        await self._append(self._lives(max(0, events - TAIL - await self.end()) // EVENTS_OF_AN_ORDER))

    async def append_tail(self) -> None:
        """What lies behind the newest checkpoint."""
        await self._append(self._lives(TAIL // EVENTS_OF_AN_ORDER))

    async def read_all(self) -> Books:
        """The books by every event from the beginning."""
        books, offset, end = Books(ACCOUNT), 0, await self.end()
        while offset < end:
            to = min(end, offset + SLICE)
            for event in await self.events(offset, to):
                books = evolve(books, event)
            offset = to
        return books

    async def events(self, offset_from: int, offset_to: int) -> list[ExecutionEvent]:
        """The account's events in [offset_from, offset_to)."""
        records = await self._log.read(ORDERS_EVENTS, self._events_in, offset_from, offset_to)
        read = (decode(Envelope.read(record.headers).type, record.value) for record in records)
        return [event for event in read if isinstance(event, ExecutionEvent)]

    async def write_checkpoint(self, books: Books) -> None:
        """A checkpoint of these books, and the lease row of an owner that stopped in order after it."""
        _, output = event_output(checkpoint(books, "bench", CLOCK.wall_ms(), await self.end()))
        row = """
            INSERT INTO control.leases (resource, owner, epoch, expires_at, checkpoint_offset)
            VALUES (%(resource)s, '', %(epoch)s, clock_timestamp(), %(offset)s)
            ON CONFLICT (resource) DO UPDATE SET checkpoint_offset = %(offset)s
        """
        values = {"resource": resource_of(ACCOUNT), "epoch": books.epoch, "offset": await self._log.append(output)}
        async with await psycopg.AsyncConnection.connect(self._stack.database_url) as connected:
            await connected.execute(row, values)

    async def give(self) -> str:
        """A fresh quote, and a signed command that fills at once; its id."""
        self._decisions += 1
        now_ms, signal_id = CLOCK.wall_ms(), digest_id("bench", "takeover", str(self._decisions))
        quote = {"venue": "sim", "symbol": SYMBOL, "received_at_ms": now_ms, "venue_sequence": self._decisions}
        quote |= {
            "bid_price_quote": MID - TICK,
            "ask_price_quote": MID + TICK,
            "bid_quantity_base": QUANTITY,
            "ask_quantity_base": QUANTITY,
        }
        order = {
            "command_id": command_id(signal_id, 0),
            "signal_id": signal_id,
            "portfolio": PORTFOLIO,
            "incarnation": self._incarnation,
            "decision_number": self._decisions,
            "ordinal": 0,
            "account": ACCOUNT,
            "venue": "sim",
            "symbol": SYMBOL,
            "decided_at_ms": now_ms,
            "admit_by_ms": now_ms + 60_000,
            "expires_at_ms": now_ms + 120_000,
            "side": "buy",
            "order_type": "limit",
            "time_in_force": "ioc",
            "quantity_base": QUANTITY,
            "price_limit_quote": PRICE,
            "price_mid_quote": MID,
            "oldest_received_at_ms": now_ms,
            "input_age_ms_max": 60_000,
        }
        placed = PlaceOrder.model_validate(order)
        await self._log.append(_output(MARKET_TICKERS, f"sim:{SYMBOL}", Ticker.model_validate(quote)))
        await self._log.append(self._stack.signer(KeyPurpose.COMMANDS).sign(_output(ORDERS_COMMANDS, ACCOUNT, placed)))
        return placed.command_id

    async def closed(self, command: str, since: int) -> None:
        """Until the log holds the end of a command that was given when it ended at `since`."""
        async with asyncio.timeout(WITHIN_S):
            while command not in await self._ends(since):  # noqa: ASYNC110  a broker does not notify
                await asyncio.sleep(0.02)
        self._epoch += 1

    async def _ends(self, since: int) -> set[str]:
        told = await self.events(since, await self.end())
        return {event.command_id for event in told if isinstance(event, OrderClosed)}

    async def _append(self, outputs: Iterator[Output]) -> None:
        while batch := list(itertools.islice(outputs, WAITING_MAX)):
            acks: list[Awaitable[int]] = [self._log.append_nowait(output) for output in batch]
            for ack in acks:
                await ack

    def _lives(self, count: int) -> Iterator[Output]:
        """Orders that the venue took and that expired unfilled: one is encoded, the others are its bytes under other ids."""
        first = [event_output(event)[1] for event in _life(self._incarnation, self._epoch)]
        for _ in range(count):
            self._decisions += 1
            command = command_id(digest_id("bench", "past", str(self._decisions)), 0)
            changes = {
                FIRST: command,
                client_order_id(FIRST, 1): client_order_id(command, 1),
                '"decision_number":0': f'"decision_number":{self._decisions}',
                VENUE_ORDER_ID: f"9{self._decisions:015}",
            }
            for number, output in enumerate(first):
                value = output.value
                for old, new in changes.items():
                    value = value.replace(old.encode(), new.encode())
                ce_id = digest_id("bench", command, str(number)).encode()
                headers = tuple((name, ce_id if name == "ce_id" else text) for name, text in output.headers)
                yield replace(output, value=value, headers=headers)


def _output(topic: str, key: str, message: Message) -> Output:
    value = encode(message)
    envelope = Envelope(digest_id(topic, value.hex()), message.ce_type(), "bench", CLOCK.wall_ms())
    return Output(topic, key.encode(), value, envelope.headers())


def _life(incarnation: str, epoch: int) -> Iterator[ExecutionEvent]:
    now_ms = CLOCK.wall_ms()
    about = {
        "account": ACCOUNT,
        "epoch": epoch,
        "at_ms": now_ms,
        "portfolio": PORTFOLIO,
        "symbol": SYMBOL,
        "command_id": FIRST,
    }
    attempt = about | {"attempt": 1, "client_order_id": client_order_id(FIRST, 1)}
    yield CommandAdmitted.model_construct(
        **about,
        command_type=PlaceOrder.TYPE,
        incarnation=incarnation,
        decision_number=0,
        ordinal=0,
        side=Side.BUY,
        quantity_base=QUANTITY,
        price_limit_quote=PRICE,
        price_mid_quote=PRICE,
        decided_at_ms=now_ms,
        commands_offset=0,
    )
    yield OrderIntended.model_construct(
        **attempt,
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.IOC,
        quantity_base=QUANTITY,
        price_limit_quote=PRICE,
        timestamp_ms=now_ms,
        window_ms=2000,
    )
    yield OrderAccepted.model_construct(**attempt, venue_order_id=VENUE_ORDER_ID, venue_time_ms=now_ms)
    yield OrderClosed.model_construct(
        **attempt, closed_as=ClosedAs.EXPIRED, filled_base=Decimal(0), filled_quote=Decimal(0), venue_time_ms=now_ms
    )


class _Moments:
    """When the past was read and when the first request left (monotonic s): the executor's points and stamps."""

    def __init__(self) -> None:
        self.owned_s = 0.0
        self.sent = asyncio.Event()
        self.sent_s = 0.0

    def reach(self, point: Point) -> None:
        """The port CrashPoints."""
        if point is Point.PAST_READ:
            self.owned_s = time.monotonic()

    def stamp(self, stage: str, command: str, at_ns: int) -> None:
        """The executor's stopwatch."""
        if stage == "request_out":
            self.sent_s = at_ns / 1e9
            self.sent.set()


async def _start(stack: Flow, past: _Past) -> tuple[float, float]:
    """Start an executor for which a command waits; seconds until it owns the account, and until the request leaves."""
    since, command = await past.end(), await past.give()
    began, moments = time.monotonic(), _Moments()
    urls = json.loads(stack.environment["TRIMTAB_VENUES"])["sim"]["urls"]
    key = Credentials(f"sim-{ACCOUNT}-trade", f"sim-{ACCOUNT}-trade-secret")
    account = AccountConfig(ACCOUNT, "sim", ("BTC/USDT", "ETH/USDT"), None)
    async with open_log(stack) as log, PostgresLeases(stack.database_url) as leases:
        executor = Executor(
            ExecutorConfig(f"bench:{secrets.token_hex(8)}", (account,), stack.directory / "state"),
            log,
            lambda: KafkaReader(connection(stack)),
            leases,
            {ACCOUNT: CcxtTrading(VenueProfile("sim", "binance", urls), key, CLOCK)},
            CLOCK,
            Ed25519Verifier(stack.settings.environment, TrustedFile(stack.keys / "trusted.toml")),
            moments.stamp,
            moments,
        )
        running = asyncio.create_task(executor.run())
        try:
            async with asyncio.timeout(WITHIN_S):
                await moments.sent.wait()
            await past.closed(command, since)
        finally:
            executor.stop()
            await running
    return moments.owned_s - began, moments.sent_s - began
