"""Decision to request on the wire: from the append of a PlaceOrder to the moment at which its request's bytes are written.

The real executor on real Kafka and PostgreSQL places orders at the simulated venue; a bare relay with the same hops (command,
durable intent, read-back) takes turns with it. Both stopwatches are CLOCK_MONOTONIC of one machine.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Iterator
from decimal import Decimal

from bench.relay import RELAY_IN, RELAY_TOPICS
from bench.report import Line, quantiles
from bench.stack import START_MS, add_process, connection, flow, open_log, pause, settings_text
from schemas.codec import decode, encode
from schemas.control import KeyPurpose, PortfolioCreated
from schemas.envelope import Envelope
from schemas.orders import AccountOpened, PlaceOrder
from streams.domain.ids import command_id, digest_id
from streams.domain.numbers import price_down, price_up
from streams.gateways.kafka import KafkaLog
from streams.gateways.kafka_admin import Floors, create_topics
from streams.local.flow import Flow
from streams.ports import Output
from streams.simulator.tapes.tape import price_at
from streams.topics import OPERATOR_CONTROL, ORDERS_COMMANDS, ORDERS_EVENTS, partition_of, partitions_of

EVERY_S = 0.05
ACCOUNT, PORTFOLIO = "a0000", "p0000"
UP, DOWN, TICK = Decimal("1.005"), Decimal("0.995"), Decimal("0.01")
QUANTITIES = {"BTC/USDT": Decimal("0.001"), "ETH/USDT": Decimal("0.02")}
STAGES = ("produced", "command_received", "intent_acked", "intent_read_back", "request_out", "replied")


def measure(seconds: int) -> list[Line]:
    """One order and one relayed record every 50 ms, for `seconds`."""
    with flow("wire", settings_text(1, 1), speed=1) as stack:
        stack.start_servers()
        stack.prepare()
        asyncio.run(_make_topics(stack))
        files = {name: stack.directory / f"{name}-times.json" for name in ("stamped", "relay")}
        add_process(stack, "stamped", "bench.stamped", str(files["stamped"]))
        add_process(stack, "relay", "bench.relay", stack.bootstrap, str(files["relay"]))
        stack.wait_until(lambda: asyncio.run(_opened(stack)), "the account did not open")
        pause(2.0, stack)
        produced, relayed = asyncio.run(_drive(stack, round(seconds / EVERY_S)))
        pause(2.0, stack)
        stack.roles.stop()
        stamps = {name: json.loads(path.read_text()) for name, path in files.items()}
    return [_line(produced, relayed, stamps["stamped"], stamps["relay"])]


def _line(produced: dict[str, int], relayed: dict[str, int], stamps: dict[str, dict[str, int]], echoes: dict[str, int]) -> Line:
    for identity, at_ns in produced.items():
        stamps.setdefault(identity, {})["produced"] = at_ns
    sent = [stages for stages in stamps.values() if "request_out" in stages]
    parts = [
        f"{before.replace('_', ' ')} to {after.replace('_', ' ')}: {quantiles(_between(sent, before, after))}"
        for before, after in itertools.pairwise(STAGES)
    ]
    return Line(
        name="decision to request on the wire",
        figure=f"{quantiles(_between(sent, 'produced', 'request_out'))}; {len(produced) - len(sent)} orders were not sent",
        baseline="bare relay, the same three hops: "
        + quantiles([(echoes[key] - at_ns) / 1e6 for key, at_ns in relayed.items() if key in echoes]),
        details=tuple(parts),
        limit="Kafka's hop and durable ack, three round trips one after the other; then the CPU of the command's signature, "
        "of decoding, admission and signing the request in Python; under load the wait for a core, which p99 shows first.",
        not_shown="the portfolio agent's own send, a network, replicas or a broker that syncs its disk; the last step into the "
        "socket (the stopwatch stops when the bytes are next).",
    )


def _between(stamps: list[dict[str, int]], before: str, after: str) -> list[float]:
    return [(stages[after] - stages[before]) / 1e6 for stages in stamps if before in stages and after in stages]


async def _make_topics(stack: Flow) -> None:
    await create_topics(connection(stack), RELAY_TOPICS, Floors(1, 1))


async def _opened(stack: Flow) -> bool:
    partition = partition_of(ACCOUNT.encode(), partitions_of(ORDERS_EVENTS, 1))
    async with open_log(stack) as log:
        records = await log.read(ORDERS_EVENTS, partition, 0, await log.end_offset(ORDERS_EVENTS, partition))
    return any(Envelope.read(record.headers).type == AccountOpened.ce_type() for record in records)


async def _drive(stack: Flow, count: int) -> tuple[dict[str, int], dict[str, int]]:
    """Append commands and relay records by turns; when each was appended."""
    produced: dict[str, int] = {}
    relayed: dict[str, int] = {}
    partition = partition_of(ACCOUNT.encode(), partitions_of(ORDERS_COMMANDS, 1))
    signer = stack.signer(KeyPurpose.COMMANDS)
    async with open_log(stack) as log:
        incarnation = await _incarnation(log)
        due, acks = time.monotonic(), list[Awaitable[int]]()
        for order in itertools.islice(_orders(incarnation), count):
            value = encode(order)
            headers = Envelope(order.command_id, order.ce_type(), "portfolio/0", order.decided_at_ms).headers()
            produced[order.command_id] = time.monotonic_ns()
            signed = signer.sign(Output(ORDERS_COMMANDS, ACCOUNT.encode(), value, headers, partition))
            acks.append(log.append_nowait(signed))
            due = await _at(due + EVERY_S / 2)
            relayed[order.command_id] = time.monotonic_ns()
            acks.append(log.append_nowait(Output(RELAY_IN, order.command_id.encode(), value, headers, 0)))
            due = await _at(due + EVERY_S / 2)
        for ack in acks:
            await ack
    return produced, relayed


async def _incarnation(log: KafkaLog) -> str:
    """What control says the portfolio is: commands of another one are refused."""
    records = await log.read(OPERATOR_CONTROL, 0, 0, await log.end_offset(OPERATOR_CONTROL, 0))
    events = (decode(Envelope.read(record.headers).type, record.value) for record in records)
    return next(event.incarnation for event in events if isinstance(event, PortfolioCreated))


async def _at(due: float) -> float:
    """Sleep until then; when that is past already, the beat begins anew from now."""
    await asyncio.sleep(max(0.0, due - time.monotonic()))
    return max(due, time.monotonic() - EVERY_S)


def _orders(incarnation: str) -> Iterator[PlaceOrder]:
    """Small orders that fill at once: both symbols in turn, bought and then sold."""
    for number in itertools.count(1):
        symbol = ("BTC/USDT", "ETH/USDT")[number % 2]
        side = ("buy", "sell")[number // 2 % 2]
        mid = price_at(symbol, START_MS)
        cap = price_up(mid * UP, TICK) if side == "buy" else price_down(mid * DOWN, TICK)
        now_ms, signal_id = time.time_ns() // 1_000_000, digest_id("bench", "wire", str(number))
        yield PlaceOrder.model_validate(
            {
                "command_id": command_id(signal_id, 0),
                "signal_id": signal_id,
                "portfolio": PORTFOLIO,
                "incarnation": incarnation,
                "decision_number": number,
                "ordinal": 0,
                "account": ACCOUNT,
                "venue": "sim",
                "symbol": symbol,
                "decided_at_ms": now_ms,
                "admit_by_ms": now_ms + 10_000,
                "expires_at_ms": now_ms + 60_000,
                "side": side,
                "order_type": "limit",
                "time_in_force": "ioc",
                "quantity_base": QUANTITIES[symbol],
                "price_limit_quote": cap,
                "price_mid_quote": mid,
                "oldest_received_at_ms": now_ms,
                "input_age_ms_max": 60_000,
            }
        )
