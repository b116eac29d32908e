"""What trading cost, measured against the mid at decision (Perold's implementation shortfall).

With s = +1 for a buy and -1 for a sell: shortfall of the filled part = sum of s (price - mid at decision) x quantity + fees,
in quote units; positive is a cost. In basis points it is taken of the filled quantity at the decision's mid.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from schemas.orders import Side
from streams.domain.numbers import DECISION, MONEY, wire

_BP = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class Fill:
    """One fill of an order: `quote_amount` as the venue booked it, `fee_quote` valued in the quote asset."""

    side: Side
    price_mid_quote: Decimal
    quantity_base: Decimal
    quote_amount: Decimal
    fee_quote: Decimal


def cost_quote(fill: Fill) -> Decimal:
    """Shortfall of one fill in quote units, fee included, exact."""
    worth = MONEY.multiply(fill.price_mid_quote, fill.quantity_base)
    paid_above = MONEY.subtract(fill.quote_amount, worth)
    signed = paid_above if fill.side is Side.BUY else paid_above.copy_negate()
    return MONEY.add(signed, fill.fee_quote)


def shortfall_bp(fills: Iterable[Fill]) -> Decimal | None:
    """Shortfall of many fills in basis points of their notional at decision mid (so weighted by notional); None for none."""
    cost = notional = Decimal(0)
    for fill in fills:
        cost = MONEY.add(cost, cost_quote(fill))
        notional = MONEY.add(notional, MONEY.multiply(fill.price_mid_quote, fill.quantity_base))
    if not notional:
        return None
    return wire(DECISION.multiply(DECISION.divide(cost, notional), _BP))


def fee_in_quote(fee_asset: str, fee_amount: Decimal, base: str, quote: str, price_quote: Decimal) -> Decimal:
    """A fee valued in the quote asset at the fill's price. A fee in a third asset has no price here and counts as zero;
    the ledger books it exactly all the same."""
    if fee_asset == quote:
        return fee_amount
    return MONEY.multiply(fee_amount, price_quote) if fee_asset == base else Decimal(0)
