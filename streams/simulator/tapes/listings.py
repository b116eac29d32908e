"""The pairs that the venue lists: their filters and how their books look.

Filters are those of the recorded exchange in 2024. Depth is modest on purpose: in a violent minute the best level is
worth a few thousand USDT, so that larger orders walk the book.
"""

from dataclasses import dataclass
from decimal import Decimal

from streams.matching.rules import SymbolRules
from streams.simulator.tapes.depth import DepthModel


@dataclass(frozen=True, slots=True)
class Listing:
    """One pair."""

    rules: SymbolRules
    depth: DepthModel


def _listing(base: str, step: str, quantity_max: str, market_max: str, depth: tuple[int, int, int]) -> Listing:
    tick_size, step_size = Decimal("0.01"), Decimal(step)
    best_steps, growth_percent, thin_range_ticks = depth
    rules = SymbolRules(
        symbol=f"{base}USDT",
        base_asset=base,
        quote_asset="USDT",
        tick_size=tick_size,
        step_size=step_size,
        price_min=tick_size,
        price_max=Decimal(1_000_000),
        quantity_min=step_size,
        quantity_max=Decimal(quantity_max),
        market_quantity_max=Decimal(market_max),
        notional_min=Decimal(5),
        notional_max=Decimal(9_000_000),
    )
    return Listing(rules, DepthModel(tick_size, step_size, 20, best_steps, growth_percent, thin_range_ticks))


LISTINGS = {
    "BTCUSDT": _listing("BTC", "0.00001", "9000", "120", (40_000, 170, 10_000)),
    "ETHUSDT": _listing("ETH", "0.0001", "9000", "1500", (60_000, 150, 500)),
}
"""By the venue's symbol."""
