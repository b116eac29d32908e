"""How many journal records the portfolio fold takes in a CPU second of one core, decoding included.

One shard of 100 portfolios with 5 assets each (BTC, ETH, SOL, XRP against USDT), their drifts spread over the threshold's
inside. Steps that end without a decision and steps in which portfolios decide are told apart. Baselines from the same run:
decoding and accepting the very same records, and the fold that looks at every portfolio exactly (no screen).
"""

import copy
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from schemas.codec import decode, encode
from schemas.control import PolicySet, PortfolioCreated, PortfolioLimitsSet, TargetsSet
from schemas.envelope import Envelope, Message
from schemas.journal import Input, JournalRecord, MarketBatch, News, Positions, Quote, Range, WriterStarted
from schemas.orders import AccountOpened, OwnerStarted
from schemas.rebalance import RebalanceDecided
from schemas.venue import TradingStatus, VenueRules
from streams.agents.portfolio import PortfolioFold
from streams.domain.ids import digest_id
from streams.domain.ledger.books import Books
from streams.ports.log import Output, Record
from streams.topics import MARKET_TICKERS, OPERATOR_CONTROL, ORDERS_LEDGER, PORTFOLIO_JOURNAL, VENUE_RULES

START_MS = 1_722_838_200_000
PORTFOLIOS = 100
PRICES = {"BTC": Decimal(50_000), "ETH": Decimal(2_500), "SOL": Decimal(130), "XRP": Decimal("0.55")}
WEIGHTS = {"BTC": Decimal("0.3"), "ETH": Decimal("0.2"), "SOL": Decimal("0.2"), "XRP": Decimal("0.1"), "USDT": Decimal("0.2")}


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """Steps a CPU second; medians over repeats. `decisions_per_step` is how many portfolios a deciding step trades."""

    decode_only_steps_per_second: float
    quiet_steps_per_second: float
    quiet_exact_steps_per_second: float
    deciding_steps_per_second: float
    decisions_per_step: float
    snapshot_ms: float
    snapshot_bytes: int


def fold_figures(portfolios: int = PORTFOLIOS, steps: int = 1_000, repeats: int = 3) -> FoldFigures:
    """Measure the fold in CPU time of one core; about 15 s of it with the defaults."""
    journal = _Journal()
    first = PortfolioFold("bench", 0, None)
    for record in journal.opening(portfolios):
        first.step(record)
    rest = first.snapshot()
    warm = journal.batch(Decimal(1))
    crash = journal.fork().batch(Decimal("0.96"))
    quiet = journal.quiet(steps)

    def warmed(screened: bool = True) -> PortfolioFold:
        fold = PortfolioFold("bench", 0, rest, screened)
        fold.step(warm)
        return fold

    def decoded() -> float:
        return _per_second(len(quiet), lambda: [decode(_ce_type(record), record.value) for record in quiet])

    def folded(screened: bool) -> float:
        fold = warmed(screened)
        records = quiet if screened else quiet[: len(quiet) // 10]
        return _per_second(len(records), lambda: [fold.step(record) for record in records])

    def decided() -> tuple[float, int]:
        fold, said = warmed(), list[Output]()
        rate = _per_second(1, lambda: said.extend(fold.step(crash)))
        return rate, sum(dict(output.headers)["ce_type"] == RebalanceDecided.ce_type().encode() for output in said)

    decisions = [decided() for _ in range(10 * repeats)]
    begin = time.process_time()
    first.snapshot()
    snapshot_ms = 1_000 * (time.process_time() - begin)
    return FoldFigures(
        decode_only_steps_per_second=statistics.median(decoded() for _ in range(repeats)),
        quiet_steps_per_second=statistics.median(folded(True) for _ in range(repeats)),
        quiet_exact_steps_per_second=statistics.median(folded(False) for _ in range(repeats)),
        deciding_steps_per_second=statistics.median(rate for rate, _ in decisions),
        decisions_per_step=statistics.mean(count for _, count in decisions),
        snapshot_ms=snapshot_ms,
        snapshot_bytes=len(rest),
    )


def _per_second(count: int, work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return count / (time.process_time() - begin)


def _ce_type(record: Record) -> str:
    return (record.header("ce_type") or b"").decode()


class _Journal:
    """Writes the records of one shard's journal as a sequencer would."""

    def __init__(self) -> None:
        self._random = random.Random(20240805)
        self._offset = 0
        self._now_ms = START_MS
        self._writer = digest_id("bench", "writer")
        self._positions = {f"{topic}:0": 0 for topic in (MARKET_TICKERS, OPERATOR_CONTROL, ORDERS_LEDGER, VENUE_RULES)}
        self._books = Books()

    def opening(self, portfolios: int) -> list[Record]:
        """Everything until all portfolios are at rest, somewhere within their threshold."""
        started = self._record(WriterStarted(**self._head()))
        records = [started, self._record(Positions(**self._head(), positions=dict(self._positions)))]
        records += [self._input(_rules(asset), VENUE_RULES) for asset in PRICES]
        for n in range(portfolios):
            records += self._portfolio(f"p{n:03d}")
        return records

    def quiet(self, count: int) -> list[Record]:
        """Batches in which BTC jumps within 10 bp of where it began: no portfolio gets beyond its threshold."""
        return [self.batch(1 + Decimal(self._random.randint(-10, 10)).scaleb(-4)) for _ in range(count)]

    def fork(self) -> "_Journal":
        """Another end of the same journal."""
        return copy.deepcopy(self)

    def batch(self, factor: Decimal) -> Record:
        """A market batch with all four symbols: BTC at `factor` times its first price, the others within a basis point."""
        self._now_ms += 50
        source = f"{MARKET_TICKERS}:0"
        first = self._positions[source]
        quotes = {
            f"binance:{asset}/USDT": self._quote(asset, factor if asset == "BTC" else self._jitter(), first + n)
            for n, asset in enumerate(PRICES)
        }
        news = {key: News(received_at_ms=self._now_ms, venue_time_ms=self._now_ms) for key in quotes}
        ranges = {source: self._range(source, len(quotes))}
        return self._record(MarketBatch(**self._head(ranges), quotes=quotes, news=news))

    def _quote(self, asset: str, factor: Decimal, offset: int) -> Quote:
        price = PRICES[asset] * factor
        return Quote(
            bid_price_quote=round(price * Decimal("0.99999"), 8),
            bid_quantity_base=Decimal("1.5"),
            ask_price_quote=round(price * Decimal("1.00001"), 8),
            ask_quantity_base=Decimal("2.5"),
            venue_sequence=offset + 1,
            source=f"{MARKET_TICKERS}:0",
            source_offset=offset,
        )

    def _jitter(self) -> Decimal:
        return 1 + Decimal(self._random.randint(-10, 10)).scaleb(-5)

    def _portfolio(self, name: str) -> list[Record]:
        head: dict[str, Any] = {"scope": f"portfolio:{name}", "at_ms": START_MS, "who": "bench", "portfolio": name}
        account = f"{name}-main"
        controls = (
            PortfolioCreated(
                **head, incarnation=digest_id("bench", name), shard=0, quote="USDT", accounts={account: "binance"}
            ),
            TargetsSet(**head, weights=WEIGHTS, symbols={asset: f"{asset}/USDT" for asset in PRICES}),
            PolicySet(**head, **_POLICY),
            PortfolioLimitsSet(**head, **_LIMITS),
        )
        totals = {asset: self._near(WEIGHTS[asset]) * 100_000 / price for asset, price in PRICES.items()}
        totals = {asset: round(amount, 8) for asset, amount in totals.items()} | {"USDT": Decimal(20_000)}
        self._books.book(OwnerStarted(account=account, epoch=1, at_ms=START_MS, owner="bench"), f"owner {name}")
        opened = AccountOpened(
            account=account, epoch=1, at_ms=START_MS, portfolio=name, venue="binance", totals=totals, venue_time_ms=START_MS
        )
        entry = self._books.book(opened, f"opened {name}")
        assert entry is not None
        return [*(self._input(event, OPERATOR_CONTROL) for event in controls), self._input(entry, ORDERS_LEDGER)]

    def _near(self, weight: Decimal) -> Decimal:
        return weight + Decimal(self._random.randint(-20, 20)).scaleb(-4)

    def _input(self, message: Message, topic: str) -> Record:
        source = f"{topic}:0"
        offset = self._positions[source]
        head = self._head({source: self._range(source, 1)})
        return self._record(
            Input(
                **head,
                source=source,
                source_offset=offset,
                source_type=message.ce_type(),
                source_id=f"{source}@{offset}",
                source_value=encode(message).decode(),
            )
        )

    def _range(self, source: str, count: int) -> Range:
        first = self._positions[source]
        self._positions[source] = first + count
        return Range(offset_from=first, offset_to=first + count, journalled=count)

    def _head(self, ranges: dict[str, Range] | None = None) -> dict[str, Any]:
        return {
            "epoch": 1,
            "writer": self._writer,
            "expected_offset": self._offset,
            "sequenced_at_ms": self._now_ms,
            "ranges": ranges or {},
        }

    def _record(self, message: JournalRecord) -> Record:
        offset = self._offset
        self._offset += 1
        headers = Envelope(digest_id("bench", str(offset)), message.ce_type(), "sequencer/0", self._now_ms).headers()
        return Record(PORTFOLIO_JOURNAL, 0, offset, b"0", encode(message), headers, self._now_ms)


def _rules(asset: str) -> VenueRules:
    return VenueRules(
        venue="binance",
        symbol=f"{asset}/USDT",
        base=asset,
        quote="USDT",
        status=TradingStatus.TRADING,
        price_tick_quote=Decimal("0.0001"),
        quantity_step_base=Decimal("0.00001"),
        quantity_min_base=Decimal("0.00001"),
        quantity_max_base=Decimal(9_000_000),
        notional_min_quote=Decimal(5),
        fee_maker=Decimal("0.001"),
        fee_taker=Decimal("0.001"),
        rules_version=1,
        observed_at_ms=START_MS,
    )


_POLICY: dict[str, Any] = {
    "band": Decimal("0.005"),
    "threshold": Decimal("0.0042"),
    "edge_inner": Decimal("0.0021"),
    "price_cap": Decimal("0.002"),
    "mark_age_ms_max": 60_000,
    "admit_within_ms": 10_000,
    "order_life_ms": 3_600_000,
    "observe_every_ms": 10_000,
}
_LIMITS: dict[str, Any] = {
    "order_notional_max": Decimal("0.5"),
    "turnover_5min_max": Decimal("0.5"),
    "turnover_day_max": Decimal(5),
    "loss_day_max": Decimal("0.02"),
}


if __name__ == "__main__":
    for name, figure in asdict(fold_figures()).items():
        print(f"{name:32} {figure:14,.1f}")
