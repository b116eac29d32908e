"""What becomes of each offset of a shard's sources."""

from decimal import Decimal
from typing import Any

import pytest

from schemas.account import AccountBalances
from schemas.venue import VenueStatus
from streams.domain.errors import InvariantError
from streams.domain.intake.acceptance import Acceptance, LedgerHead, Mark
from streams.domain.intake.needs import Needs
from streams.domain.intake.shard import HASHES_REMEMBERED, ShardIntake, Single
from streams.domain.intake.sources import SOURCES
from streams.domain.intake.validate import Sound, read_sound
from streams.topics import ACCOUNT_BALANCES, MARKET_TICKERS, OPERATOR_CONTROL, ORDERS_LEDGER, VENUE_RULES, VENUE_STATUS
from tests.unit.intake.journals import BOOKS, T0, TICKS, entry, record, ticker
from tests.unit.intake.test_rules import created, stopped, targets

STEP = Decimal("0.001")
BTC = "sim:BTC/USDT"
COUNTS = ("journalled", "conflated", "stale", "repeated", "not_needed", "dead_lettered")
HEADS = {f"{topic}:0": 0 for topic in SOURCES}


def intake(marks: dict[str, Mark] | None = None, heads: dict[str, LedgerHead] | None = None) -> ShardIntake:
    needs = Needs(shard=1)
    for event in (created("mine", 1, main="sim"), targets("mine", "BTC/USDT"), created("theirs", 0, other="sim")):
        needs.learn(event)
    acceptance = Acceptance(positions=dict(HEADS), watermarks=marks or {}, ledger_heads=heads or {})
    return ShardIntake(needs, acceptance, STEP, stale_ms_max=60_000)


def sound(message: Any, offset: int, topic: str = MARKET_TICKERS) -> Sound:
    given = record(message, offset, topic)
    return read_sound(SOURCES[topic], f"{topic}:0", offset, given.key, given.value, given.headers, T0)


def take(shard: ShardIntake, *messages: Any, topic: str = MARKET_TICKERS, now_ms: int = T0) -> list[Single | None]:
    first = shard.position(f"{topic}:0")
    return [shard.take(sound(message, first + at, topic), now_ms) for at, message in enumerate(messages)]


def counts(taken: Any) -> dict[str, int]:
    return {name: getattr(taken, name) for name in COUNTS if getattr(taken, name)}


def test_prices_gather_into_one_batch():
    shard = intake()
    take(shard, ticker(1), ticker(2, "100.05"), ticker(2), ticker(3, symbol="ETH/USDT"), ticker(4, received_at_ms=T0 - 60_001))
    assert shard.has_quotes
    batch = shard.drain()
    assert counts(batch.ranges[TICKS]) == {"journalled": 1, "conflated": 1, "repeated": 1, "not_needed": 1, "stale": 1}
    assert (batch.ranges[TICKS].offset_from, batch.ranges[TICKS].offset_to) == (0, 5)
    assert batch.quotes[BTC].source_offset == 0
    assert not shard.has_quotes
    assert shard.drain() == ({}, {}, {})


def test_a_price_that_waits_is_conflated_into_a_newer_one():
    shard = intake()
    take(shard, ticker(1), ticker(2, "90"), ticker(3, "80"))
    batch = shard.drain()
    assert counts(batch.ranges[TICKS]) == {"journalled": 1, "conflated": 2}
    assert (batch.quotes[BTC].bid_price_quote, batch.quotes[BTC].source_offset) == (80, 2)


def test_news_is_the_newest_time_heard_of_whether_journalled_or_not():
    shard = intake()
    take(
        shard,
        ticker(1, received_at_ms=T0 - 9, venue_time_ms=T0 - 10),
        ticker(2, received_at_ms=T0 - 5),
        ticker(3, received_at_ms=T0 - 7, venue_time_ms=T0 - 20),
    )
    news = shard.drain().news[BTC]
    assert (news.received_at_ms, news.venue_time_ms) == (T0 - 5, T0 - 10)
    take(shard, ticker(4))
    assert shard.drain().news[BTC].venue_time_ms is None


def test_a_symbol_that_is_not_received_again_is_no_news():
    shard = intake()
    take(shard, ticker(1))
    shard.drain()
    take(shard, ticker(1), ticker(2, received_at_ms=T0 - 60_001), ticker(3, symbol="ETH/USDT"))
    assert shard.drain().news == {}


def test_a_successor_conflates_and_drops_repeats_like_its_predecessor():
    first = intake()
    take(first, ticker(5), ticker(6, "100.01"))
    marks = {name: Mark(m.bid_price_quote, m.ask_price_quote, m.venue_sequence) for name, m in first.watermarks().items()}
    second = intake(marks)
    take(second, ticker(6), ticker(7, "100.02"))
    assert counts(second.drain().ranges[TICKS]) == {"repeated": 1, "conflated": 1}


def test_singles_carry_the_range_of_their_own_source_only():
    shard = intake()
    take(shard, ticker(1))
    event, other = targets("theirs", "BTC/USDT"), stopped("all")
    nothing, single = take(shard, event, other, topic=OPERATOR_CONTROL)
    assert nothing is None
    assert single is not None
    assert list(single.ranges) == [f"{OPERATOR_CONTROL}:0"]
    assert counts(single.ranges[f"{OPERATOR_CONTROL}:0"]) == {"journalled": 1, "not_needed": 1}
    assert single.sound.message == other
    assert list(shard.drain().ranges) == [TICKS]


def test_a_control_event_counts_from_itself_on():
    shard = intake()
    take(shard, targets("mine", "ETH/USDT"), topic=OPERATOR_CONTROL)
    take(shard, ticker(1, symbol="ETH/USDT"))
    assert list(shard.drain().quotes) == ["sim:ETH/USDT"]


def test_status_and_rules_are_always_needed():
    status = VenueStatus.model_validate({"venue": "nowhere", "status": "trading", "observed_at_ms": T0})
    assert take(intake(), status, topic=VENUE_STATUS)[0] is not None


def balances(account: str, received_at_ms: int = T0) -> AccountBalances:
    fields = {"account": account, "venue": "sim", "balances": {}, "received_at_ms": received_at_ms}
    return AccountBalances.model_validate(fields)


def test_balances_of_others_and_old_ones_are_counted_only():
    shard = intake()
    given = [balances("other"), balances("main", T0 - 60_001), balances("main", T0 - 60_000)]
    taken = take(shard, *given, topic=ACCOUNT_BALANCES)
    assert taken[:2] == [None, None]
    assert taken[2] is not None
    assert counts(taken[2].ranges[f"{ACCOUNT_BALANCES}:0"]) == {"journalled": 1, "not_needed": 1, "stale": 1}


def test_ledger_entries_are_journalled_once_and_in_order():
    shard = intake(heads={"main": LedgerHead(1, f"{1:064d}")})
    given = [entry(1), entry(2), entry(1), entry(2), entry(7, "other"), entry(3)]
    taken = take(shard, *given, topic=ORDERS_LEDGER)
    assert [single is not None for single in taken] == [False, True, False, False, False, True]
    assert taken[5] is not None
    assert counts(taken[5].ranges[BOOKS]) == {"journalled": 1, "repeated": 2, "not_needed": 1}
    assert shard.ledger_heads() == {"main": LedgerHead(3, f"{3:064d}")}


def test_a_gap_in_the_books_stops():
    with pytest.raises(InvariantError, match="sequence 2 follows 0"):
        take(intake(), entry(2), topic=ORDERS_LEDGER)


def test_an_older_entry_repeated_with_other_content_stops():
    shard = intake()
    take(shard, entry(1), entry(2), entry(3), topic=ORDERS_LEDGER)
    with pytest.raises(InvariantError, match="entry 1 is repeated with other content"):
        take(shard, entry(1, salt="f"), topic=ORDERS_LEDGER)


def test_hashes_are_remembered_within_a_bound():
    shard = intake()
    take(shard, *[entry(sequence) for sequence in range(1, HASHES_REMEMBERED + 2)], topic=ORDERS_LEDGER)
    assert take(shard, entry(1, salt="f"), topic=ORDERS_LEDGER) == [None]
    with pytest.raises(InvariantError, match="entry 2 is repeated"):
        take(shard, entry(2, salt="f"), topic=ORDERS_LEDGER)


def test_garbage_is_counted_where_it_lay():
    shard = intake()
    take(shard, ticker(1))
    shard.take_garbage(TICKS, 1)
    assert counts(shard.drain().ranges[TICKS]) == {"journalled": 1, "dead_lettered": 1}


def test_offsets_that_compaction_removed_count_as_not_needed():
    status = VenueStatus.model_validate({"venue": "sim", "status": "trading", "observed_at_ms": T0})
    shard = intake()
    shard.take_garbage(f"{VENUE_RULES}:0", 4)
    assert counts(shard.drain().ranges[f"{VENUE_RULES}:0"]) == {"not_needed": 4, "dead_lettered": 1}
    single = shard.take(sound(status, 2, VENUE_STATUS), T0)
    assert single is not None
    assert counts(single.ranges[f"{VENUE_STATUS}:0"]) == {"not_needed": 2, "journalled": 1}


def test_a_missing_ledger_offset_stops_and_so_does_one_read_again():
    shard = intake()
    with pytest.raises(InvariantError, match="offsets 0 to 0 are missing"):
        shard.take(sound(entry(1), 1, ORDERS_LEDGER), T0)
    take(shard, ticker(1))
    assert shard.taken(TICKS, 0)
    assert not shard.taken(TICKS, 1)
    with pytest.raises(InvariantError, match="read again"):
        shard.take(sound(ticker(2), 0), T0)


def test_after_a_gap_counting_goes_on_behind_it():
    shard = intake()
    shard.skip_to(TICKS, 40)
    take(shard, ticker(1))
    assert shard.drain().ranges[TICKS].offset_from == 40
    assert shard.positions()[TICKS] == 41
