"""Decision to request on the wire: from the append of a PlaceOrder to the moment at which its request's bytes are written.

The real executor on real Kafka and PostgreSQL places orders at the simulated venue; a bare relay with the same hops (command,
durable intent, read-back) takes turns with it. Both stopwatches are CLOCK_MONOTONIC of one machine.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable

from bench.commands import Commands, incarnations, opened, quote
from bench.relay import RELAY_IN, RELAY_TOPICS
from bench.report import Line, quantile, quantiles
from bench.stack import add_process, connection, flow, open_log, pause, settings_text
from schemas.control import KeyPurpose
from streams.gateways.kafka_admin import Floors, create_topics
from streams.local.flow import Flow
from streams.ports.log import Output

EVERY_S = 0.05
ACCOUNT, PORTFOLIO = "a0000", "p0000"
RATIO_TARGET = 1.5
QUOTED_S = 1.0
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
    ours = _between(sent, "produced", "request_out")
    bare = [(echoes[key] - at_ns) / 1e6 for key, at_ns in relayed.items() if key in echoes]
    return Line(
        name="decision to request on the wire",
        figure=f"{quantiles(ours)}; {len(produced) - len(sent)} orders were not sent",
        baseline=f"bare relay, the same three hops: {quantiles(bare)}",
        target=f"p99 at most {RATIO_TARGET}x the relay's, with lease and signature in place",
        details=(
            f"against the relay: p50 {_ratio(ours, bare, 0.5)}x, p99 {_ratio(ours, bare, 0.99)}x; the lease is held, "
            "each command is signed within the figure, and its signature is checked",
            *parts,
        ),
        limit="Kafka's hop and durable ack, three round trips one after the other; then the CPU of the command's signature, "
        "of decoding, admission and signing the request in Python; under load the wait for a core, which p99 shows first.",
        not_shown="the portfolio agent's own send, a network, replicas or a broker that syncs its disk; the last step into the "
        "socket (the stopwatch stops when the bytes are next).",
    )


def _ratio(ours: list[float], bare: list[float], part: float) -> str:
    return f"{quantile(ours, part) / quantile(bare, part):.2f}" if ours and bare else "?"


def _between(stamps: list[dict[str, int]], before: str, after: str) -> list[float]:
    return [(stages[after] - stages[before]) / 1e6 for stages in stamps if before in stages and after in stages]


async def _make_topics(stack: Flow) -> None:
    await create_topics(connection(stack), RELAY_TOPICS, Floors(1, 1))


async def _opened(stack: Flow) -> bool:
    async with open_log(stack) as log:
        return await opened(log, 1) == 1


async def _drive(stack: Flow, count: int) -> tuple[dict[str, int], dict[str, int]]:
    """Append commands and relay records by turns; when each was appended."""
    produced: dict[str, int] = {}
    relayed: dict[str, int] = {}
    async with open_log(stack) as log:
        incarnation = (await incarnations(log))[PORTFOLIO]
        commands = Commands(ACCOUNT, PORTFOLIO, incarnation, stack.signer(KeyPurpose.COMMANDS), 1)
        quoting = asyncio.create_task(quote(log))
        await asyncio.sleep(QUOTED_S)
        due, acks = time.monotonic(), list[Awaitable[int]]()
        for _ in range(count):
            identity, command = commands.next()
            produced[identity] = time.monotonic_ns()
            acks.append(log.append_nowait(commands.sign(command)))
            due = await _at(due + EVERY_S / 2)
            relayed[identity] = time.monotonic_ns()
            acks.append(log.append_nowait(Output(RELAY_IN, identity.encode(), command.value, command.headers, 0)))
            due = await _at(due + EVERY_S / 2)
        for ack in acks:
            await ack
        quoting.cancel()
    return produced, relayed


async def _at(due: float) -> float:
    """Sleep until then; when that is past already, the beat begins anew from now."""
    await asyncio.sleep(max(0.0, due - time.monotonic()))
    return max(due, time.monotonic() - EVERY_S)
