"""1.3: fills are facts, unique by the venue's trade id, whichever way and in whichever order they come."""

from dataclasses import replace
from decimal import Decimal

import pytest

from schemas.codec import decode, encode
from schemas.ledger import EntryKind
from schemas.orders import AccountHalted, OrderClosed, OrderFilled, OrderIntended, OwnerStarted, Side
from streams.domain.ids import client_order_id, digest_id
from streams.domain.ledger.books import Books as LedgerBooks
from streams.domain.orders.books import ENDED_MAX, Books
from streams.domain.orders.checkpoint import ENDED_KEPT, DoesNotFitError, checkpoint, restore
from streams.domain.orders.outcome import Failure, OrderNews, Standing, TradeView, VenueReply
from streams.domain.orders.stimuli import LookUp, OrderHeard, SendOrder
from tests.unit.orders.desk import WALL_MS, Desk, cancel, desk, place, trade, view
from tests.unit.orders.test_flows import show

RESTING = place(time_in_force="gtc")


def hear(table: Desk, client_order_id: str, told: TradeView | None, ended: bool = False) -> None:
    """The venue's stream speaks of an order."""
    table.put(OrderHeard, news=OrderNews(client_order_id, "BTC/USDT", ended, told))


def booked(table: Desk) -> list[str]:
    return [fill.trade_id for fill in table.said(OrderFilled)]


def absent() -> tuple[Desk, str, str]:
    """A command whose first attempt was proven absent and whose second is on its way."""
    table = desk()
    command, first = table.unknown()
    table.wait(4001)
    table.refresh()
    table.look(command)
    table.wait_until_due()
    table.look(command)
    assert [event.attempt for event in table.said(OrderIntended)] == [1, 2]
    return table, command, first


def test_1_3_a_fill_that_the_stream_tells_is_booked_once_whatever_requests_show_later() -> None:
    table = desk()
    command, client = table.sent(RESTING)
    table.accept(command, view(client))
    for _ in range(2):
        hear(table, client, trade("1", "0.04"))
        show(table, trades=(trade("1", "0.04"),))
    table.wait_until_due()
    table.look(command, order=view(client, "0.1", Standing.FILLED), trades=(trade("1", "0.04"), trade("2", "0.06")))
    hear(table, client, trade("2", "0.06"))
    assert booked(table) == ["1", "2"]
    assert [event.filled_base for event in table.said(OrderClosed)] == [Decimal("0.1")]


def test_1_3_a_fill_that_overtakes_the_reply_waits_for_it() -> None:
    table = desk()
    command, client = table.sent()
    hear(table, client, trade("1"))
    assert booked(table) == []
    table.accept(command, view(client, "0.1", Standing.FILLED))
    assert table.story(command) == ["admitted", "intended", "accepted", "filled", "closed"]
    assert not table.asked(LookUp)


@pytest.mark.parametrize(
    "reply",
    [
        VenueReply(failure=Failure.NO_REPLY),
        VenueReply(http_status=502),
        VenueReply(http_status=400, code="-2010", text="insufficient balance"),
        VenueReply(failure=Failure.NOT_CONNECTED),
    ],
)
def test_1_3_a_fill_proves_what_the_reply_denies_or_does_not_say(reply: VenueReply) -> None:
    table = desk()
    command, client = table.sent()
    hear(table, client, trade("1", "0.04"))
    table.reply(command, reply)
    assert table.story(command) == ["admitted", "intended", "unknown", "found", "filled"]
    (wanted,) = table.asked(LookUp)
    assert wanted.venue_order_id == "77"
    table.look(command, order=view(client, "0.04", Standing.EXPIRED), trades=(trade("1", "0.04"),))
    assert table.story(command)[-1] == "closed"


def test_1_3_a_fill_ends_the_doubt_about_an_unknown_order() -> None:
    table = desk()
    command, client = table.unknown()
    hear(table, client, trade("1"))
    table.look(command)  # asked before: shows nothing
    assert table.story(command) == ["admitted", "intended", "unknown", "found", "filled"]
    table.wait_until_due()
    table.look(command, order=view(client, "0.1", Standing.FILLED), trades=(trade("1"),))
    assert table.story(command)[-1] == "closed"


def test_1_3_news_of_an_order_make_it_be_looked_at_at_once() -> None:
    table = desk()
    command, client = table.sent(RESTING)
    table.accept(command, view(client))
    assert not table.asked(LookUp)
    hear(table, client, None)
    assert not table.asked(LookUp)
    hear(table, client, None, ended=True)
    assert len(table.asked(LookUp)) == 1
    hear(table, client, None, ended=True)
    assert not table.asked(LookUp)  # one question at a time


def test_1_3_news_of_an_unknown_order_make_it_be_looked_for_at_once() -> None:
    table = desk()
    command, client = table.unknown()
    table.look(command)
    hear(table, client, None)
    assert len(table.asked(LookUp)) == 1


def test_1_3_a_fill_after_a_confirmed_cancel_is_booked_late_and_once() -> None:
    table = desk()
    command, client = table.sent(RESTING)
    table.accept(command, view(client))
    ending = table.command(cancel(command))
    table.read_back(ending)
    table.accept(ending, view(client, "0", Standing.CANCELED))
    table.look(command, order=view(client, "0", Standing.CANCELED))
    assert table.story(command)[-1] == "closed"
    for _ in range(2):
        hear(table, client, trade("1", "0.03"))
        show(table, trades=(trade("1", "0.03"),))
    assert booked(table) == ["1"]
    assert not table.said(AccountHalted)


def test_1_3_a_venues_order_id_is_one_of_its_symbol_alone() -> None:
    """Found once: Binance counts the orders of each symbol, and a trade was given to one of another, which dropped it."""
    table = desk()
    ended, client = table.sent(place(1))
    table.accept(ended, view(client, "0", Standing.EXPIRED))
    first, client = table.sent(place(2, time_in_force="gtc"))
    table.accept(first, view(client, venue_order_id="78"))
    second, client = table.sent(place(3, symbol="ETH/USDT", time_in_force="gtc"))
    table.accept(second, view(client, symbol="ETH/USDT", venue_order_id="78"))
    third, client = table.sent(place(4, symbol="ETH/USDT", time_in_force="gtc"))
    table.accept(third, view(client, "0", Standing.EXPIRED, symbol="ETH/USDT"))
    of_eth = {"symbol": "ETH/USDT", "fee_asset": "ETH"}
    show(table, trades=(trade("1", "0.02", venue_order_id="78", **of_eth), trade("2", "0.03", **of_eth)))
    assert [(fill.trade_id, fill.command_id) for fill in table.said(OrderFilled)] == [("1", second), ("2", third)]


def test_1_3_fees_are_taken_in_whatever_asset_they_come() -> None:
    table = desk()
    command, client = table.sent(RESTING)
    table.accept(command, view(client))
    for number, asset in enumerate(("BTC", "USDT", "BNB"), start=1):
        hear(table, client, trade(f"{number}", "0.01", fee_asset=asset, fee_amount=Decimal("0.5")))
    totals = table.state.books.totals
    assert (totals["BTC"], totals["USDT"], totals["BNB"]) == (Decimal("-0.47"), Decimal("-600.5"), Decimal("-0.5"))


def test_1_3_a_fill_of_an_attempt_that_was_proven_absent_is_booked_halts_and_counts_for_no_other_attempt() -> None:
    table, command, first = absent()
    hear(table, first, trade("1", "0.1", venue_order_id="66"))
    assert [(fill.attempt, fill.client_order_id) for fill in table.said(OrderFilled)] == [(1, first)]
    assert [halt.cause for halt in table.said(AccountHalted)] == ["fill_of_absent_order"]
    order = table.state.books.orders[command]
    assert (order.filled_base, order.venue_order_id) == (Decimal(0), None)
    show(table, trades=(trade("1", "0.1", venue_order_id="66"),), strangers={("BTC/USDT", "66"): first})
    assert booked(table) == ["1"]
    table.read_back(command, attempt=2)
    assert not table.asked(SendOrder)


def test_1_3_a_fill_of_a_former_attempt_leaves_the_next_one_alone() -> None:
    """Found once: a late fill of attempt 1 became the fill and the venue's order of attempt 2."""
    table, command, first = absent()
    table.read_back(command, attempt=2)
    second = table.intended(command)
    show(table, trades=(trade("1", "0.1", venue_order_id="66"),), strangers={("BTC/USDT", "66"): first})
    table.accept(command, view(second, "0", Standing.EXPIRED), attempt=2)
    (closed,) = table.said(OrderClosed)
    assert (closed.attempt, closed.filled_base) == (2, Decimal(0))
    assert table.state.books.totals["BTC"] == Decimal("0.0999")


@pytest.mark.parametrize("way", ["stream", "snapshot"])
def test_1_3_a_fill_of_an_absent_attempt_is_booked_once_although_its_command_ends_after_it(way: str) -> None:
    """Found once: the command's end forgot the trade that its absent attempt had made meanwhile, and it was booked again."""
    table = desk()
    command, first = table.unknown()
    table.wait(5001)
    table.tell_time()  # and no lease: the next attempt must wait
    table.look(command)
    table.wait_until_due()
    table.look(command)
    assert table.story(command)[-1] == "absent"
    late = trade("1", "0.1", venue_order_id="66")
    for _ in range(3):
        if way == "stream":
            hear(table, first, late)
        else:
            show(table, trades=(late,), strangers={("BTC/USDT", "66"): first})
        table.wait(1000)
    assert table.story(command)[-1] == "expired-unsent"
    assert booked(table) == ["1"]
    assert table.state.books.totals["BTC"] == Decimal("0.0999")
    kept = table.state.books.ended[first]
    assert (kept.trade_ids, kept.filled_base) == (frozenset({"1"}), Decimal("0.1"))


@pytest.mark.parametrize(
    "told",
    [
        trade("1", side=Side.SELL),
        trade("1", symbol="ETH/USDT"),
        trade("1", venue_time_ms=WALL_MS - 1001),
        trade("1", venue_order_id="78"),
    ],
)
def test_1_3_a_trade_that_cannot_be_the_orders_own_halts_and_books_nothing(told: TradeView) -> None:
    table = desk()
    command, client = table.sent(RESTING)
    table.accept(command, view(client))
    hear(table, client, told)
    assert booked(table) == []
    assert [halt.cause for halt in table.said(AccountHalted)] == ["order_mismatch"]


def test_1_3_news_of_nobody_are_nothing() -> None:
    table = desk()
    before = table.state
    hear(table, "z" * 26, trade("1"))
    hear(table, "by-hand", None, ended=True)
    assert table.state == before


DAY_MS = 24 * 3_600_000


def forgotten(after_ms: int) -> tuple[Desk, str]:
    """An order that ended without a fill, so long ago; and its client id."""
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client, "0", Standing.EXPIRED))
    table.wall_ms += after_ms
    table.boot_ms += after_ms
    table.refresh()
    return table, client


@pytest.mark.parametrize("way", ["stream", "snapshot"])
def test_1_3_a_fill_two_days_after_the_end_is_placed_nowhere_and_halts(way: str) -> None:
    """Design 5, Holdings: the ledger has forgotten the order by then: FILL_UNPLACED, not posted, and the account halts."""
    table, client = forgotten(2 * DAY_MS + 1)
    late = trade("1", "0.03", venue_time_ms=table.wall_ms)
    for _ in range(2):
        if way == "stream":
            hear(table, client, late)
        else:
            show(table, trades=(late,))
    (fill,) = table.said(OrderFilled)
    assert fill.command_id not in {order.command_id for order in table.state.books.ended.values()}
    assert [halt.cause for halt in table.said(AccountHalted)] == ["fill_unplaced"]
    assert table.state.books.totals == {}


def test_1_3_a_fill_two_days_after_the_end_is_still_placed() -> None:
    table, client = forgotten(2 * DAY_MS)
    hear(table, client, trade("1", "0.03", venue_time_ms=table.wall_ms))
    assert table.state.books.totals["BTC"] == Decimal("0.0299")
    assert table.said(AccountHalted) == []


def test_1_3_a_fill_under_an_id_of_ours_that_nobody_remembers_is_placed_nowhere_and_halts() -> None:
    table = desk(Books("alice", epoch=3, opened=True, opened_at_ms=WALL_MS, forgotten_ms=WALL_MS + 1000))
    unknown, strange = "z" * 26, {("BTC/USDT", "99"): "z" * 26}
    for late_ms in (-1, 0, 3000):  # before the opening; perhaps booked to an order that is forgotten; certainly not
        told = trade(f"{late_ms}", "0.03", venue_order_id="99", venue_time_ms=WALL_MS + late_ms)
        show(table, trades=(told,), strangers=strange, totals={})
    assert booked(table) == []
    for _ in range(2):
        told = trade("7", "0.03", venue_order_id="99", venue_time_ms=WALL_MS + 3001)
        show(table, trades=(told,), strangers=strange, totals={})
    (fill,), (halt,) = table.said(OrderFilled), table.said(AccountHalted)
    assert (fill.client_order_id, fill.trade_id, halt.cause) == (unknown, "7", "fill_unplaced")
    assert table.state.books.totals == {}
    books = restore(checkpoint(table.state.books, "one", table.wall_ms, 7))
    assert books.forgotten_ms == WALL_MS + 1000


def test_1_3_what_is_left_out_of_the_books_or_of_a_checkpoint_is_remembered_as_forgotten() -> None:
    table, client = forgotten(0)
    order = table.state.books.ended[client]
    names = [client_order_id(digest_id(f"{n}"), 1) for n in range(2 * ENDED_MAX)]
    many = {name: replace(order, client_order_id=name, ended_at_ms=n) for n, name in enumerate(names)}
    crowded = desk(replace(table.state.books, ended=many))
    command, other = crowded.sent(place(2))
    crowded.accept(command, view(other, "0", Standing.EXPIRED))
    books = crowded.state.books
    assert (len(books.ended), books.forgotten_ms) == (ENDED_MAX, ENDED_MAX)
    kept = restore(checkpoint(books, "one", table.wall_ms, 7))
    assert (len(kept.ended), kept.forgotten_ms) == (ENDED_KEPT, 2 * ENDED_MAX - ENDED_KEPT)
    assert kept.ended[other].ended_at_ms == crowded.wall_ms


def test_1_3_a_checkpoint_of_orders_with_many_trades_leaves_the_oldest_out_and_can_be_read_again() -> None:
    """Found once: a checkpoint that nobody could read stood in the log, and no owner could take the account over any more."""
    table, client = forgotten(0)
    order = table.state.books.ended[client]
    names = [client_order_id(digest_id(f"{n}"), 1) for n in range(ENDED_KEPT)]
    trades = frozenset(f"{4_000_000_000 + n}" for n in range(150))
    many = {
        name: replace(order, client_order_id=name, trade_ids=trades, ended_at_ms=n) for n, name in enumerate(names, start=1)
    }
    message = checkpoint(replace(table.state.books, ended=many), "one", table.wall_ms, 7)
    kept = restore(decode(message.ce_type(), encode(message)))  # type: ignore[arg-type]
    assert 100 <= len(kept.ended) < ENDED_KEPT
    assert kept.ended == {name: many[name] for name in names[-len(kept.ended) :]}
    assert kept.forgotten_ms == ENDED_KEPT - len(kept.ended)


def test_1_3_a_checkpoint_that_nobody_could_read_is_not_made() -> None:
    books = forgotten(0)[0].state.books
    flows = {f"trade/BTC/USDT/{4_000_000_000 + n}/USDT": WALL_MS for n in range(20_000)}
    with pytest.raises(DoesNotFitError, match="alice"):
        checkpoint(replace(books, flows_seen=flows), "one", WALL_MS, 7)


def test_1_3_the_ledger_posts_nothing_for_a_fill_that_the_executor_places_nowhere() -> None:
    table, client = forgotten(2 * DAY_MS + 1)
    hear(table, client, trade("1", "0.03", venue_time_ms=table.wall_ms))
    ledger = LedgerBooks()
    ledger.book(OwnerStarted(account="alice", epoch=3, at_ms=WALL_MS, owner="me"), "0")
    entries = [ledger.book(event, f"{number}") for number, event in enumerate(table.events, start=1)]
    (unplaced,) = [entry for entry in entries if entry is not None and entry.kind is EntryKind.FILL_UNPLACED]
    assert (unplaced.trade_id, unplaced.postings) == ("1", ())


def test_1_3_an_order_whose_end_is_known_closes_with_its_last_fill_and_no_further_question() -> None:
    table = desk()
    command, client = table.sent()
    table.accept(command, view(client, "0.1", Standing.FILLED))
    table.look(command, trades=(trade("1", "0.04"),))
    hear(table, client, trade("2", "0.06"))
    assert not table.asked(LookUp)
    assert table.story(command)[-3:] == ["filled", "filled", "closed"]


def test_1_3_a_fill_that_is_placed_nowhere_is_not_told_again_after_a_resume() -> None:
    table, client = forgotten(2 * DAY_MS + 1)
    late = trade("1", "0.03", venue_time_ms=table.wall_ms)
    hear(table, client, late)
    (halt,) = table.said(AccountHalted)
    table.allow(resumed=frozenset({halt.halt_id}))
    assert not table.state.books.halts
    hear(table, client, late)
    assert booked(table) == ["1"]
    assert not table.state.books.halts


def test_1_3_fills_placed_nowhere_of_two_symbols_may_number_alike() -> None:
    """A venue numbers the trades of each symbol by itself. Found once: the second one was taken for the first, and not told."""
    table = desk(Books("alice", epoch=3, opened=True, opened_at_ms=WALL_MS, forgotten_ms=WALL_MS + 1000))
    for symbol, client in (("BTC/USDT", "y" * 26), ("ETH/USDT", "z" * 26)):
        told = trade("7", "0.03", symbol=symbol, venue_order_id="99", venue_time_ms=WALL_MS + 3001)
        show(table, trades=(told,), strangers={(symbol, "99"): client}, totals={})
        table.allow(resumed=frozenset(table.state.books.halts))
    assert [fill.symbol for fill in table.said(OrderFilled)] == ["BTC/USDT", "ETH/USDT"]
    assert len(table.said(AccountHalted)) == 2
