"""The agent around the shard: journal bytes in, enveloped records out."""

from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from schemas.codec import decode, encode
from schemas.envelope import Envelope
from schemas.journal import JournalRecord
from schemas.orders import PlaceOrder
from schemas.rebalance import PortfolioObserved, RebalanceDecided
from streams.agents.portfolio import PortfolioFold, portfolio_spec
from streams.domain.errors import InvariantError
from streams.domain.intake.acceptance import Verdict
from streams.domain.portfolio import snapshot
from streams.ports.folds import FoldFactory
from streams.ports.log import Output, Record
from streams.topics import ORDERS_COMMANDS, PORTFOLIO_JOURNAL, REBALANCE_SIGNALS
from tests.unit.portfolio.story import Story, at_rest

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def journalled(record: JournalRecord, offset: int, traceparent: str = TRACE) -> Record:
    headers = Envelope("1", record.ce_type(), "sequencer/0", record.sequenced_at_ms, traceparent=traceparent).headers()
    return Record(PORTFOLIO_JOURNAL, 0, offset, b"0", encode(record), headers)


def folded(story: Story, fold: PortfolioFold, first: int = 0) -> list[Output]:
    return [out for n, record in enumerate(story.records[first:], first) for out in fold.step(journalled(record, n))]


def decided() -> Story:
    story = at_rest()
    story.mark({"BTC/USDT": Decimal(51_500)})
    return story


def test_a_decision_and_its_order_leave_with_ids_keys_and_time_of_their_cause():
    story = decided()

    signal, order = folded(story, PortfolioFold("test", 0, None))

    place = decode(PlaceOrder.ce_type(), order.value)
    assert isinstance(place, PlaceOrder)
    assert (signal.topic, signal.key) == (REBALANCE_SIGNALS, b"alpha")
    assert (order.topic, order.key) == (ORDERS_COMMANDS, b"alpha-main")
    envelope = Envelope.read(order.headers)
    assert (envelope.id, envelope.source) == (place.command_id, "portfolio/0")
    assert envelope.time_ms == order.timestamp_ms == place.decided_at_ms == story.now_ms
    assert envelope.traceparent == TRACE[:36] + place.command_id[:16] + TRACE[52:]
    head = Envelope.read(signal.headers)
    assert (head.id, head.type) == (place.signal_id, RebalanceDecided.ce_type())


def test_values_do_not_depend_on_traces_and_a_record_without_one_has_none():
    story = decided()
    fold = PortfolioFold("test", 0, None)

    outs = [out for n, record in enumerate(story.records) for out in fold.step(journalled(record, n, ""))]

    assert [out.value for out in outs] == [out.value for out in folded(story, PortfolioFold("test", 0, None))]
    assert {Envelope.read(out.headers).traceparent for out in outs} == {""}


def test_the_fold_goes_on_from_its_snapshot_with_the_same_bytes():
    story = decided()
    story.work_off(story.said)
    [story.mark() for _ in range(20)]
    whole = PortfolioFold("test", 0, None)
    expected = folded(story, whole)
    for cut in range(1, len(story.records), 5):
        first = PortfolioFold("test", 0, None)
        begun = [out for n, record in enumerate(story.records[:cut]) for out in first.step(journalled(record, n))]
        second = PortfolioFold("test", 0, first.snapshot(), screened=False)
        assert [*begun, *folded(story, second, cut)] == expected
        assert second.snapshot() == whole.snapshot() == snapshot.dump(story.shard)


def test_records_of_a_former_writer_are_counted_and_not_folded():
    story = at_rest()
    fold = PortfolioFold("test", 0, None)
    folded(story, fold)
    story.mark({"BTC/USDT": Decimal(51_500)})
    foreign = story.records[-1].model_copy(update={"writer": "9" * 32})

    assert fold.step(journalled(foreign, len(story.records))) == ()
    assert fold.verdicts[Verdict.IGNORED_WRITER] == 1


def test_a_repeated_ledger_entry_is_not_booked_twice():
    story = at_rest()
    held = story.portfolio().accounts["alpha-main"].holdings
    fold = PortfolioFold("test", 0, None)
    folded(story, fold)

    story.input(story.entries[-1], "orders.ledger.v1")
    fold.step(journalled(story.records[-1], len(story.records) - 1))

    assert fold.verdicts[Verdict.REPEATED] == 1
    assert snapshot.load(fold.snapshot()).portfolios["alpha"].accounts["alpha-main"].holdings == held


@pytest.mark.parametrize("changes", [{"headers": ()}, {"value": b"{}"}, {"value": None}])
def test_a_journal_that_cannot_be_read_stops_the_process(changes: dict[str, Any]):
    good = journalled(at_rest().records[0], 0)

    with pytest.raises(InvariantError):
        PortfolioFold("test", 0, None).step(replace(good, **changes))


def test_a_message_without_a_topic_cannot_leave():
    fold = PortfolioFold("test", 0, None)

    with pytest.raises(InvariantError, match="WriterStarted"):
        fold._output(at_rest().records[0], 0, "")


@pytest.mark.parametrize(("environment", "partition"), [("live", 0), ("test", 1)])
def test_a_snapshot_of_another_environment_or_shard_is_refused(environment: str, partition: int):
    with pytest.raises(ValueError, match="environment and shard"):
        PortfolioFold(environment, partition, PortfolioFold("test", 0, None).snapshot())


def test_it_is_a_fold_as_the_transport_wants_it():
    make: FoldFactory = partial(PortfolioFold, "test")
    spec = portfolio_spec(8, "1.2.3")

    assert make(3, None).snapshot() == make(3, make(3, None).snapshot()).snapshot()
    assert (spec.source_topic, spec.partitions) == (PORTFOLIO_JOURNAL, 8)
    assert spec.version == f"1.2.3/{snapshot.STATE_VERSION}"
    assert set(spec.output_topics) == {REBALANCE_SIGNALS, ORDERS_COMMANDS}


def test_how_it_stands_is_said_on_the_signals_topic():
    story = at_rest()
    story.mark(after_ms=10_000)

    out = folded(story, PortfolioFold("test", 0, None))[-1]

    assert isinstance(decode(PortfolioObserved.ce_type(), out.value), PortfolioObserved)
    assert out.topic == REBALANCE_SIGNALS
