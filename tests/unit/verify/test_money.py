"""4.4: what the checker says of money, books and tables (I3, I4, I6, I17, fills)."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.orders import Side
from streams.domain.ids import client_order_id, digest_id
from streams.proof.verify.verification import LEDGER
from tests.unit.ledger.story import Story
from tests.unit.verify.lies import failed, reseal, seen_before_events
from tests.unit.verify.world import History, World, changed


def test_i3_money_that_the_books_do_not_know(world: World):
    world.put("USDT", "0.01")
    assert failed(world.history()) == {"I3": "main USDT: books: 99985.5, venue's journal: 99985.51"}


def test_i3_postings_that_are_not_what_the_fill_says(history: History):
    reseal(history, history.of(LEDGER, "filled"), fill_quote_amount="24999", filled_quote="24999")
    assert "figures" in failed(history)["I3"]


def test_i3_the_venues_own_statement_counts_too(history: History):
    history.balances = {"main": {"BTC": Decimal("1.999"), "USDT": Decimal("99985.5")}, "stranger": {"BTC": Decimal(9)}}
    assert history.report().passed
    history.balances = {"main": {"BTC": Decimal("1.999"), "USDT": Decimal("99985.4")}}
    assert "venue's statement: 99985.4" in failed(history)["I3"]


def test_i3_a_trade_by_hand_is_money_that_moved(world: World):
    world.line(
        "fill", trade_id=77, account="main", symbol="ETHUSDT", client_order_id="by-hand", side="BUY", price_quote="2000",
        quantity_base="1", amount_quote="2000", fee_amount="0", fee_asset="USDT",
    )  # fmt: skip
    assert failed(world.history()).keys() == {"I3"}
    world.story.flow("trade/1/ETH", "ETH", "1", epoch=2)
    world.story.flow("trade/1/USDT", "USDT", "-2000", epoch=2)
    assert world.history().report().passed


def test_i4_a_trade_booked_twice(world: World):
    history = world.history()
    fill = history.of(LEDGER, "filled", 1)
    last = history.topics[LEDGER][-1]
    body = dict(fill.fields) | {"sequence": last.fields["sequence"] + 1, "previous_hash": last.fields["entry_hash"]}
    twice = replace(fill, offset=last.offset + 1, at_ms=last.at_ms)
    history.topics[LEDGER].append(changed(twice, **body))
    assert "was booked before" in failed(reseal(history, history.topics[LEDGER][-1]))["I4"]


def test_i4_more_filled_than_ordered_without_a_flag(history: History):
    reseal(history, history.of(LEDGER, "filled"), quantity_base="0.4")
    assert failed(history).keys() == {"I4"}
    reseal(history, history.of(LEDGER, "filled"), flags=["overfill"])
    assert history.report().passed


def test_late_fills_and_unplaced_ones_keep_the_books_right(world: World):
    world.story.filled("a", "8", quantity="0.1")
    world.fill("a", 8, "buy", "0.1", "50000", "0", "USDT")
    assert world.history().report().passed
    world.story.filled("stranger", "9")
    assert world.history().report().passed


def test_money_traded_before_the_opening_is_in_the_opening():
    world = World(Story(), [])
    world.put("USDT", "1000")
    world.story.owner()
    world.order("early", Side.BUY, "0.01", "50000", fee="1", trade=1)
    world.story.opened(BTC="0.01", USDT="499")
    world.order("next", Side.SELL, "0.01", "50000", fee="1", trade=2)
    assert world.history().report().passed


def test_fills_one_that_the_ledger_does_not_know(world: World):
    world.fill("a", 7, "buy", "0.1", "50000", "0", "USDT")
    found = failed(world.history())
    assert "is in the venue's journal, not in the ledger" in found["fills"]
    assert "main BTC" in found["I3"]


def test_fills_one_that_the_venue_does_not_know(world: World):
    world.journal = [line for line in world.journal if line.get("trade_id") != 1]
    assert "is in the ledger, not in the venue's journal" in failed(world.history())["fills"]


def test_fills_of_strangers_are_not_ours(world: World):
    world.fill("a", 7, "buy", "0.1", "50000", "0", "USDT")
    world.journal[-1] |= {"account": "stranger", "client_order_id": client_order_id(digest_id("z"), 1)}
    assert world.history().report().passed


def test_an_account_may_have_another_name_at_the_venue(world: World):
    for line in world.journal:
        line["account"] = "key-1"
    history = world.history()
    history.balances = {"key-1": {"BTC": Decimal("1.999"), "USDT": Decimal("99985.5")}}
    history.setting = replace(history.setting, venue_accounts={"main": "key-1"})
    assert history.report().passed


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("orders", {"state": "open"}),
        ("orders", {"last_at": 1}),
        ("balances", {"amount": "1"}),
        ("postings", {"asset": "ETH"}),
        ("entries", {"value_sha256": "0" * 64}),
        ("heads", {"sequence": 1}),
    ],
)
def test_i6_a_row_that_somebody_changed(history: History, table: str, columns: dict[str, Any]):
    history.tables[table][0] = dict(history.tables[table][0]) | columns
    found = failed(history)
    assert found.keys() == {"I6"}
    assert f"ledger.{table}" in found["I6"]
    assert "should be" in found["I6"]


def test_i6_a_row_that_is_missing_one_too_many_and_one_twice(history: History):
    rows = history.tables["orders"]
    history.tables["orders"] = rows[1:]
    assert "the row is missing" in failed(history)["I6"]
    history.tables["orders"] = [*rows, dict(rows[0]) | {"command_id": "x"}]
    assert "no ledger entry explains" in failed(history)["I6"]
    history.tables["orders"] = [*rows, rows[0], dict(rows[0])]
    assert "stands there twice" in failed(history)["I6"]


def test_i6_looks_as_far_as_the_projection_has_come(history: History):
    ledger = history.topics[LEDGER]
    history.topics[LEDGER] = ledger[:5]
    history.with_tables().topics[LEDGER] = ledger
    assert history.report().passed


def test_i17_edits_gaps_repeats_and_strangers(world: World):
    history = world.history()
    history.drop(history.topics[LEDGER][0])
    assert "begins with sequence 2" in failed(history.with_tables())["I17"]
    history = world.history()
    history.change(history.topics[LEDGER][4], cause="nothing happened")
    assert "does not have the hash it claims" in failed(history)["I17"]
    history = world.history()
    history.change(history.topics[LEDGER][4], previous_hash="1" * 64)
    assert "does not name the entry before it" in failed(history)["I17"]
    history = world.history()
    repeat = replace(history.topics[LEDGER][2], offset=99)
    history.topics[LEDGER].append(repeat)
    assert history.report().passed
    history.change(repeat, cause="x")
    assert "with other bytes" in failed(history)["I17"]
    history = world.history()
    history.topics[LEDGER][-1] = replace(history.topics[LEDGER][-1], partition=1, key=b"other")
    found = failed(history)["I17"]
    assert "was in partition 0 before" in found
    assert "is not its account" in found
    history = world.history()
    history.topics[LEDGER].append(replace(history.topics[LEDGER][-1], fields={}, value=b"x", offset=99))
    assert "not a ledger entry" in failed(history)["I17"]


def test_i17_an_entry_of_before_the_first_one(world: World):
    history = world.history()
    first, second = history.topics[LEDGER][:2]
    history.topics[LEDGER][:2] = [second, first]
    assert "main 1 comes after" in failed(history)["I17"]


def test_6_3_what_ended_is_forgotten_in_its_time_and_a_lie_about_it_is_still_seen(world: World):
    """As if ended commands were many: attempts and rows leave at once, and what comes late finds what it needs."""
    seen_before_events(world.journal)
    history = world.history()
    history.setting = replace(history.setting, ended_kept=0)
    assert history.report().passed, history.report().text()
    history.tables["orders"][0]["filled_base"] = "1"
    assert failed(history).keys() == {"I6"}
    world.story.filled("a", "8", quantity="0.1")
    world.fill("a", 8, "buy", "0.1", "50000", "0", "USDT")
    history = world.history()
    history.setting = replace(history.setting, ended_kept=0)
    assert history.report().passed, history.report().text()
