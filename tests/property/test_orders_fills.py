"""1.3: whichever way trades come to be known, in whichever order, however often and late: the books are the same."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.orders import OrderClosed, OrderFilled
from streams.domain.orders.books import Books, evolve
from streams.domain.orders.outcome import Failure, OrderNews, Standing, VenueReply
from streams.domain.orders.stimuli import OrderHeard
from tests.unit.orders.desk import WALL_MS, desk, place, trade, view
from tests.unit.orders.test_flows import show

PARTS = (("1", "0.02", "BTC"), ("2", "0.03", "USDT"), ("3", "0.05", "BNB"))
TRADES = tuple(trade(number, size, fee_asset=asset, venue_time_ms=WALL_MS + 5) for number, size, asset in PARTS)
_WAYS = st.lists(st.tuples(st.sampled_from(["stream", "request", "snapshot"]), st.integers(0, 2)), max_size=12)
_REPLY = st.sampled_from(["accepted", "lost", "ended short"])


@settings(max_examples=200, deadline=None)
@given(before=_WAYS, after=_WAYS, late=_WAYS, answer=_REPLY)
def test_1_3_fills_are_booked_once_whatever_way_they_take(before: list, after: list, late: list, answer: str) -> None:
    table = desk()
    command, client = table.sent(place(time_in_force="gtc"))

    def tell(ways: list[tuple[str, int]]) -> None:
        for way, index in ways:
            if way == "stream":
                table.put(OrderHeard, news=OrderNews(client, "BTC/USDT", False, TRADES[index]))
            elif way == "snapshot":
                show(table, trades=(TRADES[index],))
            elif command in table.state.books.orders and table.state.care[command].busy:
                shown = view(client, str(table.state.books.orders[command].filled_base))
                table.look(command, order=shown, trades=TRADES[: index + 1])

    tell(before)
    if answer == "lost":
        table.reply(command, VenueReply(failure=Failure.NO_REPLY))
    else:
        # The venue may say that the order is over before it shows any trade of it.
        standing = Standing.CANCELED if answer == "ended short" else Standing.OPEN
        table.accept(command, view(client, "0", standing))
    tell(after)
    while command in table.state.books.orders:
        if table.state.care[command].busy:
            table.look(command, order=view(client, "0.1", Standing.FILLED), trades=TRADES[::-1])
        else:
            table.wait_until_due()
    tell(late)
    show(table, trades=TRADES)

    fills = table.said(OrderFilled)
    assert sorted(fill.trade_id for fill in fills) == ["1", "2", "3"]
    assert len(table.said(OrderClosed)) == 1
    totals = table.state.books.totals
    fee = Decimal("0.0001")
    assert (totals["BTC"], totals["USDT"], totals["BNB"]) == (Decimal("0.1") - fee, -Decimal(2000) - fee, -fee)
    books = Books("alice", epoch=3, opened=True)
    for event in (*table.events, *fills):
        books = evolve(books, event)
    assert books.totals == totals
