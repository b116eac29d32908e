"""What every part of the executor is given by its composition."""

from collections.abc import Callable
from dataclasses import dataclass

from streams.agents.executor.config import ExecutorConfig
from streams.agents.executor.control import ControlWatch, HaltFile
from streams.agents.executor.prices import PriceWatch
from streams.agents.executor.spool import Spool
from streams.agents.executor.tail import Tail
from streams.ports import NO_CRASH_POINTS, Clock, CrashPoints, LeaseStore, Log, Verifier

Stamp = Callable[[str, str, int], None]
"""(stage, command id, monotonic ns): where a command is on its way. Stages: command_received, intent_acked,
intent_read_back, request_out, replied."""


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
    clock: Clock
    verifier: Verifier
    spool: Spool
    stamp: Stamp | None = None
    points: CrashPoints = NO_CRASH_POINTS
