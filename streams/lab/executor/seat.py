"""One process's place at one account, with all that it needs there."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from streams.agents.executor.config import AccountConfig, ExecutorConfig
from streams.lab.engine import Pause, Signal
from streams.lab.history import History
from streams.lab.outside.connection import VenueClient
from streams.lab.outside.leases import Database, Leases
from streams.lab.outside.log import AccountLog, LogClient, Producer
from streams.lab.outside.venue import Venue
from streams.lab.process import Process
from streams.lab.witness import Witness


class Seat:
    """What a take-over stands on, and a tenure after it. `config` is of the process's present life, `records` are the log's."""

    def __init__(
        self,
        history: History,
        process: Process,
        account: AccountConfig,
        records: AccountLog,
        database: Database,
        venue: Venue,
        witness: Witness,
    ) -> None:
        self.history = history
        self.process = self.spool = self.points = process
        self.clock = process.machine
        self.account = account
        self.records = records
        self.producer = Producer(history, process, records)
        self.log = LogClient(history, process, records, self.producer)
        self.leases = Leases(history, database, process)
        self.venue = venue
        self.witness = witness
        self.config = ExecutorConfig(owner="", accounts=(account,), state_dir=Path("/nowhere"))
        self._database = database

    def begin(self) -> None:
        """The process started: it is another owner than in any former life."""
        self.config = ExecutorConfig(
            owner=f"{self.process.name}.{self.process.life}",
            accounts=(self.account,),
            state_dir=Path("/nowhere"),
            control_every_ms=1500,
            checkpoint_every_ms=20_000,
            reconcile_every_ms=6_000,
            clock_offset_ms_max=1000,  # a venue 0.9 s off is traded at: that is where timestamps and windows are hardest
        )

    def spawn(self, work: Coroutine[Pause | Signal, Any, Any]) -> None:
        """Run beside whatever else this process does."""
        self.history.engine.drive(self.process, work)

    def connect(self, departed: Callable[[], None] | None = None) -> VenueClient:
        """A connection to the venue; `departed` is told when a request's bytes leave."""
        return VenueClient(self.history, self.venue, self._database, self.process, self.account.account, departed)
