"""6.4 and 7.6: benchmarks run in their short form and print their lines, each with a baseline and its limits.

Most start a whole installation, so `make test` runs three of them; the long form (`make crash-parts`) runs all.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LINES = {
    "fold": ["fold: market batches a CPU second, no decision", "fold: market batches a CPU second, with exact decisions"],
    "wire": ["decision to request on the wire"],
    "orders": ["orders a second, the order path alone"],
    "budget": ["the request budget, while there is more demand than it allows"],
    "throughput": ["orders a second, the whole flow, everything durable, budget lifted", "memory of each role"],
    "halt": ["halt to the last order"],
    "journal": ["the journal at 80 portfolios over 8 shards"],
    "start": ["cold start to the first decision"],
    "recovery": [
        "kill -9 to the next new output",
        "kill -9 of the executor to the proof of inherited orders of unknown fate",
    ],
    "takeover": ["executor: start to the first request, by the length of the past"],
    "verify": ["verify: a history of 100,000 messages"],
}
NAMES = tuple(LINES) if os.environ.get("TRIMTAB_TEST_LONG") == "1" else ("fold", "wire", "verify")
PARTS = ("  measured  ", "  baseline  ", "  what limits it  ", "  not shown  ")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_prints_its_lines(name: str, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    own = {key: value for key, value in os.environ.items() if key not in ("KAFKA", "DATABASE_URL", "VERIFY")}

    done = subprocess.run(
        [sys.executable, "-m", "bench", name, "--report", str(report)],
        cwd=ROOT,
        env={**own, "BENCH_SECONDS": "2"},
        capture_output=True,
        text=True,
        timeout=390,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.splitlines()
    assert [line for line in printed if line in LINES[name]] == LINES[name]
    assert [sum(line.startswith(part) for line in printed) for part in PARTS] == [len(LINES[name])] * len(PARTS)
    assert "nothing was measured" not in done.stdout
    assert all(f"## {line}" in report.read_text() for line in LINES[name])


def test_an_unknown_benchmark_is_refused() -> None:
    done = subprocess.run([sys.executable, "-m", "bench", "speed"], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 2
    assert "not a benchmark" in done.stderr
