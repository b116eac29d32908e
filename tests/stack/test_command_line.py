"""2.3, 4: topics and control events through the command line, on a real broker."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

ROOT = Path(__file__).resolve().parents[2]


class Shell:
    """The command line in an installation of this test alone."""

    def __init__(self, bootstrap: str, prefix: str, settings_file: Path) -> None:
        self.bootstrap, self.prefix, self.settings_file = bootstrap, prefix, settings_file

    def __call__(self, *words: str) -> tuple[int, str]:
        environment = {
            "TRIMTAB_CONFIG": str(self.settings_file),
            "TRIMTAB_KAFKA__BOOTSTRAP": self.bootstrap,
            "TRIMTAB_KAFKA__TOPIC_PREFIX": self.prefix,
            "TRIMTAB_OPERATOR": "Test Operator",
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("TRIMTAB_")}
        done = subprocess.run(
            [sys.executable, "-m", "streams", *words],
            env=inherited | environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        # What a command that worked warns of (nobody signs here) is no part of its answer.
        return done.returncode, done.stdout + (done.stderr if done.returncode else "")


@pytest.fixture
def trimtab(broker: Any, topic_prefix: str, tmp_path: Path) -> Shell:
    settings_file = tmp_path / "trimtab.toml"
    settings_file.write_text((ROOT / "trimtab.toml").read_text())
    return Shell(broker.bootstrap, topic_prefix, settings_file)


@pytest.mark.timeout(300)
def test_2_3_topics_are_created_checked_and_refused_naming_topic_found_and_wanted(trimtab: Shell):
    code, said = trimtab("topics", "check")
    assert (code, "28 refused" in said) == (2, True), said
    wrong = f"{trimtab.prefix}orders.events.v1"
    asyncio.run(_create(trimtab.bootstrap, NewTopic(wrong, num_partitions=3, replication_factor=1)))
    code, said = trimtab("topics", "create")
    assert (code, "27 topics created, 1 were there" in said) == (0, True), said
    code, said = trimtab("topics", "check")
    assert code == 2, said
    assert f"refused: topic {wrong}: partition count is 3, wanted 4" in said
    assert f"refused: topic {wrong}: retention.ms is 604800000, wanted at least -1" in said
    code, said = trimtab("run", "ledger")
    assert code == 2, said
    assert f"topic {wrong}: partition count is 3, wanted 4" in said
    assert "trimtab topics check" in said


@pytest.mark.timeout(300)
def test_4_applying_settings_writes_the_difference_and_stops_are_lifted_by_name(trimtab: Shell):
    trimtab("topics", "create")
    code, said = trimtab("config", "apply", "--dry-run")
    assert (code, said.count("would write")) == (0, 15), said
    code, said = trimtab("config", "apply")
    assert (code, said.count("wrote")) == (0, 15), said
    assert trimtab("config", "apply") == (0, "the control topic says the same already\n")
    changed = trimtab.settings_file.read_text().replace('band = "0.005"', 'band = "0.006"', 1)
    trimtab.settings_file.write_text(changed)
    assert trimtab("config", "apply") == (0, "wrote control.policy-set for portfolio:balanced\n")
    code, said = trimtab("halt", "portfolio:even", "--why", "a test")
    halt_id = said.split()[1]
    assert (code, len(halt_id)) == (0, 32), said
    assert trimtab("resume", "portfolio:even") == (0, f"resumed portfolio:even: {halt_id}\n")
    code, said = trimtab("resume", "portfolio:even")
    assert (code, "nothing is stopped by an operator there" in said) == (2, True)
    code, said = trimtab("halt", "everything")
    assert (code, "'everything' is not a scope; use all, portfolio:NAME" in said) == (2, True)


async def _create(bootstrap: str, topic: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([topic])
    finally:
        await admin.close()
