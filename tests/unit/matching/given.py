"""A small venue to talk to: one pair with round prices, two customers, no fees unless said."""

from decimal import Decimal

from streams.matching.market import Market
from streams.matching.orders import Kind, Order, OrderRequest, Refused, Side, TimeInForce
from streams.matching.rules import SymbolRules
from streams.matching.settlement import NO_FEES, FeeSchedule

RULES = SymbolRules(
    symbol="BTCUSDT",
    base_asset="BTC",
    quote_asset="USDT",
    tick_size=Decimal("0.01"),
    step_size=Decimal("0.001"),
    price_min=Decimal("0.01"),
    price_max=Decimal("1000000"),
    quantity_min=Decimal("0.001"),
    quantity_max=Decimal("100"),
    market_quantity_max=Decimal("50"),
    notional_min=Decimal("5"),
    notional_max=Decimal("1000000"),
)


def venue(*, alice: FeeSchedule = NO_FEES, bob: FeeSchedule = NO_FEES) -> Market:
    """Alice and Bob with 10 BTC and 10 000 USDT each."""
    market = Market([RULES])
    for account, fees in (("alice", alice), ("bob", bob)):
        market.open_account(account, fees)
        market.set_balance(account, "BTC", Decimal(10), now_ms=1)
        market.set_balance(account, "USDT", Decimal(10_000), now_ms=1)
    return market


def request(account: str, side: str, quantity: str, price: str | None = None, **more) -> OrderRequest:
    """An order: limit with a price, market without; `more` overrides any field."""
    fields = {
        "account": account,
        "symbol": "BTCUSDT",
        "side": Side(side.upper()),
        "kind": Kind.LIMIT if price else Kind.MARKET,
        "client_order_id": f"{account}-{side}-{quantity}-{price}",
        "time_in_force": TimeInForce.GTC,
        "quantity_base": Decimal(quantity),
        "price_quote": Decimal(price or 0),
    }
    return OrderRequest(**(fields | more))


def accepted(market: Market, asked: OrderRequest, now_ms: int = 2) -> Order:
    """Submit an order that must be accepted."""
    outcome = market.submit(asked, now_ms)
    assert not isinstance(outcome, Refused), outcome
    return outcome


def owns(market: Market, account: str) -> dict[str, tuple[Decimal, Decimal]]:
    """Free and locked of each asset that is not all zero."""
    return {
        asset: (balance.free, balance.locked)
        for asset, balance in market.funds.balances(account)
        if balance.free or balance.locked
    }
