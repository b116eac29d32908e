"""3.3: with the broker away an operator's command says so within seconds, and how the same is done without it."""

import socket
import sys
import time
from pathlib import Path

import pytest

from schemas.control import KeyPurpose
from streams import settings
from streams.__main__ import main
from streams.cli.control import PATIENCE_S, ControlTopic
from streams.domain.errors import UnreachableError
from streams.gateways.keys import make_pair

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "127.0.0.1:1"


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The demo's settings, with a broker that is not there."""
    monkeypatch.setenv("TRIMTAB_CONFIG", str(ROOT / "trimtab.toml"))
    monkeypatch.setenv("TRIMTAB_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("TRIMTAB_KAFKA__BOOTSTRAP", NOBODY)
    return NOBODY


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("words", "ending"),
    [
        (("halt", "portfolio:balanced"), "`trimtab halt portfolio:balanced --offline` works without Kafka and database"),
        (("cancel", "--all"), "`trimtab halt all --offline` works without Kafka and database"),
        (("topics", "create"), "Connect call failed ('127.0.0.1', 1)"),
        (("topics", "check"), "Connect call failed ('127.0.0.1', 1)"),
    ],
)
def test_3_3_with_the_broker_away_a_command_ends_in_one_sentence_after_seconds(
    bootstrap: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    ending: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["trimtab", *words])
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 75
    assert time.monotonic() - began < 2 * PATIENCE_S
    *others, said = capsys.readouterr().err.splitlines()
    assert not [line for line in others if "broker" in line], others
    assert "broker cannot be reached" in said
    assert bootstrap in said
    assert said.endswith(ending)


@pytest.mark.usefixtures("bootstrap")
async def test_3_3_a_broker_that_takes_connections_and_never_answers_is_away_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel takes connections, nobody reads them
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("TRIMTAB_KAFKA__BOOTSTRAP", address)
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=address):
            async with ControlTopic(settings.load(), patience_s=0.5):
                pass
        assert time.monotonic() - began < PATIENCE_S


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("bootstrap")
@pytest.mark.parametrize("words", [("limits", "show"), ("config", "apply", "--dry-run")])
def test_3_1_a_command_that_only_reads_control_needs_no_private_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    trusted, now_ms = tmp_path / "trusted.toml", time.time_ns() // 1_000_000
    make_pair(KeyPurpose.CONTROL, tmp_path / "private.pem", trusted, now_ms, 1_000_000, 1_000_000)
    monkeypatch.setenv("TRIMTAB_KEYS__TRUSTED_FILE", str(trusted))
    monkeypatch.setattr(sys, "argv", ["trimtab", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 75  # it went as far as the broker, which is not there
    assert "control_key_file" not in capsys.readouterr().err
