"""The recount that judges the stack and crash tests finds what is planted."""

from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from streams.ports.log import Record
from streams.topics import MARKET_TICKERS, OPERATOR_CONTROL, ORDERS_LEDGER, PORTFOLIO_JOURNAL
from tests.stack.sequencer.recount import Recount, recount
from tests.unit.intake.journals import A, entry, started, ticker
from tests.unit.intake.test_intake import Desk
from tests.unit.intake.test_rules import created, targets


async def judged(spoil: Callable[[list[Record]], None]) -> Recount:
    """A small sound journal, spoiled, and judged."""
    desk = Desk()
    for event in (created("mine", 1, main="sim"), targets("mine", "BTC/USDT")):
        desk.source(OPERATOR_CONTROL, event)
    intake = await desk.begin()
    await intake.take([desk.source(MARKET_TICKERS, ticker(1, received_at_ms=desk.clock.wall))])
    await intake.take([desk.source(ORDERS_LEDGER, entry(1))])
    await intake.end()
    desk.log.put_journal(started(1, A), shard=1)
    journal = list(desk.log.partition[PORTFOLIO_JOURNAL, 1])
    spoil(journal)
    sources = {
        f"{topic}:0": dict(enumerate(desk.log.partition[topic, 0]))
        for topic in (MARKET_TICKERS, ORDERS_LEDGER, OPERATOR_CONTROL)
    }
    return recount(journal, sources)


def changing(offset: int, *path: str, to: object) -> Callable[[list[Record]], None]:
    def spoil(journal: list[Record]) -> None:
        value = orjson.loads(journal[offset].value or b"")
        inner = value
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = to
        journal[offset] = replace(journal[offset], value=orjson.dumps(value))

    return spoil


async def test_a_sound_journal_has_no_problem():
    found = await judged(lambda journal: None)
    assert found.problems == []
    assert (found.checked["inputs"], found.checked["quotes"], found.checked["positions"]) == (3, 1, 2)
    assert [kind for _, kind, _ in found.accepted] == [
        "writer-started",
        "positions",
        *["input"] * 3,
        "market-batch",
        "positions",
    ]
    assert len(found.ignored) == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda journal: journal.pop(2), "goes on at"),
        (changing(5, "quotes", "sim:BTC/USDT", "bid_price_quote", to="1"), "quote of sim:BTC/USDT differs"),
        (changing(4, "source_value", to="{}"), "input differs"),
        (changing(4, "ranges", f"{ORDERS_LEDGER}:0", "journalled", to=2), "do not sum"),
        (changing(6, "positions", f"{MARKET_TICKERS}:0", to=9), "Positions says"),
        (changing(5, "epoch", to=7), "was never started"),
    ],
)
async def test_a_planted_violation_is_found(spoil: Callable[[list[Record]], None], words: str):
    assert words in " ".join((await judged(spoil)).problems)
