"""What an account can give for new orders: its ledger holdings less what open orders may still take.

An order whose outcome is unknown reserves what it would spend and receives nothing; an unfilled sale funds nothing. An order by
hand that stands reserves like ours: a buy what is left of it at its limit with the taker's fee, a sale what is left of it.
"""

from decimal import Decimal

from schemas.orders import Side
from schemas.rebalance import Leg
from schemas.venue import VenueRules
from streams.domain.numbers import DECISION, MONEY
from streams.domain.portfolio.state import PortfolioState, World, is_buy, remaining_base

# Kept back of the quote asset, as a fraction of net asset value, for fees and rounding.
BUFFER = Decimal("0.001")


def cost_at_cap(quantity_base: Decimal, price_cap_quote: Decimal, rules: VenueRules) -> Decimal:
    """What a buy spends at worst, taker fee included."""
    return DECISION.multiply(DECISION.multiply(quantity_base, price_cap_quote), DECISION.add(1, rules.fee_taker))


def spendable_quote(world: World, state: PortfolioState, account: str, nav_quote: Decimal) -> Decimal:
    """Quote units that new buys of the account may spend; negative when open orders reserve more than there is."""
    held = state.accounts[account].holdings.get(state.quote, Decimal(0))
    left = DECISION.subtract(held, DECISION.multiply(BUFFER, nav_quote))
    left = DECISION.subtract(left, reserved_by_hand(world, state, account, state.quote))
    for _, order in sorted(state.orders.items()):
        command = order.command
        if command.account == account and is_buy(command.side):
            price = command.price_limit_quote or command.price_mid_quote
            rules = world.rules[f"{command.venue}:{command.symbol}"]
            left = DECISION.subtract(left, cost_at_cap(remaining_base(order), price, rules))
    return left


def reserved_by_hand(world: World, state: PortfolioState, account: str, asset: str) -> Decimal:
    """Units of an asset that orders by hand on the account's book may take. Where a buy's limit or fee is not known it may be
    all there is."""
    owner, reserved = state.accounts[account], Decimal(0)
    for _, order in sorted(owner.foreign_orders.items()):
        base, quote = order.symbol.split("/")
        if order.side is Side.SELL and asset == base:
            reserved = MONEY.add(reserved, order.remaining_base)
        elif order.side is Side.BUY and asset == quote:
            rules = world.rules.get(f"{owner.venue}:{order.symbol}")
            if rules is None or order.price_limit_quote is None:
                return max(reserved, owner.holdings.get(asset, Decimal(0)))
            reserved = MONEY.add(reserved, cost_at_cap(order.remaining_base, order.price_limit_quote, rules))
    return reserved


def sellable_base(world: World, state: PortfolioState, account: str, asset: str) -> Decimal:
    """Units of an asset that new sells of the account may sell; not below zero."""
    held = state.accounts[account].holdings.get(asset, Decimal(0))
    left = MONEY.subtract(held, reserved_by_hand(world, state, account, asset))
    for order in state.orders.values():
        command = order.command
        if command.account == account and not is_buy(command.side) and command.symbol.startswith(f"{asset}/"):
            left = MONEY.subtract(left, remaining_base(order))
    return max(left, Decimal(0))


def proceeds_at_cap(leg: Leg) -> Decimal:
    """What a sell brings at worst, before fees."""
    return DECISION.multiply(leg.quantity_base, leg.price_cap_quote)
