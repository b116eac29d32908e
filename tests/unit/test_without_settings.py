"""4: a command that runs without a settings file says so, and where it was looked for."""

import os
import sys
from pathlib import Path

import pytest

from streams.__main__ import main
from streams.settings import PREFIX


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory, and no variable of ours."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[object, str]:
    monkeypatch.setattr(sys, "argv", ["trimtab", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("status",), ("halt", "all"), ("resume", "all"), ("reconcile", "x"), ("config", "check"), ("run", "executor")]
)
def test_4_where_nothing_is_configured_a_command_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
):
    monkeypatch.setenv("TRIMTAB_OPERATOR", "ada")  # a variable of ours that is no setting
    code, words_said = said(capsys, monkeypatch, *words)
    assert code == 2
    assert (
        f"nothing is configured: there is no {tmp_path / 'trimtab.toml'}, and no TRIMTAB_ variable names a setting"
        in words_said
    )
    assert "TRIMTAB_CONFIG" in words_said
    assert words_said.count("there is no") == 1


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("halt", "all"), "keys.control_key_file: missing, and unsigned control events are refused"),
        (("reconcile", "x"), "there is no account 'x'; the settings name none"),
        (("flows", "announce", "x", "USDT", "1"), "there is no account 'x'; the settings name none"),
    ],
)
def test_4_a_refusal_with_settings_from_variables_alone_names_the_file_that_was_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], answer: str
):
    monkeypatch.setenv("TRIMTAB_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    code, words_said = said(capsys, monkeypatch, *words)
    assert code == 2
    assert answer in words_said
    assert f"no settings file was read: there is no {tmp_path / 'trimtab.toml'}" in words_said


def test_4_with_a_settings_file_nobody_speaks_of_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "trimtab.toml").write_text("dev = true\n")
    assert said(capsys, monkeypatch, "reconcile", "x") == (2, "trimtab: there is no account 'x'; the settings name none\n")
