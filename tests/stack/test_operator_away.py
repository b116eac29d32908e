"""3.3: a broker that falls silent in the middle of an operator's command: he learns soon that nobody may have heard him."""

import time
from pathlib import Path

import pytest

from schemas.control import StopKind, TradingStopped
from streams import settings
from streams.cli.control import ControlTopic, spoken
from streams.domain.errors import UnknownOutcomeError
from streams.gateways.kafka_admin import Floors, create_topics
from streams.local.broker import Broker
from streams.topics import all_topics

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(120)
async def test_3_3_a_halt_that_is_not_acknowledged_is_told_within_seconds(
    own_broker: Broker, topic_prefix: str, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_CONFIG", str(ROOT / "trimtab.toml"))
    monkeypatch.setenv("TRIMTAB_STATE_DIR", str(state_dir))
    monkeypatch.setenv("TRIMTAB_KAFKA__BOOTSTRAP", own_broker.bootstrap)
    monkeypatch.setenv("TRIMTAB_KAFKA__TOPIC_PREFIX", topic_prefix)
    checked = settings.load()
    await create_topics(checked.kafka.connection(), all_topics(1), Floors(1, 1))
    stop = TradingStopped(scope="all", **spoken("a test"), halt_id="0" * 32, kind=StopKind.HALT)
    began = time.monotonic()

    async def halt() -> None:
        async with ControlTopic(checked, patience_s=2) as topic:
            own_broker.pause()
            await topic.append([stop])

    try:
        with pytest.raises(UnknownOutcomeError, match=r"control.trading-stopped for all: the broker did not acknowledge it"):
            await halt()
        assert time.monotonic() - began < 10
    finally:
        own_broker.resume()
