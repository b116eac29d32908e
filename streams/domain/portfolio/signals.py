"""The messages a portfolio sends: what it decided, what it held back, how it stands; and the commands that follow.

A decision takes the next decision number; its signal's id comes from that number and its commands' ids from the signal. What
is said without deciding takes the next notice number. So every id comes from the portfolio's own count of causes, and a
repeated step says the same under the same ids.
"""

from collections.abc import Iterable, Sequence

from schemas.envelope import Message
from schemas.orders import CancelOrder, OrderType, PlaceOrder, TimeInForce
from schemas.rebalance import (
    Debt,
    Leg,
    PortfolioHalted,
    PortfolioObserved,
    PortfolioQuarantined,
    PortfolioResumed,
    Reason,
    RebalanceDecided,
    RebalanceHeldBack,
)
from streams.domain import ids
from streams.domain.portfolio import transition
from streams.domain.portfolio.gates import Closed
from streams.domain.portfolio.state import Alarm, OpenOrder, PortfolioState, World
from streams.domain.portfolio.timing import time_in_band
from streams.domain.portfolio.valuation import Sight, asset_views

_TEXT_MAX = 500


def decided(
    world: World,
    state: PortfolioState,
    sight: Sight,
    reason: Reason,
    send: Sequence[Leg],
    waiting: Sequence[Leg],
    debts: tuple[Debt, ...] = (),
    trigger_asset: str | None = None,
) -> list[Message]:
    """A decision to trade: its signal, then one order for each leg of `send`; `waiting` legs are shown without command."""
    assert state.policy is not None
    head = _decision(world, state)
    signal_id = head["signal_id"]
    named = [leg.model_copy(update={"command_id": ids.command_id(signal_id, n)}) for n, leg in enumerate(send)]
    starts = reason is Reason.DRIFT
    round_ = state.rounds if starts else max(state.rounds - 1, 0)
    signal = RebalanceDecided(
        **head,
        reason=reason,
        round=round_,
        nav_quote=sight.fills.nav_quote,
        threshold=state.policy.threshold,
        edge_inner=state.policy.edge_inner,
        band=state.policy.band,
        trigger_asset=trigger_asset,
        assets=asset_views(world, state, sight),
        legs=(*named, *waiting),
        debts=debts,
        oldest_received_at_ms=sight.oldest_received_at_ms,
        transition=transition.view(state),
    )
    return [signal, *(_place(world, state, signal, ordinal) for ordinal in range(len(named)))]


def held_back(world: World, state: PortfolioState, closed: Closed, sight: Sight) -> RebalanceHeldBack:
    """A trigger that is not acted on, and why; or a command without an answer, triggered or not."""
    return RebalanceHeldBack(
        **_notice(world, state, "held-back"),
        reason=closed.reason,
        detail=closed.detail[:_TEXT_MAX],
        nav_quote=sight.fills.nav_quote,
        assets=asset_views(world, state, sight),
    )


def observed(world: World, state: PortfolioState, closed: Closed, sight: Sight | None) -> PortfolioObserved:
    """How the portfolio stands now."""
    assert state.policy is not None
    total_ms, in_band_ms = time_in_band(state.time_in_band, world.time_ms)
    return PortfolioObserved(
        **_notice(world, state, "observed"),
        reason=closed.reason,
        detail=closed.detail[:_TEXT_MAX],
        nav_quote=sight.fills.nav_quote if sight else None,
        band=state.policy.band,
        threshold=state.policy.threshold,
        assets=asset_views(world, state, sight) if sight else {},
        time_total_ms=total_ms,
        time_in_band_ms=in_band_ms,
        transition=transition.view(state),
    )


def halted(world: World, state: PortfolioState, alarm: Alarm) -> list[Message]:
    """The fold's own halt, and a cancel for each open order."""
    head = _decision(world, state)
    halt_id = ids.digest_id("halt", head["signal_id"])
    signal = PortfolioHalted(**head, halt_id=halt_id, cause=alarm.cause, detail=alarm.detail[:_TEXT_MAX])
    return [signal, *_cancels(world, state, head, state.orders.values(), alarm.cause)]


def cancelled(world: World, state: PortfolioState, orders: Sequence[OpenOrder], halt_id: str) -> list[Message]:
    """The answer to a halt that came from outside: a cancel for each of `orders`."""
    head = _decision(world, state)
    detail = f"cancels {len(orders)} open orders for halt {halt_id}"
    signal = RebalanceHeldBack(**head, reason=Reason.HALTED, detail=detail)
    return [signal, *_cancels(world, state, head, orders, f"halt {halt_id}")]


def resumed(world: World, state: PortfolioState, halt_ids: Iterable[str]) -> PortfolioResumed:
    """The named halts no longer stop this portfolio."""
    return PortfolioResumed(**_notice(world, state, "resumed"), halt_ids=tuple(sorted(halt_ids)))


def quarantined(world: World, state: PortfolioState, error: Exception) -> PortfolioQuarantined:
    """Folding an event failed; a resume that names this signal's id lifts the quarantine."""
    words = (str(error).splitlines() or [""])[0]
    return PortfolioQuarantined(**_notice(world, state, "quarantined"), cause=type(error).__name__, detail=words[:_TEXT_MAX])


def _decision(world: World, state: PortfolioState) -> dict:
    number = state.decision_number + 1
    return {
        "signal_id": ids.signal_id(world.environment, state.portfolio, state.incarnation, number),
        "portfolio": state.portfolio,
        "incarnation": state.incarnation,
        "decision_number": number,
        "at_ms": world.time_ms,
    }


def _notice(world: World, state: PortfolioState, kind: str) -> dict:
    number = str(state.notice_number + 1)
    return {
        "signal_id": ids.digest_id("notice", world.environment, state.portfolio, state.incarnation, kind, number),
        "portfolio": state.portfolio,
        "incarnation": state.incarnation,
        "decision_number": state.decision_number,
        "at_ms": world.time_ms,
    }


def _place(world: World, state: PortfolioState, signal: RebalanceDecided, ordinal: int) -> PlaceOrder:
    assert state.policy is not None
    leg = signal.legs[ordinal]
    assert leg.command_id is not None
    return PlaceOrder(
        command_id=leg.command_id,
        signal_id=signal.signal_id,
        portfolio=state.portfolio,
        incarnation=state.incarnation,
        decision_number=signal.decision_number,
        ordinal=ordinal,
        account=leg.account,
        venue=state.accounts[leg.account].venue,
        symbol=leg.symbol,
        decided_at_ms=world.time_ms,
        admit_by_ms=world.time_ms + state.policy.admit_within_ms,
        expires_at_ms=world.time_ms + state.policy.order_life_ms,
        side=leg.side,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.IOC,
        quantity_base=leg.quantity_base,
        price_limit_quote=leg.price_cap_quote,
        price_mid_quote=leg.price_mid_quote,
        oldest_received_at_ms=signal.oldest_received_at_ms,
        input_age_ms_max=state.policy.mark_age_ms_max,
        round=signal.round,
    )


def _cancels(world: World, state: PortfolioState, head: dict, orders: Iterable[OpenOrder], why: str) -> list[CancelOrder]:
    open_ = sorted((order for order in orders if not order.cancel_sent), key=lambda order: order.command.command_id)
    return [
        CancelOrder(
            command_id=ids.command_id(head["signal_id"], ordinal),
            signal_id=head["signal_id"],
            portfolio=state.portfolio,
            incarnation=state.incarnation,
            decision_number=head["decision_number"],
            ordinal=ordinal,
            account=order.command.account,
            venue=order.command.venue,
            symbol=order.command.symbol,
            decided_at_ms=world.time_ms,
            admit_by_ms=world.time_ms + _life_ms(order, "admit_by_ms"),
            expires_at_ms=world.time_ms + _life_ms(order, "expires_at_ms"),
            target_command_id=order.command.command_id,
            why=why[:_TEXT_MAX],
        )
        for ordinal, order in enumerate(open_)
    ]


def _life_ms(order: OpenOrder, bound: str) -> int:
    """A cancel may take as long as the order it is for."""
    return getattr(order.command, bound) - order.command.decided_at_ms
