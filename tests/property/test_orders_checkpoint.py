"""2.4: a checkpoint anywhere in any history, written and read, and the events behind it, give the books of the whole log."""

from dataclasses import fields, replace

import pytest

from schemas.codec import decode, encode
from schemas.executor import ExecutorCheckpoint
from schemas.orders import AccountHalted, ExecutionEvent, FlowObserved
from streams.domain.orders.books import Books, evolve
from streams.domain.orders.checkpoint import ENDED_KEPT, checkpoint, restore
from streams.lab.plan import plan
from streams.lab.world import World

RARE = {"account", "reconciled_ms", "forgotten_ms", "refused_early", "foreign_orders"}
"""Told in other tests: what is there from the start, what no event sets, and what no history has yet."""
SEEDS = (1, 2, 5)
CUTS = 23
"""A checkpoint is made after each so many events, and after rare ones."""


def history(seed: int) -> dict[str, list[ExecutionEvent]]:
    """All events of each account in one history of the simulation: fills, halts, flows, owners, cancels under the HALT file."""
    world = World(plan(seed, 150))
    assert world.play().violation is None
    return {account: [written.event for written in log.events] for account, log in world.logs.items()}


def through_a_checkpoint(books: Books, offset: int) -> Books:
    message = checkpoint(books, "one", 1, offset)
    read = decode(message.ce_type(), encode(message))
    assert isinstance(read, ExecutorCheckpoint)
    return restore(read)


@pytest.mark.parametrize("seed", SEEDS)
def test_2_4_books_through_a_checkpoint_are_the_books_of_the_log(seed: int) -> None:
    compared = 0
    for account, events in history(seed).items():
        whole, restored = Books(account), dict[int, Books]()
        for offset, event in enumerate(events):
            if offset % CUTS == 0 or isinstance(events[offset - 1], FlowObserved | AccountHalted):
                restored[offset] = through_a_checkpoint(whole, offset)
                assert alike(restored[offset], whole)
            whole = evolve(whole, event)
            restored = {cut: evolve(books, event) for cut, books in restored.items()}
        for cut, books in restored.items():
            assert alike(books, whole), f"{account}: other books after a checkpoint at {cut} of {len(events)} events"
            compared += 1
    assert compared > 10


def test_2_4_histories_say_something_of_nearly_everything_that_a_checkpoint_keeps() -> None:
    """A check that cannot fail is a defect: a field that is never set could be lost without a word."""
    said: set[str] = set()
    for seed in SEEDS:
        for account, events in history(seed).items():
            books, empty = Books(account), Books(account)
            for event in events:
                books = evolve(books, event)
                said |= {field.name for field in fields(Books) if getattr(books, field.name) != getattr(empty, field.name)}
    assert {field.name for field in fields(Books)} - said == RARE


def alike(books: Books, whole: Books) -> bool:
    """Equal in every field; of ended orders as many as a checkpoint keeps, the newest."""
    kept = dict(list(whole.ended.items())[-len(books.ended) :]) if books.ended else {}
    assert len(kept) >= min(ENDED_KEPT, len(whole.ended))
    return books == replace(whole, ended=kept, forgotten_ms=books.forgotten_ms)
