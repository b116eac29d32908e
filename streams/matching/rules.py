"""What a symbol demands of an order: the filters, as pure checks.

Prices are quote units for one base unit, quantities base units. A bound of zero means that the bound is off.
"""

from dataclasses import dataclass
from decimal import Decimal

from streams.matching.amounts import ZERO, is_multiple
from streams.matching.orders import Kind, OrderRequest, Refusal


@dataclass(frozen=True, slots=True)
class SymbolRules:
    """One traded pair and its filters.

    Raises ValueError for a pair whose trades could not be booked exactly in eight decimals.
    """

    symbol: str
    base_asset: str
    quote_asset: str
    tick_size: Decimal
    step_size: Decimal
    price_min: Decimal
    price_max: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    market_quantity_min: Decimal = ZERO
    market_quantity_max: Decimal = ZERO
    notional_min: Decimal = ZERO
    notional_max: Decimal = ZERO
    applies_notional_min_to_market: bool = True
    applies_notional_max_to_market: bool = False

    def __post_init__(self):
        if self.tick_size <= 0 or self.step_size <= 0:
            raise ValueError(f"{self.symbol}: tick and step must be above zero")
        if _decimals(self.tick_size) + _decimals(self.step_size) > 8:
            raise ValueError(f"{self.symbol}: tick times step must not need more than eight decimals")


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _outside(value: Decimal, low: Decimal, high: Decimal) -> bool:
    return value < low or (high > 0 and value > high)


def check_price(rules: SymbolRules, price: Decimal) -> Refusal | None:
    """PRICE_FILTER: inside the bounds and on a tick."""
    if price <= 0 or _outside(price, rules.price_min, rules.price_max) or not is_multiple(price, rules.tick_size):
        return Refusal.PRICE_FILTER
    return None


def check_quantity(rules: SymbolRules, quantity: Decimal, *, is_market: bool) -> Refusal | None:
    """LOT_SIZE for every order; MARKET_LOT_SIZE besides for market orders."""
    if (
        quantity <= 0
        or _outside(quantity, rules.quantity_min, rules.quantity_max)
        or not is_multiple(quantity, rules.step_size)
    ):
        return Refusal.LOT_SIZE
    if is_market and _outside(quantity, rules.market_quantity_min, rules.market_quantity_max):
        return Refusal.MARKET_LOT_SIZE
    return None


def check_notional(rules: SymbolRules, notional: Decimal, *, is_market: bool) -> Refusal | None:
    """NOTIONAL: price times quantity inside the bounds that apply to this kind of order."""
    low = rules.notional_min if not is_market or rules.applies_notional_min_to_market else ZERO
    high = rules.notional_max if not is_market or rules.applies_notional_max_to_market else ZERO
    return Refusal.NOTIONAL if _outside(notional, low, high) else None


def check_order(rules: SymbolRules, request: OrderRequest, price_reference: Decimal | None) -> Refusal | None:
    """The first filter that refuses the request, or None.

    `price_reference` values a market order that names base units; None (an empty book) leaves its notional unchecked.
    A market order that names quote units is checked by its notional alone: its quantity follows from the book.
    """
    if request.kind is not Kind.MARKET:
        return (
            check_price(rules, request.price_quote)
            or check_quantity(rules, request.quantity_base, is_market=False)
            or check_notional(rules, request.price_quote * request.quantity_base, is_market=False)
        )
    if request.quantity_quote > 0:
        return check_notional(rules, request.quantity_quote, is_market=True)
    refusal = check_quantity(rules, request.quantity_base, is_market=True)
    if refusal or price_reference is None:
        return refusal
    return check_notional(rules, price_reference * request.quantity_base, is_market=True)
