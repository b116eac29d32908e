"""2.1, 2.4: how an owner comes to know its account's past, and when it may call it its own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.orders import ExecutionEvent, OwnerStarted
from streams.agents.executor.takeover import SLICE, Past, announce, claim, commands_from, read_past
from streams.domain.ids import client_order_id
from streams.domain.orders.books import Books, evolve
from streams.domain.orders.checkpoint import checkpoint
from streams.ports.database import Lease
from streams.ports.log import Record
from streams.topics import ORDERS_COMMANDS
from tests.examples import example
from tests.unit.executor.memory import Broker, MemoryLog
from tests.unit.executor.test_parts import ACCOUNT, PARTITION, near, publish


async def test_2_1_given_our_own_epoch_announced_by_another_before_us_then_we_do_not_own(tmp_path: Path) -> None:
    """A lease row that was lost twice gives one epoch to two owners: whoever comes second in the log must not own."""
    around, broker, _, _ = near(tmp_path)
    past = Past(Books(ACCOUNT), 0, False)
    claimed = await claim(around, ACCOUNT, None, past)
    assert claimed is not None
    publish(broker, [OwnerStarted(account=ACCOUNT, epoch=claimed.epoch, at_ms=1, owner="twin")])
    assert await announce(around, ACCOUNT, claimed, past) is None


@pytest.mark.parametrize("lives", [20, 2000])
async def test_2_4_given_a_checkpoint_then_what_is_read_does_not_grow_with_the_past(tmp_path: Path, lives: int) -> None:
    """Records read, not time: the checkpoint and the events behind it, however long the past is."""
    around, broker, _, _ = near(tmp_path)
    events = _past(lives)
    books = Books(ACCOUNT)
    for event in events:
        books = evolve(books, event)
    tail = _past(lives + 5)[len(events) :]
    publish(broker, [*events, checkpoint(books, "x", 1, len(events)), *tail])
    for event in tail:
        books = evolve(books, event)
    read = Counting(broker)
    past = await read_past(replace(around, log=read), ACCOUNT, Lease("r", "x", 1, 0, len(events)))
    claimed = await claim(around, ACCOUNT, None, past)
    assert claimed is not None
    settled = await announce(replace(around, log=read), ACCOUNT, claimed, past)
    assert settled is not None
    assert settled.books == replace(books, epoch=claimed.epoch, ended=settled.books.ended)
    assert list(settled.books.ended) == list(books.ended)[-len(settled.books.ended) :]
    assert read.records == 1 + len(tail) + 1  # the checkpoint, the tail, our own OwnerStarted


async def test_2_4_given_a_checkpoint_of_a_hash_that_is_not_its_own_then_all_is_read(tmp_path: Path) -> None:
    """The log holds the truth in any case: a version that reads a checkpoint in another way goes on all the same."""
    around, broker, _, _ = near(tmp_path)
    events = _past(20)
    books = Books(ACCOUNT)
    for event in events:
        books = evolve(books, event)
    wrong = checkpoint(Books(ACCOUNT, epoch=9), "x", 1, len(events)).model_copy(update={"commands_next_offset": 7})
    publish(broker, [*events, wrong])
    past = await read_past(around, ACCOUNT, Lease("r", "x", 1, 0, len(events)))
    assert past == Past(books, len(events) + 1, True)


async def test_2_4_given_no_checkpoint_then_a_long_past_is_read_in_slices(tmp_path: Path) -> None:
    """A lost lease row makes an owner read everything: never more at once than memory is there for."""
    around, broker, _, _ = near(tmp_path)
    events = _past(4000)
    publish(broker, events)
    read = Counting(broker)
    past = await read_past(replace(around, log=read), ACCOUNT, None)
    assert (past.next_offset, past.checkpointed, past.books.orders) == (len(events), False, {})
    assert [mark.decision_number for mark in past.books.answered.values()] == [4000]
    assert (read.records, read.records_max) == (len(events), SLICE)


@pytest.mark.parametrize(
    ("checkpointed", "next_offset", "begin", "start"),
    [
        (True, 7, 0, 7),
        (False, 7, 0, 7),
        (False, 0, 5, 5),  # nobody answered anything yet
        (True, 0, 5, 5),  # no command for so long that the others' of its partition are gone
        (True, 7, 20, 20),
    ],
)
async def test_2_4_given_commands_that_are_gone_by_age_then_an_owner_begins_with_what_is_still_there(
    tmp_path: Path, checkpointed: bool, next_offset: int, begin: int, start: int
) -> None:
    """Found once: an account without a command for the topic's whole retention could never be taken over again."""
    around, broker, _, _ = near(tmp_path)
    broker.begins[ORDERS_COMMANDS, PARTITION] = begin
    past = Past(Books(ACCOUNT, commands_next_offset=next_offset), 3, checkpointed)
    assert await commands_from(around, past) == (PARTITION, start)


class Counting(MemoryLog):
    """Counts the records that are read, in all and at most at once."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.records = 0
        self.records_max = 0

    async def read(self, topic: str, partition: int, offset_from: int, offset_to: int) -> Sequence[Record]:
        found = await super().read(topic, partition, offset_from, offset_to)
        self.records += len(found)
        self.records_max = max(self.records_max, len(found))
        return found


def _past(lives: int) -> list[ExecutionEvent]:
    """An owner, and so many orders that were intended and rejected."""
    told: list[ExecutionEvent] = [OwnerStarted(account=ACCOUNT, epoch=1, at_ms=1, owner="x")]
    for number in range(1, lives + 1):
        about = {"account": ACCOUNT, "epoch": 1, "at_ms": 1, "command_id": f"{number:032x}"}
        attempt = about | {"attempt": 1, "client_order_id": client_order_id(f"{number:032x}", 1)}
        told += [
            example("orders.admitted").model_copy(update=about | {"decision_number": number, "commands_offset": number}),
            example("orders.intended").model_copy(update=attempt),
            example("orders.rejected").model_copy(update=attempt),
        ]
    return told
