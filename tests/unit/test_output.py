"""What people wrote stands in a table as they wrote it."""

import pytest

from streams.cli import output


@pytest.mark.parametrize(
    "reason", ["freeze by x: a [/strange] market", "halt by x: [red]pager[/red] rang", "[TICKET-1] a test"]
)
def test_a_reason_in_brackets_is_shown_and_is_no_markup(capsys: pytest.CaptureFixture[str], reason: str) -> None:
    output.console().print(output.table("Halts that stand", ("cause",), [(reason,)]))
    assert reason in capsys.readouterr().out
