"""The opening of an account, and what regular snapshots show."""

from decimal import Decimal
from typing import Any

from schemas.orders import AccountHalted, AccountOpened, CommandNotAdmitted, OrderFilled
from streams.domain.orders.books import Books
from streams.domain.orders.outcome import Standing
from streams.domain.orders.stimuli import Remark, Snapshot, SnapshotRead
from tests.unit.orders.desk import WALL_MS, Desk, desk, place, trade, view

HOLDINGS = {"BTC": Decimal(1), "USDT": Decimal(50_000), "DUST": Decimal(0)}


def show(table: Desk, **changes: Any) -> None:
    """The account as the venue shows it now."""
    fields: dict[str, Any] = {
        "venue_time_ms": table.wall_ms,
        "since_ms": WALL_MS - 1000,
        "totals": HOLDINGS,
        "open_orders": (),
        "trades": (),
    }
    table.put(SnapshotRead, snapshot=Snapshot(**(fields | changes)), asked_boot_ms=table.boot_ms)


def closed() -> Desk:
    return desk(Books("alice", epoch=3))


def test_given_two_equal_snapshots_far_enough_apart_then_the_account_opens_once() -> None:
    table = closed()
    table.command(place())
    assert table.said(CommandNotAdmitted)[0].cause == "not_opened"
    show(table)
    table.wait(4999)
    show(table)
    assert not table.said(AccountOpened)
    table.wait(1)
    show(table)
    (opened,) = table.said(AccountOpened)
    assert opened.totals == {"BTC": 1, "USDT": 50_000}
    assert (opened.portfolio, opened.venue, opened.venue_time_ms) == ("main", "sim", table.wall_ms)
    table.wait(5000)
    show(table)
    assert len(table.said(AccountOpened)) == 1


def test_given_anything_between_two_snapshots_then_the_opening_starts_anew() -> None:
    for between in (
        {"totals": {"BTC": Decimal(2)}},
        {"open_orders": (view("x"),)},
        {"trades": (trade("1", venue_time_ms=WALL_MS),)},
        {"since_ms": WALL_MS + 1},
    ):
        table = closed()
        show(table)
        table.wait(5000)
        show(table, **between)
        assert not table.said(AccountOpened), between
        table.wait(2500)
        show(table)
        table.wait(2500)
        assert not table.said(AccountOpened), between


def test_given_no_portfolio_for_the_account_then_it_stays_closed() -> None:
    table = closed()
    table.allow(portfolio=None)
    show(table)
    table.wait(5000)
    show(table)
    assert not table.said(AccountOpened)


def test_given_an_order_with_an_id_of_ours_that_nobody_knows_then_a_second_sight_halts() -> None:
    table = desk(Books("alice", epoch=3, opened=True, totals=HOLDINGS))
    stranger = view("a" * 26)
    show(table, open_orders=(stranger, view("by-hand")))
    assert not table.said(AccountHalted)
    show(table, open_orders=())
    show(table, open_orders=(stranger,))
    assert not table.said(AccountHalted)
    show(table, open_orders=(stranger,))
    (halted,) = table.said(AccountHalted)
    assert (halted.cause, halted.detail) == ("unknown_client_order_id", "a" * 26)
    show(table, open_orders=(stranger,))
    assert len(table.said(AccountHalted)) == 1
    table.allow(portfolio=None)
    show(table, open_orders=(view("c" * 26),))
    show(table, open_orders=(view("c" * 26),))
    assert len(table.said(AccountHalted)) == 1


def test_given_an_order_of_ours_on_the_book_then_nothing_is_odd() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client))
    for _ in range(2):
        show(table, open_orders=(view(client),))
    assert not table.said(AccountHalted)


def test_given_a_trade_of_an_open_order_then_it_is_booked_once() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client))
    for _ in range(2):
        show(table, trades=(trade("1", "0.02"),))
    assert [fill.command_id for fill in table.said(OrderFilled)] == [command]


def test_given_a_trade_after_the_orders_end_then_it_is_booked_to_it_and_remarked() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client, "0", Standing.EXPIRED))
    for _ in range(2):
        show(table, trades=(trade("1", "0.02"),))
    (fill,) = table.said(OrderFilled)
    assert (fill.command_id, fill.client_order_id, fill.attempt) == (command, client, 1)
    assert table.state.books.ended[client].filled_base == Decimal("0.02")


def test_given_quiet_books_that_differ_from_the_venue_then_it_is_remarked() -> None:
    table = closed()
    show(table)
    table.wait(5000)
    show(table)
    show(table)
    assert not table.asked(Remark)
    table.wait(5001)
    show(table, totals={"BTC": Decimal("1.5"), "USDT": Decimal(50_000)})
    (remark,) = table.asked(Remark)
    assert (remark.kind, remark.detail) == ("balance_differs", "BTC: the venue holds 1.5, the books say 1")


def test_given_fills_then_the_books_follow_them_exactly() -> None:
    table = closed()
    show(table)
    table.wait(5000)
    show(table)
    table.refresh()
    command, client = table.sent(place(quantity_base="0.1"))
    shown = view(client, "0.1", Standing.FILLED, venue_time_ms=table.wall_ms)
    table.accept(command, shown)
    table.look(command, trades=(trade("1", "0.1"),))
    totals = table.state.books.totals
    assert (totals["BTC"], totals["USDT"]) == (Decimal("1.0999"), Decimal(48_000))
