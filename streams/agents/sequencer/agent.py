"""The sequencer: puts everything a decision can see into one order for each shard.

Several of these processes may run. For each shard one of them owns the journal, the others stand by.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from streams.agents.sequencer.config import SequencerConfig
from streams.agents.sequencer.shard import ShardSequencer
from streams.ports.database import LeaseStore
from streams.ports.log import Log, LogReader, Verifier
from streams.ports.process import Clock


class Sequencer:
    """Stands by for every shard and owns those it gets.

    `open_log` and `open_reader` give started ones; each take-over opens its own, since an epoch has one producer. `verifier`
    knows which operators to believe. `name` is this process's part of lease owners, for people to read.
    """

    def __init__(
        self,
        config: SequencerConfig,
        open_log: Callable[[], Awaitable[Log]],
        open_reader: Callable[[], Awaitable[LogReader]],
        leases: LeaseStore,
        clock: Clock,
        verifier: Verifier,
        name: str = "sequencer",
    ) -> None:
        owner = f"{name}:{secrets.token_hex(8)}"
        self._shards = [
            ShardSequencer(shard, config, open_log, open_reader, leases, clock, verifier, owner)
            for shard in range(config.shards)
        ]

    def stop(self) -> None:
        """End in order: journal what was taken, give the leases up, then `run` returns."""
        for shard in self._shards:
            shard.stop()

    async def run(self) -> None:
        """Until `stop`. The first shard that cannot go on ends all: its error is raised (see ShardSequencer.run)."""
        tasks = [asyncio.create_task(shard.run()) for shard in self._shards]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
