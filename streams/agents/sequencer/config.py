"""How a sequencer behaves: all its numbers in one place."""

from dataclasses import dataclass
from decimal import Decimal

from streams.domain.intake.conflate import STEP_DEFAULT


@dataclass(frozen=True, slots=True)
class SequencerConfig:
    """Settings of a sequencer process.

    `shards`: how many journals there are; this process stands by for each of them. `conflation_step`: the smallest move of
    bid or ask that is news, as a fraction. `heartbeat_ms`: a clock mark at least this often. `batch_floor_ms`: the least
    time between two market batches. `unacked_ms_max`: an append that is not durable for so long ends the process.
    After `failures_max` take-overs in a row that failed, `retry_ms` apart, the process ends too.
    """

    shards: int
    conflation_step: Decimal = STEP_DEFAULT
    stale_ms_max: int = 60_000
    heartbeat_ms: int = 1_000
    batch_floor_ms: int = 0
    positions_every_ms: int = 10_000
    lease_ttl_ms: int = 5_000
    in_flight_max: int = 500
    unacked_ms_max: int = 60_000
    failures_max: int = 5
    retry_ms: int = 1_000
