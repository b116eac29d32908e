"""4.3: the table of faults is checked against what it names."""

from dataclasses import replace
from pathlib import Path

import pytest

from streams.simulator.faults import Fault
from tests import faults


def test_4_3_every_fault_has_a_row_and_every_row_its_test() -> None:
    assert faults.problems() == []
    assert all(row.test in faults.page() for row in faults.ROWS)


def test_4_3_a_row_without_its_test_and_a_fault_without_its_row_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, *others = faults.ROWS
    monkeypatch.setattr(faults, "ROWS", (replace(first, test="test_that_is_gone", switches=()), *others))
    told = faults.problems()
    assert [word in line for word, line in zip(("test_that_is_gone", Fault.REPLY_LOST.value), told, strict=True)] == [
        True,
        True,
    ]
    with pytest.raises(ValueError, match="test_that_is_gone"):
        faults.page()
    assert len(faults.problems(tmp_path)) == len(faults.ROWS) + 1  # no test file, no test
