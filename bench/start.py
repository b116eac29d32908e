"""How long it takes from nothing to the first decision, and from `kill -9` of a role to its first new output.

The demo's settings and tape. New output means a record with an id that the topic did not hold before: what a fold repeats after
its checkpoint does not count. The baseline of a restart is the bare relay of `bench.relay`, killed in the same rounds.
"""

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping

from bench.relay import RELAY_IN, RELAY_OUT, RELAY_TOPICS
from bench.report import ROOT, Line, spread
from bench.stack import add_process, connection, end_offsets, flow, open_log, start_roles, wait_ready
from streams.domain.errors import TrimtabError
from streams.domain.ids import digest_id
from streams.gateways import views
from streams.gateways.kafka import KafkaReader
from streams.gateways.kafka_admin import Floors, create_topics
from streams.local.flow import Flow
from streams.local.server import LocalStackError
from streams.ports import Output
from streams.topics import MARKET_TICKERS, ORDERS_EVENTS, PORTFOLIO_JOURNAL, REBALANCE_SIGNALS

SPEED = 30
KILLED = {
    "portfolio": REBALANCE_SIGNALS,
    "executor": ORDERS_EVENTS,
    "sequencer": PORTFOLIO_JOURNAL,
    "feed": MARKET_TICKERS,
    "relay": RELAY_OUT,
}
KILLED_SHORT = ("portfolio", "relay")
ROUND_S, ROUNDS_MAX = 15, 3
IMPORTS = "import ccxt.pro, faust, aiokafka, psycopg, pydantic"
STILL_COMING_S = 0.3  # what a killed process had handed to the kernel may still arrive
BETWEEN_S = 2.0
BACK_WITHIN_S = 120.0
RELAY_EVERY_S = 0.05


def measure(seconds: int) -> list[Line]:
    """One cold start, then a round of kills for each 15 s of `seconds`, at most three; below 15 s one round of two."""
    killed = KILLED if seconds >= ROUND_S else {name: KILLED[name] for name in KILLED_SHORT}
    rounds = max(1, min(ROUNDS_MAX, seconds // ROUND_S))
    imports = [_import_seconds() for _ in range(3)]
    with flow("start", ROOT / "trimtab.toml", SPEED) as stack:
        began, began_ms = time.monotonic(), time.time_ns() // 1_000_000
        reached: dict[str, float] = {}
        stack.start_servers()
        reached["broker, database and venue ready"] = time.monotonic() - began
        stack.prepare()
        reached["topics, tables and settings written"] = time.monotonic() - began
        start_roles(stack)
        wait_ready(stack)
        reached["every account open, every portfolio observed"] = time.monotonic() - began
        stack.go()
        moved_ms = time.time_ns() // 1_000_000
        stack.wait_until(lambda: _first_decision_ms(stack) is not None, "nothing was decided", 300.0)
        decided_ms = _first_decision_ms(stack) or 0
        asyncio.run(create_topics(connection(stack), RELAY_TOPICS, Floors(1, 1)))
        add_process(stack, "relay", "bench.relay", stack.bootstrap, str(stack.directory / "relay-times.json"))
        outages = asyncio.run(_kill_rounds(stack, killed, rounds))
    start = _start_line(reached, (moved_ms - began_ms) / 1000, (decided_ms - moved_ms) / 1000, imports)
    return [start, _kill_line(outages)]


def _start_line(reached: dict[str, float], moved_s: float, market_s: float, imports: list[float]) -> Line:
    steps = ", ".join(f"{what} {at_s:.1f} s" for what, at_s in reached.items())
    return Line(
        name="cold start to the first decision",
        figure=f"{moved_s + market_s:.1f} s: {moved_s:.1f} s until prices could move, then {market_s:.1f} s of the market "
        f"(the tape at {SPEED}x until a portfolio left its threshold)",
        baseline=f"a bare Python process that imports what the roles import: {spread(imports)}",
        details=(f"reached after: {steps}",),
        limit="CPU: a Java start, three commands one after the other, six Python processes importing at once; then two equal "
        "snapshots of each account, 5 s apart on purpose.",
        not_shown="the installation itself, a start with a long history; one run, since the market's part repeats and the rest "
        "moves with the load of the machine.",
    )


def _kill_line(outages: dict[str, list[float]]) -> Line:
    roles = "; ".join(f"{name} {spread(values)}" for name, values in outages.items() if name != "relay")
    return Line(
        name="kill -9 to the first new output",
        figure=roles,
        baseline=f"the bare relay under the same supervisor: {spread(outages['relay'])}",
        limit="interpreter start and imports for all; the 5 s lease of the dead owner for executor and sequencer, which nobody "
        "may take earlier; joining the group and reading the checkpoint for the portfolio agent.",
        not_shown="a standby that runs already, long changelogs, several roles at once; ledger and projector, which speak only "
        "after orders. The portfolio agent speaks once a second at rest: up to 1 s of its figure waits for something to say.",
    )


def _import_seconds() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.monotonic() - began


def _first_decision_ms(stack: Flow) -> int | None:
    try:
        first = stack.read(views.first_decision)
    except TrimtabError:
        return None
    return None if first is None else int(first.at.timestamp() * 1000)


class _Watch:
    """Follows the topics of the killed roles and notes when a record with a new id was there."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, bytes | None]] = set()
        self._newest_at: defaultdict[str, float] = defaultdict(float)
        self.caught_up = asyncio.Event()

    async def follow(self, stack: Flow) -> None:
        """Read everything from the beginning, for ever."""
        reader = KafkaReader(connection(stack))
        try:
            ends = await asyncio.to_thread(end_offsets, stack, [topic for topic in KILLED.values() if topic != RELAY_OUT])
            places = {(topic, partition): 0 for topic, partitions in ends.items() for partition in partitions}
            await reader.assign({**places, (RELAY_OUT, 0): 0})
            old = sum(end for partitions in ends.values() for end in partitions.values())
            while True:
                records = await reader.poll(20)
                old -= len(records)
                if old <= 0:
                    self.caught_up.set()
                for record in records:
                    identity = (record.topic, record.header("ce_id"))
                    if identity not in self._seen:
                        self._seen.add(identity)
                        self._newest_at[record.topic] = time.monotonic()
        finally:
            await reader.close()

    async def first_after(self, topic: str, moment: float) -> float:
        """Wait for the next new record of a topic after a moment; when it came."""
        async with asyncio.timeout(BACK_WITHIN_S):
            while self._newest_at[topic] <= moment:  # noqa: ASYNC110  a broker does not notify
                await asyncio.sleep(0.01)
        return self._newest_at[topic]


async def _kill_rounds(stack: Flow, killed: Mapping[str, str], rounds: int) -> dict[str, list[float]]:
    """Seconds from each kill to the role's first new output."""
    watch, outages = _Watch(), defaultdict[str, list[float]](list)
    tasks = [asyncio.create_task(watch.follow(stack)), asyncio.create_task(_feed_relay(stack))]
    try:
        await watch.caught_up.wait()
        await watch.first_after(RELAY_OUT, 0.0)
        for _ in range(rounds):
            for name, topic in killed.items():
                await asyncio.sleep(BETWEEN_S)
                moment = time.monotonic()
                await asyncio.to_thread(stack.roles.kill, name)
                outages[name].append(await watch.first_after(topic, moment + STILL_COMING_S) - moment)
    except TimeoutError:
        raise LocalStackError(
            f"a killed role said nothing new within {BACK_WITHIN_S:g} s; logs: {stack.roles.directory}"
        ) from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return dict(outages)


async def _feed_relay(stack: Flow) -> None:
    """Something for the relay to do."""
    async with open_log(stack) as log:
        number = 0
        while True:
            number += 1
            headers = (("ce_id", digest_id("bench", "relay", str(number)).encode()),)
            log.append_nowait(Output(RELAY_IN, str(number).encode(), b"{}", headers, 0))
            await asyncio.sleep(RELAY_EVERY_S)
