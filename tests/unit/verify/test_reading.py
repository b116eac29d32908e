"""4.4: how the checker reads (I14, the cut, what is garbage), how little it keeps, and how it reports."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal

from schemas.journal import SourceGap
from streams.domain.ids import digest_id
from streams.ports.log import Record
from streams.proof.verify.compact import Digests, Recent, Waiting
from streams.proof.verify.facts import Raw
from streams.proof.verify.merge import Source, merge
from streams.proof.verify.report import Report, Row, Tally, Violation
from streams.proof.verify.verification import COMMANDS, CONTROL, EVENTS, JOURNAL, LEDGER, SIGNALS
from streams.topics import MARKET_TICKERS
from tests.unit.intake.journals import entry, ticker
from tests.unit.intake.test_intake import Desk
from tests.unit.intake.test_rules import created, targets
from tests.unit.ledger.story import START_MS
from tests.unit.verify.lies import failed
from tests.unit.verify.world import History, World, raw_record, said


def test_i14_positions_gaps_and_epochs(world: World):
    for nth, kind, fields, words in (
        (1, "positions", {"positions": {"market.tickers.v1:0": 110}}, "is said to stand at 110, accounted for up to 109"),
        (2, "market-batch", {"epoch": 3}, "epoch 3 was never started"),
        (2, "market-batch", {"quotes": {"x": {}}}, "0 offsets are said to be journalled, the record carries 1"),
        (0, "input", {"source_offset": 5}, "is not the end of its range"),
        (0, "market-batch", {"ranges": "x"}, "not what it claims to be"),
    ):
        history = world.history()
        history.change(history.of(JOURNAL, kind, nth), **fields)
        assert words in failed(history)["I14"]
    history = world.history()
    history.drop(history.of(JOURNAL, "market-batch"))
    assert "goes on at 105, accounted for up to 100" in failed(history)["I14"]
    gap = SourceGap(
        epoch=2, writer=digest_id("two"), expected_offset=8, sequenced_at_ms=START_MS, source="market.tickers.v1:0",
        gap_from=109, gap_to=120,
    )  # fmt: skip
    history = world.history()
    history.topics[JOURNAL].append(said(JOURNAL, 8, "0", gap, START_MS))
    assert history.report().passed
    history.topics[JOURNAL].append(said(JOURNAL, 9, "0", gap, START_MS))
    assert "a gap begins at 109, accounted for up to 120" in failed(history)["I14"]


def test_4_4_what_is_in_flight_at_the_cut_is_no_violation(world: World):
    world.story.admitted("c")
    world.story.intended("c")
    world.accepted("c")
    world.fill("c", 9, "buy", "0.5", "50000", "0", "USDT")
    world.put("USDT", "7")
    history = world.history()
    assert failed(history).keys() == {"I3"}, "a deposit that nobody books"
    history.setting = replace(history.setting, cut_ms=world.story.at_ms + 1000)
    history.balances = {"main": {"BTC": Decimal("2.499"), "USDT": Decimal("74992.5")}}
    assert history.report().passed, history.report().text()
    history.setting = replace(history.setting, cut_ms=world.story.at_ms + 200_000)
    assert failed(history).keys() == {"I3"}, "a deposit that nobody books for minutes"


def test_4_4_every_prefix_of_a_history_in_the_order_of_the_cut_passes(world: World):
    """Ledger and tables end anywhere before the events, and these anywhere after the venue's journal."""
    whole = world.history()
    for cut in range(2, len(whole.topics[EVENTS]), 3):
        history = world.history()
        until_ms = whole.topics[EVENTS][cut].fields["at_ms"]
        history.topics[LEDGER] = [raw for raw in history.topics[LEDGER] if raw.fields["at_ms"] < until_ms]
        history.journal = [line for line in history.journal if line["at_ms"] <= until_ms]
        history.topics[EVENTS] = history.topics[EVENTS][: cut + 2]
        history.with_tables()
        history.setting = replace(history.setting, cut_ms=until_ms)
        assert not [row for row in history.report().rows if row.violated], history.report().text()


def test_what_nobody_can_read_is_passed_over_where_strangers_write_and_named_where_only_we_do(history: History):
    for topic in (CONTROL, COMMANDS, EVENTS, SIGNALS):
        history.topics[topic].append(Raw(topic, 0, 999, b"x", b"\xff", "no.such.type", {}, START_MS))
    history.topics[COMMANDS].append(replace(history.topics[COMMANDS][0], offset=1000, key=b"\xff"))
    assert history.report().passed
    history.change(history.of(EVENTS, "filled"), quote_amount="much")
    assert "not what it claims to be" in failed(history)["I5"]


def test_digests_remember_for_ever_recent_things_are_forgotten_and_waiting_ones_bounded():
    many = Digests(young_max=8)
    names = [str(number) for number in range(250)]
    assert all(many.add(name) for name in names)
    assert not any(many.add(name) for name in names)
    assert names[0] in many
    assert names[-1] in many
    assert "x" not in many
    few = Recent(2)
    assert [few.add(name) for name in ("a", "b", "a", "c", "a")] == [True, True, False, True, True]
    alone: list[tuple[str, int]] = []
    waiting: Waiting[str, int] = Waiting(1, lambda key, value: alone.append((key, value)))
    waiting.put("a", 1)
    waiting.put("b", 2)
    assert (waiting.pop("a"), waiting.get("b")) == (None, 2)
    waiting.close()
    assert alone == [("a", 1), ("b", 2)]


def test_sources_come_side_by_side_and_a_cause_comes_first():
    taken: list[tuple[str, int]] = []

    async def told() -> None:
        causes = Source(_one([50_000, 60_000]), int, lambda item: taken.append(("cause", item)), offset=int)
        effects = Source(_one([1, 2]), int, lambda item: taken.append(("effect", item)), cause=causes)
        effects.needs = lambda item: 50_000 if item == 2 else None
        others = Source(_one([1500, 90_000]), int, lambda item: taken.append(("other", item)))
        await merge([effects, causes, others])

    asyncio.run(told())
    assert taken == [("effect", 1), ("cause", 50_000), ("effect", 2), ("other", 1500), ("cause", 60_000), ("other", 90_000)]


async def _one(items: list[int]) -> AsyncIterator[Sequence[int]]:
    for item in items:
        yield [item]


def test_the_report_shows_a_few_violations_and_counts_the_rest():
    tally = Tally("I1", "says")
    for number in range(9):
        tally.elsewhere(str(number), "what")
    text = Report((tally.row(),)).text()
    assert "    4: what" in text
    assert "    5: what" not in text
    assert "    and 4 more" in text
    assert text.endswith("VERIFY FAILED")
    assert not Row("x", "y", 0).passed
    assert Row("x", "y", 1, 1, (Violation("a", "b"),)).verdict == "VIOLATED"


def test_i14_holds_in_what_the_sequencer_writes():
    desk = Desk()

    async def written() -> list[Record]:
        for event in (created("mine", 1, main="sim"), targets("mine", "BTC/USDT")):
            desk.source(CONTROL, event)
        intake = await desk.begin()
        await intake.take([desk.source(MARKET_TICKERS, ticker(1, received_at_ms=desk.clock.wall))])
        await intake.take([desk.source(LEDGER, entry(1))])
        await intake.end()
        return desk.log.partition[JOURNAL, 1]

    history = History()
    history.topics[JOURNAL] = [raw_record(record) for record in asyncio.run(written())]
    row = next(row for row in history.report().rows if row.check == "I14")
    assert (row.items > 3, row.violated) == (True, 0), row
