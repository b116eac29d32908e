"""7.1, 5: what a new user does first. The demo runs as a command of its own, on servers of its own."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HANG_S = 400
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("TRIMTAB_")}


def _demo(*words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "streams", "demo", *words]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.timeout(HANG_S)
def test_7_1_the_demo_rebalances_every_portfolio_and_ends_by_itself_with_a_verified_summary():
    said = ""
    with _demo("--for", "60") as demo:
        assert demo.stdout is not None
        while "ready; in another terminal" not in said:
            line = demo.stdout.readline()
            assert line, said
            said += line
        _operate(re.search(r"terminal: \. (\S+) &&", said))
        said += demo.stdout.read()
    assert demo.returncode == 0, said
    filled = {
        name: int(count) for name, count in re.findall(r"^  (\w+) +\d+ decisions, (\d+) filled orders", said, re.MULTILINE)
    }
    assert set(filled) == {"balanced", "bold", "even"}, said
    assert min(filled.values()) >= 1, said
    assert re.search(r"first decision   BTC [+-][\d.]+ % to [\d.]+, ETH .* since START: \w+ drifted [+-]0\.\d+ points in", said)
    assert re.search(r"shortfall        [+-][\d.]+ bp .* n = \d+ orders", said)
    assert "simulated fills" in said
    assert "verified         all checks passed" in said


def _operate(environment: "re.Match[str] | None") -> None:
    """3.1, 3.3: what an operator says and asks in another terminal while the demo trades."""
    assert environment is not None

    def trimtab(*words: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", f". {environment[1]} && trimtab {shlex.join(words)}"],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    frozen = re.match(r"freeze ([0-9a-f]{32}) within portfolio:even", trimtab("freeze", "portfolio:even", "--why", "a test"))
    assert frozen is not None
    shown = trimtab("limits", "show")
    assert "of 100000" in shown
    assert re.search(rf"{frozen[1]} .* portfolio:even +freeze by .*: a test", shown), shown
    assert trimtab("resume", "portfolio:even") == f"resumed portfolio:even: {frozen[1]}\n"
    assert "asked to cancel every open order within account:alpha" in trimtab("cancel", "--all", "--scope", "account:alpha")
    assert "Unknown orders" in trimtab("unknown", "list")


@pytest.mark.timeout(HANG_S)
def test_5_an_interrupt_before_the_demo_is_ready_leaves_nothing_behind():
    demo = _demo()
    assert demo.stdout is not None
    lines: list[str] = []
    while not any("PostgreSQL" in line for line in lines):
        lines.append(demo.stdout.readline())
        assert lines[-1], "".join(lines)
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, said
    assert "stopped before it was ready" in said
    assert "Traceback" not in said
    left = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    mine = [line for line in left.splitlines() if "/demo/" in line and str(demo.pid) in line.split()[1:2]]
    assert mine == []
