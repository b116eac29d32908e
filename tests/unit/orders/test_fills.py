"""1.3: fills are facts, unique by the venue's trade id, whichever way and in whichever order they come."""

from decimal import Decimal

import pytest

from schemas.orders import AccountHalted, OrderClosed, OrderFilled, OrderIntended, Side
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
    show(table, trades=(trade("1", "0.1", venue_order_id="66"),), strangers={"66": first})
    assert booked(table) == ["1"]
    table.read_back(command, attempt=2)
    assert not table.asked(SendOrder)


def test_1_3_a_fill_of_a_former_attempt_leaves_the_next_one_alone() -> None:
    """Found once: a late fill of attempt 1 became the fill and the venue's order of attempt 2."""
    table, command, first = absent()
    table.read_back(command, attempt=2)
    second = table.intended(command)
    show(table, trades=(trade("1", "0.1", venue_order_id="66"),), strangers={"66": first})
    table.accept(command, view(second, "0", Standing.EXPIRED), attempt=2)
    (closed,) = table.said(OrderClosed)
    assert (closed.attempt, closed.filled_base) == (2, Decimal(0))
    assert table.state.books.totals["BTC"] == Decimal("0.0999")


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
