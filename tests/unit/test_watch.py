"""3.3: after a halt or a cancel is on record, an operator is told what became of the orders."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from streams import settings
from streams.cli.watch import watched, within
from streams.domain.errors import UnreachableError
from streams.gateways.views import OrderView
from tests.unit.test_order_table import REFUSED

CHECKED = settings.load(Path(__file__).parents[2] / "trimtab.toml")
FIRST = replace(REFUSED, state="open", command_id="a" * 32)
SECOND = replace(FIRST, command_id="b" * 32, account="beta", portfolio="even", state="unknown")


class Tables:
    """What one look after the other shows; the last one stays."""

    def __init__(self, *looks: Sequence[OrderView]) -> None:
        self.looks = list(looks)

    async def open_orders(self) -> Sequence[OrderView]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


async def told(*looks: Sequence[OrderView], scope: str = "all", grows: bool = True) -> str:
    return await watched(
        Tables(*looks).open_orders, within(CHECKED, scope), scope, grows=grows, watch_s=0.2, settle_s=0.02, poll_s=0.001
    )


async def test_where_nothing_stood_that_is_said():
    assert await told([]) == "by the tables no order stood on the book"
    assert await told([SECOND], scope="account:alpha") == "by the tables no order stood on the book"


async def test_how_many_stood_and_after_which_time_all_were_off_the_book():
    said = await told([FIRST, SECOND], [SECOND], [])
    assert said.startswith("2 orders stood on the book; all are off it after 0.")
    assert said.endswith(" s")


@pytest.mark.parametrize("scope", ["all", "portfolio:balanced", "account:alpha", "venue:sim"])
async def test_what_still_stands_is_counted_with_what_to_do(scope: str):
    stood = "2 orders" if scope in ("all", "venue:sim") else "1 order"
    assert await told([FIRST, SECOND], [FIRST], scope=scope, grows=False) == (
        f"{stood} stood on the book; 1 still there after 0.2 s, 0 of them of unknown fate: `trimtab orders` shows "
        "them; if they stay, does the executor run? Without it: "
        f"`trimtab halt {scope} --offline`, then `trimtab cancel --all --offline --scope {scope}`"
    )


async def test_under_a_halt_an_order_that_shows_up_late_counts_and_after_a_cancel_it_is_a_new_one():
    assert "1 order stood on the book; 1 still there" in await told([], [FIRST])
    assert await told([FIRST], [SECOND], grows=False) == "1 order stood on the book; all are off it after 0.0 s"


async def test_a_database_that_is_away_or_does_not_answer_is_said_and_nothing_waits_longer():
    async def away() -> Sequence[OrderView]:
        raise UnreachableError("database: connection refused")

    async def silent() -> Sequence[OrderView]:
        await asyncio.Event().wait()
        return []

    def everything(_order: OrderView) -> bool:
        return True

    assert await watched(away, everything, "all", grows=True) == (
        "what becomes of open orders is not known here: database: connection refused"
    )
    assert await watched(silent, everything, "all", grows=True, watch_s=0.01) == (
        "what becomes of open orders is not known here: database: no answer for 0.01 s"
    )
