"""What 1 000 portfolios cost at rest: journal records, bytes a day, CPU of the workers that write and fold them.

Feed, sequencer and portfolio agent run on a real tape at its own speed; what executor, ledger and operator would have said
(controls, openings) is written by this program, for 1 000 venue accounts in one executor are another measurement.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from bench.processes import cpu_by_name, difference, resident_mib
from bench.report import Line
from bench.stack import end_offsets, flow, open_log, pause, say, settings_text, start_roles
from schemas.codec import decode, encode
from schemas.control import ControlEvent, KeyPurpose
from schemas.envelope import Envelope
from schemas.ledger import LedgerEntry
from schemas.orders import AccountOpened, OwnerStarted
from schemas.rebalance import PortfolioObserved, RebalanceDecided
from streams import settings
from streams.cli.control import proposals
from streams.domain.ids import digest_id
from streams.domain.ledger.books import Books
from streams.gateways.kafka import KafkaLog
from streams.local.flow import Flow, on_target
from streams.ports.log import Output, Record
from streams.topics import (
    MARKET_TICKERS,
    OPERATOR_CONTROL,
    ORDERS_LEDGER,
    PORTFOLIO_JOURNAL,
    REBALANCE_SIGNALS,
    partition_of,
    partitions_of,
)

PORTFOLIOS, SHARDS = 1_000, 8
PORTFOLIOS_SHORT = 80
SHORT_S = 30
WARM_UP_S = 15.0
ROLES = ("portfolio", "sequencer", "feed")
TOPICS = (MARKET_TICKERS, PORTFOLIO_JOURNAL, REBALANCE_SIGNALS)
DAY_S = 86_400
Offsets = Mapping[str, Mapping[int, int]]


def measure(seconds: int) -> list[Line]:
    """A window of `seconds`; one below 30 s takes 80 portfolios, to see that it works."""
    portfolios = PORTFOLIOS if seconds >= SHORT_S else PORTFOLIOS_SHORT
    with flow("journal", settings_text(0, SHARDS), speed=1) as stack:
        stack.start_servers()
        stack.prepare()
        proposed = stack.directory / "portfolios.toml"
        proposed.write_text(settings_text(portfolios, SHARDS))
        say(f"writing the controls and openings of {portfolios} portfolios")
        asyncio.run(_write_past(stack, proposed))
        start_roles(stack, ROLES)
        stack.go()
        stack.wait_until(lambda: _known(stack) >= portfolios, "not every portfolio was observed", 300.0)
        pause(min(WARM_UP_S, seconds), stack)
        say(f"measuring the journal for {seconds} s")
        before, bytes_before = end_offsets(stack, TOPICS), _bytes_on_disk(stack)
        used_before, began = cpu_by_name(stack.pids), time.monotonic()
        pause(seconds, stack)
        used, elapsed_s = difference(used_before, cpu_by_name(stack.pids)), time.monotonic() - began
        after, written = end_offsets(stack, TOPICS), _bytes_on_disk(stack) - bytes_before
        memory = {name: resident_mib(pid) for name, pid in stack.pids.items() if name in ROLES}
        read_s, said = asyncio.run(_read_bare(stack, before, after))
    counts = {topic: sum(after[topic][n] - begin for n, begin in before[topic].items()) for topic in TOPICS}
    return [_line(portfolios, elapsed_s, counts, written, used, memory, read_s, said)]


def _line(
    portfolios: int,
    elapsed_s: float,
    counts: Mapping[str, int],
    written: int,
    used: Mapping[str, float],
    memory: Mapping[str, float],
    read_s: float,
    said: Counter[str],
) -> Line:
    records = max(1, counts[PORTFOLIO_JOURNAL])
    cores = ", ".join(f"{name} {100 * used[name] / elapsed_s:.1f} %" for name in (*ROLES, "broker"))
    resident = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in memory.items())
    observed = ", ".join(f"{what} {count}" for what, count in sorted(said.items()))
    return Line(
        name=f"the journal at {portfolios} portfolios over {SHARDS} shards",
        figure=f"{records / elapsed_s:.1f} records/s, {written / elapsed_s / 1000:.1f} kB/s on disk = "
        f"{written / elapsed_s * DAY_S / 1e9:.2f} GB a day ({written / records:.0f} bytes a record); of one core: {cores}",
        baseline=f"a bare aiokafka read of the same records: {1000 * read_s / records:.2f} ms CPU each; the portfolio agent: "
        f"{1000 * used['portfolio'] / records:.2f} ms, the sequencer: {1000 * used['sequencer'] / records:.2f} ms",
        details=(
            f"tickers received: {counts[MARKET_TICKERS] / elapsed_s:.1f}/s; signals said: {observed or 'none'}",
            f"resident: {resident}; the tape is that of 5 August 2024 from 06:10 UTC, a stormy day",
        ),
        limit="how often a price moves by the conflation step, times the number of shards, for each journal repeats the "
        "market; at rest mostly the clock mark of each second and the fixed costs of polling, checkpoints and observations.",
        not_shown="trading (no executor, ledger or projector runs; openings are written by the bench), more than two symbols, "
        "a venue that quotes more often than ten times a second, growth of the state by history.",
    )


async def _write_past(stack: Flow, proposed: Path) -> None:
    """What operator and ledger would have written until every account is open."""
    loaded = settings.load(proposed)
    signer = stack.signer(KeyPurpose.CONTROL)
    past = [signer.sign(_control(event)) for event in proposals(loaded, "bench")]
    past += [_entry(entry) for entry in _openings(loaded, stack)]
    async with open_log(stack) as log:
        for ack in [log.append_nowait(output) for output in past]:
            await ack


def _openings(loaded: settings.Settings, stack: Flow) -> Iterator[LedgerEntry]:
    books, now_ms = Books(), time.time_ns() // 1_000_000
    for name, portfolio in loaded.portfolios.items():
        (account,) = portfolio.accounts
        totals = on_target(portfolio.weights, portfolio.quote, stack.plan)
        common = {"account": account, "epoch": 1, "at_ms": now_ms}
        opened = {"portfolio": name, "venue": loaded.accounts[account].venue, "totals": totals, "venue_time_ms": now_ms}
        books.book(OwnerStarted.model_validate(common | {"owner": "bench"}), f"owner {account}")
        entry = books.book(AccountOpened.model_validate(common | opened), f"opened {account}")
        assert entry is not None
        yield entry


def _control(event: ControlEvent) -> Output:
    identity = digest_id("bench", event.TYPE, event.scope)
    headers = Envelope(identity, event.ce_type(), f"operator/{event.who}", event.at_ms, event.scope).headers()
    return Output(OPERATOR_CONTROL, event.scope.encode(), encode(event), headers, 0, event.at_ms)


def _entry(entry: LedgerEntry) -> Output:
    partition = partition_of(entry.account.encode(), partitions_of(ORDERS_LEDGER, SHARDS))
    identity = digest_id("ledger", entry.account, str(entry.sequence))
    headers = Envelope(identity, entry.ce_type(), f"ledger/{partition}", entry.at_ms).headers()
    return Output(ORDERS_LEDGER, entry.account.encode(), encode(entry), headers, partition, entry.at_ms)


def _known(stack: Flow) -> int:
    """How many portfolios the agent has spoken of."""
    ends = end_offsets(stack, [REBALANCE_SIGNALS])

    async def ask() -> int:
        async with open_log(stack) as log:
            return len({record.key async for record in _window(log, REBALANCE_SIGNALS, {}, ends)})

    return asyncio.run(ask())


async def _read_bare(stack: Flow, before: Offsets, after: Offsets) -> tuple[float, Counter[str]]:
    """CPU seconds of reading the window's journal without looking at it; then what the signals of the window say."""
    async with open_log(stack) as log:
        began = time.process_time()
        async for _ in _window(log, PORTFOLIO_JOURNAL, before, after):
            pass
        read_s = time.process_time() - began
        return read_s, Counter([_said(record) async for record in _window(log, REBALANCE_SIGNALS, before, after)])


async def _window(log: KafkaLog, topic: str, before: Offsets, after: Offsets) -> AsyncIterator[Record]:
    """The records of a topic between two readings of its ends; from its beginning when there was no first one."""
    for partition, end in after[topic].items():
        for record in await log.read(topic, partition, before.get(topic, {}).get(partition, 0), end):
            yield record


def _said(record: Record) -> str:
    message = decode(Envelope.read(record.headers).type, record.value)
    if isinstance(message, PortfolioObserved | RebalanceDecided):
        return f"{message.TYPE.rpartition('.')[2]} {message.reason}"
    return message.TYPE.rpartition(".")[2]


def _bytes_on_disk(stack: Flow) -> int:
    """The size of the journal's segments, as the broker keeps them."""
    assert stack.broker is not None
    return sum(path.stat().st_size for path in stack.broker.state_dir.glob(f"**/{PORTFOLIO_JOURNAL}-*/*.log"))
