"""What becomes of the orders that a halt or a cancel asked off the book: watched for a moment, once it is on record.

Nothing here is proof: the tables follow the books, which follow the venue. It tells whether somebody obeys.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from schemas.ledger import OrderState
from streams.domain.errors import RefusedError, UnreachableError
from streams.gateways.views import OrderView
from streams.settings import Settings

WATCH_S = 5.0
SETTLE_S = 1.0
"""An order that was on its way when a halt was said is in the tables by then."""
POLL_S = 0.25


def within(checked: Settings, scope: str) -> Callable[[OrderView], bool]:
    """Whether a scope concerns an order."""
    kind, _, name = scope.partition(":")
    of_venue = {account for account, chosen in checked.accounts.items() if chosen.venue == name}

    def concerns(order: OrderView) -> bool:
        if kind == "portfolio":
            return order.portfolio == name
        return kind == "all" or (order.account in of_venue if kind == "venue" else order.account == name)

    return concerns


async def watched(
    look: Callable[[], Awaitable[Sequence[OrderView]]],
    concerns: Callable[[OrderView], bool],
    scope: str,
    *,
    grows: bool,
    watch_s: float = WATCH_S,
    settle_s: float = SETTLE_S,
    poll_s: float = POLL_S,
) -> str:
    """What became of the open orders that are concerned, in a sentence, after at most `watch_s`; `look` shows all open ones.

    With `grows` orders that show up later count, too, as under a halt; else only those of the first look.
    """
    began, seen, still, off_s = time.monotonic(), dict[str, OrderView](), list[OrderView](), 0.0
    first = True
    try:
        async with asyncio.timeout(watch_s):
            while True:
                rows = [order for order in await look() if concerns(order)]
                still = [order for order in rows if first or grows or order.command_id in seen]
                seen |= {order.command_id: order for order in still}
                first, passed_s = False, time.monotonic() - began
                off_s = passed_s if still else off_s or passed_s
                if not still and (not grows or passed_s >= settle_s):
                    break
                await asyncio.sleep(poll_s)
    except TimeoutError:
        if first:
            return f"what becomes of open orders is not known here: database: no answer for {watch_s:g} s"
    except (UnreachableError, RefusedError) as error:
        return f"what becomes of open orders is not known here: {error}"
    return _in_words(len(seen), still, off_s, watch_s, scope)


def _in_words(stood: int, still: Sequence[OrderView], off_s: float, watch_s: float, scope: str) -> str:
    if not stood:
        return "by the tables no order stood on the book"
    before = f"{stood} {'order' if stood == 1 else 'orders'} stood on the book"
    if not still:
        return f"{before}; all are off it after {off_s:.1f} s"
    unknown = sum(order.state == OrderState.UNKNOWN for order in still)
    return (
        f"{before}; {len(still)} still there after {watch_s:g} s, {unknown} of them of unknown fate: `trimtab orders` shows "
        f"them; if they stay, does the executor run? Without it: `trimtab halt {scope} --offline`, then "
        f"`trimtab cancel --all --offline --scope {scope}`"
    )
