"""What a portfolio is worth and how far it is from its targets.

mark = (bid + ask) / 2; net asset value NAV = sum of holding x mark over managed assets (targets and quote); weight = holding
x mark / NAV; drift = weight - target. Weights are rounded to the wire's 18 places before anything is decided, so that what
is published is what was compared; the quote's drift is minus the sum of the others, so all drifts sum to zero exactly.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from itertools import chain, combinations

from schemas.ledger import OrderState
from schemas.rebalance import AssetView
from schemas.values import plain
from streams.domain.numbers import DECISION, MONEY, wire
from streams.domain.portfolio.funds import reserved_by_hand
from streams.domain.portfolio.state import OpenOrder, PortfolioState, Quoted, World, is_buy, remaining_base

# Every outcome of the UNKNOWN orders is looked at: 2^3 views at most; with more of them nothing is decided.
UNKNOWN_MAX = 3
NAV_MAX_QUOTE = Decimal(10) ** 17
"""Beyond this a price is wrong, and figures could outgrow what messages and checkpoints take."""
_ONE = Decimal(1)
_TWO = Decimal(2)


@dataclass(frozen=True, slots=True)
class Valuation:
    """Figures of one portfolio at one instant, by asset, quote included: holdings in units, marks in quote, rest of NAV."""

    nav_quote: Decimal
    holdings: Mapping[str, Decimal]
    marks: Mapping[str, Decimal]
    weights: Mapping[str, Decimal]
    drifts: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Sight:
    """A portfolio as decisions see it: `fills` counts only what the ledger booked, `pending` counts every planned or open
    remainder as filled at its cap price, `outcomes` holds one pending view for each outcome of the UNKNOWN orders."""

    fills: Valuation
    pending: Valuation
    outcomes: tuple[Valuation, ...]
    oldest_received_at_ms: int


def mid(quoted: Quoted) -> Decimal:
    """The mark of a quote: half way between bid and ask, at the wire's precision."""
    return wire(DECISION.divide(DECISION.add(quoted.bid_price_quote, quoted.ask_price_quote), _TWO))


def risky(state: PortfolioState) -> list[str]:
    """The assets with a target besides the quote asset, sorted."""
    assert state.targets is not None
    return sorted(asset for asset in state.targets.weights if asset != state.quote)


def mark_keys(state: PortfolioState) -> dict[str, str]:
    """For each risky asset the quote (venue:symbol) that marks it: the one on the venue of the first account."""
    assert state.targets is not None
    venue = state.accounts[min(state.accounts)].venue
    return {asset: f"{venue}:{state.targets.symbols[asset]}" for asset in risky(state)}


def quote_keys(state: PortfolioState) -> list[str]:
    """Every quote (venue:symbol) that a decision of the portfolio may use, sorted."""
    assert state.targets is not None
    venues = {account.venue for account in state.accounts.values()}
    return sorted(f"{venue}:{state.targets.symbols[asset]}" for venue in venues for asset in risky(state))


def held(state: PortfolioState) -> dict[str, Decimal]:
    """Units of each managed asset over all accounts."""
    sums = dict.fromkeys([*risky(state), state.quote], Decimal(0))
    for account in state.accounts.values():
        for asset, amount in account.holdings.items():
            if asset in sums:
                sums[asset] = MONEY.add(sums[asset], amount)
    return sums


def look(world: World, state: PortfolioState) -> Sight | None:
    """The portfolio in the light of the present quotes, fresh or not. None: something is missing or NAV is not above zero."""
    if state.targets is None or state.policy is None or not all(account.opened for account in state.accounts.values()):
        return None
    keys = quote_keys(state)
    if any(key not in world.quotes for key in keys):
        return None
    marks = {asset: mid(world.quotes[key]) for asset, key in mark_keys(state).items()}
    fills = value(held(state), marks, state.targets.weights, state.quote)
    if fills is None:
        return None
    outcomes = _outcomes(state, fills)
    if outcomes is None:
        return None
    oldest = min((world.quotes[key].received_at_ms for key in keys), default=world.time_ms)
    return Sight(fills, outcomes[-1], outcomes, oldest)


def value(
    holdings: Mapping[str, Decimal], marks: Mapping[str, Decimal], targets: Mapping[str, Decimal], quote: str
) -> Valuation | None:
    """Value `holdings` (risky assets of `marks`, and the quote asset). None if NAV is not above zero, or beyond all sense."""
    with localcontext(DECISION):
        worth = {asset: holdings[asset] * mark for asset, mark in marks.items()}
        nav = wire(sum(worth.values(), holdings[quote]))
        largest = max(abs(amount) for amount in (nav, holdings[quote], *worth.values()))
        if nav <= 0 or largest > min(nav, _ONE) * NAV_MAX_QUOTE:
            return None
        weights = {asset: wire(amount / nav) for asset, amount in worth.items()}
        drifts = {asset: weight - targets[asset] for asset, weight in weights.items()}
        drifts[quote] = -sum(drifts.values(), Decimal(0))
        weights[quote] = targets.get(quote, Decimal(0)) + drifts[quote]
        return Valuation(nav, holdings, {**marks, quote: _ONE}, weights, drifts)


def drift_max(valuation: Valuation) -> Decimal:
    """The portfolio's drift: the largest |drift| of its assets."""
    return max(abs(drift) for drift in valuation.drifts.values())


def asset_views(world: World, state: PortfolioState, sight: Sight) -> dict[str, AssetView]:
    """The figures of every managed asset, as signals carry them."""
    assert state.targets is not None
    fills = sight.fills
    return {
        asset: AssetView(
            holding=fills.holdings[asset],
            mark_quote=fills.marks[asset],
            weight=fills.weights[asset],
            weight_target=state.targets.weights.get(asset, Decimal(0)),
            drift=fills.drifts[asset],
            drift_pending=sight.pending.drifts[asset],
            reserved=wire(sum((reserved_by_hand(world, state, account, asset) for account in state.accounts), Decimal(0))),
        )
        for asset in sorted(fills.holdings)
    }


def unknown_orders(state: PortfolioState) -> list[OpenOrder]:
    """The orders of which nobody knows whether the venue has them, by command id."""
    return [order for _, order in sorted(state.orders.items()) if order.state is OrderState.UNKNOWN]


def drift_in_words(valuation: Valuation) -> str:
    """The asset that is farthest off, with its drift."""
    asset = max(sorted(valuation.drifts), key=lambda name: abs(valuation.drifts[name]))
    return f"{asset} {plain(valuation.drifts[asset].normalize(DECISION))}"


def _outcomes(state: PortfolioState, fills: Valuation) -> tuple[Valuation, ...] | None:
    """One valuation for each subset of the UNKNOWN orders that may have been filled; the last one has them all filled."""
    assert state.targets is not None
    moving = [order for order in state.orders.values() if not order.voided and order.state is not OrderState.UNKNOWN]
    unknown = unknown_orders(state)
    planned = [(leg.symbol, is_buy(leg.side), leg.quantity_base, leg.price_cap_quote) for leg in state.waiting]
    if not moving and not planned and not unknown:
        return (fills,)
    marks = {asset: mark for asset, mark in fills.marks.items() if asset != state.quote}
    views = [
        value(_as_filled(fills.holdings, [*planned, *_rests((*moving, *subset))]), marks, state.targets.weights, state.quote)
        for subset in _subsets(unknown)
    ]
    known = tuple(view for view in views if view is not None)
    return known if len(known) == len(views) else None


def _subsets(orders: list[OpenOrder]) -> Iterable[tuple[OpenOrder, ...]]:
    if len(orders) > UNKNOWN_MAX:
        return ((), tuple(orders))
    return chain.from_iterable(combinations(orders, size) for size in range(len(orders) + 1))


def _rests(orders: Iterable[OpenOrder]) -> Iterator[tuple[str, bool, Decimal, Decimal]]:
    for order in orders:
        command = order.command
        yield command.symbol, is_buy(command.side), remaining_base(order), command.price_limit_quote or command.price_mid_quote


def _as_filled(holdings: Mapping[str, Decimal], rests: Iterable[tuple[str, bool, Decimal, Decimal]]) -> dict[str, Decimal]:
    after = dict(holdings)
    for symbol, buys, quantity, price in rests:
        base, quote = symbol.split("/")
        into, out_of = MONEY.add, MONEY.subtract
        receive, spend = (into, out_of) if buys else (out_of, into)
        after[base] = receive(after.get(base, Decimal(0)), quantity)
        after[quote] = spend(after[quote], MONEY.multiply(quantity, price))
    return after
