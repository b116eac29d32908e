"""7.2: each check passes on a right world, counts what it looked at, and fails on one planted violation."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.orders import Side
from streams.domain.ids import client_order_id, digest_id
from streams.proof.verify import verify
from streams.proof.verify.facts import Facts
from streams.proof.verify.report import Report, Row
from tests.unit.ledger.story import Story
from tests.unit.verify.world import World, changed, with_tables


def failed(facts: Facts) -> dict[str, str]:
    """The checks that did not pass, with everything they said."""
    return {
        row.check: " | ".join(f"{found.where}: {found.what}" for found in row.violations)
        for row in verify(facts).rows
        if not row.passed
    }


def ledger_with(facts: Facts, place: int, **fields: Any) -> Facts:
    ledger = list(facts.ledger)
    ledger[place] = changed(ledger[place], **fields)
    return replace(facts, ledger=tuple(ledger))


def place_of(facts: Facts, kind: str, nth: int = 0) -> int:
    return [place for place, raw in enumerate(facts.ledger) if raw.fields["kind"] == kind][nth]


def table_with(facts: Facts, table: str, nth: int, **columns: Any) -> Facts:
    rows = list(facts.tables[table])
    rows[nth] = dict(rows[nth]) | columns
    return replace(facts, tables={**facts.tables, table: tuple(rows)})


@pytest.fixture
def world() -> World:
    return World.made()


@pytest.fixture
def facts(world: World) -> Facts:
    return world.facts()


def test_a_right_world_passes_every_check_and_each_looked_at_something(facts: Facts):
    report = verify(facts)
    assert report.passed, report.text()
    assert report.exit_code == 0
    assert [row.check for row in report.rows] == ["I1", "I3", "I4", "I6", "I17", "fills"]
    assert all(row.items > 0 for row in report.rows)
    assert report.text().endswith("all checks passed")


def test_an_empty_world_fails_every_check_because_nothing_was_looked_at():
    report = verify(Facts())
    assert not any(row.passed for row in report.rows)
    assert report.exit_code == 1
    assert "NOTHING CHECKED" in report.text()


def test_i1_an_order_accepted_twice_under_one_client_id(world: World):
    world.accepted("a")
    assert "accepted 2 times" in failed(world.facts())["I1"]


def test_i1_two_orders_for_one_command(world: World):
    world.accepted("b", attempt=1)
    found = failed(world.facts())["I1"]
    assert "2 orders were accepted" in found
    assert "says it is absent" in found


def test_i1_an_order_without_an_intent(world: World):
    world.accepted("nobody")
    assert "without a valid intent" in failed(world.facts())["I1"]


def test_i1_an_order_whose_intent_a_newer_owner_had_made_void(world: World):
    facts = world.facts()
    intent = next(raw for raw in facts.events if raw.ce_type.endswith("orders.intended.v1"))
    late = replace(changed(intent, client_order_id=client_order_id(digest_id("z"), 1)), offset=len(facts.events))
    line = {"sequence": 99, "kind": "order_accepted", "account": "main", "client_order_id": client_order_id(digest_id("z"), 1)}
    facts = replace(facts, events=(*facts.events, late), journal=(*facts.journal, line))
    assert "without a valid intent" in failed(facts)["I1"]


def test_i1_a_second_attempt_without_proof_of_absence(facts: Facts):
    kept = tuple(raw for raw in facts.events if not raw.ce_type.endswith("orders.absent.v1"))
    assert "without proof that 1 is absent" in failed(replace(facts, events=kept))["I1"]


def test_i1_attempts_that_do_not_count_up(facts: Facts):
    events = [
        changed(raw, attempt=raw.fields["attempt"] + 1) if raw.ce_type.endswith("orders.intended.v1") else raw
        for raw in facts.events
    ]
    found = failed(replace(facts, events=tuple(events)))["I1"]
    assert "begins with attempt 2" in found
    skipped = [
        changed(raw, attempt=5) if raw.ce_type.endswith("orders.intended.v1") and raw.fields["attempt"] == 2 else raw
        for raw in facts.events
    ]
    assert "attempt 5 follows attempt 1" in failed(replace(facts, events=tuple(skipped)))["I1"]


def test_i1_other_peoples_orders_are_not_ours(world: World):
    world.line("order_accepted", account="main", client_order_id="by-hand-1")
    world.line("order_accepted", account="stranger", client_order_id=client_order_id(digest_id("z"), 1))
    assert verify(world.facts()).passed


def test_i3_a_posting_that_does_not_balance(facts: Facts):
    place = place_of(facts, "filled")
    postings = [dict(line) for line in facts.ledger[place].fields["postings"]]
    postings[0]["amount"] = "0.500000000000000001"
    found = failed(ledger_with(facts, place, postings=postings))
    assert "postings in BTC sum to 1E-18" in found["I3"]
    assert "main BTC" in found["I3"]


def test_i3_money_that_the_books_do_not_know(world: World):
    world.put("USDT", "0.01")
    assert "main USDT: books: 100010.5" not in failed(world.facts())["I3"]
    assert "venue's journal: 99985.51" in failed(world.facts())["I3"]


def test_i3_postings_that_are_not_what_the_fill_says(facts: Facts):
    place = place_of(facts, "filled")
    assert "figures" in failed(ledger_with(facts, place, fill_quote_amount="24999"))["I3"]


def test_i3_the_venues_own_statement_counts_too(facts: Facts):
    right = {"main": {"BTC": Decimal("1.999"), "USDT": Decimal("99985.5")}, "stranger": {"BTC": Decimal(9)}}
    assert verify(replace(facts, balances=right)).passed
    wrong = {"main": {"BTC": Decimal("1.999"), "USDT": Decimal("99985.4")}}
    assert "venue's statement: 99985.4" in failed(replace(facts, balances=wrong))["I3"]


def test_i4_a_trade_booked_twice(facts: Facts):
    place = place_of(facts, "filled")
    twice = replace(changed(facts.ledger[place], sequence=99), offset=99)
    found = failed(replace(facts, ledger=(*facts.ledger, twice)))
    assert "was booked before" in found["I4"]


def test_i4_a_cumulative_figure_that_is_not_the_sum_of_fills(facts: Facts):
    assert "fills sum to" in failed(ledger_with(facts, place_of(facts, "closed"), filled_base="0.4"))["I4"]


def test_i4_more_filled_than_ordered_without_a_flag(facts: Facts):
    place = place_of(facts, "filled")
    assert "without a flag" in failed(ledger_with(facts, place, quantity_base="0.4"))["I4"]
    flagged = ledger_with(facts, place, quantity_base="0.4", flags=["overfill"])
    assert "I4" not in failed(flagged)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("orders", {"state": "open"}),
        ("orders", {"last_at": 1}),
        ("fills", {"fee_amount": "0"}),
        ("balances", {"amount": "1"}),
        ("postings", {"asset": "ETH"}),
        ("entries", {"value_sha256": "0" * 64}),
        ("heads", {"sequence": 1}),
    ],
)
def test_i6_a_row_that_somebody_changed(facts: Facts, table: str, columns: dict[str, Any]):
    found = failed(table_with(facts, table, 0, **columns))
    assert f"ledger.{table}" in found["I6"]
    assert "should be" in found["I6"]


def test_i6_a_row_that_is_missing_one_too_many_and_one_twice(facts: Facts):
    rows = facts.tables["orders"]
    assert "the row is missing" in failed(replace(facts, tables={**facts.tables, "orders": rows[1:]}))["I6"]
    extra = dict(rows[0]) | {"command_id": "x"}
    assert "no ledger entry explains" in failed(replace(facts, tables={**facts.tables, "orders": (*rows, extra)}))["I6"]
    assert "stands there twice" in failed(replace(facts, tables={**facts.tables, "orders": (*rows, rows[0])}))["I6"]


def test_i6_looks_as_far_as_the_projection_has_come(facts: Facts):
    behind = replace(facts, ledger=facts.ledger[:5], projected={0: 5})
    assert "I6" not in failed(replace(with_tables(behind), ledger=facts.ledger))


def test_i17_a_gap(facts: Facts):
    assert "follows" in failed(replace(facts, ledger=facts.ledger[:3] + facts.ledger[4:]))["I17"]


def test_i17_a_missing_beginning(facts: Facts):
    assert "begins with sequence 2" in failed(replace(facts, ledger=facts.ledger[1:]))["I17"]


def test_i17_an_entry_that_was_edited(facts: Facts):
    assert "does not have the hash it claims" in failed(ledger_with(facts, 4, cause="nothing happened"))["I17"]


def test_i17_an_entry_that_was_edited_and_sealed_again(facts: Facts):
    assert "does not name the entry before it" in failed(ledger_with(facts, 4, previous_hash="1" * 64))["I17"]


def test_i17_a_repeat_with_equal_bytes_is_fine_and_with_other_bytes_is_not(facts: Facts):
    repeat = replace(facts.ledger[2], offset=99)
    assert "I17" not in failed(replace(facts, ledger=(*facts.ledger, repeat)))
    other = changed(repeat, cause="x")
    assert "with other bytes" in failed(replace(facts, ledger=(*facts.ledger, other)))["I17"]


def test_i17_an_account_in_two_partitions_under_another_key_and_garbage(facts: Facts):
    moved = replace(facts.ledger[-1], partition=1)
    assert "was in partition 0 before" in failed(replace(facts, ledger=(*facts.ledger[:-1], moved)))["I17"]
    strange = replace(facts.ledger[-1], key=b"other")
    assert "is not its account" in failed(replace(facts, ledger=(*facts.ledger[:-1], strange)))["I17"]
    garbage = replace(facts.ledger[-1], fields={}, value=b"x", offset=99)
    assert "not a ledger entry" in failed(replace(facts, ledger=(*facts.ledger, garbage)))["I17"]


def test_fills_one_that_the_ledger_does_not_know(world: World):
    world.fill("a", 7, "buy", "0.1", "50000", "0", "USDT")
    assert "is in the journal, not in the ledger" in failed(world.facts())["fills"]


def test_fills_one_that_the_venue_does_not_know(world: World):
    world.journal = [line for line in world.journal if line.get("trade_id") != 1]
    assert "is in the ledger, not in the journal" in failed(world.facts())["fills"]


def test_fills_one_without_a_row(facts: Facts):
    found = failed(replace(facts, tables={**facts.tables, "fills": facts.tables["fills"][1:]}))
    assert "is in the ledger, not in the postgres" in found["fills"]


def test_fills_one_with_another_price(facts: Facts):
    found = failed(table_with(facts, "fills", 0, price_quote="49999"))
    assert "postgres says ('buy', '49999'" in found["fills"]


def test_an_account_may_have_another_name_at_the_venue(world: World):
    for line in world.journal:
        line["account"] = "key-1"
    facts = replace(world.facts(), venue_accounts={"main": "key-1"})
    assert verify(facts).passed


def test_late_fills_and_unplaced_ones_keep_the_books_right(world: World):
    world.story.filled("a", "8", quantity="0.1")
    world.fill("a", 8, "buy", "0.1", "50000", "0", "USDT")
    assert verify(world.facts()).passed
    world.story.filled("stranger", "9")
    assert verify(world.facts()).passed


def test_money_traded_before_the_opening_is_in_the_opening():
    world = World(Story(), [])
    world.put("USDT", "1000")
    world.story.owner()
    world.order("early", Side.BUY, "0.01", "50000", fee="1", trade=1)
    world.story.opened(BTC="0.01", USDT="499")
    world.order("next", Side.SELL, "0.01", "50000", fee="1", trade=2)
    assert verify(world.facts()).passed


def test_the_report_shows_a_few_violations_and_counts_the_rest(facts: Facts):
    report = Report(
        tuple(replace(row, violations=row.violations * 9) for row in verify(replace(facts, ledger=facts.ledger[1:])).rows)
    )
    assert " more" in report.text()
    assert report.text().endswith("VERIFY FAILED")
    assert not Row("x", "y", 0).passed
