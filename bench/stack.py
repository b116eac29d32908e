"""What the benchmarks of the whole flow share: settings files of any size, a flow of their own, and waiting until it trades."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.relay import RELAY_TOPICS
from streams.domain.errors import RefusedError, TrimtabError
from streams.gateways import views
from streams.gateways.kafka import KafkaLog
from streams.gateways.kafka_admin import Floors, create_topics
from streams.local.flow import ROLES, Flow, VenuePlan
from streams.local.install import read_installed
from streams.local.supervisor import Role
from streams.ports.log import KafkaConnection
from streams.topics import partitions_of

FULL_SPEED = 300
START_MS = 1_722_838_200_000  # 5 August 2024 06:10 UTC: an hour in which prices moved
NOT_READY = {"waiting_opening", "no_targets", "no_rules", "no_price"}
LIFTED = {"weight_1m_max": 100_000_000, "orders_10s_max": 10_000_000, "orders_1d_max": 100_000_000}
"""The venue's limits on requests, out of the way."""

_HEAD = """
environment = "bench"
dev = true
shards = {shards}
heartbeat_ms = 1000
[kafka]
replication_floor = 1
min_insync_floor = 1
[venues.sim]
dialect = "binance"
symbols = ["BTC/USDT", "ETH/USDT"]
weight_per_minute = 100000000
"""
_PORTFOLIO = """
[accounts.a{n:04d}]
venue = "sim"
orders_per_second = "unlimited"
[accounts.a{n:04d}.limits]
order_notional_max_quote = 1000000000
turnover_5min_max_quote = 1000000000
turnover_day_max_quote = 1000000000
open_orders_max = 10000
price_collar = 1
symbols = ["BTC/USDT", "ETH/USDT"]
[portfolios.p{n:04d}]
shard = {shard}
quote = "USDT"
accounts = ["a{n:04d}"]
weights = {{ BTC = "0.5", ETH = "0.3", USDT = "0.2" }}
policy = {{ band = "0.005", threshold = "{threshold}", price_cap = "0.01", observe_every_ms = {observe_every_ms} }}
limits = {{ order_notional_max = 1, turnover_5min_max = 1000000, turnover_day_max = 1000000, loss_day_max = 1 }}
"""


def settings_text(portfolios: int, shards: int, threshold: str = "0.0042", observe_every_ms: int = 60_000) -> str:
    """A settings file of that many portfolios, evenly over the shards, each with its own account without a budget."""
    named = (
        _PORTFOLIO.format(n=n, shard=n % shards, threshold=threshold, observe_every_ms=observe_every_ms)
        for n in range(portfolios)
    )
    return _HEAD.format(shards=shards) + "".join(named)


@contextmanager
def flow(name: str, settings: str | Path, speed: int) -> Iterator[Flow]:
    """A flow of its own with `settings` (text, or a file), not yet started; stopped at the end."""
    owned = sorted({"KAFKA", "DATABASE_URL"} & set(os.environ))
    if owned:
        raise RefusedError(f"bench weighs the processes of its own servers: unset {' and '.join(owned)}")
    base = Path(read_installed().state_dir) / "bench"
    base.mkdir(parents=True, exist_ok=True)
    if isinstance(settings, str):
        path = base / f"{name}.toml"
        path.write_text(settings)
        settings = path
    with Flow(base / name, settings, VenuePlan(START_MS, speed, limits=LIFTED), say=say) as made:
        yield made


@contextmanager
def full_flow(name: str, portfolios: int, shards: int, speed: int = FULL_SPEED) -> Iterator[Flow]:
    """Everything started and every portfolio at rest; after `go` each decides anew as soon as its last plan has ended.

    Their thresholds lie far below what a fast tape does, until it ends: 1 070 minutes of it, 214 s at full speed. The topics
    of the bare relay are there too.
    """
    with flow(name, settings_text(portfolios, shards, threshold="0.0002", observe_every_ms=10_000), speed) as stack:
        stack.start_servers()
        stack.prepare()
        asyncio.run(create_topics(connection(stack), RELAY_TOPICS, Floors(1, 1)))
        start_roles(stack)
        wait_ready(stack)
        yield stack


def say(line: str) -> None:
    """Progress goes to the error output, so that the figures can be kept apart."""
    print(f"{datetime.now(UTC):%H:%M:%S}  {line}", file=sys.stderr, flush=True)


def start_roles(flow: Flow, names: Sequence[str] = ROLES) -> None:
    """Some of the six roles under the flow's supervisor."""
    for name in names:
        add_process(flow, name, "streams", "run", name)


def add_worker(flow: Flow, role: str, instance: str) -> str:
    """One more worker of a role; the name under which the supervisor knows it."""
    name = f"{role}-{instance}"
    add_process(flow, name, "streams", "run", role, "--instance", instance)
    return name


def add_process(flow: Flow, name: str, module: str, *words: str) -> None:
    """One more Python process under the flow's supervisor, started."""
    flow.roles.add(Role(name, [sys.executable, "-m", module, *words], flow.environment, Path(__file__).parents[1]))
    flow.roles.start(name)


def wait_ready(flow: Flow) -> None:
    """Until every account is open and every portfolio has been observed."""
    expected = len(flow.settings.portfolios)
    flow.wait_until(lambda: _observed(flow) == expected, "not every portfolio is open and observed", 300.0)


def _observed(flow: Flow) -> int:
    try:
        return sum(row.reason not in NOT_READY for row in flow.read(views.portfolios))
    except TrimtabError:
        return 0


def connection(flow: Flow) -> KafkaConnection:
    """The flow's broker in the words of the gateways."""
    return KafkaConnection(flow.bootstrap)


@asynccontextmanager
async def open_log(flow: Flow) -> AsyncIterator[KafkaLog]:
    """A client of the flow's topics, closed at the end."""
    log = KafkaLog(connection(flow))
    await log.start()
    try:
        yield log
    finally:
        await log.close()


def end_offsets(flow: Flow, topics: Sequence[str]) -> dict[str, dict[int, int]]:
    """The next offset of each partition of some topics."""

    async def ask() -> dict[str, dict[int, int]]:
        async with open_log(flow) as log:
            return {
                topic: {n: await log.end_offset(topic, n) for n in range(partitions_of(topic, flow.settings.shards))}
                for topic in topics
            }

    return asyncio.run(ask())


def pause(seconds: float, flow: Flow) -> None:
    """Let the flow work for a while. Raises LocalStackError when a role gave up."""
    until = time.monotonic() + seconds
    flow.wait_until(lambda: time.monotonic() >= until, "the flow did not last", seconds + 10)
