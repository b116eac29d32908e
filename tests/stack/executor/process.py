"""One executor as a process of its own, to be killed: `python -m tests.stack.executor.process SETTINGS.json`."""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from streams.agents.executor.agent import Executor
from streams.agents.executor.config import AccountConfig, ExecutorConfig
from streams.gateways.clock import SystemClock
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.gateways.keys import TrustedFile
from streams.gateways.lease import PostgresLeases
from streams.gateways.signing import Ed25519Verifier
from streams.gateways.venue.budget import RequestBudget
from streams.gateways.venue.client import Credentials
from streams.gateways.venue.profile import VenueProfile
from streams.gateways.venue.trading import CcxtTrading
from streams.ports.log import KafkaConnection
from streams.ports.process import NO_CRASH_POINTS, Clock, CrashPoints


def _as_it_is(made: Any) -> Any:
    return made


@dataclass(frozen=True)
class Fitting:
    """What a test puts around the parts of an executor; by default nothing."""

    config: Callable[[ExecutorConfig], ExecutorConfig] = _as_it_is
    log: Callable[[Any], Any] = _as_it_is
    reader: Callable[[Any], Any] = _as_it_is
    leases: Callable[[Any], Any] = _as_it_is
    venue: Callable[[Any], Any] = _as_it_is
    budget: Callable[[Clock], RequestBudget | None] = lambda _: None


PLAIN = Fitting()


def config_of(settings: dict[str, Any]) -> ExecutorConfig:
    rate = Decimal(settings.get("orders_per_second", "100"))
    accounts = tuple(AccountConfig(name, "sim", tuple(settings["symbols"]), rate) for name in settings["accounts"])
    return ExecutorConfig(
        owner=settings["owner"],
        accounts=accounts,
        state_dir=Path(settings["state_dir"]),
        **settings.get("config", {}),
    )


def profile_of(port: int) -> VenueProfile:
    """The simulated venue at this port."""
    urls = {
        "rest": f"http://127.0.0.1:{port}",
        "stream": f"ws://127.0.0.1:{port}/stream/ws",
        "ws_api": f"ws://127.0.0.1:{port}/ws-api/v3",
    }
    return VenueProfile("sim", "binance", urls)


async def build(
    settings: dict[str, Any],
    stamp: Any = None,
    clock: Clock | None = None,
    points: CrashPoints = NO_CRASH_POINTS,
    fitting: Fitting = PLAIN,
) -> tuple[Executor, KafkaLog, PostgresLeases]:
    connection = KafkaConnection(settings["bootstrap"], topic_prefix=settings["topic_prefix"])
    clock = clock or SystemClock()
    log, leases = KafkaLog(connection), PostgresLeases(settings["dsn"])
    await log.start()
    await leases.open()
    profile = profile_of(settings["venue_port"])
    keys = {name: Credentials(f"sim-{name}", f"sim-{name}-secret") for name in settings["accounts"]}
    keys |= {name: Credentials(*key) for name, key in settings.get("keys", {}).items()}
    venues = {
        name: fitting.venue(CcxtTrading(profile, keys[name], clock, fitting.budget(clock), points))
        for name in settings["accounts"]
    }
    verifier = Ed25519Verifier(settings["environment"], TrustedFile(Path(settings["trusted"])))
    executor = Executor(
        fitting.config(config_of(settings)),
        fitting.log(log),
        lambda: fitting.reader(KafkaReader(connection)),
        fitting.leases(leases),
        venues,
        clock,
        verifier,
        stamp,
        points,
    )
    return executor, log, leases


async def main(settings: dict[str, Any]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    executor, log, leases = await build(settings)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, executor.stop)
    try:
        await executor.run()
    finally:
        await log.close()
        await leases.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
