"""5: a command that fails within a flow ends the flow as it ended itself; an operator has the commands at hand."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams.domain.errors import RefusedError, TrimtabError
from streams.local.flow import Flow, VenuePlan, failure

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("exit_code", "as_whole"), [(1, 1), (2, 2), (70, 70), (75, 75), (71, 1), (-9, 1)])
def test_5_the_exit_code_of_a_command_is_kept(exit_code: int, as_whole: int):
    error = failure(("verify",), exit_code, "I1 violated\n")
    assert error.exit_code == as_whole
    assert str(error) == f"trimtab verify: exit {exit_code}\nI1 violated\n"


def test_5_a_violation_is_no_refusal():
    """`trimtab demo` whose verify finds a violation ended as if its settings were wrong."""
    assert not isinstance(failure(("verify",), 1, ""), RefusedError)


def test_5_a_command_that_is_refused_is_refused_within_a_flow(tmp_path: Path):
    place = SimpleNamespace(environment={}, settings_file=tmp_path / "trimtab.toml")
    with pytest.raises(TrimtabError, match="config: exit 2\nUsage: ") as refused:
        Flow.trimtab(place, "config")  # type: ignore[arg-type]  what it needs of a flow
    assert refused.value.exit_code == 2


def test_the_environment_file_makes_trimtab_a_command_in_another_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/trimtab")
    flow = Flow(tmp_path, ROOT / "trimtab.toml", VenuePlan(start_ms=1_722_816_000_000))
    command = f". {flow.write_environment()} && trimtab --version"
    done = subprocess.run(["/bin/sh", "-c", command], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.stdout.startswith("trimtab"), done.stderr
