"""7.5: a skip is printed, and one that is not on the list fails the run."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

SKIPS = """
import pytest

@pytest.mark.skip(reason="no time")
def test_skipped():
    pass

def test_passes():
    pass
"""


def run(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A pytest of its own over two tests, with this project's rule for skips."""
    (tmp_path / "test_two.py").write_text(SKIPS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    return subprocess.run([*command, *options, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_unlisted_skip_fails_the_run_and_is_named(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert "1 passed, 1 skipped" in done.stdout
    assert "SKIP NOT LISTED in pyproject.toml [tool.trimtab] skips: test_two.py::test_skipped" in done.stdout


def test_run_without_skips_succeeds(tmp_path: Path) -> None:
    done = run(tmp_path, "-k", "passes")
    assert done.returncode == 0, done.stdout + done.stderr


def test_listed_skip_succeeds(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "from tests import conftest\n"
        'conftest.skips_listed = lambda: [{"test": "test_two.py::test_skip*", "reason": "no time"}]\n'
    )
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
