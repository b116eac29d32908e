"""The ledger fold: what each execution event books, and what it must not book."""

from dataclasses import replace
from decimal import Decimal

import orjson
import pytest

from schemas.control import FlowKind
from schemas.executor import ExecutorCheckpoint
from schemas.ledger import EntryKind, Flag, OrderState
from schemas.orders import ClosedAs, Side
from streams.agents.ledger import DEAD_LETTERS, LedgerFold, ledger_spec
from streams.domain.errors import InvariantError
from streams.domain.ids import digest_id
from streams.domain.ledger.books import Books
from streams.domain.ledger.memory import REMEMBERED_MS
from streams.ports.log import Record
from streams.topics import ORDERS_EVENTS, ORDERS_LEDGER
from tests.unit.ledger.story import START_MS, TRACE, Story, booked, entries, fold, header, holdings

DAY_MS = 86_400_000


def test_a_bought_order_moves_base_quote_and_fee_and_sums_to_zero():
    story = Story().begun(BTC="1", USDT="100000")
    story.admitted("buy")
    story.intended("buy")
    story.accepted("buy")
    story.filled("buy", "t1", "0.2", "50000", fee="0.0002", fee_asset="BTC")
    story.filled("buy", "t2", "0.3", "50010", fee="0.3", fee_asset="BNB")
    story.closed("buy", quote="25003")

    found = booked(story)

    assert [entry.kind.value for entry in found] == [
        "account_opened", "admitted", "intended", "accepted", "filled", "filled", "closed",
    ]  # fmt: skip
    assert holdings(found) == {
        ("assets:main", "BTC"): Decimal("1.4998"),
        ("assets:main", "USDT"): Decimal("74997"),
        ("assets:main", "BNB"): Decimal("-0.3"),
        ("equity:opening", "BTC"): Decimal(-1),
        ("equity:opening", "USDT"): Decimal(-100000),
        ("trading:main", "BTC"): Decimal("-0.5"),
        ("trading:main", "USDT"): Decimal(25003),
        ("fees:main", "BTC"): Decimal("0.0002"),
        ("fees:main", "BNB"): Decimal("0.3"),
    }
    last = found[-1]
    assert (last.state, last.filled_base, last.filled_quote) == (OrderState.FILLED, Decimal("0.5"), Decimal(25003))
    assert (last.side, last.price_mid_quote, last.venue_order_id) == (Side.BUY, Decimal(50000), "v-buy")


def test_a_sale_moves_the_other_way():
    found = booked(Story().begun(BTC="1", USDT="10").traded("sell", Side.SELL, "0.25", "50000", fee="12.5"))
    assert holdings(found)["assets:main", "BTC"] == Decimal("0.75")
    assert holdings(found)["assets:main", "USDT"] == Decimal("12497.5")


def test_sequences_are_gapless_and_each_entry_names_its_predecessor():
    found = booked(Story().begun().traded("a").traded("b"))
    assert [entry.sequence for entry in found] == list(range(1, len(found) + 1))
    assert found[0].previous_hash == "0" * 64
    assert [entry.previous_hash for entry in found[1:]] == [entry.entry_hash for entry in found[:-1]]
    assert len({entry.entry_hash for entry in found}) == len(found)


def test_an_entry_carries_id_time_source_and_the_trace_of_its_event():
    outputs = fold(Story().begun().records)
    assert [output.topic for output in outputs] == [ORDERS_LEDGER]
    assert header(outputs[0], "ce_id") == digest_id("ledger", "main", "1")
    assert header(outputs[0], "ce_source") == "ledger/0"
    assert header(outputs[0], "ce_time") == "2024-08-05T00:00:00.020Z"
    assert outputs[0].timestamp_ms == START_MS + 20
    assert outputs[0].key == b"main"
    assert header(outputs[0], "traceparent")[:35] == TRACE[:35]
    assert header(outputs[0], "traceparent") != TRACE


def test_repeats_of_events_make_no_second_entry():
    story = Story().begun().traded("a")
    for record in list(story.records):
        story.again(record)
    ledger = LedgerFold(0, None)
    assert len(entries(fold(story.records, ledger))) == 6
    assert (ledger.booked, ledger.repeats_and_evidence) == (6, 2 + 6)


def test_a_trade_seen_again_under_another_event_id_is_booked_once():
    story = Story().begun().traded("a")
    story.owner(epoch=2)
    story.filled("a", "t-a")
    assert sum(entry.kind is EntryKind.FILLED for entry in booked(story)) == 1


def test_a_trade_id_with_other_figures_stops_the_books():
    story = Story().begun().traded("a")
    story.filled("a", "t-a", price="50001")
    with pytest.raises(InvariantError, match="other figures"):
        fold(story.records)


def test_two_own_orders_that_trade_with_each_other_are_both_sides_of_one_trade():
    story = Story().begun()
    for name, side in (("resting", Side.SELL), ("taking", Side.BUY)):
        story.admitted(name, side)
        story.intended(name)
        story.accepted(name)
    for name in ("taking", "resting", "taking", "resting"):
        story.filled(name, "t1")

    found = booked(story)

    assert [entry.side for entry in found if entry.kind is EntryKind.FILLED] == [Side.BUY, Side.SELL]
    assert holdings(found)["assets:main", "BTC"] == 1


def test_what_a_former_owner_says_after_its_successor_started_is_evidence_only():
    story = Story().begun()
    story.admitted("a")
    story.intended("a")
    story.owner(epoch=2)
    story.unknown("a")
    story.accepted("a", epoch=1)
    story.filled("a", "t1", epoch=1)
    story.absent("a")
    story.intended("a", attempt=2)

    found = booked(story)

    assert [entry.kind.value for entry in found][3:] == ["unknown", "absent", "intended"]
    assert not holdings(found).get(("trading:main", "BTC"))


def test_an_epoch_that_nobody_announced_stops_the_books():
    story = Story().begun()
    story.admitted("a", epoch=7)
    with pytest.raises(InvariantError, match="announced"):
        fold(story.records)


def test_a_checkpoint_makes_no_entry():
    story = Story().begun()
    story.say(
        ExecutorCheckpoint,
        owner="host",
        opened=True,
        commands=(),
        client_order_ids_unexpired=(),
        answered={},
        commands_next_offset=0,
        events_next_offset=2,
        state_sha256="0" * 64,
    )
    assert len(booked(story)) == 1


def test_a_lost_request_ends_absent_and_its_second_attempt_fills():
    story = Story().begun()
    story.admitted("a")
    story.intended("a")
    story.unknown("a")
    story.absent("a")
    story.intended("a", attempt=2)
    story.accepted("a", attempt=2)
    story.filled("a", "t1", attempt=2)
    story.closed("a", attempt=2)

    found = booked(story)

    states = [entry.state.value for entry in found[1:] if entry.state]
    assert states == ["admitted", "intended", "unknown", "absent", "intended", "open", "open", "filled"]
    assert found[-1].attempt == 2


def test_an_attempt_out_of_turn_stops_the_books():
    story = Story().begun()
    story.admitted("a")
    story.intended("a", attempt=2)
    with pytest.raises(InvariantError, match="attempt 2 after attempt 0"):
        fold(story.records)


def test_an_outcome_of_a_former_attempt_stops_the_books():
    story = Story().begun()
    story.admitted("a")
    story.intended("a")
    story.unsent("a")
    story.intended("a", attempt=2)
    story.accepted("a", attempt=1)
    with pytest.raises(InvariantError, match="about attempt 1"):
        fold(story.records)


def test_a_fill_of_an_attempt_that_was_proven_absent_is_booked_and_flagged():
    story = Story().begun()
    story.admitted("a")
    story.intended("a")
    story.unknown("a")
    story.absent("a")
    story.intended("a", attempt=2)
    story.filled("a", "t1", quantity="0.1", attempt=1)

    last = booked(story)[-1]

    assert last.flags == (Flag.LATE_FILL,)
    assert (last.state, last.filled_base, last.attempt) == (OrderState.INTENDED, Decimal("0.1"), 1)
    assert last.postings


def test_a_fill_of_an_attempt_that_was_never_intended_stops_the_books():
    story = Story().begun()
    story.admitted("a")
    story.filled("a", "t1")
    with pytest.raises(InvariantError, match="never intended"):
        fold(story.records)


def test_a_fill_after_the_end_is_late_and_more_than_ordered_is_overfilled():
    story = Story().begun().traded("a")
    story.filled("a", "t2", quantity="0.1")
    last = booked(story)[-1]
    assert last.flags == (Flag.LATE_FILL, Flag.OVERFILL)
    assert (last.state, last.filled_base) == (OrderState.FILLED, Decimal("0.6"))


def test_an_end_that_counts_more_than_the_fills_we_saw_is_flagged():
    story = Story().begun()
    story.admitted("a")
    story.intended("a")
    story.accepted("a")
    story.closed("a", ClosedAs.EXPIRED, base="0.2", quote="10000")
    story.filled("a", "t1", quantity="0.2")
    found = booked(story)
    assert found[-2].flags == (Flag.CLOSED_BEFORE_FILLS,)
    assert found[-1].flags == (Flag.LATE_FILL,)


def test_a_fill_nobody_remembers_is_unplaced_and_not_posted():
    story = Story().begun().traded("a")
    story.at_ms += REMEMBERED_MS
    story.traded("b")
    story.at_ms += DAY_MS
    story.flow("f", "USDT", "1")
    late = story.filled("a", "t9")
    story.again(late)

    found = booked(story)

    assert [entry.kind for entry in found].count(EntryKind.FILL_UNPLACED) == 1
    last = found[-1]
    assert (last.kind, last.postings, last.trade_id, last.state) == (EntryKind.FILL_UNPLACED, (), "t9", None)


def test_an_open_order_is_remembered_however_old_it_is():
    story = Story().begun()
    story.admitted("old")
    story.intended("old")
    story.accepted("old")
    story.at_ms += 10 * REMEMBERED_MS
    story.traded("young")
    story.filled("old", "t1")
    assert booked(story)[-1].kind is EntryKind.FILLED


def test_what_is_forgotten_leaves_the_snapshot():
    story = Story().begun().traded("a")
    story.filled("stranger", "t0")
    ledger = LedgerFold(0, None)
    fold(story.records, ledger)
    before = len(ledger.snapshot())
    story.at_ms += 2 * REMEMBERED_MS
    fold([story.halted()], ledger)
    state = orjson.loads(ledger.snapshot())["accounts"]["main"]["memory"]
    assert len(ledger.snapshot()) < before
    assert (state["lives"], state["ended"], state["loose_trades"]) == ({}, [], [])
    assert len(state["loose"]) == 1


@pytest.mark.parametrize(("kind", "cause"), [(FlowKind.EXTERNAL, "external"), (FlowKind.FOREIGN, "foreign")])
def test_a_flow_is_unclassified_until_an_operator_says_what_it_was(kind: FlowKind, cause: str):
    story = Story().begun(USDT="10")
    story.flow("d1", "USDT", "5")
    story.flow("d2", "USDT", "-2.5")
    story.classified("d1", "USDT", "5", kind)
    found = booked(story)
    assert holdings(found) == {
        ("assets:main", "USDT"): Decimal("12.5"),
        ("equity:opening", "USDT"): Decimal(-10),
        ("equity:unclassified", "USDT"): Decimal("2.5"),
        ("equity:external", "USDT"): Decimal(-5),
    }
    assert (found[-1].flow_id, found[-1].cause) == ("d1", cause)


def test_3_4_an_order_by_hand_is_in_the_books_and_moves_nothing():
    story = Story().begun(USDT="10")
    story.hand("order/BTC/USDT/77")
    story.hand("order/BTC/USDT/77", filled="0.5")
    story.hand_gone("order/BTC/USDT/77")
    found = booked(story)[-3:]
    assert [entry.kind for entry in found] == [EntryKind.FOREIGN_ORDER_SEEN] * 2 + [EntryKind.FOREIGN_ORDER_GONE]
    assert [(entry.filled_base, entry.price_limit_quote) for entry in found[:2]] == [(0, 50_000), (Decimal("0.5"), 50_000)]
    assert {(entry.flow_id, entry.postings, entry.command_id) for entry in found} == {("order/BTC/USDT/77", (), None)}


def test_a_flow_is_booked_once_and_classified_once():
    story = Story().begun(USDT="10")
    story.flow("d1", "USDT", "5")
    story.owner(epoch=2)
    story.flow("d1", "USDT", "5")
    story.classified("d1", "USDT", "5")
    story.classified("d1", "USDT", "5")
    found = booked(story)
    assert [entry.kind for entry in found].count(EntryKind.FLOW_OBSERVED) == 1
    assert (found[-1].postings, found[-1].cause) == ((), "this flow is not open")
    assert holdings(found)["equity:external", "USDT"] == Decimal(-5)


def test_a_flow_still_open_after_two_days_is_booked_once_and_can_be_classified():
    story = Story().begun(USDT="10")
    story.flow("d1", "USDT", "5")
    story.at_ms += 2 * REMEMBERED_MS
    story.halted()
    story.flow("d1", "USDT", "5")
    story.classified("d1", "USDT", "5")
    found = booked(story)
    assert [entry.kind for entry in found].count(EntryKind.FLOW_OBSERVED) == 1
    assert holdings(found)["equity:external", "USDT"] == Decimal(-5)


def test_a_flow_classified_with_another_amount_stops_the_books():
    story = Story().begun(USDT="10")
    story.flow("d1", "USDT", "5")
    story.classified("d1", "USDT", "6")
    with pytest.raises(InvariantError, match="classified as 6 USDT"):
        fold(story.records)


def test_before_the_opening_there_are_entries_without_postings():
    story = Story()
    story.owner()
    story.flow("d1", "USDT", "5")
    story.traded("early")
    story.opened(BTC="1.5")
    story.classified("d1", "USDT", "5")
    found = booked(story)
    assert all(entry.postings == () for entry in found[:-2])
    assert (found[0].cause, found[-1].cause) == ("part of the opening", "this flow is not open")
    assert holdings(found) == {("assets:main", "BTC"): Decimal("1.5"), ("equity:opening", "BTC"): Decimal("-1.5")}


def test_an_account_is_opened_once():
    story = Story()
    story.owner()
    opened = story.opened(USDT="1")
    story.at_ms += 2 * REMEMBERED_MS
    story.halted()
    story.again(opened)
    assert len(booked(story)) == 2
    story.opened(USDT="1")
    with pytest.raises(InvariantError, match="cannot open it again"):
        fold(story.records)


def test_every_command_is_answered_in_the_books_the_refused_ones_too():
    story = Story().begun()
    story.not_admitted("late", detail="by 300 ms")
    story.admitted("unsent")
    story.intended("unsent")
    story.unsent("unsent")
    story.expired_unsent("unsent")
    story.admitted("no")
    story.intended("no")
    story.rejected("no")
    found = booked(story)
    assert [(entry.kind.value, entry.cause) for entry in found if entry.cause] == [
        ("not_admitted", "TOO_LATE: by 300 ms"),
        ("unsent", "LEASE_LOST"),
        ("expired_unsent", "ADMIT_BY_PASSED"),
        ("rejected", "-2010: insufficient balance"),
    ]
    assert all(not entry.postings for entry in found[1:])


def test_a_cancel_is_a_command_of_its_own():
    story = Story().begun()
    story.admitted("a")
    story.intended("a")
    story.accepted("a")
    nothing = {"side": None, "quantity_base": None, "price_limit_quote": None, "price_mid_quote": None}
    story.admitted("stop", command_type="orders.cancel", target_command_id=digest_id("a"), **nothing)
    story.cancel_intended("stop", "a")
    story.closed("a", ClosedAs.CANCELED, base="0", quote="0")
    story.cancel_ended("stop", "a")
    found = booked(story)
    assert [(entry.kind.value, entry.state and entry.state.value) for entry in found[-3:]] == [
        ("cancel_intended", "intended"), ("closed", "canceled"), ("cancel_ended", "cancel_ended"),
    ]  # fmt: skip
    assert found[-1].target_command_id == digest_id("a")


def test_halts_and_resumes_name_their_halts():
    story = Story().begun()
    story.halted()
    story.resumed()
    found = booked(story)
    assert [entry.halt_ids for entry in found[1:]] == [(digest_id("halt"),)] * 2
    assert found[1].cause == "BOOKS: differs"


def test_a_found_order_goes_on_as_an_open_one():
    story = Story().begun()
    story.admitted("a")
    story.intended("a")
    story.unknown("a")
    story.found("a")
    assert (booked(story)[-1].state, booked(story)[-1].venue_order_id) == (OrderState.OPEN, "v-a")


def test_one_command_id_in_two_portfolios_stops_the_books():
    story = Story().begun()
    story.admitted("a")
    story.portfolio = "beta"
    story.intended("a")
    with pytest.raises(InvariantError, match="belongs to alpha"):
        fold(story.records)


def test_two_accounts_of_a_partition_have_books_of_their_own():
    one, two = Story("one").begun().traded("a"), Story("two").begun().traded("b")
    mixed = [record for pair in zip(one.records, two.records, strict=True) for record in pair]
    apart = fold(one.records) + fold(two.records)
    together = fold(mixed)
    assert sorted(output.value for output in together) == sorted(output.value for output in apart)


BALANCES = b'{"account":"main","venue":"sim","balances":{},"received_at_ms":1}'


def _broken(record: Record) -> list[Record]:
    headers = dict(record.headers)
    return [
        replace(record, value=b"not json"),
        replace(record, value=None),
        replace(record, key=b"other"),
        replace(record, key=None),
        replace(record, headers=()),
        replace(record, headers=(*record.headers, ("ce_type", b"trimtab.ledger.entry.v1"))),
        replace(record, headers=tuple((headers | {"ce_type": b"trimtab.market.ticker.v1"}).items())),
        replace(record, headers=tuple((headers | {"ce_type": b"trimtab.orders.filled.v9"}).items())),
        replace(record, value=BALANCES, headers=tuple((headers | {"ce_type": b"trimtab.account.balances.v1"}).items())),
    ]


@pytest.mark.parametrize("case", range(9))
def test_an_unreadable_event_goes_to_the_dead_letters_and_the_flow_goes_on(case: int):
    story = Story().begun()
    good = story.admitted("a")
    bad = _broken(good)[case]
    outputs = fold([*story.records[:2], bad, good])
    dead = [output for output in outputs if output.topic == DEAD_LETTERS]
    assert [output.value for output in dead] == [bad.value or b""]
    assert dead[0].headers[: len(bad.headers)] == bad.headers
    assert header(dead[0], "__connect.errors.offset") == str(bad.offset)
    assert header(dead[0], "__connect.errors.topic") == ORDERS_EVENTS
    assert len(outputs) == 3


def test_the_fold_goes_on_from_a_snapshot_at_every_record():
    story = Story().begun().traded("a")
    story.flow("d1", "USDT", "5")
    story.admitted("b", Side.SELL)
    story.intended("b")
    story.unknown("b")
    story.filled("stranger", "t0")
    story.owner(epoch=2)
    story.found("b")
    story.filled("b", "t1", quantity="0.1")
    story.classified("d1", "USDT", "5")
    whole = LedgerFold(0, None)
    expected = fold(story.records, whole)
    for cut in range(len(story.records) + 1):
        first = LedgerFold(0, None)
        begun = fold(story.records[:cut], first)
        second = LedgerFold(0, first.snapshot())
        assert second.snapshot() == first.snapshot()
        assert begun + fold(story.records[cut:], second) == expected
        assert second.snapshot() == whole.snapshot()


@pytest.mark.parametrize("snapshot", [b"x", b"[]", b"{}", b'{"version":2,"accounts":{}}', b'{"version":1,"accounts":{"a":{}}}'])
def test_a_snapshot_nobody_wrote_is_refused(snapshot: bytes):
    with pytest.raises(ValueError):
        Books.load(snapshot)


def test_the_fold_stands_on_execution_events_and_writes_entries_and_dead_letters():
    spec = ledger_spec(4, "0.1.0")
    assert (spec.source_topic, spec.partitions, spec.output_topics) == (ORDERS_EVENTS, 4, (ORDERS_LEDGER, DEAD_LETTERS))


def test_an_event_the_books_have_no_place_for_stops_them():
    class Strange(ExecutorCheckpoint.__base__):  # type: ignore[misc, name-defined]
        TYPE = "orders.strange"

    books = Books()
    with pytest.raises(InvariantError, match="no place for a Strange"):
        books.book(Strange(account="main", epoch=0, at_ms=1), "e")
