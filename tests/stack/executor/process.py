"""One executor as a process of its own, to be killed: `python -m tests.stack.executor.process SETTINGS.json`."""

import asyncio
import json
import logging
import signal
import sys
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
from streams.gateways.venue import CcxtTrading
from streams.gateways.venue_client import Credentials
from streams.gateways.venue_profile import VenueProfile
from streams.ports import NO_CRASH_POINTS, Clock, CrashPoints, KafkaConnection


def config_of(settings: dict[str, Any]) -> ExecutorConfig:
    rate = Decimal(settings.get("orders_per_second", "100"))
    accounts = tuple(AccountConfig(name, "sim", tuple(settings["symbols"]), rate) for name in settings["accounts"])
    return ExecutorConfig(
        owner=settings["owner"],
        accounts=accounts,
        state_dir=Path(settings["state_dir"]),
        **settings.get("config", {}),
    )


async def build(
    settings: dict[str, Any], stamp: Any = None, clock: Clock | None = None, points: CrashPoints = NO_CRASH_POINTS
) -> tuple[Executor, KafkaLog, PostgresLeases]:
    connection = KafkaConnection(settings["bootstrap"], topic_prefix=settings["topic_prefix"])
    clock = clock or SystemClock()
    log, leases = KafkaLog(connection), PostgresLeases(settings["dsn"])
    await log.start()
    await leases.open()
    port = settings["venue_port"]
    urls = {
        "rest": f"http://127.0.0.1:{port}",
        "stream": f"ws://127.0.0.1:{port}/stream/ws",
        "ws_api": f"ws://127.0.0.1:{port}/ws-api/v3",
    }
    profile = VenueProfile("sim", "binance", urls)
    keys = {name: Credentials(f"sim-{name}", f"sim-{name}-secret") for name in settings["accounts"]}
    keys |= {name: Credentials(*key) for name, key in settings.get("keys", {}).items()}
    venues = {name: CcxtTrading(profile, keys[name], clock, points=points) for name in settings["accounts"]}
    verifier = Ed25519Verifier(settings["environment"], TrustedFile(Path(settings["trusted"])))
    executor = Executor(
        config_of(settings), log, lambda: KafkaReader(connection), leases, venues, clock, verifier, stamp, points
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
