"""The real executor with a stopwatch, `python -m bench.stamped TIMES.json`: settings and keys as for `trimtab run executor`.

When asked to end it writes the monotonic time of each stage of each command.
"""

import asyncio
import gc
import json
import secrets
import signal
import sys
from collections import defaultdict
from pathlib import Path

from schemas.control import KeyPurpose
from streams import settings
from streams.agents.executor.agent import Executor
from streams.agents.executor.config import AccountConfig, ExecutorConfig
from streams.gateways import logs
from streams.gateways.clock import SystemClock
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.gateways.lease import PostgresLeases
from streams.gateways.loop import run_loop
from streams.gateways.signing import verifier_of
from streams.gateways.venue.profile import Credentials, VenueProfile
from streams.gateways.venue.trading import CcxtTrading
from streams.settings import KeyPair, Settings


async def run(loaded: Settings) -> dict[str, dict[str, int]]:
    """Trade until SIGTERM; the monotonic ns of each stage of each command."""
    connection, clock = loaded.kafka.connection(), SystemClock()
    stages: defaultdict[str, dict[str, int]] = defaultdict(dict)
    profiles = {name: VenueProfile(name, venue.dialect, venue.urls) for name, venue in loaded.venues.items()}
    venues = {
        name: CcxtTrading(profiles[account.venue], _credentials(account.trade), clock)
        for name, account in loaded.accounts.items()
    }
    accounts = tuple(
        AccountConfig(name, account.venue, loaded.venues[account.venue].symbols, account.orders_per_second)
        for name, account in loaded.accounts.items()
    )
    config = ExecutorConfig(
        f"bench:{secrets.token_hex(8)}", accounts, loaded.state_dir, collar_window_ms=loaded.collar_window_ms
    )
    log = KafkaLog(connection)
    await log.start()
    async with PostgresLeases(loaded.database.lease_dsn()) as leases:
        executor = Executor(
            config,
            log,
            lambda: KafkaReader(connection),
            leases,
            venues,
            clock,
            verifier_of(loaded, KeyPurpose.COMMANDS, KeyPurpose.CONTROL),
            lambda stage, command_id, at_ns: stages[command_id].__setitem__(stage, at_ns),
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, executor.stop)
        await executor.run()
    await log.close()
    return stages


def _credentials(pair: KeyPair) -> Credentials:
    assert pair.api_key is not None
    assert pair.api_secret is not None
    return Credentials(pair.api_key.get_secret_value(), pair.api_secret.get_secret_value())


if __name__ == "__main__":
    loaded = settings.load()
    logs.configure("executor", loaded.log_format, loaded.log_level, settings.secrets_of(loaded))
    gc.freeze()
    Path(sys.argv[1]).write_text(json.dumps(run_loop(run(loaded))))
