"""What the projector reads, in a few words: books of two accounts, signals of two portfolios, probes of a venue."""

from decimal import Decimal
from typing import Any

from schemas.codec import encode
from schemas.envelope import Envelope
from schemas.orders import Side
from schemas.rebalance import AssetView, Debt, Leg, PortfolioHalted, PortfolioObserved, Reason, RebalanceDecided, Signal
from schemas.venue import VenueLatency
from streams.domain.ids import digest_id
from streams.ports.log import Output
from streams.topics import REBALANCE_SIGNALS, VENUE_LATENCY
from tests.unit.ledger.story import START_MS, TRACE, Story, fold


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
        signal(PortfolioHalted, 4, halt_id=digest_id("halt"), cause="UNKNOWN_TOO_LONG", detail="a \0 in the text"),
        signal(PortfolioObserved, 5, "beta", **observed, time_total_ms=5, time_in_band_ms=5),
    ]


def probe(at_ms: int, probe_ms: int | None) -> Output:
    message = VenueLatency(venue="sim", probe_ms=probe_ms, order_ms=12, observed_at_ms=at_ms)
    envelope = Envelope(digest_id("probe", str(at_ms)), message.ce_type(), "feed/sim", at_ms)
    return Output(VENUE_LATENCY, b"sim", encode(message), envelope.headers(), timestamp_ms=at_ms)


def probes() -> list[Output]:
    return [probe(START_MS, 8), probe(START_MS + 1000, None)]
