"""Asking venues directly when nothing else is there: which orders of ours stand, and taking them off the book.

No Kafka, no database, no lease: only questions, and cancels, each of which names one order of ours. A cancel can hit no other
order, so that it needs no fence; a new order can never leave this way.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from schemas.values import plain
from streams.agents.executor.config import LEASE_TTL_MS, WINDOW_MS
from streams.app import trading_venue
from streams.cli.control import accounts_within
from streams.domain.errors import RefusedError, UnknownOutcomeError, UnreachableError
from streams.domain.orders.opening import OUR_CLIENT_ID
from streams.domain.orders.outcome import OrderView
from streams.domain.orders.stimuli import CancelRequest
from streams.gateways.clock import SystemClock
from streams.ports import TradingVenue
from streams.settings import Settings

POLL_S = 0.5
Standing = Mapping[str, Sequence[OrderView] | None]
"""Orders of ours on the book, by account; None where the venue could not be asked."""


def in_words(order: OrderView) -> str:
    """One order as a person reads it."""
    rest = plain(order.quantity_base - order.filled_base)
    return f"{order.client_order_id} {order.side} {rest} {order.symbol}"


async def standing(checked: Settings, scope: str) -> Standing:
    """What stands now within the scope."""
    names = accounts_within(checked, scope)
    return dict(zip(names, await asyncio.gather(*(_standing(checked, name) for name in names)), strict=True))


async def drained(checked: Settings, scope: str) -> Standing:
    """What still stands once nothing does, or once the executor's lease has run out: from then on nobody cancels by himself."""
    deadline = time.monotonic() + LEASE_TTL_MS / 1000
    while True:
        found = await standing(checked, scope)
        if not any(found.values()) or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(POLL_S)


async def cancel(checked: Settings, orders: Mapping[str, Sequence[OrderView]]) -> list[tuple[str, str, str]]:
    """Cancel these orders; (account, client order id, what became of it) of each."""
    done: list[tuple[str, str, str]] = []
    for account, wanted in sorted(orders.items()):
        venue = await _open(checked, account)
        try:
            for order in wanted:
                done.append((account, order.client_order_id, await _cancel(venue, order)))
        finally:
            await venue.close()
    return done


async def _open(checked: Settings, account: str) -> TradingVenue:
    venue = trading_venue(checked, account)
    try:
        await venue.open(checked.venues[checked.accounts[account].venue].symbols)
        venue.synchronize(await venue.time_ms(), SystemClock().boot_ms())
    except BaseException:
        await venue.close()
        raise
    return venue


async def _standing(checked: Settings, account: str) -> Sequence[OrderView] | None:
    try:
        venue = await _open(checked, account)
    except (RefusedError, UnreachableError, UnknownOutcomeError):
        return None
    try:
        symbols = checked.venues[checked.accounts[account].venue].symbols
        orders = [order for symbol in symbols for order in await venue.open_orders(symbol)]
    except (RefusedError, UnreachableError, UnknownOutcomeError):
        return None
    finally:
        await venue.close()
    return [order for order in orders if OUR_CLIENT_ID.fullmatch(order.client_order_id)]


async def _cancel(venue: TradingVenue, order: OrderView) -> str:
    """Cancel, and then look: only the order itself tells what became of it."""
    request = CancelRequest(
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        symbol=order.symbol,
        timestamp_ms=await venue.time_ms(),
        window_ms=WINDOW_MS,
    )
    reply = await venue.cancel(request, lambda: None)
    after = await venue.order(order.symbol, order.client_order_id)
    if after is None:
        return f"the venue does not show it any more ({reply.text or reply.http_status})"
    return f"{after.standing}, {plain(after.filled_base)} filled"
