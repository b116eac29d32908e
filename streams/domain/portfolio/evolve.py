"""The next state of a portfolio after each thing that can happen to it: plain functions of (state, message).

`told` takes what the portfolio itself just said, `booked` what the ledger booked, `steered` what an operator set. Each
returns a new state and leaves the old one as it was; none decides anything.
"""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from schemas.control import PolicySet, PortfolioLimitsSet, ShardAssigned, TargetsSet
from schemas.envelope import Message
from schemas.ledger import EntryKind, Flag, LedgerEntry, OrderState
from schemas.orders import CancelOrder, PlaceOrder, Side
from schemas.rebalance import (
    PortfolioHalted,
    PortfolioObserved,
    PortfolioQuarantined,
    PortfolioResumed,
    Reason,
    RebalanceDecided,
    RebalanceHeldBack,
    TransitionCause,
)
from streams.domain.ledger.postings import assets
from streams.domain.numbers import MONEY, wire
from streams.domain.orders.lifecycle import TERMINAL
from streams.domain.portfolio import holding, limits, reasons, tca, transition
from streams.domain.portfolio.state import (
    Alarm,
    Failure,
    ForeignOrder,
    Halt,
    OpenCancel,
    OpenOrder,
    PortfolioState,
)
from streams.domain.portfolio.timing import pause_ms

REJECTIONS_MAX = 3
REJECTIONS_WINDOW_MS = 60_000
Steering = TargetsSet | PolicySet | PortfolioLimitsSet | ShardAssigned
"""What an operator sets for one portfolio."""
_ZERO = Decimal(0)
Value = TypeVar("Value")


def told(state: PortfolioState, message: Message) -> PortfolioState:
    """The state after one of the portfolio's own signals or commands."""
    match message:
        case RebalanceDecided():
            starts = message.reason is Reason.DRIFT
            return replace(
                state,
                decision_number=message.decision_number,
                waiting=tuple(leg for leg in message.legs if leg.command_id is None),
                held_back=None if starts else state.held_back,
                rounds=state.rounds + 1 if starts else state.rounds,
                sold=() if starts else state.sold,
                plan_filled=not starts and state.plan_filled,
            )
        case PlaceOrder():
            order = OpenOrder(message, None, message.decided_at_ms, _ZERO, in_transition=state.transition is not None)
            return replace(state, orders={**state.orders, message.command_id: order})
        case CancelOrder():
            return _cancelling(state, message)
        case RebalanceHeldBack() if message.decision_number > state.decision_number:
            return replace(state, decision_number=message.decision_number, held_back=message.reason)
        case RebalanceHeldBack():
            return replace(state, notice_number=state.notice_number + 1, held_back=message.reason)
        case PortfolioObserved():
            return replace(state, notice_number=state.notice_number + 1, observed_at_ms=message.at_ms)
        case PortfolioQuarantined():
            return replace(state, notice_number=state.notice_number + 1, quarantine=message.signal_id)
        case PortfolioHalted():
            halts = {**state.halts, message.halt_id: Halt(message.cause)}
            number = message.decision_number
            return replace(state, decision_number=number, halts=halts, alarms=(), failures=(), waiting=(), limits_due=False)
        case PortfolioResumed():
            return _resumed(replace(state, notice_number=state.notice_number + 1), message)
        case _:
            raise ValueError(f"a portfolio does not say {type(message).__name__}")


def steered(state: PortfolioState, event: Steering, shard: int) -> PortfolioState:
    """The state after an operator's event about this portfolio. Raises ValueError on targets that cannot be traded."""
    match event:
        case TargetsSet():
            _check_targets(state, event)
            return replace(state, targets=event, transition_due=_due(state, event))
        case PolicySet():
            return replace(state, policy=event)
        case PortfolioLimitsSet():
            return replace(state, limits=event)
        case _:
            return replace(state, leaving_to=None if event.shard == shard else event.shard)


def booked(state: PortfolioState, entry: LedgerEntry, now_ms: int) -> PortfolioState:
    """The state after a ledger entry of one of its accounts, folded at `now_ms`."""
    state = _flowed(_posted(state, entry), entry)
    match entry.kind:
        case EntryKind.ACCOUNT_OPENED:
            accounts = {**state.accounts, entry.account: replace(state.accounts[entry.account], opened=True)}
            state = replace(state, accounts=accounts, transition_due=TransitionCause.FIRST_FUNDING)
        case EntryKind.ACCOUNT_HALTED:
            halts = {halt_id: Halt(entry.cause or "", entry.account) for halt_id in entry.halt_ids}
            state = replace(state, halts=state.halts | halts)
        case EntryKind.ACCOUNT_RESUMED:
            state = replace(state, halts=_without(state.halts, entry.halt_ids))
        case EntryKind.FLOW_OBSERVED if entry.postings or entry.cause is None:
            state = _holding_for(state, entry.account, (*state.flows_open.get(entry.account, ()), entry.flow_id or ""))
        case EntryKind.FLOW_CLASSIFIED:
            still = (flow_id for flow_id in state.flows_open.get(entry.account, ()) if flow_id != entry.flow_id)
            state = _holding_for(state, entry.account, tuple(still))
        case EntryKind.FOREIGN_ORDER_SEEN | EntryKind.FOREIGN_ORDER_GONE:
            state = _reserved(state, entry)
        case EntryKind.FILL_UNPLACED:
            state = _alarmed(state, reasons.FILL_UNPLACED, f"{entry.account} trade {entry.trade_id}")
        case EntryKind.FILLED:
            state = _traded(state, entry, now_ms)
        case EntryKind.REJECTED:
            state = _rejected(state, entry, now_ms)
        case EntryKind.CLOSED if Flag.CLOSED_BEFORE_FILLS in entry.flags:
            state = _alarmed(state, reasons.FILLS_MISSING, f"{entry.account} order {entry.client_order_id}")
        case _:
            pass
    if entry.command_id in state.orders:
        return _order_moved(state, state.orders[entry.command_id], entry, now_ms)
    if entry.command_id in state.cancels:
        return _cancel_moved(state, state.cancels[entry.command_id], entry)
    return state


def _check_targets(state: PortfolioState, event: TargetsSet) -> None:
    for asset in event.weights:
        wanted = f"{asset}/{state.quote}"
        if asset != state.quote and event.symbols.get(asset) != wanted:
            raise ValueError(f"{asset} must trade as {wanted}, not {event.symbols.get(asset)}")


def _due(state: PortfolioState, event: TargetsSet) -> TransitionCause | None:
    if state.targets is None:
        return TransitionCause.FIRST_FUNDING
    return state.transition_due if event.weights == state.targets.weights else TransitionCause.TARGETS


def _posted(state: PortfolioState, entry: LedgerEntry) -> PortfolioState:
    own = [line for line in entry.postings if line.ledger_account == assets(entry.account)]
    if not own:
        return state
    account = state.accounts[entry.account]
    holdings = dict(account.holdings)
    for line in own:
        holdings[line.asset] = MONEY.add(holdings.get(line.asset, _ZERO), line.amount)
    return replace(state, accounts={**state.accounts, entry.account: replace(account, holdings=holdings)})


def _reserved(state: PortfolioState, entry: LedgerEntry) -> PortfolioState:
    """An order by hand binds funds for as long as it stands, whatever it was classified as."""
    account, flow_id = state.accounts[entry.account], entry.flow_id or ""
    standing = _without(account.foreign_orders, (flow_id,))
    if entry.kind is EntryKind.FOREIGN_ORDER_SEEN:
        assert entry.symbol is not None
        assert entry.side is not None
        left = MONEY.subtract(entry.quantity_base or _ZERO, entry.filled_base or _ZERO)
        standing[flow_id] = ForeignOrder(entry.symbol, entry.side, max(left, _ZERO), entry.price_limit_quote)
    return replace(state, accounts={**state.accounts, entry.account: replace(account, foreign_orders=standing)})


def _flowed(state: PortfolioState, entry: LedgerEntry) -> PortfolioState:
    """What moved by itself is nobody's gain or loss, and no drift of prices."""
    if entry.kind is not EntryKind.FLOW_OBSERVED:
        return state
    for line in entry.postings:
        if line.ledger_account == assets(entry.account):
            state = transition.with_flow(state, line.asset, line.amount)
            state = replace(state, benchmark=holding.with_flow(state.benchmark, line.asset, line.amount))
    return state


def _holding_for(state: PortfolioState, account: str, flow_ids: tuple[str, ...]) -> PortfolioState:
    """The state with these flows of the account unclassified."""
    others = _without(state.flows_open, (account,))
    return replace(state, flows_open={**others, account: flow_ids} if flow_ids else others)


def _alarmed(state: PortfolioState, cause: str, detail: str) -> PortfolioState:
    return replace(state, alarms=(*state.alarms, Alarm(cause, detail)))


def _traded(state: PortfolioState, entry: LedgerEntry, now_ms: int) -> PortfolioState:
    assert entry.symbol is not None
    assert entry.side is not None
    assert entry.fill_price_quote is not None
    assert entry.fill_quantity_base is not None
    base, quote = entry.symbol.split("/")
    notional = entry.fill_quote_amount or _ZERO
    fee = tca.fee_in_quote(entry.fee_asset or quote, entry.fee_amount or _ZERO, base, quote, entry.fill_price_quote)
    price_mid = entry.price_mid_quote or entry.fill_price_quote
    # Products of prices and quantities have more digits than a checkpoint takes; what is compared with a limit needs them not.
    cost = wire(tca.cost_quote(tca.Fill(entry.side, price_mid, entry.fill_quantity_base, notional, fee)))
    sold = state.sold
    if entry.side is Side.SELL and entry.command_id in state.orders and entry.account not in sold:
        sold = (*sold, entry.account)
    state, ordinary = transition.with_fill(state, entry.command_id, now_ms, notional)
    traded = limits.with_trade(state.traded, now_ms, ordinary, cost)
    return replace(state, traded=traded, sold=sold, plan_filled=True, limits_due=True)


def _rejected(state: PortfolioState, entry: LedgerEntry, now_ms: int) -> PortfolioState:
    """A venue's code stands before the colon; the words after it may differ from time to time."""
    code = (entry.cause or "").partition(":")[0]
    recent = [failure for failure in state.failures if failure.at_ms > now_ms - REJECTIONS_WINDOW_MS]
    failures = (*recent, Failure(code, now_ms))
    state = replace(state, failures=failures)
    if sum(failure.cause == code for failure in failures) < REJECTIONS_MAX:
        return state
    return _alarmed(state, reasons.REJECTED_REPEATEDLY, f"{entry.account}: {entry.cause}")


def _order_moved(state: PortfolioState, order: OpenOrder, entry: LedgerEntry, now_ms: int) -> PortfolioState:
    """What the ledger says of an order. The end of the last one ends the plan's orders: one that filled nothing pauses."""
    moved = entry.state or order.state
    if moved not in TERMINAL:
        since_ms = order.since_ms if moved is order.state else now_ms
        filled = order.filled_base if entry.filled_base is None else entry.filled_base
        changed = replace(order, state=moved, since_ms=since_ms, filled_base=filled, voided=False)
        return replace(state, orders={**state.orders, order.command.command_id: changed})
    orders = _without(state.orders, (order.command.command_id,))
    if orders:
        return replace(state, orders=orders)
    fruitless = 0 if state.plan_filled else state.fruitless + 1
    pause = pause_ms(fruitless)
    return replace(state, orders=orders, fruitless=fruitless, paused_until_ms=now_ms + pause if pause else 0)


def _cancel_moved(state: PortfolioState, cancel: OpenCancel, entry: LedgerEntry) -> PortfolioState:
    moved: OrderState | None = entry.state or cancel.state
    if moved in TERMINAL:
        return replace(state, cancels=_without(state.cancels, (cancel.command.command_id,)))
    changed = replace(cancel, state=moved, voided=False)
    return replace(state, cancels={**state.cancels, cancel.command.command_id: changed})


def _cancelling(state: PortfolioState, command: CancelOrder) -> PortfolioState:
    target = replace(state.orders[command.target_command_id], cancel_sent=True)
    return replace(
        state,
        orders={**state.orders, command.target_command_id: target},
        cancels={**state.cancels, command.command_id: OpenCancel(command, None)},
    )


def _resumed(state: PortfolioState, message: PortfolioResumed) -> PortfolioState:
    """Lifts the halts and voids what was decided before and has no answer yet: its answer is no longer waited for.

    An operator who resumes has seen what halted: the counts that did so begin anew, and no others.
    """
    orders = {
        command_id: replace(
            order,
            voided=order.state is None,
            since_ms=message.at_ms if order.state is OrderState.UNKNOWN else order.since_ms,
        )
        for command_id, order in state.orders.items()
    }
    cancels = {command_id: replace(cancel, voided=cancel.state is None) for command_id, cancel in state.cancels.items()}
    own = (state.halts[halt_id] for halt_id in message.halt_ids if halt_id in state.halts)
    causes = {halt.cause for halt in own if halt.account is None}
    lost = reasons.LOSS_DAY in causes
    return replace(
        state,
        halts=_without(state.halts, message.halt_ids),
        quarantine=None if state.quarantine in message.halt_ids else state.quarantine,
        orders=orders,
        cancels=cancels,
        failures=() if reasons.REJECTED_REPEATEDLY in causes else state.failures,
        traded=limits.counted_anew(state.traded, causes, message.at_ms),
        benchmark=None if lost else state.benchmark,
        shortfalls=() if lost else state.shortfalls,
    )


def _without(mapping: dict[str, Value], keys: Iterable[str]) -> dict[str, Value]:
    gone = set(keys)
    return {key: value for key, value in mapping.items() if key not in gone}
