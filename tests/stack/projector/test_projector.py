"""The projector on real Kafka and PostgreSQL: rows and offsets are one, repeats are known, nothing is lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import pytest_asyncio

from schemas.codec import decode
from schemas.rebalance import PortfolioObserved, Reason
from streams.domain.errors import InvariantError, RefusedError, UnreachableError
from streams.domain.ids import digest_id
from streams.gateways import postgres
from streams.local.broker import Broker
from streams.local.database import Database
from streams.topics import REBALANCE_SIGNALS, dead_letter
from tests.stack.projector.stage import Stage, stage
from tests.unit.ledger.messages import books, probe, probes, signal, signals
from tests.unit.ledger.story import START_MS, TRACE


@pytest_asyncio.fixture
async def ready(broker: Broker, empty_database_url: str, topic_prefix: str) -> AsyncIterator[Stage]:
    async with stage(broker.bootstrap, topic_prefix, empty_database_url) as found:
        yield found


async def test_entries_signals_and_probes_become_rows(ready: Stage):
    await ready.write([*books(), *signals(), *probes()])
    await ready.project()

    order = ready.rows(
        "SELECT state, filled_base, filled_quote, fills, flags, attempt, trace_id, portfolio FROM ledger.orders"
        f" WHERE command_id = '{digest_id('b')}'"
    )[0]
    assert order == ("filled", Decimal("0.7"), Decimal("35000.15"), 3, ["late_fill", "overfill"], 1, TRACE[3:35], "alpha")
    held = dict(ready.rows("SELECT asset, amount FROM ledger.balances WHERE ledger_account = 'assets:one'"))
    assert held["USDT"] == Decimal("109997.650000000000000001")
    assert held["BNB"] == Decimal("-0.0001")
    trial = ready.rows("SELECT account, asset FROM ledger.balances GROUP BY account, asset HAVING sum(amount) <> 0")
    assert trial == []
    assert ready.rows("SELECT count(*), count(*) FILTER (WHERE kind = 'fill_unplaced') FROM ledger.fills") == [(6, 1)]
    assert ready.rows("SELECT sequence FROM ledger.heads ORDER BY account") == [(18,), (6,)]
    causes = ready.rows("SELECT cause FROM ledger.entries WHERE kind = 'not_admitted'")
    assert causes == [("TOO_LATE: a \ufffd in the text",)]


async def test_one_trace_id_leads_from_signal_to_order_row(ready: Stage):
    await ready.write([*books(), *signals()])
    await ready.project()
    found = ready.rows(
        "SELECT s.trace_id = o.trace_id AND o.trace_id = e.trace_id FROM ledger.signals s JOIN ledger.legs l USING (event_id)"
        " JOIN ledger.orders o USING (command_id) JOIN ledger.entries e USING (command_id)"
    )
    assert len(found) == 5
    assert set(found) == {(True,)}


async def test_signals_are_kept_and_the_newest_observation_shows_the_present(ready: Stage):
    await ready.write([*signals(), *probes()])
    await ready.project()
    assert ready.rows("SELECT kind, reason FROM ledger.signals ORDER BY at") == [
        ("decided", "drift"),
        ("portfolio-halted", "UNKNOWN_TOO_LONG"),
    ]
    state = ready.rows(
        "SELECT time_total_ms, assets -> 'BTC' ->> 'drift' FROM ledger.portfolio_state WHERE portfolio = 'alpha'"
    )
    assert state == [(2000, "0.004")]
    assert ready.rows("SELECT asset, amount_quote, cause FROM ledger.debts") == [("ETH", Decimal("3.5"), "BELOW_MINIMUM")]
    assert ready.rows("SELECT probe_ms, order_ms FROM ledger.venue_latency") == [(None, 12)]


async def test_what_an_order_cost_is_measured_against_the_mid_at_decision(ready: Stage):
    await ready.write(books())
    await ready.project()
    costs = ready.rows(
        "SELECT price_average_quote, shortfall_quote, shortfall_bp FROM ledger.order_costs"
        f" WHERE command_id = '{digest_id('b')}'"
    )
    assert costs == [(Decimal("50000.214285714285714286"), Decimal("-0.15"), Decimal("-0.042857"))]


async def test_each_month_has_its_partition_also_an_old_one(ready: Stage):
    await ready.write(books())
    await ready.project()
    assert ready.rows("SELECT count(*) FROM ledger.entries_2024_08") == [(12,)]
    assert ready.rows("SELECT count(*) FROM ledger.entries_2024_09") == [(12,)]


async def test_repeats_with_equal_bytes_change_nothing(ready: Stage):
    first = [*books(), *signals(), *probes()]
    await ready.write(first)
    await ready.project()
    before = ready.dump()
    await ready.write(first)
    await ready.project()
    after = ready.dump()
    assert {table: after[table] for table in after if table != "projection_offsets"} == {
        table: before[table] for table in before if table != "projection_offsets"
    }
    assert after["projection_offsets"] != before["projection_offsets"]


async def test_an_entry_repeated_with_other_bytes_stops_the_projector(ready: Stage):
    outputs = books()
    await ready.write(outputs)
    await ready.project()
    forged = decode("trimtab.ledger.entry.v1", outputs[0].value).model_copy(update={"cause": "nothing happened"})
    await ready.write([replace(outputs[0], value=forged.model_dump_json(exclude_none=True).encode())])
    with pytest.raises(InvariantError, match="written twice with different bytes"):
        await ready.projected_to_the_end()


async def test_a_signal_repeated_with_other_bytes_stops_the_projector(ready: Stage):
    outputs = signals()
    await ready.write(outputs)
    await ready.project()
    await ready.write([replace(outputs[1], value=outputs[1].value.replace(b'"reason":"drift"', b'"reason":"limit"'))])
    with pytest.raises(InvariantError, match="written twice with different bytes"):
        await ready.projected_to_the_end()


async def test_a_gap_in_the_books_stops_the_projector_and_writes_nothing_of_the_batch(ready: Stage):
    outputs = books()
    await ready.write(outputs[:4] + outputs[6:])
    with pytest.raises(InvariantError, match="some are missing"):
        await ready.projected_to_the_end()
    assert ready.rows("SELECT count(*) FROM ledger.entries") == [(0,)]


async def test_what_cannot_be_read_goes_to_the_dead_letters_and_the_flow_goes_on(ready: Stage):
    good = [*books(), *signals(), *probes()]
    broken = [
        replace(good[0], value=b"not json"),
        replace(good[0], topic=REBALANCE_SIGNALS),
        replace(probe(START_MS, 1), headers=()),
    ]
    await ready.write([broken[0], *good, *broken[1:]])
    await ready.project()
    for output in broken:
        topic = dead_letter(output.topic, "projector")
        found = [
            record
            for partition in range(2)
            for record in await ready.log.read(topic, partition, 0, await ready.log.end_offset(topic, partition))
        ]
        assert [record.value for record in found] == [output.value]
        assert found[0].header("__connect.errors.topic") == output.topic.encode()
    assert ready.rows("SELECT count(*) FROM ledger.entries") == [(24,)]


async def test_7_4_dropping_the_schema_and_replaying_gives_byte_equal_tables(ready: Stage):
    await ready.write([*books(), *signals(), *probes()])
    await ready.project()
    before = ready.dump()
    assert before["entries"][0] == 24
    assert len(before) == 11

    postgres.recreate_ledger(ready.dsn)
    assert all(rows == 0 for rows, _ in ready.dump().values())
    await ready.project()
    assert ready.dump() == before

    ready.execute("DROP SCHEMA ledger CASCADE")
    assert postgres.migrate(ready.dsn) == ("0002_ledger.sql",)
    await ready.project()
    assert ready.dump() == before


async def test_a_schema_dropped_under_a_running_projector_is_filled_from_the_beginning(ready: Stage):
    outputs = [*books(), *signals()]
    await ready.write(outputs[:15])
    async with ready.projecting():
        await ready.until(ready.drained)
        await asyncio.to_thread(postgres.recreate_ledger, ready.dsn)  # on this loop the projector may hold its tables
        await ready.write(outputs[15:])
        await ready.until(ready.drained)
    through = ready.dump()
    postgres.recreate_ledger(ready.dsn)
    await ready.project()
    assert ready.dump() == through


async def test_a_schema_dropped_while_nothing_new_is_written_is_filled_all_the_same(ready: Stage):
    await ready.write([*books(), *signals(), *probes()])
    async with ready.projecting(look_every_ms=200):
        await ready.until(ready.drained)
        before = ready.dump()
        await asyncio.to_thread(postgres.recreate_ledger, ready.dsn)
        await ready.until(ready.drained)
    assert ready.dump() == before


async def test_a_partition_read_for_the_first_time_after_the_schema_was_dropped_finds_its_month(ready: Stage):
    """Its first offset contradicts nothing, so that only the rows themselves meet the new tables."""
    _, first, _, second, _ = signals()  # the two that are rows of a month
    await ready.write([replace(first, partition=0)])
    async with ready.projecting():
        await ready.until(ready.drained)
        await asyncio.to_thread(postgres.recreate_ledger, ready.dsn)
        await ready.write([replace(second, partition=1)])
        await ready.until(ready.drained)
        assert len(ready.rows("SELECT 1 FROM ledger.signals")) == 2


async def test_two_projectors_at_once_write_every_row_once(ready: Stage):
    outputs = [*books(), *signals(), *probes()]
    async with ready.projecting(records_max=3), ready.projecting(records_max=3):
        for output in outputs:
            await ready.write([output])
        await ready.until(ready.drained)
    together = ready.dump()
    postgres.recreate_ledger(ready.dsn)
    await ready.project()
    assert ready.dump() == together


async def test_a_changed_table_is_refused_with_a_remedy(ready: Stage):
    ready.execute("ALTER TABLE ledger.orders DROP COLUMN fills CASCADE")
    await ready.write(books())
    with pytest.raises(RefusedError, match="rebuilt"):
        await ready.projected_to_the_end()


async def test_an_older_observation_never_replaces_a_newer_one(ready: Stage):
    fields = {"reason": Reason.STALE, "band": Decimal("0.01"), "threshold": Decimal("0.004"), "time_in_band_ms": 0}
    await ready.write(
        [signal(PortfolioObserved, 9, time_total_ms=9, **fields), signal(PortfolioObserved, 8, time_total_ms=8, **fields)]
    )
    await ready.project()
    assert ready.rows("SELECT time_total_ms FROM ledger.portfolio_state") == [(9,)]


async def test_a_database_that_stays_away_is_told_once_and_in_the_end_given_up(ready: Stage, caplog: pytest.LogCaptureFixture):
    gone = replace(ready, dsn="postgresql://nobody@127.0.0.1:1/none")
    with caplog.at_level(logging.WARNING, "trimtab.projector"), pytest.raises(UnreachableError, match="database"):
        await gone.projected_to_the_end(away_ms_max=1_500)
    assert len([record for record in caplog.records if record.name == "trimtab.projector"]) == 1


async def test_a_database_killed_under_it_loses_nothing(
    broker: Broker, own_database: Database, topic_prefix: str, caplog: pytest.LogCaptureFixture
):
    async with stage(broker.bootstrap, topic_prefix, own_database.url) as ready:
        outputs = [*books(), *signals(), *probes()]
        async with ready.projecting():
            await ready.write(outputs[:10])
            await ready.until(ready.drained)
            await asyncio.to_thread(own_database.kill)
            with caplog.at_level(logging.WARNING, "trimtab.projector"):
                await ready.write(outputs[10:])
                await ready.until(_said(caplog, "trying again"))
                await asyncio.to_thread(own_database.start)
                await ready.until(_said(caplog, "projecting again"))
            await ready.until(ready.drained)
        through = ready.dump()
        await asyncio.to_thread(postgres.recreate_ledger, ready.dsn)
        await ready.project()
        assert ready.dump() == through
        assert len([record for record in caplog.records if "trying again" in record.message]) == 1


def _said(caplog: pytest.LogCaptureFixture, words: str) -> Callable[[], Awaitable[bool]]:
    async def said() -> bool:
        return any(words in record.message for record in caplog.records)

    return said
