"""One real-looking example of every message, as its fields on the wire: the story of one sell order of portfolio `balanced`."""

from schemas.codec import MESSAGES
from schemas.envelope import Message

T = 1_722_838_200_000  # 2024-08-05T06:10:00Z
ID = "0f" * 16
INCARNATION = "a1" * 16
HALT = "b2" * 16
DIGEST = "c3" * 32
CLIENT_ID = "lvxcicu6rfncqz65pu5ngbftdm"

_control = {"scope": "portfolio:balanced", "at_ms": T, "who": "operator", "why": "first funding"}
_portfolio = _control | {"portfolio": "balanced"}
_account = _control | {"scope": "account:alpha", "account": "alpha"}
_venue = _control | {"scope": "venue:sim", "venue": "sim"}
_record = {"epoch": 3, "writer": ID, "expected_offset": 120, "sequenced_at_ms": T + 12}
_tickers = "market.tickers.v1:2"
_signal = {"signal_id": ID, "portfolio": "balanced", "incarnation": INCARNATION, "decision_number": 7, "at_ms": T + 12}
_asset = {
    "holding": "0.91",
    "mark_quote": "54012.55",
    "weight": "0.504301",
    "weight_target": "0.5",
    "drift": "0.004301",
    "drift_pending": "0.004301",
}
_command = {
    "command_id": ID,
    "signal_id": ID,
    "portfolio": "balanced",
    "incarnation": INCARNATION,
    "decision_number": 7,
    "ordinal": 0,
    "account": "alpha",
    "venue": "sim",
    "symbol": "BTC/USDT",
    "decided_at_ms": T + 12,
    "admit_by_ms": T + 10_012,
    "expires_at_ms": T + 3_600_012,
}
_event = {"account": "alpha", "epoch": 5, "at_ms": T + 20}
_about = _event | {"portfolio": "balanced", "command_id": ID, "symbol": "BTC/USDT"}
_attempt = _about | {"attempt": 1, "client_order_id": CLIENT_ID}
_order = {
    "side": "sell",
    "order_type": "limit",
    "time_in_force": "ioc",
    "quantity_base": "0.0021",
    "price_limit_quote": "53904.5",
}

FIELDS: dict[str, dict[str, object]] = {
    "account.balances": {
        "account": "alpha",
        "venue": "sim",
        "balances": {"BTC": {"free": "0.91", "used": "0"}, "USDT": {"free": "20000", "used": "0"}},
        "received_at_ms": T,
    },
    "control.account-limits-set": _account
    | {
        "order_notional_max_quote": "50000",
        "turnover_5min_max_quote": "200000",
        "turnover_day_max_quote": "1000000",
        "open_orders_max": 20,
        "price_collar": "0.01",
        "symbols": ["BTC/USDT", "ETH/USDT"],
    },
    "control.flow-classification-set": _account | {"flow_id": "deposit-17", "flow_kind": "external"},
    "control.key-trusted": _control
    | {
        "key_id": "1f2e3d4c5b6a7988",
        "purpose": "control",
        "public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "valid_from_ms": T,
        "valid_until_ms": T + 86_400_000,
    },
    "control.maintenance-scheduled": _venue | {"from_ms": T, "to_ms": T + 3_600_000},
    "control.policy-set": _portfolio
    | {
        "band": "0.005",
        "threshold": "0.0042",
        "edge_inner": "0.0021",
        "price_cap": "0.002",
        "mark_age_ms_max": 60_000,
        "admit_within_ms": 10_000,
        "order_life_ms": 3_600_000,
        "observe_every_ms": 60_000,
    },
    "control.portfolio-created": _portfolio
    | {"incarnation": INCARNATION, "shard": 0, "quote": "USDT", "accounts": {"alpha": "sim"}},
    "control.portfolio-limits-set": _portfolio
    | {"order_notional_max": "0.05", "turnover_5min_max": "0.03", "turnover_day_max": "0.3", "loss_day_max": "0.05"}
    | {"transition_order_max": "0.01", "transition_hour_max": "0.1"},
    "control.shard-assigned": _portfolio | {"shard": 1},
    "control.targets-set": _portfolio
    | {
        "weights": {"BTC": "0.5", "ETH": "0.3", "USDT": "0.2"},
        "symbols": {"BTC": "BTC/USDT", "ETH": "ETH/USDT"},
    },
    "control.cancel-requested": _account | {"target_command_id": ID},
    "control.look-requested": _account | {"account": "alpha"},
    "control.trading-resumed": _control | {"halt_ids": [HALT]},
    "control.trading-stopped": _control | {"halt_id": HALT, "kind": "halt"},
    "control.transfer-announced": _account | {"asset": "USDT", "amount": "-2500.5"},
    "journal.archived-checkpoint": {
        "shard": 0,
        "next_offset": 100_000,
        "sequenced_at_ms": T,
        "code_version": "0.1.0",
        "state_version": "1",
        "state": "{}",
        "state_sha256": DIGEST,
    },
    "journal.input": _record
    | {
        "ranges": {"orders.ledger.v1:3": {"offset_from": 41, "offset_to": 42, "journalled": 1}},
        "source": "orders.ledger.v1:3",
        "source_offset": 41,
        "source_type": "trimtab.ledger.entry.v1",
        "source_id": ID,
        "source_value": "{}",
    },
    "journal.market-batch": _record
    | {
        "ranges": {_tickers: {"offset_from": 900, "offset_to": 903, "journalled": 1, "conflated": 2}},
        "quotes": {
            "sim:BTC/USDT": {
                "bid_price_quote": "54012.5",
                "bid_quantity_base": "0.8",
                "ask_price_quote": "54012.6",
                "ask_quantity_base": "1.2",
                "venue_sequence": 77_001,
                "source": _tickers,
                "source_offset": 902,
            }
        },
        "news": {"sim:BTC/USDT": {"received_at_ms": T + 4}},
    },
    "journal.portfolio-adopted": _record
    | {
        "portfolio": "balanced",
        "state": "{}",
        "state_version": "1",
        "ledger_sequences": {"alpha": 12},
        "ledger_positions": {"orders.ledger.v1:3": 42},
    },
    "journal.portfolio-released": _record | {"portfolio": "balanced", "state": "{}", "state_version": "1"},
    "journal.positions": _record
    | {
        "positions": {_tickers: 903, "orders.ledger.v1:3": 42},
        "watermarks": {"sim:BTC/USDT": {"bid_price_quote": "54012.5", "ask_price_quote": "54012.6", "venue_sequence": 77_001}},
        "ledger_sequences": {"alpha": 12},
    },
    "journal.source-gap": _record | {"source": _tickers, "gap_from": 10, "gap_to": 400},
    "journal.writer-started": _record,
    "ledger.entry": {
        "account": "alpha",
        "sequence": 12,
        "kind": "filled",
        "event_id": ID,
        "at_ms": T + 31,
        "portfolio": "balanced",
        "command_id": ID,
        "client_order_id": CLIENT_ID,
        "venue_order_id": "1001",
        "attempt": 1,
        "symbol": "BTC/USDT",
        "side": "sell",
        "state": "open",
        "quantity_base": "0.0021",
        "price_limit_quote": "53904.5",
        "price_mid_quote": "54012.55",
        "filled_base": "0.0021",
        "filled_quote": "113.42625",
        "trade_id": "5001",
        "fill_price_quote": "54012.5",
        "fill_quantity_base": "0.0021",
        "fill_quote_amount": "113.42625",
        "fee_asset": "USDT",
        "fee_amount": "0.11342625",
        "postings": [
            {"ledger_account": "assets:alpha", "asset": "BTC", "amount": "-0.0021"},
            {"ledger_account": "trading:alpha", "asset": "BTC", "amount": "0.0021"},
        ],
        "previous_hash": DIGEST,
        "entry_hash": DIGEST,
    },
    "market.book": {
        "venue": "sim",
        "symbol": "BTC/USDT",
        "bids": [{"price_quote": "54012.5", "quantity_base": "0.8"}],
        "asks": [{"price_quote": "54012.6", "quantity_base": "1.2"}],
        "received_at_ms": T,
        "venue_sequence": 77_001,
    },
    "market.ticker": {
        "venue": "sim",
        "symbol": "BTC/USDT",
        "bid_price_quote": "54012.5",
        "bid_quantity_base": "0.8",
        "ask_price_quote": "54012.6",
        "ask_quantity_base": "1.2",
        "received_at_ms": T,
        "venue_sequence": 77_001,
    },
    "orders.absent": _attempt | {"venue_time_ms": T + 4_100, "queries": 3},
    "orders.accepted": _attempt | {"venue_order_id": "1001", "venue_time_ms": T + 30},
    "orders.account-halted": _event
    | {"portfolio": "balanced", "halt_id": HALT, "cause": "foreign order", "detail": "order 1002 carries our id"},
    "orders.account-opened": _event
    | {"portfolio": "balanced", "venue": "sim", "totals": {"BTC": "0.91", "USDT": "20000"}, "venue_time_ms": T},
    "orders.account-resumed": _event | {"portfolio": "balanced", "halt_ids": [HALT]},
    "orders.admitted": _about
    | {
        "command_type": "trimtab.orders.place.v1",
        "incarnation": INCARNATION,
        "decision_number": 7,
        "ordinal": 0,
        "side": "sell",
        "quantity_base": "0.0021",
        "price_limit_quote": "53904.5",
        "price_mid_quote": "54012.55",
        "decided_at_ms": T + 12,
        "commands_offset": 33,
    },
    "orders.cancel": _command | {"target_command_id": ID, "why": "halted"},
    "orders.cancel-ended": _attempt | {"target_command_id": ID, "cause": "canceled"},
    "orders.cancel-intended": _attempt | {"target_command_id": ID, "timestamp_ms": T + 21, "window_ms": 2000},
    "orders.closed": _attempt
    | {"closed_as": "filled", "filled_base": "0.0021", "filled_quote": "113.42625", "venue_time_ms": T + 30},
    "orders.executor-checkpoint": _event
    | {
        "owner": "executor-1",
        "opened": True,
        "commands": [
            {"command_id": ID, "portfolio": "balanced", "symbol": "BTC/USDT", "unknown": False, "state": "{}"},
        ],
        "client_order_ids_unexpired": [CLIENT_ID],
        "answered": {"balanced": {"incarnation": INCARNATION, "decision_number": 6, "ordinal": 1}},
        "commands_next_offset": 34,
        "events_next_offset": 210,
        "state_sha256": DIGEST,
    },
    "orders.expired-unsent": _about | {"cause": "admit_by passed"},
    "orders.commands-distrusted": _event
    | {"causes": {"unsigned": 3}, "detail": "it carries no signature", "offset_from": 34, "offset_to": 37},
    "orders.filled": _attempt
    | {
        "venue": "sim",
        "venue_order_id": "1001",
        "trade_id": "5001",
        "side": "sell",
        "price_quote": "54012.5",
        "quantity_base": "0.0021",
        "quote_amount": "113.42625",
        "fee_asset": "USDT",
        "fee_amount": "0.11342625",
        "liquidity": "taker",
        "venue_time_ms": T + 30,
    },
    "orders.flow-classified": _event
    | {
        "portfolio": "balanced",
        "flow_id": "deposit-17",
        "asset": "USDT",
        "amount": "2500.5",
        "flow_kind": "external",
        "control_id": ID,
    },
    "orders.flow-observed": _event
    | {"portfolio": "balanced", "flow_id": "deposit-17", "asset": "USDT", "amount": "2500.5", "venue_time_ms": T},
    "orders.foreign-order-gone": _event
    | {"portfolio": "balanced", "flow_id": "order/BTC/USDT/9001", "venue_time_ms": T + 90_000},
    "orders.foreign-order-seen": _event
    | {
        "portfolio": "balanced",
        "flow_id": "order/BTC/USDT/9001",
        "venue_order_id": "9001",
        "symbol": "BTC/USDT",
        "side": "buy",
        "quantity_base": "0.5",
        "filled_base": "0",
        "price_limit_quote": "50000",
        "venue_time_ms": T,
    },
    "orders.found": _attempt | {"venue_order_id": "1001", "venue_time_ms": T + 30},
    "orders.intended": _attempt | _order | {"timestamp_ms": T + 21, "window_ms": 2000},
    "orders.not-admitted": _about
    | {
        "incarnation": INCARNATION,
        "decision_number": 7,
        "ordinal": 0,
        "cause": "inputs too old",
        "commands_offset": 33,
    },
    "orders.owner-started": _event | {"owner": "executor-1"},
    "orders.place": _command
    | _order
    | {"price_mid_quote": "54012.55", "oldest_received_at_ms": T + 4, "input_age_ms_max": 60_000},
    "orders.rejected": _attempt | {"code": "-2010", "detail": "Account has insufficient balance for requested action."},
    "orders.unknown": _attempt | {"cause": "no reply within 5 s"},
    "orders.unsent": _attempt | {"cause": "lease ended"},
    "rebalance.decided": _signal
    | {
        "reason": "drift",
        "nav_quote": "97460.2",
        "threshold": "0.0042",
        "edge_inner": "0.0021",
        "band": "0.005",
        "trigger_asset": "BTC",
        "assets": {"BTC": _asset},
        "legs": [
            {
                "account": "alpha",
                "symbol": "BTC/USDT",
                "side": "sell",
                "quantity_base": "0.0021",
                "price_mid_quote": "54012.55",
                "price_cap_quote": "53904.5",
                "command_id": ID,
            }
        ],
        "debts": [{"asset": "ETH", "amount_quote": "-3.2", "cause": "below_minimum"}],
        "transition": {"cause": "targets", "since_ms": T, "budget_quote": "42000", "spent_quote": "2000"},
        "oldest_received_at_ms": T + 4,
    },
    "rebalance.held-back": _signal | {"reason": "stale", "detail": "BTC/USDT is 2100 ms old", "assets": {"BTC": _asset}},
    "rebalance.observed": _signal
    | {
        "reason": "within_band",
        "nav_quote": "97460.2",
        "band": "0.005",
        "threshold": "0.0042",
        "assets": {"BTC": _asset},
        "time_total_ms": 60_000,
        "time_in_band_ms": 59_000,
    },
    "rebalance.portfolio-halted": _signal | {"halt_id": HALT, "cause": "UNKNOWN_TOO_LONG", "detail": f"command {ID}"},
    "rebalance.portfolio-resumed": _signal | {"halt_ids": [HALT]},
    "rebalance.quarantined": _signal | {"cause": "InvariantError", "detail": "a fill of an unknown order"},
    "venue.latency": {"venue": "sim", "probe_ms": 12, "clock_offset_ms": -3, "budget_left": 5900, "observed_at_ms": T},
    "venue.rules": {
        "venue": "sim",
        "symbol": "BTC/USDT",
        "base": "BTC",
        "quote": "USDT",
        "status": "trading",
        "price_tick_quote": "0.01",
        "quantity_step_base": "0.00001",
        "quantity_min_base": "0.00001",
        "quantity_max_base": "9000",
        "notional_min_quote": "5",
        "fee_maker": "0.001",
        "fee_taker": "0.001",
        "rules_version": 1,
        "observed_at_ms": T,
    },
    "venue.status": {"venue": "sim", "status": "trading", "key_may_read": True, "observed_at_ms": T},
}


def example(name: str) -> Message:
    """The example of a message type, for example `orders.filled`."""
    return MESSAGES[name].model_validate(FIELDS[name])
