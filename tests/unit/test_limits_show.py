"""3.1: `trimtab limits show` puts beside a limit what was used of it, where somebody knows that."""

from decimal import Decimal

from rich.console import Console
from rich.table import Table

from schemas.control import AccountLimitsSet, PortfolioLimitsSet
from streams.cli import output
from streams.cli.accounts import account_table, portfolio_limits_table
from streams.domain.control import fold
from streams.gateways.views import PortfolioTurnoverView, TurnoverView
from tests.examples import example

ACCOUNT, PORTFOLIO = example("control.account-limits-set"), example("control.portfolio-limits-set")
assert isinstance(ACCOUNT, AccountLimitsSet)
assert isinstance(PORTFOLIO, PortfolioLimitsSet)
PORTFOLIO = PORTFOLIO.model_copy(
    update={
        "turnover_5min_max": Decimal("0.5"),
        "turnover_day_max": Decimal(1),
        "transition_hour_max": Decimal("0.1"),
        "loss_day_max": Decimal("0.02"),
    }
)
TRADED = PortfolioTurnoverView(PORTFOLIO.portfolio, Decimal(1000), Decimal(25_000), Decimal(2500))


def cells(table: Table) -> dict[str, str]:
    """The one line of a table, by column."""
    (line,) = zip(*(column.cells for column in table.columns), strict=True)
    return dict(zip((str(column.header) for column in table.columns), map(str, line), strict=True))


def test_an_account_shows_turnover_and_open_orders_beside_their_limits():
    traded = TurnoverView(ACCOUNT.account, Decimal(10), Decimal(20))
    line = cells(account_table(fold([ACCOUNT]), {ACCOUNT.account: traded}, {ACCOUNT.account: 3}))
    assert line["open orders"] == f"3 of {ACCOUNT.open_orders_max}"
    assert line["5 minutes"] == f"10.00 of {output.amount(ACCOUNT.turnover_5min_max_quote)}"
    assert line["order"] == output.amount(ACCOUNT.order_notional_max_quote)
    assert line["symbols"] == " ".join(ACCOUNT.symbols)


def test_a_portfolio_shows_turnover_in_points_of_what_it_is_worth():
    line = cells(
        portfolio_limits_table(fold([PORTFOLIO]), {PORTFOLIO.portfolio: TRADED}, {PORTFOLIO.portfolio: Decimal(100_000)})
    )
    assert line["5 minutes"] == "1.000 of 50.000"
    assert line["day"] == "25.000 of 100.000"
    assert line["transition, an hour"] == "2.500 of 10.000"
    assert line["loss of a day"] == "2.000"


def test_a_portfolio_that_did_not_trade_used_nothing_and_one_of_unknown_worth_shows_its_limits_alone():
    name = PORTFOLIO.portfolio
    assert cells(portfolio_limits_table(fold([PORTFOLIO]), {}, {name: Decimal(1)}))["day"] == "0.000 of 100.000"
    for worth in ({}, {name: None}, {name: Decimal(0)}):
        line = cells(portfolio_limits_table(fold([PORTFOLIO]), {name: TRADED}, worth))
        assert (line["5 minutes"], line["day"], line["transition, an hour"]) == ("50.000", "100.000", "10.000")


def test_every_column_fits_where_there_is_no_terminal():
    screen = Console(width=output.WIDTH_WITHOUT_TERMINAL)
    with screen.capture() as captured:
        screen.print(
            portfolio_limits_table(fold([PORTFOLIO]), {PORTFOLIO.portfolio: TRADED}, {PORTFOLIO.portfolio: Decimal(1)})
        )
        screen.print(account_table(fold([ACCOUNT]), {}, {}))
    assert "…" not in captured.get()
