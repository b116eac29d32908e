"""3.1, policy 27: what halts an account by itself besides its orders, and what keeps the gate closed until then."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.orders import AccountHalted, AccountResumed, CommandNotAdmitted
from streams.domain import halts
from streams.domain.orders import gate
from streams.domain.orders.books import Books
from streams.domain.orders.outcome import FlowView, Standing, VenueReply
from streams.domain.orders.stimuli import Looked, ReadVenueTime, Remark, RightsRead, SendOrder, TakenOver
from tests.unit.orders.desk import BOOT_MS, LIMITS, WALL_MS, Desk, desk, place, trade, view
from tests.unit.orders.test_opening import show

HELD = {"BTC": Decimal(1), "USDT": Decimal(50_000), "BNB": Decimal(3)}


def quiet() -> Desk:
    """An account whose last fill is long ago."""
    table = desk(Books("alice", epoch=3, opened=True, opened_at_ms=WALL_MS, totals=HELD))
    table.wait(10_000)
    table.refresh()
    return table


def unproven(table: Desk) -> str | None:
    return gate.unproven(table.state, table.now())


def causes(table: Desk) -> list[str]:
    return [halted.cause for halted in table.said(AccountHalted)]


def test_3_1_a_difference_closes_the_gate_at_once_and_halts_when_it_is_seen_again() -> None:
    table = quiet()
    short = HELD | {"USDT": Decimal(49_000)}
    show(table, totals=short)
    assert (causes(table), unproven(table)) == ([], "books_differ")
    show(table, totals=short)
    (halted,) = table.said(AccountHalted)
    assert (halted.cause, halted.detail) == (halts.LEDGER_DIFFERS, "USDT: the venue holds 49000, the books say 50000")
    table.command(place())
    assert table.said(CommandNotAdmitted)[0].cause == "account_halted"


def test_3_1_a_difference_that_a_later_look_explains_halts_nothing() -> None:
    """A deposit shows in the totals before the venue lists it."""
    table = quiet()
    more = HELD | {"USDT": Decimal(51_000)}
    show(table, totals=more)
    show(table, totals=more, flows=(FlowView("deposit/1", "USDT", Decimal(1000), table.wall_ms),))
    assert unproven(table) == "books_differ"  # what was booked just now is compared with the next look
    show(table, totals=more)
    assert (causes(table), unproven(table)) == ([], None)


def test_3_1_a_resume_accepts_exactly_this_difference_and_another_one_halts_again() -> None:
    table = quiet()
    for _ in range(2):
        show(table, totals=HELD | {"BTC": Decimal("0.9")})
    first = table.said(AccountHalted)[0].halt_id
    table.allow(resumed=frozenset({first}))
    assert table.said(AccountResumed)[0].halt_ids == (first,)
    for _ in range(2):
        show(table, totals=HELD | {"BTC": Decimal("0.9")})
    assert (len(causes(table)), unproven(table)) == (1, None)
    for _ in range(2):
        show(table, totals=HELD | {"BTC": Decimal("0.8")})
    assert causes(table) == [halts.LEDGER_DIFFERS] * 2


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ({"USDT": Decimal("50006.9")}, []),  # one basis point of 20 000 x 1 + 50 000 is 7
        ({"USDT": Decimal("50007.1")}, [halts.LEDGER_DIFFERS]),
        ({"BTC": Decimal("1.0003")}, []),
        ({"BTC": Decimal("1.0004")}, [halts.LEDGER_DIFFERS]),
        ({"BNB": Decimal(0)}, []),  # nothing is traded in it here
    ],
)
def test_3_1_dust_and_what_is_not_traded_here_are_only_remarked(totals: dict[str, Decimal], expected: list[str]) -> None:
    table = quiet()
    for _ in range(2):
        show(table, totals=HELD | totals)
        assert [remark.kind for remark in table.asked(Remark)] == ["balance_differs"]
    assert causes(table) == expected


@pytest.mark.parametrize("missing", [{"prices": {}}, {"limits": None}])
def test_3_1_what_cannot_be_valued_is_no_dust(missing: dict[str, Any]) -> None:
    table = quiet()
    table.prices = missing.get("prices")
    table.allow(limits=missing.get("limits", LIMITS))
    for _ in range(2):
        show(table, totals=HELD | {"USDT": Decimal("50000.01")})
    assert causes(table) == [halts.LEDGER_DIFFERS]


def test_3_1_while_orders_are_out_or_fills_are_fresh_nothing_is_compared() -> None:
    table = quiet()
    command, _ = table.sent()
    for _ in range(2):
        show(table, totals={})
    table.reply(command, VenueReply(http_status=400, code="-2010"))
    show(table, trades=(trade("9", venue_order_id="77"),), totals={})
    assert not causes(table)


def test_3_1_an_account_of_no_portfolio_halts_for_nothing() -> None:
    table = quiet()
    table.allow(portfolio=None)
    for _ in range(2):
        show(table, totals={})
    assert not causes(table)


def test_3_1_without_an_equal_look_for_ten_minutes_no_new_order_leaves_until_one_has_passed() -> None:
    table = quiet()
    table.wait(BOOT_MS + 600_000 - table.boot_ms)
    table.refresh()
    assert unproven(table) is None
    table.wait(1)
    assert unproven(table) == "books_unchecked"
    show(table, totals=HELD)
    assert unproven(table) is None
    table.wait(600_001)
    table.refresh()
    table.put(TakenOver)
    assert unproven(table) is None


def test_3_1_three_refusals_of_one_code_within_a_minute_halt() -> None:
    table = desk()
    for number, code in enumerate(("-2010", "-1013", "-2010"), start=1):
        command, _ = table.sent(place(number))
        table.reply(command, VenueReply(http_status=400, code=code))
    assert not causes(table)
    command, _ = table.sent(place(4))
    table.reply(command, VenueReply(http_status=400, code="-2010"))
    assert (causes(table), table.said(AccountHalted)[0].detail) == ([halts.REJECTED_BY_VENUE], "code -2010")
    assert not table.state.rejections


def test_3_1_refusals_far_apart_or_for_too_many_requests_do_not_halt() -> None:
    table = desk()
    for number in range(1, 7):
        table.refresh()
        command, _ = table.sent(
            place(number, admit_by_ms=WALL_MS + 900_000, expires_at_ms=WALL_MS + 900_000, input_age_ms_max=900_000)
        )
        code, status = ("-2010", 400) if number % 2 else ("-1003", 429)
        table.reply(command, VenueReply(http_status=status, code=code))
        table.wait(20_001)
    assert not causes(table)


@pytest.mark.parametrize(
    ("rights", "detail"),
    [
        ({"read": True, "trade": True, "withdraw": True}, "it may withdraw"),
        ({"read": True, "trade": False, "withdraw": False}, "it may not trade"),
        ({"read": False, "trade": True, "withdraw": False}, "it may not read"),
        ({"read": False, "trade": False, "withdraw": False, "refused": True}, "the venue does not take it any more"),
    ],
)
def test_3_1_a_key_whose_rights_changed_halts_until_they_are_right_and_somebody_resumes(
    rights: dict[str, bool], detail: str
) -> None:
    table = desk()
    table.put(RightsRead, read=True, trade=True, withdraw=False)
    assert not causes(table)
    for _ in range(2):
        table.put(RightsRead, **rights)
    (halted,) = table.said(AccountHalted)
    assert (halted.cause, halted.detail) == (halts.PERMISSION_CHANGE, detail)
    table.allow(resumed=frozenset({halted.halt_id}))
    table.wait(1000)
    table.put(RightsRead, **rights)
    assert len(causes(table)) == 2  # resumed too early: it is still wrong


def test_3_1_a_clock_off_the_venues_closes_the_gate_and_halts_when_the_venue_says_it_again() -> None:
    table = desk()
    table.wall_ms += 501
    table.tell_time(ahead_ms=-501)
    assert len(table.asked(ReadVenueTime)) == 1
    table.renew()
    assert (causes(table), unproven(table)) == ([], "clock_offset")
    table.tell_time(ahead_ms=-501)
    assert causes(table) == [halts.CLOCK_OFFSET]
    table.tell_time(ahead_ms=-501)
    assert len(causes(table)) == 1


@pytest.mark.parametrize("ahead_ms", [500, -500])
def test_3_1_a_clock_within_the_bound_or_back_in_it_halts_nothing(ahead_ms: int) -> None:
    table = desk()
    for off_ms in (ahead_ms, 3 * ahead_ms, 0):
        table.tell_time(ahead_ms=off_ms)
    table.renew()
    assert (causes(table), unproven(table)) == ([], None)


def test_3_1_a_first_doubt_lets_no_intent_leave() -> None:
    table = quiet()
    command = table.command(place())
    table.tell_time(ahead_ms=600)
    table.renew()
    table.read_back(command)
    assert not table.asked(SendOrder)
    assert table.story(command)[-1] == "unsent"


def test_3_1_every_cause_has_words_and_another_builds_cause_is_its_own() -> None:
    assert halts.in_words("overfill") == "overfill: an order was filled beyond its quantity"
    assert halts.in_words("something_new") == "something_new"


SHOWN = {
    "nothing": {},
    "an order that stands": {"standing": Standing.OPEN},
    "a word that nobody knows": {"standing": Standing.UNREADABLE},
    "fills without trades": {"filled": "0.1", "standing": Standing.FILLED},
}


@pytest.mark.parametrize("shown", SHOWN)
def test_3_1_an_order_that_does_not_end_a_minute_after_its_life_halts_the_account(shown: str) -> None:
    """Found once: it was asked for again and again and its cancel repeated for ever, and nobody was told."""
    table = desk()
    command, client = table.sent(place(time_in_force="gtc", expires_at_ms=WALL_MS + 1000))
    table.accept(command, view(client))
    fields = SHOWN[shown]
    answer = {"order": view(client, **fields)} if fields else {}  # type: ignore[arg-type]  fields of a view
    while table.wall_ms <= WALL_MS + 1000 + 55_000:
        _look_on(table, command, answer)
    assert table.said(AccountHalted) == []
    while table.wall_ms <= WALL_MS + 1000 + 65_000:
        _look_on(table, command, answer)
    assert [halt.cause for halt in table.said(AccountHalted)] == ["order_overdue"]


def test_3_1_a_venue_that_was_away_has_a_minute_for_an_order_whose_life_is_over() -> None:
    table = desk()
    command, client = table.sent(place(time_in_force="gtc", expires_at_ms=WALL_MS + 1000))
    table.accept(command, view(client))
    for away_ms in (200_000, 50_000, 200_000, 50_000):
        until_ms = table.wall_ms + away_ms
        while table.wall_ms <= until_ms:
            _look_on(table, command, None if away_ms > 100_000 else {"order": view(client)})
    assert table.said(AccountHalted) == []
    _look_on(table, command, {"order": view(client, "0", Standing.CANCELED)})
    assert table.story(command)[-1] == "closed"


def test_3_1_an_order_whose_command_is_lost_and_that_does_not_end_halts_the_account() -> None:
    """Found once: its cancel was repeated for ever, and nobody was told, since nobody could say when its life was over."""
    table = desk()
    command, client = table.sent(place(time_in_force="gtc"))
    table.accept(command, view(client))
    bare = replace(table.state.books.orders[command], command=None)
    heir = desk(replace(table.state.books, orders={command: bare}))
    for _ in range(70):
        _look_on(heir, command, {"order": view(client)})
    assert [halt.cause for halt in heir.said(AccountHalted)] == ["order_overdue"]


def _look_on(table: Desk, command: str, answer: dict[str, Any] | None) -> None:
    """A second goes by, and the lease is renewed; the venue answers what it was asked about the order."""
    table.wait(1000)
    table.refresh()
    if table.state.care[command].busy:
        if answer is None:
            table.put(Looked, command_id=command, attempt=1, look=None)
        else:
            table.look(command, **answer)


def test_3_1_an_order_that_could_not_be_canceled_is_not_overdue() -> None:
    """Without a lease nothing leaves: somebody is told of that by other means."""
    table = desk()
    command, client = table.sent(place(time_in_force="gtc", expires_at_ms=WALL_MS + 1000))
    table.accept(command, view(client))
    table.wait(10_000)
    for _ in range(100):
        table.wait(1000)
        if table.state.care[command].busy:
            table.look(command, order=view(client))
    assert table.said(AccountHalted) == []
