"""3.3: a wrong word to the commands that stop and ask is refused in one sentence, before anything is reached."""

import sys
from pathlib import Path

import pytest

from streams.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


def trimtab(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """The command line on this repository's settings, without any key of a venue: exit code, output, errors."""
    monkeypatch.setenv("TRIMTAB_CONFIG", str(ROOT / "trimtab.toml"))
    monkeypatch.setenv("TRIMTAB_STATE_DIR", str(state_dir))
    monkeypatch.setattr(sys, "argv", ["trimtab", *words])
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    assert isinstance(code, int)
    found = capsys.readouterr()
    return code, found.out, found.err


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
        (
            ("cancel", "--all", "--offline"),
            "the HALT file does not stop alpha, beta, gamma: first `trimtab halt all",
        ),
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
    code, _, error = trimtab(tmp_path, monkeypatch, capsys, *words)
    assert (code, said in error) == (2, True), error
    assert not (tmp_path / "HALT").exists()


@pytest.mark.parametrize(
    ("text", "scope", "left"),
    [
        ("account:alpha why", "all", "beta, gamma"),
        ("account:alpha why\naccount:beta why", "all", "gamma"),
        ("freeze account:alpha why", "account:beta", "beta"),
        ("portfolio:balanced why", "venue:sim", "beta, gamma"),
        ("venue:other why", "portfolio:balanced", "alpha"),
    ],
)
def test_3_3_orders_are_canceled_offline_only_where_the_halt_file_lets_nothing_new_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, scope: str, left: str
) -> None:
    (tmp_path / "HALT").write_text(text)
    code, _, said = trimtab(tmp_path, monkeypatch, capsys, "cancel", "--all", "--offline", "--scope", scope)
    assert code == 2
    assert f"the HALT file does not stop {left}: first `trimtab halt {scope} --offline`" in said


def test_3_3_where_the_halt_file_halts_and_no_venue_can_be_asked_the_exit_code_says_that_orders_may_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scope = "portfolio:balanced"
    code, out, said = trimtab(tmp_path, monkeypatch, capsys, "halt", scope, "--offline")
    assert (code, "account alpha: its venue cannot be asked: accounts.alpha.trade" in out) == (1, True)
    assert f"orders may still stand: take them off the book with: trimtab cancel --all --offline --scope {scope}" in said
    code, out, said = trimtab(tmp_path, monkeypatch, capsys, "cancel", "--all", "--offline", "--scope", scope)
    assert (code, "account alpha: its venue cannot be asked: accounts.alpha.trade" in out) == (1, True)
    assert "orders may still stand" in said


def test_3_3_a_freeze_goes_by_the_halt_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = trimtab(tmp_path, monkeypatch, capsys, "freeze", "account:alpha", "--offline", "--why", "a strange market")
    assert (code, f"wrote {tmp_path / 'HALT'}: no new order within account:alpha" in out) == (0, True)
    code, out, _ = trimtab(tmp_path, monkeypatch, capsys, "freeze", "portfolio:even", "--offline")
    assert (tmp_path / "HALT").read_text() == "freeze account:alpha a strange market\nfreeze portfolio:even operator\n"


@pytest.mark.parametrize("words", [("status",), ("limits", "show")])
def test_3_3_what_the_halt_file_stops_is_said_before_anything_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    (tmp_path / "HALT").write_text("account:alpha a key is lost\nfreeze venue:sim a [/strange] market\n")
    code, out, _ = away(tmp_path, monkeypatch, capsys, *words)
    assert code
    assert out.splitlines() == [
        f"HALT file {tmp_path / 'HALT'} on this machine: halt account:alpha: a key is lost",
        f"HALT file {tmp_path / 'HALT'} on this machine: freeze venue:sim: a [/strange] market",
    ]


@pytest.mark.parametrize(
    ("scope", "still"),
    [
        ("all", ["alpha (halt account:alpha: a key is lost)", "beta, gamma (freeze venue:sim: strange)"]),
        ("account:alpha", ["alpha (halt account:alpha: a key is lost)"]),
        ("portfolio:bold", ["gamma (freeze venue:sim: strange)"]),
        ("venue:old", ["venue:old (halt account:alpha: a key is lost)", "venue:old (freeze venue:sim: strange)"]),
    ],
)
def test_3_3_a_resume_says_what_the_halt_file_still_stops_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scope: str, still: list[str]
) -> None:
    """Whether it could be resumed or not: where nothing else is stopped the file is what he looks for."""
    (tmp_path / "HALT").write_text("account:alpha a key is lost\nfreeze venue:sim strange\n")
    code, out, _ = away(tmp_path, monkeypatch, capsys, "resume", scope)
    assert code == 2
    assert out.splitlines() == [
        f"but the HALT file {tmp_path / 'HALT'} still stops {words}: remove that line, or the file, to let orders out"
        for words in still
    ]


def away(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """The same where there is no database, and no key to speak to the broker with."""
    monkeypatch.setenv("TRIMTAB_DEV", "false")
    monkeypatch.setenv("TRIMTAB_DATABASE__URL", "postgresql://127.0.0.1:1/none")
    return trimtab(state_dir, monkeypatch, capsys, *words)


def test_3_3_a_halt_file_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    code, _, said = trimtab(tmp_path / "state", monkeypatch, capsys, "halt", "all", "--offline")
    assert (code, "cannot be written" in said, "nothing is stopped" in said) == (2, True, True)
