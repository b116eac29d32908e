"""The books are a fold of the event log: the log alone rebuilds them, and a checkpoint shortens it."""

from dataclasses import replace

import pytest

from schemas.codec import decode, encode
from schemas.executor import EndedOrder, ExecutorCheckpoint
from schemas.ledger import OrderState
from schemas.orders import AccountHalted, CommandNotAdmitted, OrderClosed, OrderFilled, OrderUnknown, OwnerStarted
from streams.domain.errors import InvariantError
from streams.domain.orders.books import ENDED_MAX, Books, evolve
from streams.domain.orders.checkpoint import _digest, checkpoint, restore, with_command, without_commands
from streams.domain.orders.outcome import Standing, VenueReply
from tests.unit.orders.desk import Desk, cancel, desk, place, trade, view


def busy() -> Desk:
    """A table with an ended, an open, an unknown and a waiting command, a cancel and a halt."""
    table = desk()
    done, client = table.sent(place(1))
    table.accept(done, view(client, "0.1", Standing.FILLED))
    table.look(done, trades=(trade("1"),))
    standing, client = table.sent(place(2, symbol="ETH/USDT"))
    table.accept(standing, view(client, symbol="ETH/USDT"))
    table.command(cancel(standing, 3))
    lost, _ = table.sent(place(4))
    table.reply(lost, VenueReply(http_status=504))
    table.command(place(5))
    refused, _ = table.sent(place(6, symbol="ETH/USDT"))
    table.reply(refused, VenueReply(http_status=401, code="-2014"))
    return table


def without_texts(books: Books) -> Books:
    return replace(books, orders={key: replace(order, command=None) for key, order in books.orders.items()})


def test_given_the_log_when_folded_then_it_gives_the_books_of_its_writer() -> None:
    table = busy()
    rebuilt = Books("alice", epoch=3, opened=True)
    for event in table.events:
        read = decode(event.ce_type(), encode(event))
        assert read == event
        rebuilt = evolve(rebuilt, event)
    assert rebuilt == without_texts(table.state.books)
    for command_id in without_commands(rebuilt):
        text = table.state.books.orders[command_id].command
        rebuilt = with_command(rebuilt, command_id, text)
    assert rebuilt == table.state.books


def test_given_a_checkpoint_when_restored_then_nothing_that_binds_is_lost() -> None:
    table = busy()
    message = checkpoint(table.state.books, "me", 9, 70)
    restored = restore(decode(message.ce_type(), encode(message)))  # type: ignore[arg-type]
    books = table.state.books
    for name in ("orders", "answered", "halts", "totals", "turnover", "opened", "epoch", "commands_next_offset"):
        assert getattr(restored, name) == getattr(books, name), name
    assert set(restored.ended) == set(books.ended)
    assert [command.unknown for command in message.commands].count(True) == 1


def test_given_a_checkpoint_that_was_altered_then_it_is_refused() -> None:
    message = checkpoint(busy().state.books, "me", 9, 70)
    with pytest.raises(InvariantError, match="hash"):
        restore(message.model_copy(update={"commands_next_offset": 3}))
    hollow = message.commands[0].model_copy(update={"state": "{}"})
    altered = message.model_copy(update={"commands": (hollow,)})
    with pytest.raises(InvariantError, match="cannot be read"):
        restore(altered.model_copy(update={"state_sha256": _digest(altered)}))


class LaterOrder(EndedOrder):
    """What a later version remembers of an ended order: one thing more."""

    kind: str = "limit"


class LaterCheckpoint(ExecutorCheckpoint):
    """A later version's checkpoint, which knows one field more."""

    ended: tuple[LaterOrder, ...] = ()
    tomorrow: dict[str, str] = {}


def test_given_a_checkpoint_of_an_older_version_then_a_later_one_that_knows_more_fields_restores_it() -> None:
    """Found once: its hash was wrong as soon as a field came to the message, and no account could be taken over any more."""
    message = checkpoint(busy().state.books, "me", 9, 70)
    later = LaterCheckpoint.model_validate_json(encode(message))
    assert later.ended
    assert restore(later) == restore(message)


def test_given_events_of_a_former_owner_then_they_change_nothing() -> None:
    table = busy()
    books = evolve(table.state.books, OwnerStarted(account="alice", epoch=9, at_ms=1, owner="next"))
    for event in table.events:
        assert evolve(books, event) is books
    assert evolve(books, OwnerStarted(account="alice", epoch=10, at_ms=1, owner="last")).epoch == 10


def test_given_a_log_that_contradicts_itself_then_it_is_refused() -> None:
    table = desk()
    command, _ = table.sent()
    admitted, intended = table.events[0], table.events[1]
    with pytest.raises(InvariantError, match="admitted twice"):
        evolve(table.state.books, admitted)
    absent = replace(table.state.books.orders[command], state=OrderState.ABSENT)
    over = replace(table.state.books, orders={command: absent})
    with pytest.raises(InvariantError, match="attempt 3 follows 1"):
        evolve(over, intended.model_copy(update={"attempt": 3}))
    stray = OrderUnknown(**({name: getattr(intended, name) for name in _ABOUT} | {"command_id": "f" * 32}), cause="x")
    with pytest.raises(InvariantError, match="not open"):
        evolve(table.state.books, stray)


_ABOUT = ("account", "epoch", "at_ms", "portfolio", "command_id", "symbol", "attempt", "client_order_id")


def test_given_the_same_fill_twice_then_it_counts_once() -> None:
    table = busy()
    (fill,) = table.said(OrderFilled)
    assert evolve(table.state.books, fill) == table.state.books
    forgotten = fill.model_copy(update={"trade_id": "2", "client_order_id": "z" * 26, "command_id": "f" * 32})
    later = evolve(table.state.books, forgotten)
    assert later == table.state.books  # it belongs to nothing that is remembered: posted nowhere


def test_given_a_refused_command_of_another_incarnation_then_the_mark_stays() -> None:
    table = desk()
    table.command(place(7))
    table.halt_file = "x"
    table.command(place(1, incarnation="1" * 32))
    assert len(table.said(CommandNotAdmitted)) == 1
    assert table.state.books.answered["main"].decision_number == 7
    table.halt_file = None
    table.allow(incarnation="1" * 32)
    table.command(place(2, incarnation="1" * 32))
    assert table.state.books.answered["main"].incarnation == "1" * 32


def test_given_a_command_refused_because_control_was_not_heard_yet_when_it_comes_again_then_it_is_a_repeat() -> None:
    """Found once: a fold that had heard of its new incarnation first was refused, and its command, published again after a
    crash, was admitted: two answers to one command, at which the ledger stops."""
    table = desk()
    table.command(place(7))
    early = place(1, incarnation="1" * 32)
    table.command(early)
    assert [event.cause for event in table.said(CommandNotAdmitted)] == ["wrong_incarnation"]
    after = desk(restore(checkpoint(table.state.books, "me", 9, 70)))
    after.allow(incarnation="1" * 32, former=frozenset({"0" * 32}))
    after.command(early)
    assert after.story(early.command_id) == []
    after.command(place(1, 1, incarnation="1" * 32))
    assert after.state.books.answered["main"].ordinal == 1
    assert not after.state.books.refused_early
    after.command(early)
    assert after.story(early.command_id) == []


def test_given_many_ended_orders_then_only_the_newest_are_remembered() -> None:
    books = Books("alice", epoch=3, opened=True)
    table = desk(books)
    command, client = table.sent()
    table.accept(command, view(client, "0", Standing.EXPIRED))
    (closed,) = table.said(OrderClosed)
    full = {f"{n}": replace(table.state.books.ended[client], client_order_id=f"{n}") for n in range(2 * ENDED_MAX)}
    crowded = replace(table.state.books, ended=full)
    again = desk(crowded)
    other, _ = again.sent(place(8))
    again.accept(other, view(again.intended(other), "0", Standing.EXPIRED))
    assert len(again.state.books.ended) == ENDED_MAX
    assert again.said(OrderClosed)[0].client_order_id in again.state.books.ended
    assert closed


def test_given_a_halt_in_the_log_then_the_books_carry_it() -> None:
    halt = AccountHalted(account="alice", epoch=3, at_ms=1, portfolio="main", halt_id="d" * 32, cause="x")
    assert evolve(Books("alice", epoch=3), halt).halts == {"d" * 32: "x"}
