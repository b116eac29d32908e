"""Rules are versioned: the version grows only when a rule changes, and a restart does not count as one."""

import pytest

from schemas.venue import TradingStatus
from streams import topics
from streams.agents.feed import messages
from streams.agents.feed.rulebook import Rulebook
from streams.domain.errors import RefusedError
from streams.ports.log import Output
from tests.unit.feed.fakes import MemoryLog, rules_fields

FOUND = {"BTC/USDT": rules_fields()}
DAY_MS = 86_400_000


@pytest.fixture
def book() -> Rulebook:
    return Rulebook("sim", ("BTC/USDT",))


def test_the_start_publishes_version_one(book: Rulebook) -> None:
    assert [rules.rules_version for rules in book.begin(FOUND, 1000)] == [1]


def test_the_same_rules_are_published_again_only_after_a_day(book: Rulebook) -> None:
    book.begin(FOUND, 1000)
    assert book.update(FOUND, 1000 + DAY_MS - 1, DAY_MS) == []
    again = book.update(FOUND, 1000 + DAY_MS, DAY_MS)
    assert [(rules.rules_version, rules.observed_at_ms) for rules in again] == [(1, 1000 + DAY_MS)]


def test_a_changed_rule_is_published_at_once_with_the_next_version(book: Rulebook) -> None:
    book.begin(FOUND, 1000)
    changed = book.update({"BTC/USDT": rules_fields(price_tick_quote="0.1")}, 2000, DAY_MS)
    assert [(rules.rules_version, str(rules.price_tick_quote)) for rules in changed] == [(2, "0.1")]


def test_equal_values_in_other_words_are_no_change(book: Rulebook) -> None:
    book.begin(FOUND, 1000)
    assert book.update({"BTC/USDT": rules_fields(price_tick_quote="0.01")}, 2000, DAY_MS) == []


def test_unusable_rules_refuse_the_start_and_name_the_symbol(book: Rulebook) -> None:
    with pytest.raises(RefusedError, match=r"BTC/USDT: price_tick_quote"):
        book.begin({"BTC/USDT": rules_fields(price_tick_quote="0.00000000")}, 1)
    with pytest.raises(RefusedError, match=r"BTC/USDT"):
        book.begin({}, 1)


@pytest.mark.parametrize("found", [{}, {"BTC/USDT": rules_fields(quantity_step_base="0")}])
def test_rules_that_become_unusable_close_the_symbol_and_keep_the_last_ones(book: Rulebook, found: dict) -> None:
    book.begin(FOUND, 1000)
    (closed,) = book.update(found, 2000, DAY_MS)
    assert (closed.status, closed.rules_version, str(closed.price_tick_quote)) == (TradingStatus.CLOSED, 2, "0.01")
    assert book.update(found, 3000, DAY_MS) == []
    (back,) = book.update(FOUND, 4000, DAY_MS)
    assert (back.status, back.rules_version) == (TradingStatus.TRADING, 3)


async def test_a_restart_goes_on_with_the_version_in_the_topic(book: Rulebook) -> None:
    log = MemoryLog()
    log.append_nowait(Output(topics.VENUE_RULES, b"sim:BTC/USDT", b"garbage"))
    for version in (4, 5):
        rules = messages.rules("sim", "BTC/USDT", FOUND["BTC/USDT"], version, 500)
        log.append_nowait(messages.output(topics.VENUE_RULES, "sim:BTC/USDT", rules, 500, str(version)))
    other = messages.rules("elsewhere", "BTC/USDT", FOUND["BTC/USDT"], 9, 500)
    log.append_nowait(messages.output(topics.VENUE_RULES, "elsewhere:BTC/USDT", other, 500, "9"))
    await book.restore(log)
    assert [rules.rules_version for rules in book.begin(FOUND, 1000)] == [5]
    (changed,) = book.update({"BTC/USDT": rules_fields(status="cancel_only")}, 2000, DAY_MS)
    assert changed.rules_version == 6
