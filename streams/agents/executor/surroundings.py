"""What every part of the executor is given by its composition."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streams.agents.executor.config import ExecutorConfig
from streams.agents.executor.control import ControlWatch, HaltFile
from streams.agents.executor.leasehold import Leasehold
from streams.agents.executor.prices import PriceWatch
from streams.agents.executor.spool import Kept, Spool
from streams.agents.executor.tail import Tail
from streams.ports.database import LeaseStore
from streams.ports.log import Log, Verifier
from streams.ports.process import NO_CRASH_POINTS, Clock, CrashPoints

COMPARING_MAX = 8
"""Accounts that are compared with the venue as a whole at the same time. Nothing waits for it for minutes, and a hundred that
were just taken over would keep everything else from the venue and the processor: proofs and orders."""

Stamp = Callable[[str, str, int], None]
"""(stage, command id, monotonic ns): where a command is on its way. Stages: command_received, intent_acked,
intent_read_back, request_out, replied."""


class Keeper(Protocol):
    """Where events wait on this machine while the log may be away."""

    def left(self, account: str) -> Sequence[Kept]:
        """What processes that are gone have kept for this account, in order."""
        ...

    def discard(self, account: str) -> None:
        """What `left` gave is settled."""
        ...


class Ground(Protocol):
    """What a take-over stands on: a part of the surroundings, so that it also happens in virtual time."""

    @property
    def config(self) -> ExecutorConfig:
        """What the process was told at its start."""
        ...

    @property
    def log(self) -> Log:
        """The log."""
        ...

    @property
    def leases(self) -> LeaseStore:
        """The rows of leases."""
        ...

    @property
    def clock(self) -> Clock:
        """This machine's clocks."""
        ...

    @property
    def spool(self) -> Keeper:
        """What this machine keeps for the log."""
        ...

    @property
    def points(self) -> CrashPoints:
        """Where a process may end."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The outside of one executor process."""

    config: ExecutorConfig
    log: Log
    commands: Tail
    events: Tail
    control: ControlWatch
    prices: PriceWatch
    halt_file: HaltFile
    leases: LeaseStore
    leasehold: Leasehold
    clock: Clock
    verifier: Verifier
    spool: Spool
    stamp: Stamp | None = None
    points: CrashPoints = NO_CRASH_POINTS
    comparing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(COMPARING_MAX))
