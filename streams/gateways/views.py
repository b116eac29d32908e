"""What the command line reads of the tables: one place, so that all its commands show the same.

Every read is one query over the schema `ledger`; amounts are Decimal, times UTC. `orders`, `entries` and `signals` show the
newest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from psycopg import sql
from psycopg.rows import class_row

from streams.domain.orders.lifecycle import TERMINAL
from streams.gateways.postgres import AsyncConnection

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class PortfolioView:
    """A portfolio as it stood when it was last observed. `assets` maps an asset to the fields of `AssetView`, as text."""

    portfolio: str
    at: datetime
    reason: str
    detail: str
    nav_quote: Decimal | None
    band: Decimal
    threshold: Decimal
    assets: dict[str, dict[str, Any]]
    decision_number: int
    time_total_ms: int
    time_in_band_ms: int


@dataclass(frozen=True, slots=True)
class OrderView:
    """A command as its newest ledger entry leaves it; `shortfall_bp` (above zero: worse than the mid) only when filled."""

    command_id: str
    account: str
    portfolio: str
    symbol: str
    target_command_id: str | None
    side: str | None
    quantity_base: Decimal | None
    price_limit_quote: Decimal | None
    price_mid_quote: Decimal | None
    state: str
    attempt: int | None
    client_order_id: str | None
    filled_base: Decimal
    filled_quote: Decimal
    price_average_quote: Decimal | None
    shortfall_quote: Decimal | None
    shortfall_bp: Decimal | None
    cause: str | None
    flags: list[str]
    first_at: datetime
    last_at: datetime
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class EntryView:
    """One ledger entry, without its postings."""

    account: str
    sequence: int
    at: datetime
    kind: str
    portfolio: str | None
    command_id: str | None
    symbol: str | None
    side: str | None
    state: str | None
    cause: str | None
    flags: list[str]
    entry_hash: str
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class FlowView:
    """Money that moved without an order of ours; `classified` is what it was said to be, None while nobody has."""

    at: datetime
    account: str
    portfolio: str
    flow_id: str
    asset: str
    amount: Decimal
    classified: str | None


@dataclass(frozen=True, slots=True)
class HaltView:
    """A halt that happened by itself and that nobody has resumed. `scope` is what it stops, as in control events."""

    halt_id: str
    at: datetime
    scope: str
    cause: str


@dataclass(frozen=True, slots=True)
class TurnoverView:
    """Quote units that an account traded within the last five minutes, and within the last day."""

    account: str
    turnover_5min_quote: Decimal
    turnover_day_quote: Decimal


@dataclass(frozen=True, slots=True)
class PortfolioTurnoverView:
    """Quote units that a portfolio traded: within five minutes and a day what it decided outside transitions, within an hour
    what it decided in one."""

    portfolio: str
    turnover_5min_quote: Decimal
    turnover_day_quote: Decimal
    transition_hour_quote: Decimal


@dataclass(frozen=True, slots=True)
class HeadView:
    """The newest entry of an account's books."""

    account: str
    sequence: int
    entry_hash: str
    at: datetime


@dataclass(frozen=True, slots=True)
class HoldingView:
    """What an account holds of an asset, by the books."""

    account: str
    asset: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class LatencyView:
    """The newest probe of a venue; `probe_ms` None is a failed one."""

    venue: str
    at: datetime
    probe_ms: int | None
    order_ms: int | None
    socket_age_ms: int | None
    clock_offset_ms: int | None


@dataclass(frozen=True, slots=True)
class SignalView:
    """One decision, held-back trigger or halt; `body` is the whole message."""

    at: datetime
    kind: str
    portfolio: str
    signal_id: str
    decision_number: int
    reason: str | None
    nav_quote: Decimal | None
    body: dict[str, Any]
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class SummaryView:
    """A run in a few figures. The shortfall is that of all filled orders together, weighted by what they traded."""

    decisions: int
    orders: int
    orders_filled: int
    fills: int
    shortfall_bp: Decimal | None
    shortfall_quote: Decimal | None
    fees: dict[str, Decimal]
    held_back: dict[str, int]
    filled_by_portfolio: dict[str, int]


async def portfolios(connection: AsyncConnection) -> Sequence[PortfolioView]:
    """Every portfolio that was ever observed."""
    return await _all(connection, PortfolioView, "SELECT {} FROM ledger.portfolio_state ORDER BY portfolio")


async def orders(connection: AsyncConnection, *, limit: int = 50, portfolio: str | None = None) -> Sequence[OrderView]:
    """The newest commands, of one portfolio or of all."""
    query = """
        SELECT {} FROM ledger.orders LEFT JOIN
            (SELECT command_id, price_average_quote, shortfall_quote, shortfall_bp FROM ledger.order_costs) AS costs
            USING (command_id)
        WHERE %(portfolio)s::text IS NULL OR portfolio = %(portfolio)s
        ORDER BY first_at DESC, command_id LIMIT %(limit)s
    """
    return await _all(connection, OrderView, query, portfolio=portfolio, limit=limit)


async def order(connection: AsyncConnection, name: str) -> OrderView | None:
    """The command under that command id, or the order under that client order id."""
    query = """
        SELECT {} FROM ledger.orders LEFT JOIN
            (SELECT command_id, price_average_quote, shortfall_quote, shortfall_bp FROM ledger.order_costs) AS costs
            USING (command_id)
        WHERE command_id = %(name)s OR (client_order_id = %(name)s AND target_command_id IS NULL)
        LIMIT 1
    """
    return next(iter(await _all(connection, OrderView, query, name=name)), None)


async def unknown(connection: AsyncConnection) -> Sequence[OrderView]:
    """The orders of which nobody knows whether the venue has them, the oldest first."""
    query = """
        SELECT {} FROM ledger.orders LEFT JOIN
            (SELECT command_id, price_average_quote, shortfall_quote, shortfall_bp FROM ledger.order_costs) AS costs
            USING (command_id)
        WHERE state = 'unknown' AND target_command_id IS NULL ORDER BY last_at, command_id
    """
    return await _all(connection, OrderView, query)


async def open_orders(connection: AsyncConnection) -> Sequence[OrderView]:
    """The orders that have not ended, the oldest first; those of unknown fate are among them."""
    query = """
        SELECT {} FROM ledger.orders LEFT JOIN
            (SELECT command_id, price_average_quote, shortfall_quote, shortfall_bp FROM ledger.order_costs) AS costs
            USING (command_id)
        WHERE target_command_id IS NULL AND state <> ALL(%(ended)s) ORDER BY first_at, command_id
    """
    return await _all(connection, OrderView, query, ended=sorted(TERMINAL))


async def halts(connection: AsyncConnection) -> Sequence[HaltView]:
    """The halts of executors and folds that stand, the oldest first."""
    return await _all(connection, HaltView, _HALTS)


async def turnover(connection: AsyncConnection) -> Sequence[TurnoverView]:
    """What each account traded lately."""
    query = """
        SELECT {} FROM (
            SELECT account, sum(quote_amount) AS turnover_day_quote,
                coalesce(sum(quote_amount) FILTER (WHERE at > now() - interval '5 minutes'), 0) AS turnover_5min_quote
            FROM ledger.fills WHERE at > now() - interval '1 day' GROUP BY account
        ) AS traded ORDER BY account
    """
    return await _all(connection, TurnoverView, query)


async def portfolio_turnover(connection: AsyncConnection) -> Sequence[PortfolioTurnoverView]:
    """What each portfolio traded lately, told apart by whether a transition was under way at its decision."""
    return await _all(connection, PortfolioTurnoverView, _PORTFOLIO_TURNOVER)


async def entries(connection: AsyncConnection, *, limit: int = 20, account: str | None = None) -> Sequence[EntryView]:
    """The newest ledger entries, of one account or of all."""
    query = """
        SELECT {} FROM ledger.entries WHERE %(account)s::text IS NULL OR account = %(account)s
        ORDER BY at DESC, account, sequence DESC LIMIT %(limit)s
    """
    return await _all(connection, EntryView, query, account=account, limit=limit)


async def flows(connection: AsyncConnection, *, limit: int = 50, everything: bool = False) -> Sequence[FlowView]:
    """Flows, newest first: those that nobody has classified, or all."""
    return await _all(connection, FlowView, _FLOWS, limit=limit, everything=everything)


async def heads(connection: AsyncConnection) -> Sequence[HeadView]:
    """The head of each account's chain."""
    return await _all(connection, HeadView, "SELECT {} FROM ledger.heads ORDER BY account")


async def holdings(connection: AsyncConnection) -> Sequence[HoldingView]:
    """What each account holds, zeros left out."""
    query = """
        SELECT {} FROM ledger.balances WHERE ledger_account = 'assets:' || account AND amount <> 0 ORDER BY account, asset
    """
    return await _all(connection, HoldingView, query)


async def latencies(connection: AsyncConnection) -> Sequence[LatencyView]:
    """The newest probe of each venue."""
    return await _all(connection, LatencyView, "SELECT {} FROM ledger.venue_latency ORDER BY venue")


async def signals(connection: AsyncConnection, *, limit: int = 50, portfolio: str | None = None) -> Sequence[SignalView]:
    """The newest signals, of one portfolio or of all."""
    query = """
        SELECT {} FROM ledger.signals WHERE %(portfolio)s::text IS NULL OR portfolio = %(portfolio)s
        ORDER BY at DESC, event_id LIMIT %(limit)s
    """
    return await _all(connection, SignalView, query, portfolio=portfolio, limit=limit)


async def first_decision(connection: AsyncConnection) -> SignalView | None:
    """The earliest decision to trade that is projected."""
    query = "SELECT {} FROM ledger.signals WHERE kind = 'decided' ORDER BY at, decision_number, event_id LIMIT 1"
    return next(iter(await _all(connection, SignalView, query)), None)


async def summary(connection: AsyncConnection) -> SummaryView:
    """Counts and costs over everything that is projected."""
    return SummaryView(
        decisions=await _number(connection, "SELECT count(*) FROM ledger.signals WHERE kind = 'decided'"),
        orders=await _number(connection, "SELECT count(*) FROM ledger.orders WHERE target_command_id IS NULL"),
        orders_filled=await _number(connection, "SELECT count(*) FROM ledger.orders WHERE filled_base > 0"),
        fills=await _number(connection, "SELECT count(*) FROM ledger.fills WHERE kind = 'filled'"),
        shortfall_bp=await _number(connection, _SHORTFALL_BP),
        shortfall_quote=await _number(connection, "SELECT sum(shortfall_quote) FROM ledger.order_costs"),
        fees=dict(await _pairs(connection, _FEES)),
        held_back=dict(await _pairs(connection, _HELD_BACK)),
        filled_by_portfolio=dict(await _pairs(connection, _FILLED)),
    )


_HALTS = """
    SELECT {} FROM (
        SELECT unnest(halt_ids) AS halt_id, at, 'account:' || account AS scope, cause FROM ledger.entries
        WHERE kind = 'account_halted'
        UNION ALL
        SELECT coalesce(body ->> 'halt_id', signal_id), at, 'portfolio:' || portfolio, reason FROM ledger.signals
        WHERE kind IN ('portfolio-halted', 'quarantined')
    ) AS halted
    WHERE halt_id NOT IN (
        SELECT unnest(halt_ids) FROM ledger.entries WHERE kind = 'account_resumed'
        UNION ALL
        SELECT jsonb_array_elements_text(body -> 'halt_ids') FROM ledger.signals WHERE kind = 'portfolio-resumed'
    )
    ORDER BY at, halt_id
"""
_PORTFOLIO_TURNOVER = """
    SELECT {} FROM (
        SELECT portfolio,
            coalesce(sum(amount) FILTER (WHERE NOT moving AND at > now() - interval '5 minutes'), 0) AS turnover_5min_quote,
            coalesce(sum(amount) FILTER (WHERE NOT moving), 0) AS turnover_day_quote,
            coalesce(sum(amount) FILTER (WHERE moving AND at > now() - interval '1 hour'), 0) AS transition_hour_quote
        FROM (
            SELECT f.portfolio, f.at, f.quote_amount AS amount, coalesce(s.body ->> 'transition', '') <> '' AS moving
            FROM ledger.fills AS f
            LEFT JOIN ledger.legs AS l USING (command_id)
            LEFT JOIN ledger.signals AS s ON s.event_id = l.event_id
            WHERE f.kind = 'filled' AND f.at > now() - interval '1 day'
        ) AS fills GROUP BY portfolio
    ) AS traded ORDER BY portfolio
"""
_FLOWS = """
    SELECT {} FROM (
        SELECT e.at, e.account, e.portfolio, e.flow_id, coalesce(p.asset, '') AS asset, coalesce(p.amount, 0) AS amount,
            CASE WHEN e.cause IS NOT NULL THEN e.cause ELSE (
                SELECT min(c.cause) FROM ledger.entries AS c
                WHERE c.account = e.account AND c.flow_id = e.flow_id AND c.kind = 'flow_classified'
            ) END AS classified
        FROM ledger.entries AS e
        LEFT JOIN ledger.postings AS p
            ON p.account = e.account AND p.sequence = e.sequence AND p.at = e.at AND p.ledger_account = 'assets:' || e.account
        WHERE e.kind = 'flow_observed'
    ) AS flows
    WHERE %(everything)s OR classified IS NULL
    ORDER BY at DESC, account, flow_id LIMIT %(limit)s
"""
_SHORTFALL_BP = "SELECT round(10000 * sum(shortfall_quote) / sum(filled_base * price_mid_quote), 4) FROM ledger.order_costs"
_FEES = """
    SELECT fee_asset, sum(fee_amount) FROM ledger.fills WHERE fee_amount <> 0 AND kind = 'filled'
    GROUP BY fee_asset ORDER BY fee_asset
"""
_FILLED = "SELECT portfolio, count(*) FROM ledger.orders WHERE filled_base > 0 GROUP BY portfolio ORDER BY portfolio"
_HELD_BACK = """
    SELECT reason, count(*) FROM ledger.signals WHERE kind = 'held-back'
    GROUP BY reason ORDER BY count(*) DESC, reason
"""


async def _all(connection: AsyncConnection, shape: type[Row], query: str, **parameters: Any) -> list[Row]:
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in shape.__dataclass_fields__)  # type: ignore[attr-defined]
    async with connection.cursor(row_factory=class_row(shape)) as cursor:
        await cursor.execute(sql.SQL(query).format(columns), parameters)  # type: ignore[arg-type]
        return await cursor.fetchall()


async def _number(connection: AsyncConnection, query: str) -> Any:
    row = await (await connection.execute(query.encode())).fetchone()
    return row[0] if row else None


async def _pairs(connection: AsyncConnection, query: str) -> list[tuple[Any, Any]]:
    return [(row[0], row[1]) for row in await (await connection.execute(query.encode())).fetchall()]
