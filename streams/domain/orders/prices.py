"""The executor's own sight of the market: the newest quote of a symbol, and the median mid of the last while.

A fold that decided on garbage, or long ago, asks for a price that the market does not show. So no order leaves unless the
executor has seen a fresh quote itself, and never at a limit that is worse than this quote or the median by more than the
account's collar. A mid that left the median's collar is a market in flight, or garbage: nobody can tell, so nothing is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property

from schemas.orders import Side
from streams.domain.numbers import DECISION

SLOTS = 60
"""The window of the median is sampled in so many slots; each holds its last mid."""
WINDOW_MS = 60_000


@dataclass(frozen=True)
class Price:
    """What was seen of a symbol. `mids` are the last mid of each slot of the window, by the slot's number, oldest first."""

    bid_price_quote: Decimal
    ask_price_quote: Decimal
    received_at_ms: int
    mids: tuple[tuple[int, Decimal], ...] = ()

    @property
    def crossed(self) -> bool:
        """Whether this cannot be real: the bid is not below the ask."""
        return self.bid_price_quote >= self.ask_price_quote

    @cached_property
    def mid_quote(self) -> Decimal:
        """Half way between bid and ask."""
        return DECISION.divide(DECISION.add(self.bid_price_quote, self.ask_price_quote), Decimal(2))

    @cached_property
    def median_quote(self) -> Decimal:
        """The median of the window's mids, the higher of two middle ones; without any it is the mid."""
        mids = sorted(mid for _, mid in self.mids) or [self.mid_quote]
        return mids[len(mids) // 2]


Prices = Mapping[str, Price]
"""What was seen, by symbol."""


def seen(known: Price | None, quote: Price, window_ms: int = WINDOW_MS) -> Price:
    """The price after one more quote; an older one than is known changes nothing, a crossed one no median."""
    if known is not None and quote.received_at_ms < known.received_at_ms:
        return known
    mids = known.mids if known is not None else ()
    if quote.crossed:
        return replace(quote, mids=mids)
    slot_ms = max(1, window_ms // SLOTS)
    slot = quote.received_at_ms // slot_ms
    kept = tuple(entry for entry in mids if slot - SLOTS < entry[0] < slot)
    return replace(quote, mids=(*kept, (slot, quote.mid_quote)))


def unproven(price: Price | None, now_ms: int, age_ms_max: int, collar: Decimal) -> str | None:
    """Why this price carries no order now, or None."""
    if price is None:
        return "price_unknown"
    if abs(now_ms - price.received_at_ms) > age_ms_max:
        return "price_stale"
    if price.crossed:
        return "price_crossed"
    median = price.median_quote
    off = abs(DECISION.subtract(price.mid_quote, median))
    return "price_off_median" if off > DECISION.multiply(median, collar) else None


def worse_by(side: Side, price_limit_quote: Decimal, reference_quote: Decimal) -> Decimal:
    """By how much a limit price is worse for its order than a reference, in quote units; below zero it is better."""
    worse = DECISION.subtract(price_limit_quote, reference_quote)
    return worse if side is Side.BUY else DECISION.minus(worse)


def outside(side: Side, price_limit_quote: Decimal, price: Price, collar: Decimal) -> bool:
    """Whether a limit price is worse than the mid, or than the median, by more than the collar (a fraction of each)."""
    return any(
        worse_by(side, price_limit_quote, reference) > DECISION.multiply(reference, collar)
        for reference in (price.mid_quote, price.median_quote)
    )
