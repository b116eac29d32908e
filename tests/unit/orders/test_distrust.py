"""2.3: records whose author proved nothing are told of in few words, and leave no mark."""

from schemas.orders import CommandsDistrusted
from streams.domain.orders.distrust import TELL_EVERY_MS
from streams.domain.orders.stimuli import CommandDistrusted, Remark
from tests.unit.orders.desk import Desk, desk, place


def doubt(table: Desk, offset: int, cause: str = "unsigned", detail: str = "it carries no signature") -> None:
    table.put(CommandDistrusted, offset=offset, cause=cause, detail=detail)


def test_the_first_one_is_told_at_once_and_marks_nothing_but_its_offset() -> None:
    table = desk()
    doubt(table, 0)
    (told,) = table.said(CommandsDistrusted)
    assert (told.causes, told.offset_from, told.offset_to) == ({"unsigned": 1}, 0, 1)
    assert told.detail == "it carries no signature"
    assert [remark.kind for remark in table.asked(Remark)] == ["commands_distrusted"]
    assert (table.state.books.commands_next_offset, table.state.books.answered, table.state.books.orders) == (1, {}, {})


def test_a_flood_is_told_together_when_it_is_time() -> None:
    table = desk()
    for offset in range(100):
        doubt(table, offset, "unsigned" if offset % 2 else "bad_signature", f"number {offset}")
    assert len(table.said(CommandsDistrusted)) == 1
    table.wait_until_due()
    _, rest = table.said(CommandsDistrusted)
    assert (rest.causes, rest.offset_from, rest.offset_to) == ({"unsigned": 50, "bad_signature": 49}, 1, 100)
    assert rest.detail == "number 1"
    table.wait(TELL_EVERY_MS)
    assert len(table.said(CommandsDistrusted)) == 2


def test_a_record_that_was_passed_already_is_not_told_again() -> None:
    table = desk()
    doubt(table, 4)
    table.wait(TELL_EVERY_MS)
    doubt(table, 3)
    table.wait(TELL_EVERY_MS)
    assert len(table.said(CommandsDistrusted)) == 1


def test_what_a_stranger_claims_does_not_answer_the_command_of_its_author() -> None:
    table = desk()
    command = place()
    doubt(table, 0)
    table.command(command, 1)
    assert table.story(command.command_id)[:2] == ["admitted", "intended"]
