"""Rows from messages: what each entry, signal and probe changes, and where the chain of entries must not break."""

from decimal import Decimal
from typing import Any

import pytest

from schemas.codec import decode
from schemas.ledger import LedgerEntry
from schemas.rebalance import PortfolioQuarantined, PortfolioResumed, Reason, RebalanceHeldBack, Signal
from schemas.venue import VenueLatency
from streams.domain.errors import InvariantError
from streams.domain.ids import digest_id
from streams.domain.ledger.projection import Change, Heads, Origin, moment, of_entry, of_latency, of_signal
from streams.ports.log import Output
from tests.unit.ledger.messages import books, probes, signal, signals
from tests.unit.ledger.story import START_MS, TRACE, Story, booked, header

ORIGIN = Origin.of(1, 7, "id-1", b"value", TRACE)


def changes(output: Output) -> list[Change]:
    message = decode(header(output, "ce_type"), output.value)
    match message:
        case LedgerEntry():
            return list(of_entry(message, ORIGIN))
        case Signal():
            return list(of_signal(message, ORIGIN))
        case VenueLatency():
            return list(of_latency(message))
    raise AssertionError(message)


def tables(output: Output) -> list[str]:
    return [change.table for change in changes(output)]


def last(story: Story) -> dict[str, Any]:
    """The rows of a story's last entry, by table."""
    return {change.table: change.row for change in of_entry(booked(story)[-1], ORIGIN)}


def test_an_entry_changes_head_entries_postings_balances_fills_and_its_order():
    story = Story().begun()
    story.admitted("a")
    story.intended("a")
    story.filled("a", "t1", fee="1")
    assert [change.table for change in of_entry(booked(story)[-1], ORIGIN)] == (
        ["heads", "entries"] + ["postings", "balances"] * 6 + ["fills", "orders"]
    )
    rows = last(story)
    assert rows["orders"]["fill_at"] == rows["fills"]["at"] == moment(story.at_ms)
    assert (rows["orders"]["attempt"], rows["orders"]["fills"], rows["orders"]["trace_id"]) == (None, 1, TRACE[3:35])
    assert (rows["entries"]["source_partition"], rows["entries"]["source_offset"]) == (1, 7)


def test_an_unplaced_fill_is_a_fill_and_no_order():
    story = Story().begun()
    story.filled("stranger", "t1")
    assert list(last(story)) == ["heads", "entries", "fills"]


def test_an_entry_of_the_account_is_no_order():
    story = Story().begun()
    story.halted()
    assert list(last(story)) == ["heads", "entries"]


@pytest.mark.parametrize(
    ("tell", "column"),
    [(Story.intended, "intended_at"), (Story.accepted, "accepted_at"), (Story.closed, "ended_at")],
)
def test_each_thing_that_happens_to_an_order_has_its_time(tell: Any, column: str):
    story = Story().begun()
    story.admitted("a")
    for step in (Story.intended, Story.accepted, Story.closed):
        step(story, "a")
        if step is tell:
            break
    times = {name: last(story)["orders"][name] for name in ("intended_at", "accepted_at", "ended_at")}
    assert {name for name, at in times.items() if at is not None} == {column}


def test_no_text_keeps_a_nul():
    found = [change.row for output in (*books(), *signals()) for change in changes(output)]
    assert not [
        row for row in found if any("\0" in value or "\\u0000" in value for value in row.values() if isinstance(value, str))
    ]


def test_decisions_have_legs_and_observations_only_show_the_present():
    observed, decided, _, halted, _ = signals()
    assert tables(observed) == ["portfolio_state"]
    assert tables(decided) == ["signals", "legs"]
    assert tables(halted) == ["signals"]
    assert changes(decided)[1].row["command_id"] == digest_id("a")


def test_each_signal_says_its_reason():
    held = signal(RebalanceHeldBack, 1, reason=Reason.STALE)
    broken = signal(PortfolioQuarantined, 2, cause="KeyError")
    resumed = signal(PortfolioResumed, 3, halt_ids=(digest_id("h"),))
    assert [changes(output)[0].row["reason"] for output in (held, broken, resumed)] == ["stale", "KeyError", None]


def test_a_failed_probe_is_a_row_too():
    assert [changes(output)[0].row["probe_ms"] for output in probes()] == [8, None]


def test_times_are_exact_to_the_millisecond():
    assert moment(START_MS + 1).isoformat() == "2024-08-05T00:00:00.001000+00:00"


def test_a_message_outside_any_trace_has_no_trace_id():
    assert Origin.of(0, 0, "x", b"", "").trace_id is None


def test_heads_tell_new_entries_from_repeats():
    found = booked(Story().begun().traded("a"))
    heads = Heads()
    assert [heads.accept(entry) for entry in (*found, *found)] == [True] * 6 + [False] * 6
    assert heads.heads["main"].sequence == 6


def test_heads_stop_at_a_gap_and_at_a_fork():
    found = booked(Story().begun().traded("a"))
    with pytest.raises(InvariantError, match="some are missing"):
        Heads().accept(found[1])
    heads = Heads()
    heads.accept(found[0])
    with pytest.raises(InvariantError, match="does not name entry 1"):
        heads.accept(found[1].model_copy(update={"previous_hash": "1" * 64}))


def test_amounts_stay_decimal():
    rows = [change.row["amount"] for output in books() for change in changes(output) if change.table == "postings"]
    assert all(type(amount) is Decimal for amount in rows)
