"""A projector on real Kafka and PostgreSQL, and the records that it follows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.orders import Side
from schemas.rebalance import AssetView, Debt, Leg, PortfolioHalted, PortfolioObserved, Reason, RebalanceDecided, Signal
from schemas.venue import VenueLatency
from streams.agents.projector import Projector, ProjectorConfig
from streams.domain.ids import digest_id
from streams.gateways import postgres
from streams.gateways.clock import SystemClock
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.gateways.projection import PostgresProjection
from streams.ports import KafkaConnection, Output
from streams.topics import ORDERS_LEDGER, REBALANCE_SIGNALS, VENUE_LATENCY, dead_letter
from tests.unit.ledger.story import START_MS, TRACE, Story, fold

PARTITIONS = 2
HANG_SECONDS = 60.0


def new_topic(name: str) -> NewTopic:
    """A topic that keeps records of 2024: by default a broker removes what is a week old."""
    return NewTopic(name, PARTITIONS, 1, topic_configs={"retention.ms": "-1"})


async def create_topics(connection: KafkaConnection) -> None:
    """The sources of the projector and their dead letters."""
    sources = (ORDERS_LEDGER, REBALANCE_SIGNALS, VENUE_LATENCY)
    names = [*sources, *(dead_letter(topic, "projector") for topic in sources)]
    admin = AIOKafkaAdminClient(bootstrap_servers=connection.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([new_topic(connection.topic_prefix + name) for name in names])
    finally:
        await admin.close()


@dataclass
class Stage:
    """A broker's topics, a database, and the projectors that were started."""

    connection: KafkaConnection
    dsn: str
    log: KafkaLog
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def write(self, outputs: Sequence[Output]) -> None:
        """Append in order and wait until durable."""
        for acked in [self.log.append_nowait(output) for output in outputs]:
            await acked

    @asynccontextmanager
    async def _running(self, **config: Any) -> AsyncIterator[tuple[Projector, asyncio.Task[None]]]:
        store = PostgresProjection(self.dsn, patience_s=2.0)
        await store.open()
        reader = KafkaReader(self.connection)
        await reader.start()
        projector = Projector(store, self.log, reader, SystemClock(), ProjectorConfig(poll_ms=20, **config))
        running = asyncio.create_task(projector.run())
        self.tasks.append(running)
        try:
            yield projector, running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await reader.close()
            await store.close()

    @asynccontextmanager
    async def projecting(self, **config: Any) -> AsyncIterator[Projector]:
        """A projector at work until the block ends; whatever it raised is raised here."""
        async with self._running(**config) as (projector, running):
            yield projector
            projector.stop()
            await asyncio.wait_for(running, HANG_SECONDS)

    async def projected_to_the_end(self, **config: Any) -> None:
        """A projector until it ends by itself; raises what ended it."""
        async with self._running(**config) as (_, running):
            await asyncio.wait_for(running, HANG_SECONDS)

    async def project(self) -> None:
        """Project all that was written, then stop."""
        async with self.projecting():
            await self.until(self.drained)

    async def drained(self) -> bool:
        """Whether the tables follow every topic to its end."""
        found = dict(self.rows("SELECT topic || ':' || partition, next_offset FROM ledger.projection_offsets"))
        for topic in (ORDERS_LEDGER, REBALANCE_SIGNALS, VENUE_LATENCY):
            for partition in range(PARTITIONS):
                end = await self.log.end_offset(topic, partition)
                if end and found.get(f"{topic}:{partition}") != end:
                    return False
        return True

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition with a hang guard; a projector that fails meanwhile fails the test with its error."""
        async with asyncio.timeout(HANG_SECONDS):
            while not await condition():
                for task in self.tasks:
                    if task.done() and not task.cancelled():
                        task.result()
                await asyncio.sleep(0.05)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with postgres.connect(self.dsn) as connection:
            return connection.execute(query.encode()).fetchall()

    def execute(self, statement: str) -> None:
        with postgres.connect(self.dsn) as connection:
            connection.execute(statement.encode())

    def dump(self) -> dict[str, tuple[int, str]]:
        with postgres.connect(self.dsn) as connection:
            return postgres.canonical_dump(connection)


@asynccontextmanager
async def stage(bootstrap: str, prefix: str, dsn: str) -> AsyncIterator[Stage]:
    """Topics and a migrated database."""
    connection = KafkaConnection(bootstrap, topic_prefix=prefix)
    await create_topics(connection)
    postgres.migrate(dsn)
    log = KafkaLog(connection)
    await log.start()
    try:
        yield Stage(connection, dsn, log)
    finally:
        await log.close()


def books() -> list[Output]:
    """The ledger of two accounts over two months, with everything in it that entries can say."""
    one, two = Story("one", "alpha").begun(BTC="2", USDT="100000"), Story("two", "beta").begun()
    one.traded("a", fee="12.5")
    one.at_ms += 30 * 86_400_000
    one.admitted("b", Side.SELL)
    one.intended("b")
    one.unknown("b")
    one.found("b")
    one.filled("b", "t-b1", quantity="0.1", price="50001.5", fee="0.0001", fee_asset="BNB")
    one.filled("b", "t-b2", quantity="0.4")
    one.closed("b", quote="25000.15")
    one.filled("b", "t-b3", quantity="0.2")
    one.filled("stranger", "t-s")
    one.flow("dep", "USDT", "10.000000000000000001")
    one.not_admitted("c", detail="a \0 in the text")
    one.halted()
    two.traded("d", Side.SELL)
    return fold([record for pair in zip(one.records, two.records, strict=False) for record in pair] + one.records)


def signal(kind: type[Signal], number: int, portfolio: str = "alpha", at_ms: int | None = None, **fields: Any) -> Output:
    """One signal as the portfolio fold writes it."""
    message = kind(
        signal_id=digest_id("signal", portfolio, str(number)),
        portfolio=portfolio,
        incarnation=digest_id("incarnation"),
        decision_number=number,
        at_ms=START_MS + number if at_ms is None else at_ms,
        **fields,
    )
    ce_id = digest_id(kind.TYPE, portfolio, str(number))
    envelope = Envelope(ce_id, message.ce_type(), "portfolio/0", message.at_ms, traceparent=TRACE)
    return Output(REBALANCE_SIGNALS, portfolio.encode(), encode(message), envelope.headers(), timestamp_ms=message.at_ms)


def view() -> AssetView:
    return AssetView(
        holding=Decimal("1.5"),
        mark_quote=Decimal(50000),
        weight=Decimal("0.504"),
        weight_target=Decimal("0.5"),
        drift=Decimal("0.004"),
        drift_pending=Decimal("0.004"),
    )


def signals() -> list[Output]:
    """A decision with a leg and a debt, two observations, a halt."""
    leg = Leg(
        account="one",
        symbol="BTC/USDT",
        side=Side.BUY,
        quantity_base=Decimal("0.5"),
        price_mid_quote=Decimal(50000),
        price_cap_quote=Decimal(50500),
        command_id=digest_id("a"),
    )
    decided = {
        "reason": Reason.DRIFT,
        "nav_quote": Decimal(150000),
        "threshold": Decimal("0.0042"),
        "edge_inner": Decimal("0.0021"),
        "band": Decimal("0.01"),
        "trigger_asset": "BTC",
        "assets": {"BTC": view()},
        "legs": (leg, leg.model_copy(update={"command_id": None})),
        "debts": (Debt(asset="ETH", amount_quote=Decimal("3.5"), cause="BELOW_MINIMUM"),),
        "oldest_received_at_ms": START_MS,
    }
    observed = {
        "reason": Reason.WITHIN_BAND,
        "band": Decimal("0.01"),
        "threshold": Decimal("0.0042"),
        "assets": {"BTC": view()},
    }
    return [
        signal(PortfolioObserved, 1, **observed, time_total_ms=1000, time_in_band_ms=900),
        signal(RebalanceDecided, 2, **decided),
        signal(PortfolioObserved, 3, **observed, time_total_ms=2000, time_in_band_ms=1900),
        signal(PortfolioHalted, 4, halt_id=digest_id("halt"), cause="COMMAND_UNANSWERED", detail="a \0 in the text"),
        signal(PortfolioObserved, 5, "beta", **observed, time_total_ms=5, time_in_band_ms=5),
    ]


def probe(at_ms: int, probe_ms: int | None) -> Output:
    message = VenueLatency(venue="sim", probe_ms=probe_ms, order_ms=12, observed_at_ms=at_ms)
    envelope = Envelope(digest_id("probe", str(at_ms)), message.ce_type(), "feed/sim", at_ms)
    return Output(VENUE_LATENCY, b"sim", encode(message), envelope.headers(), timestamp_ms=at_ms)


def probes() -> list[Output]:
    return [probe(START_MS, 8), probe(START_MS + 1000, None)]
