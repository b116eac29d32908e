"""One sequencer process as the crash tests run it, with a way to be paused between check and send.

    python -m tests.crash.sequencer.worker '<JSON of Plan>'

When the file `pause` exists the process removes it and stops itself (SIGSTOP) inside its next journal append: after the
owner's check, before the record goes out. SIGTERM ends it in order.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from streams.agents.sequencer.agent import Sequencer
from streams.agents.sequencer.config import SequencerConfig
from streams.gateways.clock import SystemClock
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.gateways.lease import PostgresLeases
from streams.gateways.signing import AnyAuthor
from streams.ports.log import KafkaConnection, Output
from streams.topics import PORTFOLIO_JOURNAL


@dataclass(frozen=True)
class Plan:
    """What one worker runs."""

    bootstrap: str
    prefix: str
    lease_dsn: str
    shards: int
    name: str
    pause: str
    lease_ttl_ms: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class PausableLog(KafkaLog):
    """Stops the whole process where the owner can no longer check."""

    def __init__(self, connection: KafkaConnection, pause: Path) -> None:
        super().__init__(connection)
        self._pause = pause

    def append_nowait(self, output: Output) -> "asyncio.Future[int]":
        if output.topic == PORTFOLIO_JOURNAL and self._pause.exists():
            self._pause.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().append_nowait(output)


async def main(plan: Plan) -> None:
    connection = KafkaConnection(plan.bootstrap, topic_prefix=plan.prefix)

    async def open_log() -> KafkaLog:
        opened = PausableLog(connection, Path(plan.pause))
        await opened.start()
        return opened

    async def open_reader() -> KafkaReader:
        opened = KafkaReader(connection)
        await opened.start()
        return opened

    config = SequencerConfig(shards=plan.shards, lease_ttl_ms=plan.lease_ttl_ms, positions_every_ms=3_000)
    async with PostgresLeases(plan.lease_dsn) as leases:
        sequencer = Sequencer(config, open_log, open_reader, leases, SystemClock(), AnyAuthor(), plan.name)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, sequencer.stop)
        await sequencer.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("aiokafka", "psycopg"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    asyncio.run(main(Plan(**json.loads(sys.argv[1]))))
