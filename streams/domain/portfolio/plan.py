"""From a trigger to legs: how much of what to trade, where, and in which order.

1. Amount: each triggered asset is brought to the inner edge, on its own side of the target; the others stay.
2. Netting: whatever is bought is paid from the quote asset, so its drift is minus the sum of the others. Beyond its own
   limit the excess is used on the most underweight (or overweight) assets, levelling the largest drifts; none crosses zero.
3. Legs: one trade against the quote asset for each risky asset, sized by the venue's rules. What is below a minimum is
   recorded as a debt, and step 2 is done once more without it.
4. Limits: a leg is capped at the largest order allowed, all legs are scaled to the turnover (or transition) that is left.
5. Funding: sells go first; where an account sells, its buys wait for the fills; elsewhere they are scaled to what is there.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from schemas.orders import Side
from schemas.rebalance import Debt, Leg
from schemas.venue import TradingStatus, VenueRules
from streams.domain.numbers import DECISION, floor_to_step, price_down, price_up, wire
from streams.domain.portfolio import reasons
from streams.domain.portfolio.funds import cost_at_cap, proceeds_at_cap, sellable_base, spendable_quote
from streams.domain.portfolio.gates import open_accounts
from streams.domain.portfolio.limits import order_quote_max, turnover_room_quote
from streams.domain.portfolio.state import PortfolioState, World
from streams.domain.portfolio.valuation import Sight, Valuation, mid, risky

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Plan:
    """`send` goes out now, sells first; `waiting` are buys that fills of sells will fund; `debts` could not be planned."""

    send: tuple[Leg, ...]
    waiting: tuple[Leg, ...]
    debts: tuple[Debt, ...]


def make_plan(world: World, state: PortfolioState, sight: Sight, assets: Sequence[str], blocked: Collection[str]) -> Plan:
    """The plan for the triggered `assets`; `blocked` ones are not traded. Needs open gates."""
    with localcontext(DECISION):
        nav = sight.pending.nav_quote
        fixed: dict[str, Debt] = {}
        while True:
            moves = _moves(state, sight, assets, {*blocked, *fixed})
            legs, short = _legs(world, state, moves, nav)
            if not short:
                break
            fixed |= short
        legs, limited = _within_turnover(world, state, legs, nav)
        return _funded(world, state, legs, nav, [*fixed.values(), *limited])


def release(world: World, state: PortfolioState, nav_quote: Decimal) -> tuple[tuple[Leg, ...], tuple[Leg, ...]]:
    """(legs to send now, legs that go on waiting): the waiting buys of accounts with a filled sell, scaled to their funds and,
    at the prices of now, to the largest order and the turnover that are allowed.

    A buy is split only into parts that the venue takes on their own; else it waits for the next fill as a whole.
    """
    assert state.limits is not None
    with localcontext(DECISION):
        sent: list[Leg] = []
        waiting = [leg for leg in state.waiting if leg.account not in state.sold]
        reachable = open_accounts(world, state)
        waiting += [leg for leg in state.waiting if leg.account in state.sold and leg.account not in reachable]
        ready = [leg for leg in state.waiting if leg.account in state.sold and leg.account in reachable]
        fresh = [_repriced(world, state, leg) for leg in ready]
        room = _share(_notional_max(fresh), turnover_room_quote(state, state.limits, world.time_ms, nav_quote))
        largest = order_quote_max(state, state.limits, nav_quote)
        for account in sorted(state.sold):
            legs = [leg for leg in fresh if leg.account == account]
            scale = min(_scale(world, state, account, legs, nav_quote), room)
            for leg in legs:
                part, rest = _split(world, state, leg, min(scale, _share(_notional_max([leg]), largest)))
                sent += part
                waiting += rest
        return tuple(sent), tuple(waiting)


def inner_edge(drift: Decimal, edge: Decimal) -> Decimal:
    """Where a triggered asset is brought: the edge on its own side, or where it is if that is nearer."""
    return min(abs(drift), edge).copy_sign(drift)


def netted(drifts: Mapping[str, Decimal], limit: Decimal, fixed: Collection[str]) -> dict[str, Decimal]:
    """The risky assets' drifts after the quote asset's (minus their sum) is brought within `limit`, as far as it can be.

    Levels the largest drifts on the quote's opposite side; none crosses zero or grows. `fixed` assets stay.
    """
    quote = -sum(drifts.values(), _ZERO)
    excess = abs(quote) - limit
    if excess <= 0:
        return dict(drifts)
    sizes = {
        asset: abs(drift) for asset, drift in drifts.items() if asset not in fixed and drift and (drift > 0) != (quote > 0)
    }
    level = _level(sorted(sizes.values(), reverse=True), excess)
    return {
        asset: level.copy_sign(drift) if asset in sizes and abs(drift) > level else drift for asset, drift in drifts.items()
    }


def orderable_base(rules: VenueRules, quantity_base: Decimal, price_quote: Decimal) -> Decimal:
    """The largest quantity up to `quantity_base` that the venue takes at this price; 0 if that is below its minima."""
    quantity = min(quantity_base, rules.quantity_max_base)
    if rules.notional_max_quote is not None:
        quantity = min(quantity, DECISION.divide(rules.notional_max_quote, price_quote))
    quantity = floor_to_step(quantity, rules.quantity_step_base)
    if quantity < rules.quantity_min_base or DECISION.multiply(quantity, price_quote) < rules.notional_min_quote:
        return _ZERO
    return quantity


def price_cap(side: Side, price_mid: Decimal, cap: Decimal, rules: VenueRules) -> Decimal:
    """The worst price an order may get: mid x (1 + cap) for a buy, mid x (1 - cap) for a sell, on the tick inside that."""
    if side is Side.BUY:
        return max(price_down(DECISION.multiply(price_mid, 1 + cap), rules.price_tick_quote), rules.price_tick_quote)
    return max(price_up(DECISION.multiply(price_mid, 1 - cap), rules.price_tick_quote), rules.price_tick_quote)


def _level(sizes: Sequence[Decimal], excess: Decimal) -> Decimal:
    """The level to which the largest of `sizes` (descending) are cut so that the cuts sum to `excess`; 0 if they cannot."""
    total = _ZERO
    for count, size in enumerate(sizes, start=1):
        total += size
        following = sizes[count] if count < len(sizes) else _ZERO
        if total - count * following >= excess:
            return DECISION.divide(total - excess, Decimal(count))
    return _ZERO


def _moves(state: PortfolioState, sight: Sight, assets: Sequence[str], fixed: Collection[str]) -> dict[str, Decimal]:
    """The change of weight wanted for each risky asset (positive buys), zero ones left out.

    While an outcome is unknown each triggered asset moves by the smallest amount that any outcome asks for, and nothing
    else is traded for the quote's sake.
    """
    assert state.policy is not None
    edge = min(state.policy.edge_inner, state.policy.threshold)
    own = [asset for asset in assets if asset != state.quote and asset not in fixed]
    if len(sight.outcomes) > 1:
        steps = {asset: min((_step(view, asset, edge) for view in sight.outcomes), key=abs) for asset in own}
        return {asset: step for asset, step in steps.items() if step}
    before = {asset: sight.pending.drifts[asset] for asset in risky(state)}
    aimed = {asset: inner_edge(drift, edge) if asset in own else drift for asset, drift in before.items()}
    after = netted(aimed, edge if state.quote in assets else state.policy.threshold, fixed)
    return {asset: after[asset] - before[asset] for asset in before if after[asset] != before[asset]}


def _step(view: Valuation, asset: str, edge: Decimal) -> Decimal:
    return inner_edge(view.drifts[asset], edge) - view.drifts[asset]


def _legs(world: World, state: PortfolioState, moves: Mapping[str, Decimal], nav: Decimal) -> tuple[list[Leg], dict[str, Debt]]:
    """Legs for the wanted moves, sells first, and a debt for each asset of which nothing can be traded."""
    legs: list[Leg] = []
    short: dict[str, Debt] = {}
    power = {account: spendable_quote(world, state, account, nav) for account in open_accounts(world, state)}
    for asset, move in sorted(moves.items(), key=lambda item: (item[1] > 0, item[0])):
        made, cause = (_buys if move > 0 else _sells)(world, state, asset, abs(move) * nav, nav, power)
        legs += made
        if not made:
            short[asset] = Debt(asset=asset, amount_quote=wire(move * nav), cause=cause)
    return legs, short


def _sells(
    world: World, state: PortfolioState, asset: str, notional: Decimal, nav: Decimal, power: dict[str, Decimal]
) -> tuple[list[Leg], str]:
    """Sells of an asset where it is held, the largest holding first."""
    legs: list[Leg] = []
    cause = reasons.FUNDS_ELSEWHERE
    holding = {account: sellable_base(world, state, account, asset) for account in power}
    for account in sorted((name for name in holding if holding[name]), key=lambda name: (-holding[name], name)):
        leg, cause = _leg(world, state, account, asset, Side.SELL, notional, holding[account], nav)
        if leg is not None:
            legs.append(leg)
            notional -= leg.quantity_base * leg.price_mid_quote
            power[account] += proceeds_at_cap(leg)
    return legs, cause


def _buys(
    world: World, state: PortfolioState, asset: str, notional: Decimal, nav: Decimal, power: dict[str, Decimal]
) -> tuple[list[Leg], str]:
    """One buy of an asset, on the account that can pay most."""
    account = max(sorted(power), key=lambda name: power[name])
    leg, cause = _leg(world, state, account, asset, Side.BUY, notional, None, nav)
    if leg is None:
        return [], cause
    power[account] -= cost_at_cap(leg.quantity_base, leg.price_cap_quote, _rules(world, state, account, leg.symbol))
    return [leg], cause


def _leg(
    world: World,
    state: PortfolioState,
    account: str,
    asset: str,
    side: Side,
    notional: Decimal,
    quantity_max: Decimal | None,
    nav: Decimal,
) -> tuple[Leg | None, str]:
    """A leg of `notional` at the mid, no more than `quantity_max`; or None and the cause."""
    assert state.policy is not None
    assert state.limits is not None
    assert state.targets is not None
    symbol = state.targets.symbols[asset]
    rules = _rules(world, state, account, symbol)
    price_mid = mid(world.quotes[f"{rules.venue}:{symbol}"])
    cap = price_cap(side, price_mid, state.policy.price_cap, rules)
    if rules.status is not TradingStatus.TRADING:
        return None, reasons.VENUE_CLOSED
    wanted = notional / price_mid
    wanted = wanted if quantity_max is None else min(wanted, quantity_max)
    allowed = order_quote_max(state, state.limits, nav) / max(cap, price_mid)
    quantity = orderable_base(rules, min(wanted, allowed), cap)
    if not quantity:
        return None, reasons.LIMIT if orderable_base(rules, wanted, cap) else reasons.MINIMUM
    leg = Leg(account=account, symbol=symbol, side=side, quantity_base=quantity, price_mid_quote=price_mid, price_cap_quote=cap)
    return leg, ""


def _within_turnover(world: World, state: PortfolioState, legs: list[Leg], nav: Decimal) -> tuple[list[Leg], list[Debt]]:
    """The legs scaled to the turnover that is left, and a debt for each that is then below a minimum."""
    assert state.limits is not None
    room = turnover_room_quote(state, state.limits, world.time_ms, nav)
    return _scaled(world, state, legs, _share(_notional_max(legs), room), reasons.LIMIT)


def _notional_max(legs: Sequence[Leg]) -> Decimal:
    """What legs can trade at most, in quote units."""
    return sum((leg.quantity_base * max(leg.price_cap_quote, leg.price_mid_quote) for leg in legs), _ZERO)


def _share(wanted: Decimal, allowed: Decimal) -> Decimal:
    """min(1, allowed / wanted)."""
    return Decimal(1) if wanted <= allowed else allowed / wanted


def _funded(world: World, state: PortfolioState, legs: list[Leg], nav: Decimal, debts: list[Debt]) -> Plan:
    """Sells now; the buys of accounts that sell wait; the other buys are scaled to what their account can spend."""
    sells = [leg for leg in legs if leg.side is Side.SELL]
    selling = {leg.account for leg in sells}
    buys: list[Leg] = []
    for account in sorted({leg.account for leg in legs} - selling):
        own = [leg for leg in legs if leg.account == account]
        scale = _scale(world, state, account, own, nav)
        elsewhere = any(spendable_quote(world, state, name, nav) > 0 for name in state.accounts if name != account)
        made, short = _scaled(world, state, own, scale, reasons.FUNDS_ELSEWHERE if elsewhere else reasons.FUNDS)
        buys += made
        debts += short
    waiting = tuple(leg for leg in legs if leg.side is Side.BUY and leg.account in selling)
    return Plan((*sells, *buys), waiting, tuple(sorted(debts, key=lambda debt: debt.asset)))


def _scale(world: World, state: PortfolioState, account: str, buys: Sequence[Leg], nav: Decimal) -> Decimal:
    """min(1, spendable / cost of all buys at their caps), not below zero."""
    cost = sum(
        (cost_at_cap(leg.quantity_base, leg.price_cap_quote, _rules(world, state, account, leg.symbol)) for leg in buys), _ZERO
    )
    return _share(cost, max(spendable_quote(world, state, account, nav), _ZERO))


def _scaled(
    world: World, state: PortfolioState, legs: Sequence[Leg], scale: Decimal, cause: str
) -> tuple[list[Leg], list[Debt]]:
    if scale >= 1:
        return list(legs), []
    made: list[Leg] = []
    short: list[Debt] = []
    for leg in legs:
        rules = _rules(world, state, leg.account, leg.symbol)
        quantity = orderable_base(rules, leg.quantity_base * scale, leg.price_cap_quote)
        if quantity:
            made.append(leg.model_copy(update={"quantity_base": quantity}))
        else:
            amount = wire(leg.quantity_base * leg.price_mid_quote)
            signed = amount if leg.side is Side.BUY else -amount
            short.append(Debt(asset=rules.base, amount_quote=signed, cause=cause))
    return made, short


def _repriced(world: World, state: PortfolioState, leg: Leg) -> Leg:
    assert state.policy is not None
    rules = _rules(world, state, leg.account, leg.symbol)
    price_mid = mid(world.quotes[f"{rules.venue}:{leg.symbol}"])
    cap = price_cap(leg.side, price_mid, state.policy.price_cap, rules)
    return leg.model_copy(update={"price_mid_quote": price_mid, "price_cap_quote": cap})


def _split(world: World, state: PortfolioState, leg: Leg, scale: Decimal) -> tuple[list[Leg], list[Leg]]:
    """The part of a buy that `scale` pays for, and the rest. Nothing is split off that leaves a rest below the minimum
    while sells of the account are still open."""
    rules = _rules(world, state, leg.account, leg.symbol)
    part = orderable_base(rules, leg.quantity_base * scale, leg.price_cap_quote)
    rest = leg.quantity_base - part
    more_to_come = any(
        order.command.account == leg.account and order.command.side is Side.SELL for order in state.orders.values()
    )
    if not part or (rest and more_to_come and not orderable_base(rules, rest, leg.price_cap_quote)):
        return [], [leg]
    sent = leg.model_copy(update={"quantity_base": part})
    return [sent], [leg.model_copy(update={"quantity_base": rest})] if rest else []


def _rules(world: World, state: PortfolioState, account: str, symbol: str) -> VenueRules:
    return world.rules[f"{state.accounts[account].venue}:{symbol}"]
