"""2.2, 6.1: how many pauses the long form has, what its report says of their conditions, and what all reports come to."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from bench.report import commit
from tests.crash.executor.pauses import CLOCKS, HEALTHY, ONE_TURN, RIGHT, long_plans, over_all
from tests.crash.executor.tally import EVIDENCE, Tally, conditions
from tests.crash.executor.verdict import Verdict


@pytest.mark.parametrize("pauses", [ONE_TURN, ONE_TURN + 1, 400])
def test_the_long_form_has_as_many_pauses_as_are_asked_for(pauses: int) -> None:
    plans = long_plans(3, pauses)
    asleep = [round_ for plan in plans for round_ in plan if round_.point is not None]
    assert len(asleep) == pauses
    assert {round_.kind for round_ in RIGHT} <= {round_.kind for round_ in asleep}
    assert Counter(round_.turned is not None for round_ in asleep)[True] >= len(CLOCKS)
    assert all(plan[-len(HEALTHY) :] == HEALTHY for plan in plans)


def test_a_turn_of_all_lanes_has_every_point_with_each_kind_of_clocks() -> None:
    turned = [(round_.kind, round_.point) for plan in long_plans(3, ONE_TURN) for round_ in plan if round_.turned is not None]
    assert sorted(turned) == sorted((round_.kind, round_.point) for round_ in CLOCKS)


def test_the_conditions_name_the_lanes_figures_beside_the_products() -> None:
    said = conditions(window_ms=900)
    assert "lease_ttl_ms 2000 (product: 5000)" in said
    assert "window_ms 900 (product: 2000)" in said
    assert "clock_offset_ms_max 60000 (product: 500)" in said


def told(pauses: int, **figures: int) -> str:
    tally = Tally()
    for _ in range(pauses):
        tally.add("after_check", Verdict(accepted=5))
    tally.add("after_check", Verdict(**figures))
    awake = Tally()
    awake.add("bytes held", Verdict(late=7))
    return "\n\n".join([f"{pauses + 1} pauses:", tally.table("stopped at"), "Not asleep:", awake.table("what happened")])


def test_6_1_the_pauses_of_all_reports_add_up(tmp_path: Path) -> None:
    (tmp_path / "pauses-2026-01-01.md").write_text(told(99))
    (tmp_path / "pauses-2026-01-02.md").write_text(told(9, late=1))
    (tmp_path / "bench-2026-01-02.md").write_text("# Benchmarks")
    sent = "- sends by former owners (accepted after a later OwnerStarted, the intent not below it): 2"
    (tmp_path / "crash-2026-01-03.md").write_text(f"- rounds: 120\n- pauses: 54\n{sent}\n")
    assert over_all(tmp_path, "pauses-2026-01-02.md", 400, 0) == (
        "Over all reports, with this one: 554 pauses (400 in pauses-2026-01-02.md, 54 in crash-2026-01-03.md, "
        "100 in pauses-2026-01-01.md), 2 accepted after a take-over (target: 0 in 500)."
    )
    (tmp_path / "crash-2026-01-03.md").unlink()
    assert ", 1 accepted after a take-over" in over_all(tmp_path, "pauses-2026-01-09.md", 1, 0)


def test_6_1_the_committed_reports_can_be_added_up() -> None:
    reports = [path.name for form in ("pauses", "crash") for path in EVIDENCE.glob(f"{form}-*.md")]
    said = over_all(EVIDENCE, "pauses-9999-01-01.md", 1, 0)
    assert reports
    assert [name for name in reports if not re.search(rf"\b[1-9]\d* in {re.escape(name)}\b", said)] == []


def test_6_1_a_report_of_a_changed_tree_says_so(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True, capture_output=True
        )

    assert commit(tmp_path) == "unknown"
    git("init", "-q")
    (tmp_path / "docs" / "evidence").mkdir(parents=True)
    code, evidence = tmp_path / "code.py", tmp_path / "docs" / "evidence" / "kills.md"
    code.write_text("one")
    evidence.write_text("one")
    git("add", "-A")
    git("commit", "-qm", "one")
    clean = commit(tmp_path)
    evidence.write_text("two")
    assert commit(tmp_path) == clean
    assert "dirty" not in clean
    code.write_text("two")
    assert commit(tmp_path) == f"{clean}-dirty"
    git("add", "-A")
    assert commit(tmp_path) == f"{clean}-dirty"
