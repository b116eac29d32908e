"""The order path alone: signed commands that lie in the topic already, to durable outcomes.

Executor, broker, database and simulated venue run; nobody decides. A fixed number of commands is under way: each that ends
makes room for the next. The tape stands still, so that the venue only answers. Baseline: the bare relay of `bench.relay`, which
makes the same three hops (command, durable intent, read-back), with as many records under way.
"""

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping

from bench.commands import Commands, incarnations, opened, quote
from bench.processes import cpu_by_name, difference
from bench.relay import RELAY_IN, RELAY_OUT, RELAY_TOPICS
from bench.report import Line
from bench.stack import add_process, connection, flow, open_log, pause, say, settings_text, start_roles
from schemas.control import KeyPurpose
from schemas.envelope import Envelope
from schemas.orders import CommandExpiredUnsent, CommandNotAdmitted, OrderAccepted, OrderClosed
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.gateways.kafka_admin import Floors, create_topics
from streams.local.flow import Flow
from streams.ports.log import Output, Record
from streams.topics import ORDERS_EVENTS, partitions_of

ACCOUNTS, SHARDS = 20, 2
IN_FLIGHT = 64
WARM_UP_S, QUOTED_S = 3.0, 1.0
TARGET_PER_SECOND = 300
ENDS = {kind.ce_type().encode() for kind in (OrderClosed, CommandNotAdmitted, CommandExpiredUnsent)}
VALUE = b"x" * 700  # about what an event of an order weighs


def measure(seconds: int) -> list[Line]:
    """The relay for a third of `seconds`, then the executor for `seconds`."""
    with flow("orders", settings_text(ACCOUNTS, SHARDS), speed=1) as stack:
        stack.start_servers()
        stack.prepare()
        asyncio.run(create_topics(connection(stack), RELAY_TOPICS, Floors(1, 1)))
        add_process(stack, "relay", "bench.relay", stack.bootstrap, str(stack.directory / "relay-times.json"))
        start_roles(stack, ("executor",))
        stack.wait_until(lambda: asyncio.run(_opened(stack)) == ACCOUNTS, "not every account opened")
        pause(2.0, stack)
        relayed = asyncio.run(_drive(stack, _Relayed(), max(1.0, seconds / 3)))
        stack.roles.stop("relay")
        say(f"measuring the order path for {seconds} s")
        orders = asyncio.run(_drive(stack, _Ordered(stack), seconds))
    return [_line(orders, relayed)]


class _Window:
    """What one measured window saw."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.elapsed_s = 0.0
        self.cpu_s: Mapping[str, float] = {}
        self.driver_cpu_s = 0.0


class _Ordered:
    """Orders through the executor."""

    places = tuple((ORDERS_EVENTS, partition) for partition in range(partitions_of(ORDERS_EVENTS, SHARDS)))

    def __init__(self, stack: Flow) -> None:
        self._stack = stack

    async def source(self, log: KafkaLog) -> Callable[[], Output]:
        """Signed commands, one account after the other."""
        signer, known = self._stack.signer(KeyPurpose.COMMANDS), await incarnations(log)
        accounts = itertools.cycle(
            [Commands(f"a{n:04d}", f"p{n:04d}", known[f"p{n:04d}"], signer, SHARDS) for n in range(ACCOUNTS)]
        )
        return lambda: next(accounts).next_signed()

    def ended(self, record: Record) -> bool:
        """Whether this record ends one."""
        return record.header("ce_type") in ENDS


class _Relayed:
    """Records through the bare relay."""

    places = ((RELAY_OUT, 0),)

    async def source(self, _log: KafkaLog) -> Callable[[], Output]:
        """Records that weigh as much."""
        headers = Envelope("0" * 32, OrderAccepted.ce_type(), "bench", 0).headers()
        return lambda: Output(RELAY_IN, b"bench", VALUE, headers, 0)

    def ended(self, _record: Record) -> bool:
        """Each is one."""
        return True


async def _drive(stack: Flow, work: "_Ordered | _Relayed", seconds: float) -> _Window:
    """Keep IN_FLIGHT under way for a warm-up and a window; what the window saw."""
    reader = KafkaReader(connection(stack))
    async with open_log(stack) as log:
        await reader.assign({place: await log.end_offset(*place) for place in work.places})
        following, quoting = await work.source(log), asyncio.create_task(quote(log))
        await asyncio.sleep(QUOTED_S)
        window, waiting = _Window(), 0
        opens = time.monotonic() + min(WARM_UP_S, seconds)
        began, before, own = 0.0, dict[str, float](), 0.0
        while not began or time.monotonic() < began + seconds:
            if not began and time.monotonic() >= opens:
                window.kinds.clear()
                began, before, own = time.monotonic(), cpu_by_name(stack.pids), time.process_time()
            while waiting < IN_FLIGHT:
                log.append_nowait(following())
                waiting += 1
            for record in await reader.poll(100):
                window.kinds[(record.header("ce_type") or b"").decode()] += 1
                waiting -= work.ended(record)
        window.elapsed_s = time.monotonic() - began
        window.cpu_s = difference(before, cpu_by_name(stack.pids))
        window.driver_cpu_s = time.process_time() - own
        quoting.cancel()
    await reader.close()
    return window


async def _opened(stack: Flow) -> int:
    async with open_log(stack) as log:
        return await opened(log, SHARDS)


def _line(orders: _Window, relayed: _Window) -> Line:
    accepted = orders.kinds[OrderAccepted.ce_type()]
    events = sum(orders.kinds.values())
    unsent = orders.kinds[CommandNotAdmitted.ce_type()] + orders.kinds[CommandExpiredUnsent.ce_type()]
    passed = sum(relayed.kinds.values())
    costs = _costs(orders, accepted, ("executor", "broker", "venue", "database"))
    total = sum(orders.cpu_s.values()) + orders.driver_cpu_s
    return Line(
        name="orders a second, the order path alone",
        figure=f"{accepted / orders.elapsed_s:.0f} orders/s accepted by the venue ({accepted} in {orders.elapsed_s:.0f} s, "
        f"{IN_FLIGHT} commands under way in {ACCOUNTS} accounts, one executor); {unsent} commands were not sent",
        baseline=f"bare relay, the same three hops with {IN_FLIGHT} under way: {passed / relayed.elapsed_s:,.0f}/s "
        f"({_costs(relayed, passed, ('relay', 'broker'))})",
        target=f"{TARGET_PER_SECOND} orders/s on two cores",
        details=(
            f"{costs}, the driver {1000 * orders.driver_cpu_s / max(1, accepted):.2f} ms; together "
            f"{total / orders.elapsed_s:.2f} of {os.cpu_count()} cores",
            f"durable events an order: {events / max(1, accepted):.1f}",
        ),
        limit="one core of Python in the executor: the signature, decoding, the steps of the protocol, the requests of ccxt "
        "and aiohttp, five events in their envelopes.",
        not_shown="deciding, booking and projecting (see the whole flow), a venue with latency or a network, replicas or a "
        "broker that syncs its disk; several executors.",
    )


def _costs(window: _Window, count: int, names: tuple[str, ...]) -> str:
    parts = (f"{name} {1000 * window.cpu_s.get(name, 0.0) / max(1, count):.2f}" for name in names)
    return f"CPU ms each: {', '.join(parts)}"
