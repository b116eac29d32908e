"""How the venue is set up, and what it refuses."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.matching.settlement import FeeMode
from streams.simulator.__main__ import main
from streams.simulator.settings import SimulatorSettings, load_settings

ACCOUNT = {"balances": {"USDT": "100.5"}, "fee_mode": "quote"}


def test_json_and_toml_say_the_same(tmp_path: Path):
    as_json, as_toml = tmp_path / "venue.json", tmp_path / "venue.toml"
    as_json.write_text('{"accounts": {"a": {"balances": {"USDT": "1"}}}, "tape": {"speed": 30}}')
    as_toml.write_text('[accounts.a.balances]\nUSDT = "1"\n[tape]\nspeed = 30\n')
    assert load_settings(as_json) == load_settings(as_toml)


def test_an_account_has_its_fee_schedule():
    settings = SimulatorSettings.model_validate({"accounts": {"a": ACCOUNT}})
    assert settings.accounts["a"].fee_schedule().mode is FeeMode.QUOTE


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": {"sim-a": {"account": "a", "secret": "sim-s"}}},
        {"accounts": {"a": ACCOUNT}, "keys": {"vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0": {"account": "a", "secret": "sim-s"}}},
        {"accounts": {"a": ACCOUNT}, "keys": {"sim-a": {"account": "a", "secret": "a real looking one"}}},
        {"accounts": {"a": {"balances": {"USDT": "-1"}}}},
        {"accounts": {"a": {"fee_mode": "reserve"}}},
        {"tape": {"start_ms": 0}},
        {"tape": {"speed": 0}},
        {"unknown": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        SimulatorSettings.model_validate(wrong)


def test_the_command_says_what_is_wrong_with_its_file(tmp_path: Path, capsys):
    path = tmp_path / "venue.json"
    assert main(["--config", str(path)]) == 2
    path.write_text("{")
    assert main(["--config", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
