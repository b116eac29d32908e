"""3.3: `trimtab status` says who stopped a portfolio and why, as far as anybody knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rich.console import Console

from schemas.control import StopKind, TradingStopped
from streams.cli import output
from streams.cli.inspect import explained, portfolio_table
from streams.domain.errors import UnreachableError
from streams.gateways.views import HaltView, PortfolioView

AT = datetime(2026, 11, 26, tzinfo=UTC)
STOP_ID, HALT_ID, OTHER_ID = "a1" * 16, "b2" * 16, "c3" * 16
STOP = TradingStopped(scope="all", at_ms=1, who="ada", why="lunch", halt_id=STOP_ID, kind=StopKind.FREEZE)
HALT = HaltView(HALT_ID, AT, "account:beta", "overfill")


def portfolio(reason: str, detail: str) -> PortfolioView:
    return PortfolioView(
        portfolio="even",
        at=AT,
        reason=reason,
        detail=detail,
        nav_quote=Decimal(100_000),
        band=Decimal("0.005"),
        threshold=Decimal("0.0042"),
        assets={"USDT": {"weight": "1", "weight_target": "1", "drift": "0"}},
        decision_number=1,
        time_total_ms=1,
        time_in_band_ms=1,
    )


@dataclass
class Sources:
    """Database and control topic of a test, each with how often it was asked; None is away."""

    halts: Sequence[HaltView] | None = (HALT,)
    stops: Mapping[str, TradingStopped] | None = field(default_factory=lambda: {STOP_ID: STOP})
    asked: list[str] = field(default_factory=list)

    def of_database(self) -> Sequence[HaltView]:
        self.asked.append("database")
        if self.halts is None:
            raise UnreachableError("database: connection refused")
        return self.halts

    def of_control(self) -> Mapping[str, TradingStopped]:
        self.asked.append("control")
        if self.stops is None:
            raise UnreachableError("kafka: connection refused")
        return self.stops


def shown(row: PortfolioView, sources: Sources) -> str:
    table = portfolio_table([row], explained([row], sources.of_database, sources.of_control))
    screen = Console(width=output.WIDTH_WITHOUT_TERMINAL)
    with screen.capture() as captured:
        screen.print(table)
    return captured.get()


@pytest.mark.parametrize(
    ("reason", "detail", "said"),
    [
        ("halted", STOP_ID, "halted: freeze by ada: lunch"),
        ("halted", HALT_ID, "halted: overfill: an order was filled beyond its quantity"),
        ("quarantined", HALT_ID, "quarantined: overfill"),
        ("halted", OTHER_ID, f"halted: {OTHER_ID}"),
        ("halted", "moves to shard 1", "halted: moves to shard 1"),
        ("within_band", "", "within_band"),
    ],
)
def test_a_halted_portfolio_shows_what_halted_it(reason: str, detail: str, said: str):
    words = " ".join(shown(portfolio(reason, detail), Sources()).split())
    assert said in words or all(word in words for word in said.split())


def test_control_is_read_only_for_what_the_database_cannot_explain():
    for reason, detail, asked in (("within_band", "", []), ("halted", HALT_ID, ["database"])):
        sources = Sources()
        shown(portfolio(reason, detail), sources)
        assert sources.asked == asked


def test_with_control_away_the_id_stays_and_a_sentence_says_so(capsys: pytest.CaptureFixture[str]):
    assert STOP_ID in shown(portfolio("halted", STOP_ID), Sources(stops=None))
    assert "who stopped what cannot be told: kafka: connection refused" in capsys.readouterr().err


def test_a_long_cause_leaves_every_other_column_whole():
    """A cause of a line and a half cut halt ids off, which a resume must name."""
    cause = " ".join(["words"] * 40)
    rows = [(HALT_ID, "12:00:00.000", "account:alpha", cause)]
    screen = Console(width=output.WIDTH_WITHOUT_TERMINAL)
    with screen.capture() as captured:
        screen.print(output.table("Halts that stand", ("halt id", "since", "scope", "cause"), rows, wrapped=("cause",)))
    said = captured.get()
    assert f"{HALT_ID}  12:00:00.000  account:alpha" in said
    assert said.count("words") == 40
