"""How the simulated venue is set up: accounts, keys, limits, latency, faults, tape. Read from JSON or TOML.

The keys are fakes by construction: a key that does not begin with `sim-` is refused, so that nobody points a real one
at this server, or this server's habits at a real venue.
"""

import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.values import Holding, Name, Price, Weight
from streams.matching.settlement import FeeMode, FeeSchedule
from streams.simulator.faults import FaultPlan
from streams.simulator.tapes.bars import TAPE_END_MS, TAPE_FIRST_MS
from streams.simulator.tapes.tape import SEED

SPEED_MAX = 10_000

FakeKey = Annotated[str, StringConstraints(pattern=r"^sim-[A-Za-z0-9_-]{1,80}$")]
LatencyMs = Annotated[int, Field(ge=0, le=60_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AccountSettings(_Part):
    """One customer: opening balances (free, by asset) and what trading costs it."""

    balances: dict[str, Holding] = {}
    maker_rate: Weight = Decimal("0.001")
    taker_rate: Weight = Decimal("0.001")
    fee_mode: FeeMode = FeeMode.RECEIVED
    reserve_asset: str = ""
    reserve_price_quote: Price | None = None

    def fee_schedule(self) -> FeeSchedule:
        """The core's form of it. Raises ValueError when a reserve lacks its asset or price."""
        return FeeSchedule(
            self.maker_rate, self.taker_rate, self.fee_mode, self.reserve_asset, self.reserve_price_quote or Decimal(0)
        )

    @model_validator(mode="after")
    def _fees_make_sense(self) -> Self:
        self.fee_schedule()
        return self


class KeySettings(_Part):
    """One API key of an account and what it may do."""

    account: Name
    secret: FakeKey
    may_read: bool = True
    may_trade: bool = True
    may_withdraw: bool = False


class LatencySettings(_Part):
    """Milliseconds that a request of each kind takes inside the venue: half before the core, half after it."""

    order: LatencyMs = 0
    cancel: LatencyMs = 0
    query: LatencyMs = 0
    account: LatencyMs = 0
    market: LatencyMs = 0


class LimitSettings(_Part):
    """Request weight for each address and minute, new orders for each account; what follows when they are exceeded."""

    weight_1m_max: int = Field(default=6_000, ge=1)
    orders_10s_max: int = Field(default=100, ge=1)
    orders_1d_max: int = Field(default=200_000, ge=1)
    warnings_max: int = Field(default=10, ge=1)
    """How many requests are answered 429 within a minute before the address is banned (418)."""
    ban_s: int = Field(default=120, ge=1)


class TapeSettings(_Part):
    """Where the tape starts (UTC ms), how fast it runs, and how often the background liquidity is renewed."""

    start_ms: int = Field(default=1_722_838_200_000, ge=TAPE_FIRST_MS, lt=TAPE_END_MS)
    speed: int = Field(default=1, ge=1, le=SPEED_MAX)
    seed: int = SEED
    refresh_ms: int = Field(default=100, ge=10, le=10_000)


class SimulatorSettings(_Part):
    """Everything the server needs. Ports of 0 mean free ones; `journal_path` keeps the journal on disk as well."""

    port: int = Field(default=0, ge=0, le=65_535)
    control_port: int = Field(default=0, ge=0, le=65_535)
    accounts: dict[Name, AccountSettings] = {}
    keys: dict[FakeKey, KeySettings] = {}
    latency: LatencySettings = LatencySettings()
    limits: LimitSettings = LimitSettings()
    faults: FaultPlan = FaultPlan()
    tape: TapeSettings = TapeSettings()
    clock_offset_ms: int = Field(default=0, ge=-3_600_000, le=3_600_000)
    journal_path: Path | None = None

    @model_validator(mode="after")
    def _keys_have_accounts(self) -> Self:
        for key, settings in self.keys.items():
            if settings.account not in self.accounts:
                raise ValueError(f"key {key} belongs to account {settings.account}, which is not listed")
        return self


def load_settings(path: Path) -> SimulatorSettings:
    """Read a settings file (.json or .toml). Raises OSError or ValueError naming what is wrong."""
    text = path.read_text(encoding="utf-8")
    document = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    return SimulatorSettings.model_validate(document)
