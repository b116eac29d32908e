"""Every offset that a shard's intake takes is counted once, in the record that consumed it, in any order of arrival."""

from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.intake.acceptance import Acceptance
from streams.domain.intake.needs import Needs
from streams.domain.intake.shard import ShardIntake
from streams.domain.intake.sources import SOURCES
from streams.domain.intake.validate import read_sound
from streams.topics import MARKET_TICKERS, ORDERS_LEDGER
from tests.unit.intake.journals import T0, entry, record, ticker
from tests.unit.intake.test_rules import created, targets

SYMBOLS = ["BTC/USDT", "ETH/USDT"]
TICK = st.tuples(
    st.just("tick"), st.integers(0, 1), st.sampled_from(SYMBOLS), st.integers(1, 6), st.integers(99, 103), st.booleans()
)
STEPS = st.lists(
    st.one_of(TICK, st.just(("drain",)), st.just(("garbage",)), st.tuples(st.just("book"), st.booleans())), max_size=80
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_i14_read_equals_the_sum_of_what_became_of_it(steps: list[tuple[Any, ...]]):
    needs = Needs(1)
    for event in (created("mine", 1, main="sim"), targets("mine", "BTC/USDT")):
        needs.learn(event)
    names = [f"{MARKET_TICKERS}:0", f"{MARKET_TICKERS}:1", f"{ORDERS_LEDGER}:0"]
    shard = ShardIntake(needs, Acceptance(positions=dict.fromkeys(names, 0)), Decimal("0.01"), 60_000)
    read: Counter[str] = Counter()
    counted: dict[str, int] = dict.fromkeys(names, 0)
    journalled, carried, booked = 0, 0, 0

    def note(ranges: dict[str, Any]) -> int:
        for name, taken in ranges.items():
            assert taken.offset_from == counted[name]
            counted[name] = taken.offset_to
        return sum(taken.journalled for taken in ranges.values())

    def give(message: Any, topic: str, partition: int) -> Any:
        name = f"{topic}:{partition}"
        given_record = record(message, read[name], topic, partition=partition)
        sound = read_sound(SOURCES[topic], name, read[name], given_record.key, given_record.value, given_record.headers, T0)
        read[name] += 1
        return shard.take(sound, T0)

    for step in [*steps, ("drain",)]:
        match step:
            case ("tick", partition, symbol, sequence, bid, old):
                received = T0 - 120_000 if old else T0
                give(ticker(sequence, str(bid), str(bid + 1), received, symbol=symbol), MARKET_TICKERS, partition)
            case ("book", again):
                booked += not again or not booked
                single = give(entry(booked), ORDERS_LEDGER, 0)
                if single is not None:
                    journalled += note(single.ranges)
                    carried += 1
            case ("garbage",):
                shard.take_garbage(names[0], read[names[0]])
                read[names[0]] += 1
            case _:
                batch = shard.drain()
                journalled += note(batch.ranges)
                carried += len(batch.quotes)
    assert journalled == carried
    assert counted == {name: read[name] for name in names} == shard.positions()
