"""4.4, 6.3: all hold in a right world; of one lie exactly the one invariant that it breaks is named, with its place."""

from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from streams.domain.ids import client_order_id, digest_id
from streams.proof.verify.verification import COMMANDS, EVENTS, JOURNAL, LEDGER, SIGNALS
from tests.unit.verify.lies import cancel, close, place_of, reseal, stand, unhalted
from tests.unit.verify.world import AGE_MS_MAX, History, World, changed

CHECKS = ["I1", "I2", "I3", "I4", "I5", "I6", "I8", "I9", "I10", "I11", "I14", "I16", "I17", "fills"]


def test_a_right_world_passes_every_check_and_each_looked_at_something(history: History):
    report = history.report()
    assert report.passed, report.text()
    assert report.exit_code == 0
    assert [row.check for row in report.rows] == CHECKS
    assert all(row.items > 0 for row in report.rows)
    assert report.text().endswith("all checks passed")


def test_4_4_an_empty_world_proves_nothing_and_says_so():
    report = History().report()
    assert {row.verdict for row in report.rows} == {"nothing to check"}
    assert report.exit_code == 1
    assert report.text().endswith("NOT PROVEN: some checks had nothing to look at")


Lie = Callable[[World], tuple[History, str]]


def accepted_twice(world: World) -> tuple[History, str]:
    world.accepted("a")
    history = world.history()
    return history, place_of(history.of(EVENTS, "intended"))


def never_ended(world: World) -> tuple[History, str]:
    world.story.admitted("c")
    admitted = len(world.story.records) - 1
    world.story.at_ms += 60_001
    world.story.halted()
    return world.history(), f"{EVENTS}:0:{admitted}"


def unknown_without_an_alarm(world: World) -> tuple[History, str]:
    world.story.admitted("c")
    admitted = len(world.story.records) - 1
    world.story.intended("c")
    world.story.unknown("c")
    return unhalted(world.history(), world.story.at_ms + 120_001), f"{EVENTS}:0:{admitted}"


def outlived(world: World) -> tuple[History, str]:
    """An order stands a minute beyond its life, and nobody cancels it."""
    admitted = stand(world)
    world.story.at_ms += 120_001
    world.story.halted()
    return world.history(), f"{EVENTS}:0:{admitted}"


def cancel_never_tried(world: World) -> tuple[History, str]:
    """A cancel hangs, while the account goes on trading."""
    stand(world)
    admitted = cancel(world, "x", "c")
    world.story.at_ms += 60_000
    stand(world, "d")
    return world.history(), f"{EVENTS}:0:{admitted}"


def cancel_never_ended(world: World) -> tuple[History, str]:
    stand(world)
    admitted = cancel(world, "x", "c")
    close(world, "c")
    world.story.at_ms += 60_001
    world.story.halted()
    return world.history(), f"{EVENTS}:0:{admitted}"


def ended_twice(world: World) -> tuple[History, str]:
    history = world.history()
    again = replace(history.of(EVENTS, "closed"), offset=99, ce_id="again", at_ms=world.story.at_ms)
    history.topics[EVENTS].append(changed(again, epoch=2))
    return history, f"{EVENTS}:0:99"


def unbalanced(world: World) -> tuple[History, str]:
    history = world.history()
    entry = history.of(LEDGER, "admitted")
    lines = [{"ledger_account": "trading:main", "asset": "BTC", "amount": "0.000000000000000001"}]
    return reseal(history, entry, postings=lines), place_of(entry)


def shrunk(world: World) -> tuple[History, str]:
    history = world.history()
    entry = history.of(LEDGER, "closed")
    return reseal(history, entry, filled_base="0.4"), place_of(entry)


def unknown_to_open_order(world: World) -> tuple[History, str]:
    """An order that stands on the book cannot be UNKNOWN."""
    world.story.admitted("c")
    world.story.intended("c")
    world.story.accepted("c")
    world.accepted("c")
    history = world.history()
    raw = replace(history.of(EVENTS, "unknown"), offset=99, ce_id="odd", at_ms=world.story.at_ms)
    cid = client_order_id(digest_id("c"), 1)
    history.topics[EVENTS].append(changed(raw, command_id=digest_id("c"), client_order_id=cid, attempt=1, epoch=2))
    return history, f"{EVENTS}:0:99"


def edited_row(world: World) -> tuple[History, str]:
    history = world.history()
    row = next(row for row in history.tables["fills"] if row["sequence"] == 5)
    row["fee_amount"] = "25.000000000000000001"
    return history, place_of(next(raw for raw in history.topics[LEDGER] if raw.fields["sequence"] == 5))


def sent_on_old_prices(world: World) -> tuple[History, str]:
    history = world.history()
    oldest_ms = history.of(EVENTS, "intended").fields["at_ms"] - AGE_MS_MAX - 1
    history.sign(history.topics[COMMANDS][0], oldest_received_at_ms=oldest_ms)
    return history, place_of(history.of(EVENTS, "intended"))


def decided_on_old_prices(world: World) -> tuple[History, str]:
    history = world.history()
    decided = history.of(SIGNALS, "decided")
    history.change(decided, oldest_received_at_ms=decided.fields["at_ms"] - AGE_MS_MAX - 1)
    return history, place_of(decided)


def above_a_limit(world: World) -> tuple[History, str]:
    world.story.admitted("big", quantity="1.3")
    world.story.intended("big", quantity="1.3")
    history = world.history()
    return history, place_of(history.of(EVENTS, "admitted", 2))


def never_admitted(world: World) -> tuple[History, str]:
    world.story.admitted("c")
    world.story.intended("c")
    world.story.accepted("c")
    world.accepted("c")
    history = world.history()
    history.drop(history.of(EVENTS, "admitted", 2))
    return history, place_of(history.of(EVENTS, "intended", 3))


def unsigned(world: World) -> tuple[History, str]:
    history = world.history()
    history.topics[COMMANDS][0] = replace(history.topics[COMMANDS][0], signature=b"", key_id="")
    return history, place_of(history.of(EVENTS, "admitted"))


def altered(world: World) -> tuple[History, str]:
    history = world.history()
    history.change(history.topics[COMMANDS][1], round=1)
    return history, place_of(history.of(EVENTS, "admitted", 1))


def expired(world: World) -> tuple[History, str]:
    history = world.history()
    intended = history.of(EVENTS, "intended")
    history.sign(history.topics[COMMANDS][0], admit_by_ms=intended.fields["at_ms"] - 1)
    return history, place_of(intended)


def of_a_former_owner(world: World) -> tuple[History, str]:
    world.story.admitted("c")
    world.story.intended("c", epoch=1)
    world.accepted("c")
    history = world.history()
    return history, place_of(history.of(EVENTS, "intended", 3))


def miscounted(world: World) -> tuple[History, str]:
    history = world.history()
    batch = history.of(JOURNAL, "market-batch", 2)
    ranges = {source: dict(taken) for source, taken in batch.fields["ranges"].items()}
    ranges["market.tickers.v1:0"]["not_needed"] = 2
    history.change(batch, ranges=ranges)
    return history, place_of(batch)


def into_doubt(world: World) -> tuple[History, str]:
    world.story.admitted("c")
    world.story.admitted("d")
    world.story.intended("c")
    world.story.unknown("c")
    world.story.intended("d")
    return world.history(), f"{EVENTS}:0:{len(world.story.records) - 1}"


def gap(world: World) -> tuple[History, str]:
    history = world.history()
    flow = history.of(LEDGER, "flow_observed")
    admitted = history.of(LEDGER, "admitted", 1)
    history.drop(admitted)
    after = next(raw for raw in history.topics[LEDGER] if raw.fields["sequence"] == admitted.fields["sequence"] + 1)
    history.with_tables()
    history.setting = replace(history.setting, projected={0: flow.offset + 1})
    return history, place_of(after)


def unbooked_fill(world: World) -> tuple[History, str]:
    history = world.history()
    fill = next(line for line in history.journal if line["kind"] == "fill")
    fill["price_quote"] = "50000.1"
    return history, place_of(history.of(LEDGER, "filled"))


LIES: list[tuple[str, Lie]] = [
    ("I1", accepted_twice),
    ("I2", never_ended),
    ("I2", unknown_without_an_alarm),
    ("I2", outlived),
    ("I2", cancel_never_tried),
    ("I2", cancel_never_ended),
    ("I2", ended_twice),
    ("I3", unbalanced),
    ("I4", shrunk),
    ("I5", unknown_to_open_order),
    ("I6", edited_row),
    ("I8", sent_on_old_prices),
    ("I8", decided_on_old_prices),
    ("I9", above_a_limit),
    ("I9", never_admitted),
    ("I10", unsigned),
    ("I10", altered),
    ("I10", expired),
    ("I11", of_a_former_owner),
    ("I14", miscounted),
    ("I16", into_doubt),
    ("I17", gap),
    ("fills", unbooked_fill),
]


@pytest.mark.parametrize(("check", "lie"), LIES, ids=[f"{check}-{lie.__name__}" for check, lie in LIES])
def test_6_3_a_planted_violation_is_named_alone_and_with_its_place(check: str, lie: Lie, world: World):
    history, where = lie(world)
    report = history.report()
    assert [row.check for row in report.rows if row.violated] == [check], report.text()
    row = next(row for row in report.rows if row.check == check)
    assert row.violations[0].where == where, report.text()
    assert row.violations[0].place is not None
    assert report.exit_code == 1
    told = next(one for one in orjson.loads(report.json())["checks"] if one["check"] == check)
    assert told["verdict"] == "VIOLATED"
    first = told["violations"][0]
    assert f"{first['topic']}:{first['partition']}:{first['offset']}" == where


def test_6_3_every_invariant_has_a_lie():
    assert [check for check in CHECKS if check not in {check for check, _ in LIES}] == []
