"""Orders a second with everything durable, and what an order costs each process.

The whole flow with 20 portfolios whose thresholds are far below what prices do: each decides again as soon as its last plan
has ended, so the flow is always full. Budget and the venue's limits are lifted. Baseline: bare durable appends, before.
"""

import asyncio
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from subprocess import PIPE, Popen

from aiokafka import AIOKafkaProducer

from bench.processes import cpu_by_name, difference, resident_mib
from bench.relay import RELAY_IN
from bench.report import Line, quantiles
from bench.stack import connection, end_offsets, full_flow, open_log, pause, say
from schemas.codec import decode
from schemas.envelope import Envelope
from schemas.orders import CommandAdmitted, OrderAccepted, OrderFilled, OrderIntended
from streams.gateways.kafka_access import client_args
from streams.gateways.projection import PostgresProjection
from streams.local.flow import ROLES, Flow
from streams.topics import (
    MARKET_TICKERS,
    ORDERS_COMMANDS,
    ORDERS_EVENTS,
    ORDERS_LEDGER,
    PORTFOLIO_JOURNAL,
    REBALANCE_SIGNALS,
)

PORTFOLIOS, SHARDS = 20, 2
WARM_UP_S = 5.0
IN_FLIGHT = 64
TARGET_PER_SECOND = 300
VALUE = b"x" * 700  # about what an event of an order weighs
TOPICS = (MARKET_TICKERS, PORTFOLIO_JOURNAL, REBALANCE_SIGNALS, ORDERS_COMMANDS, ORDERS_EVENTS, ORDERS_LEDGER)
Offsets = Mapping[str, Mapping[int, int]]


def measure(seconds: int) -> list[Line]:
    """`seconds` of a full flow after a warm-up."""
    with full_flow("throughput", PORTFOLIOS, SHARDS) as stack:
        resting_before, rested = cpu_by_name(stack.pids), max(1.0, seconds / 10)
        pause(rested, stack)
        resting = {name: used / rested for name, used in difference(resting_before, cpu_by_name(stack.pids)).items()}
        baseline = asyncio.run(_append_rates(stack, seconds / 10))
        bare_mib = _bare_process_mib()
        stack.go()
        pause(min(WARM_UP_S, seconds), stack)
        say(f"measuring orders for {seconds} s")
        before, used_before, began = end_offsets(stack, TOPICS), cpu_by_name(stack.pids), time.monotonic()
        pause(seconds, stack)
        used = difference(used_before, cpu_by_name(stack.pids))
        memory = {name: resident_mib(pid) for name, pid in stack.pids.items()}
        after, elapsed_s = end_offsets(stack, TOPICS), time.monotonic() - began
        behind = _behind(after, asyncio.run(_projected(stack)))
        events = asyncio.run(_events(stack, before, after))
    return [
        _orders_line(events, used, resting, elapsed_s, baseline, _records(before, after), behind),
        _memory_line(memory, bare_mib, events.orders),
    ]


class _Events:
    """What the execution events of the window say."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.decided_at_ms: dict[str, int] = {}
        self.waits_ms: list[float] = []

    @property
    def orders(self) -> int:
        return self.kinds[OrderAccepted.TYPE]

    def add(self, event: object) -> None:
        if isinstance(event, CommandAdmitted):
            self.decided_at_ms[event.command_id] = event.decided_at_ms
        if isinstance(event, OrderIntended) and event.command_id in self.decided_at_ms:
            self.waits_ms.append(event.at_ms - self.decided_at_ms[event.command_id])
        if isinstance(event, OrderAccepted | OrderFilled):
            self.kinds[event.TYPE] += 1


def _orders_line(
    events: _Events,
    used: Mapping[str, float],
    resting: Mapping[str, float],
    elapsed_s: float,
    baseline: tuple[float, float],
    records: Mapping[str, int],
    behind: int,
) -> Line:
    orders = max(1, events.orders)
    costs = ", ".join(f"{name} {1000 * used[name] / orders:.1f}" for name in sorted(used, key=used.__getitem__, reverse=True))
    at_rest = ", ".join(f"{name} {100 * part:.0f}" for name, part in resting.items() if part >= 0.01)
    total = sum(used.values())
    said = ", ".join(f"{topic.rpartition('.')[0]} {count / orders:.1f}" for topic, count in records.items())
    return Line(
        name="orders a second, the whole flow, everything durable, budget lifted",
        target=f"{TARGET_PER_SECOND} orders/s on two cores",
        figure=f"{events.orders / elapsed_s:.1f} orders/s accepted by the venue ({events.orders} in {elapsed_s:.0f} s, "
        f"{events.kinds[OrderFilled.TYPE]} fills), {PORTFOLIOS} portfolios, one executor",
        baseline=f"bare aiokafka appends, acks=all and idempotent, flow idle: {baseline[0]:,.0f}/s one after the other, "
        f"{baseline[1]:,.0f}/s with {IN_FLIGHT} in flight",
        details=(
            f"CPU ms an order: {costs}",
            f"together {1000 * total / orders:.1f} ms, {total / elapsed_s:.2f} cores; at that price {os.cpu_count()} cores of "
            f"our own would carry at most {(os.cpu_count() or 1) * orders / total:.0f} orders/s",
            f"of a core at rest, in per cent, nothing moving: {at_rest}; together {sum(resting.values()):.2f} cores",
            f"durable records an order: {said}",
            f"from the decision (journal time) to its INTENT: {quantiles(events.waits_ms)}",
            f"ledger entries not yet in PostgreSQL at the end: {behind}",
        ),
        limit="the cores of one machine, which all processes share; while they are not all ours, one plan at a time for each "
        "portfolio (sell, fill, ledger, journal, buy), whose steps each wait for a core.",
        not_shown="what one role could do with a core of its own, venues with latency, several machines; market data, probes "
        "and observations of the window are in the CPU figures.",
    )


def _memory_line(memory: Mapping[str, float], bare_mib: float, orders: int) -> Line:
    listed = ", ".join(f"{name} {memory[name]:.0f}" for name in (*ROLES, "venue", "broker", "database") if name in memory)
    return Line(
        name="memory of each role",
        figure=f"MiB resident: {listed} (after {orders} orders, {PORTFOLIOS} portfolios)",
        baseline=f"a bare Python process with an aiokafka client: {bare_mib:.0f} MiB",
        limit="the libraries: ccxt with its market classes in feed and executor, Faust in portfolio and ledger; a client with "
        "its connections for each account; the broker's heap is capped at 512 MiB.",
        not_shown="growth over days; shared pages count in every process (PostgreSQL's buffers in each of its).",
    )


async def _append_rates(stack: Flow, seconds: float) -> tuple[float, float]:
    """Durable appends a second: one after the other, and with many in flight."""
    producer = AIOKafkaProducer(**client_args(connection(stack)), acks="all", enable_idempotence=True, linger_ms=0)
    await producer.start()
    try:
        return await _append(producer, 1, seconds), await _append(producer, IN_FLIGHT, seconds)
    finally:
        await producer.stop()


async def _append(producer: AIOKafkaProducer, in_flight: int, seconds: float) -> float:
    waiting: deque[asyncio.Future[object]] = deque()
    began, count = time.monotonic(), 0
    while (elapsed_s := time.monotonic() - began) < seconds:
        waiting.append(await producer.send(RELAY_IN, value=VALUE, key=b"bench", partition=0))
        if len(waiting) == in_flight:
            await waiting.popleft()
            count += 1
    return count / elapsed_s


def _bare_process_mib() -> float:
    code = "import aiokafka; print('ready', flush=True); input()"
    with Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        mib = resident_mib(process.pid)
        process.communicate("\n")
    return mib


async def _events(stack: Flow, before: Offsets, after: Offsets) -> _Events:
    found = _Events()
    async with open_log(stack) as log:
        for partition, begin in before[ORDERS_EVENTS].items():
            for record in await log.read(ORDERS_EVENTS, partition, begin, after[ORDERS_EVENTS][partition]):
                found.add(decode(Envelope.read(record.headers).type, record.value))
    return found


async def _projected(stack: Flow) -> dict[tuple[str, int], int]:
    store = PostgresProjection(stack.database_url)
    await store.open()
    try:
        return await store.positions()
    finally:
        await store.close()


def _behind(ends: Offsets, projected: Mapping[tuple[str, int], int]) -> int:
    return sum(max(0, end - projected.get((ORDERS_LEDGER, n), 0)) for n, end in ends[ORDERS_LEDGER].items())


def _records(before: Offsets, after: Offsets) -> dict[str, int]:
    return {topic: sum(after[topic][n] - begin for n, begin in before[topic].items()) for topic in TOPICS}
