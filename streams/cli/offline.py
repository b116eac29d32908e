"""Asking venues directly when nothing else is there: which orders of ours stand, and taking them off the book.

No Kafka, no database, no lease: only questions, and cancels, each of which names one order of ours. A cancel can hit no other
order, so that it needs no fence; a new order can never leave this way.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from schemas.values import plain
from streams.agents.executor.config import LEASE_TTL_MS, WINDOW_MS
from streams.app import trading_venue
from streams.cli.control import accounts_within
from streams.domain.errors import TrimtabError
from streams.domain.orders.opening import OUR_CLIENT_ID
from streams.domain.orders.outcome import OrderView, VenueReply
from streams.domain.orders.stimuli import CancelRequest
from streams.gateways.clock import SystemClock
from streams.ports.venue import TradingVenue
from streams.settings import Settings

POLL_S = 0.5
Connect = Callable[[Settings, str], TradingVenue]
"""How an account of the settings is reached. Raises RefusedError without its key."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an account's venue told of its book: orders of ours, and why it told not all of it (nothing if it did)."""

    orders: tuple[OrderView, ...] = ()
    untold: tuple[str, ...] = ()

    @property
    def clear(self) -> bool:
        """Whether no order of ours stands, provably."""
        return not self.orders and not self.untold


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one cancel. `ended` is whether the venue says that the order is off the book."""

    account: str
    client_order_id: str
    words: str
    ended: bool


def in_words(order: OrderView) -> str:
    """One order as a person reads it."""
    rest = plain(order.quantity_base - order.filled_base)
    return f"{order.client_order_id} {order.side} {rest} {order.symbol}"


async def standing(checked: Settings, scope: str, connect: Connect = trading_venue) -> Mapping[str, Seen]:
    """What stands now within the scope, by account."""
    names = accounts_within(checked, scope)
    return dict(zip(names, await asyncio.gather(*(_standing(checked, name, connect) for name in names)), strict=True))


async def drained(checked: Settings, scope: str) -> Mapping[str, Seen]:
    """What still stands once nothing does, or once the executor's lease has run out: from then on nobody cancels by himself."""
    deadline = time.monotonic() + LEASE_TTL_MS / 1000
    while True:
        found = await standing(checked, scope)
        if all(seen.clear for seen in found.values()) or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(POLL_S)


async def cancel(
    checked: Settings,
    orders: Mapping[str, Sequence[OrderView]],
    tell: Callable[[Answer], None],
    connect: Connect = trading_venue,
) -> bool:
    """Cancel these orders, each of them whatever becomes of the others, and tell of each as soon as it is known; whether all
    are off the book, provably."""

    async def one(account: str) -> bool:
        whole = True
        async for answer in _cancel_all(checked, account, orders[account], connect):
            tell(answer)
            whole = whole and answer.ended
        return whole

    whole = await asyncio.gather(*(one(account) for account in sorted(orders)), return_exceptions=True)
    for failure in whole:
        if isinstance(failure, BaseException):
            raise failure
    return all(whole)


async def _cancel_all(checked: Settings, account: str, wanted: Sequence[OrderView], connect: Connect) -> AsyncIterator[Answer]:
    try:
        venue = await _open(checked, account, connect)
    except Exception as error:  # noqa: BLE001  one account's trouble must not keep the others' orders on the book
        for order in wanted:
            yield Answer(account, order.client_order_id, f"not canceled: {_told(error)}", ended=False)
        return
    try:
        for order in wanted:
            words, ended = await _cancel(venue, order)
            yield Answer(account, order.client_order_id, words, ended)
    finally:
        await venue.close()


async def _open(checked: Settings, account: str, connect: Connect) -> TradingVenue:
    venue = connect(checked, account)
    try:
        await venue.open(checked.venues[checked.accounts[account].venue].symbols)
        venue.synchronize(await venue.time_ms(), SystemClock().boot_ms())
    except BaseException:
        await venue.close()
        raise
    return venue


async def _standing(checked: Settings, account: str, connect: Connect) -> Seen:
    try:
        venue = await _open(checked, account, connect)
    except TrimtabError as error:
        return Seen(untold=(str(error),))
    orders: list[OrderView] = []
    untold: list[str] = []
    try:
        for symbol in checked.venues[checked.accounts[account].venue].symbols:
            try:
                orders += await venue.open_orders(symbol)
            except TrimtabError as error:
                untold.append(str(error))
    finally:
        await venue.close()
    return Seen(tuple(order for order in orders if OUR_CLIENT_ID.fullmatch(order.client_order_id)), tuple(untold))


async def _cancel(venue: TradingVenue, order: OrderView) -> tuple[str, bool]:
    """Cancel, and then look: only the order itself tells what became of it. In words, and whether it is off the book."""
    try:
        timestamp_ms = await venue.time_ms()
        request = CancelRequest(order.client_order_id, order.venue_order_id, order.symbol, timestamp_ms, WINDOW_MS)
        reply = await venue.cancel(request, lambda: None)
    except Exception as error:  # noqa: BLE001  one order's trouble must not keep the others on the book
        return f"not canceled: {_told(error)}", False
    try:
        after = await venue.order(order.symbol, order.client_order_id) or reply.order
    except Exception as error:  # noqa: BLE001  as above
        if reply.order is None or not reply.order.standing.ended:
            return f"its cancel was answered: {_answer(reply)}; it cannot be looked at: {_told(error)}", False
        after = reply.order
    if after is None:
        return f"the venue does not show it any more ({_answer(reply)})", False
    words = f"{after.standing}, {plain(after.filled_base)} filled"
    return (words, True) if after.standing.ended else (f"{words}; its cancel was answered: {_answer(reply)}", False)


def _answer(reply: VenueReply) -> str:
    return reply.text or str(reply.failure or reply.http_status)


def _told(error: Exception) -> str:
    return str(error) or repr(error)
