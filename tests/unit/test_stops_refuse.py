"""3.3: a wrong word to the commands that stop and ask is refused in one sentence, before anything is reached."""

import sys
from pathlib import Path

import pytest

from streams.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("halt", "planet:earth"), "'planet:earth' is not a scope; use all, portfolio:NAME, account:NAME or venue:NAME"),
        (("freeze", "alpha"), "'alpha' is not a scope"),
        (("halt", "portfolio:nobody"), "portfolio:nobody: no account of"),
        (("freeze", "venue:nowhere"), "venue:nowhere: no account of"),
        (("cancel", "--all", "--scope", "account:nobody"), "account:nobody: no account of"),
        (("cancel",), "name one order, or say --all"),
        (("cancel", "abc", "--all"), "name one order, or say --all"),
        (("cancel", "--all", "--scope", "alpha"), "'alpha' is not a scope"),
        (("cancel", "abc", "--offline"), "--offline goes with --all"),
        (("cancel", "--all", "--offline"), "there is no HALT file: first `trimtab halt all --offline`"),
        (("halt", "account:nobody", "--offline"), "account:nobody: no account of"),
        (("resume", "all", "--halt-id", "the-last-one"), "'the-last-one' is not a halt id"),
        (("reconcile", "nobody"), "there is no account 'nobody'; the settings name alpha, beta, gamma"),
        (("unknown", "resolve"), "Missing argument 'ORDER'"),
        (("limits", "show", "me"), "unexpected extra argument"),
    ],
)
def test_3_3_a_wrong_word_is_refused_with_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setenv("TRIMTAB_CONFIG", str(ROOT / "trimtab.toml"))
    monkeypatch.setenv("TRIMTAB_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["trimtab", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "HALT").exists()
