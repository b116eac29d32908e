"""Fees and the movement of funds behind one fill.

The fee of a fill may be in the asset received (the usual rule), always in the base or the quote asset, or in a third
asset of which the account keeps a reserve. When the reserve is too small, that fill's fee is in the asset received.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from streams.matching.amounts import ZERO, converted, share_of
from streams.matching.funds import BACKGROUND, FEES, Funds
from streams.matching.orders import Order, Side
from streams.matching.rules import SymbolRules


class FeeMode(StrEnum):
    """In which asset an account pays its fees."""

    RECEIVED = "received"
    BASE = "base"
    QUOTE = "quote"
    RESERVE = "reserve"


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """Rates as fractions of the traded amount; `reserve_price_quote` values the reserve asset in any quote asset."""

    maker_rate: Decimal = ZERO
    taker_rate: Decimal = ZERO
    mode: FeeMode = FeeMode.RECEIVED
    reserve_asset: str = ""
    reserve_price_quote: Decimal = ZERO

    def __post_init__(self):
        if not (0 <= self.maker_rate < 1 and 0 <= self.taker_rate < 1):
            raise ValueError("fee rates lie between 0 and 1")
        if self.mode is FeeMode.RESERVE and not (self.reserve_asset and self.reserve_price_quote > 0):
            raise ValueError("fees from a reserve need its asset and its price")

    @property
    def rate_max(self) -> Decimal:
        """The higher of the two rates."""
        return max(self.maker_rate, self.taker_rate)


NO_FEES = FeeSchedule()


@dataclass(frozen=True, slots=True)
class Fee:
    """What a fill costs: an amount of an asset."""

    amount: Decimal
    asset: str


def spend_asset(rules: SymbolRules, side: Side) -> str:
    """The asset that an order of this side gives away."""
    return rules.quote_asset if side is Side.BUY else rules.base_asset


def receive_asset(rules: SymbolRules, side: Side) -> str:
    """The asset that an order of this side gets."""
    return rules.base_asset if side is Side.BUY else rules.quote_asset


def needed(fees: FeeSchedule, side: Side, quantity_base: Decimal, amount_quote: Decimal) -> Decimal:
    """What must be locked in the asset spent, for so much still to trade, the fee included when it is in that asset."""
    amount = amount_quote if side is Side.BUY else quantity_base
    pays_from_spent = (fees.mode is FeeMode.QUOTE and side is Side.BUY) or (fees.mode is FeeMode.BASE and side is Side.SELL)
    return amount + share_of(amount, fees.rate_max) if pays_from_spent else amount


def fee_of(
    rules: SymbolRules, fees: FeeSchedule, order: Order, quantity_base: Decimal, amount_quote: Decimal, *, is_maker: bool
) -> Fee:
    """The fee of one fill by the account's schedule, before looking whether a reserve is large enough."""
    rate = fees.maker_rate if is_maker else fees.taker_rate
    if fees.mode is FeeMode.RESERVE:
        return Fee(converted(amount_quote * rate, fees.reserve_price_quote), fees.reserve_asset)
    in_base = fees.mode is FeeMode.BASE or (fees.mode is FeeMode.RECEIVED and order.side is Side.BUY)
    if in_base:
        return Fee(share_of(quantity_base, rate), rules.base_asset)
    return Fee(share_of(amount_quote, rate), rules.quote_asset)


def settle(
    funds: Funds,
    rules: SymbolRules,
    fees: FeeSchedule,
    order: Order,
    quantity_base: Decimal,
    amount_quote: Decimal,
    *,
    is_maker: bool,
) -> Fee:
    """Move both assets and the fee for one side of a trade; returns the fee taken."""
    spent, received = spend_asset(rules, order.side), receive_asset(rules, order.side)
    amount_spent, amount_received = (amount_quote, quantity_base) if order.side is Side.BUY else (quantity_base, amount_quote)
    if order.account == BACKGROUND:
        funds.spend_free(BACKGROUND, spent, amount_spent)
        funds.receive(BACKGROUND, received, amount_received)
        return Fee(ZERO, received)
    funds.spend_locked(order.account, spent, amount_spent)
    order.locked -= amount_spent
    funds.receive(order.account, received, amount_received)
    fee = fee_of(rules, fees, order, quantity_base, amount_quote, is_maker=is_maker)
    if fees.mode is FeeMode.RESERVE and funds.balance(order.account, fee.asset).free < fee.amount:
        rate = fees.maker_rate if is_maker else fees.taker_rate
        fee = Fee(share_of(amount_received, rate), received)
    if fee.asset == spent and fees.mode is not FeeMode.RESERVE:
        funds.spend_locked(order.account, spent, fee.amount)
        order.locked -= fee.amount
    else:
        funds.spend_free(order.account, fee.asset, fee.amount)
    funds.receive(FEES, fee.asset, fee.amount)
    return fee
