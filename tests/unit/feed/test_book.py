"""A book is in sequence and exact, or it is empty."""

from decimal import Decimal

import pytest

from streams.domain.intake.book import DepthBook

D = Decimal


@pytest.fixture
def book() -> DepthBook:
    made = DepthBook()
    assert made.snapshot(10, [["100.10", "1"], ["99", "0.00000001"]], [["101", "3"], ["102", "4"]])
    return made


def test_a_snapshot_is_the_book_best_first(book: DepthBook) -> None:
    bids, asks = book.best(1)
    assert (bids, asks) == (((D("100.1"), D(1)),), ((D(101), D(3)),))


def test_a_change_sets_and_removes_levels(book: DepthBook) -> None:
    assert book.change(11, 12, [["100.10", "0"], ["100.05", "7"]], [["101", "2"], ["150", "0"]])
    assert book.sequence == 12
    assert book.best(9) == (((D("100.05"), D(7)), (D(99), D("1E-8"))), ((D(101), D(2)), (D(102), D(4))))


def test_a_repeat_changes_nothing(book: DepthBook) -> None:
    assert book.change(9, 10, [["100.10", "0"]], [])
    assert book.best(1)[0][0][0] == D("100.1")


def test_a_gap_empties_the_book_until_a_snapshot_bridges_it(book: DepthBook) -> None:
    assert not book.change(12, 13, [], [["101", "9"]])
    assert book.sequence is None
    assert book.best(5) == ((), ())
    assert not book.change(14, 15, [["100", "5"]], [])
    assert not book.snapshot(10, [["1", "1"]], [["2", "1"]]), "older than what waits"
    assert book.snapshot(13, [["100", "1"]], [["101", "9"]])
    assert book.sequence == 15
    assert book.best(1)[0] == ((D(100), D(5)),)


def test_changes_that_wait_are_bridged_when_the_snapshot_falls_inside_one() -> None:
    book = DepthBook()
    assert not book.change(5, 8, [["1", "1"]], [])
    assert not book.change(9, 9, [["1", "2"]], [["3", "1"]])
    assert book.snapshot(6, [["1", "9"]], [["3", "9"]])
    assert book.sequence == 9
    assert book.best(1) == (((D(1), D(2)),), ((D(3), D(1)),))


def test_a_gap_among_the_waiting_changes_asks_for_another_snapshot() -> None:
    book = DepthBook()
    book.change(5, 5, [["1", "1"]], [])
    book.change(8, 9, [["1", "2"]], [])
    assert not book.snapshot(4, [["1", "9"]], [["3", "9"]])
    assert book.sequence is None
    assert book.snapshot(8, [["1", "9"]], [["3", "9"]])
    assert book.sequence == 9


@pytest.mark.parametrize(
    ("first", "last", "bids"),
    [
        (None, 12, []),
        (11, "12", []),
        (True, 12, []),
        (-1, 12, []),
        (12, 11, []),
        (11, 12, None),
        (11, 12, ["x"]),
        (11, 12, [["1"]]),
        (11, 12, [["NaN", "1"]]),
        (11, 12, [["0", "1"]]),
        (11, 12, [["-1", "1"]]),
        (11, 12, [["1", "-1"]]),
        (11, 12, [[1.5, "1"]]),
    ],
)
def test_a_change_that_makes_no_sense_empties_the_book(book: DepthBook, first: object, last: object, bids: object) -> None:
    with pytest.raises(ValueError):
        book.change(first, last, bids, [])  # pyright: ignore[reportArgumentType]
    assert book.sequence is None
    assert book.best(1) == ((), ())


def test_memory_is_bounded_on_both_sides_and_in_waiting() -> None:
    book = DepthBook(waiting_max=2, levels_max=3)
    for number in range(1, 6):
        book.change(number, number, [[str(number), "1"]], [])
    assert not book.snapshot(1, [["9", "1"]], [["10", "1"]]), "changes 2 and 3 were not kept"
    assert book.snapshot(5, [["9", "1"]], [["10", "1"]])
    for number in range(6, 40):
        book.change(number, number, [[str(number), "1"]], [[str(100 + number), "1"]])
    bids, asks = book.best(1000)
    assert len(bids) <= 6
    assert len(asks) <= 6
    assert bids[0][0] == 39
    assert asks[0][0] == 10
