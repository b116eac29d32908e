"""3.3: what `trimtab orders` says of a command is what is known of it."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from streams.cli.inspect import order_table
from streams.gateways.views import OrderView

AT = datetime(2026, 11, 26, tzinfo=UTC)
REFUSED = OrderView(
    command_id="c" * 32,
    account="alpha",
    portfolio="balanced",
    symbol="ETH/USDT",
    target_command_id=None,
    side=None,
    quantity_base=None,
    price_limit_quote=None,
    price_mid_quote=None,
    state="not_admitted",
    attempt=None,
    client_order_id=None,
    filled_base=Decimal(0),
    filled_quote=Decimal(0),
    price_average_quote=None,
    shortfall_quote=None,
    shortfall_bp=None,
    cause="inputs_too_old",
    flags=[],
    first_at=AT,
    last_at=AT,
    trace_id=None,
)


def sides(*rows: OrderView) -> list[str]:
    (column,) = [column for column in order_table(rows).columns if column.header == "side"]
    return [str(cell) for cell in column.cells]


def test_a_command_that_was_refused_before_its_order_was_known_is_called_no_cancel() -> None:
    cancel = replace(REFUSED, target_command_id="d" * 32, state="cancel_ended")
    assert sides(REFUSED, cancel, replace(REFUSED, side="buy")) == ["", "cancel", "buy"]
