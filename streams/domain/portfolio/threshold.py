"""When a drift asks for a trade.

An asset (the quote asset included) triggers when its drift from fills alone, and its drift with everything planned or open
counted as filled, are both at or beyond the threshold on the same side. While an order's outcome is unknown, that must hold
under every outcome. So what is already on its way is never sent twice, and what failed is seen again.
"""

from collections.abc import Collection, Iterable
from decimal import Decimal

from streams.domain.portfolio.valuation import Valuation

_ZERO = Decimal(0)


def triggered(
    fills: Valuation, views: Iterable[Valuation], threshold: Decimal, blocked: Collection[str] = ()
) -> tuple[str, ...]:
    """The assets that trigger, the farthest off first (then by name). `blocked` assets never do."""
    beyond = [asset for asset, drift in fills.drifts.items() if asset not in blocked and drift and abs(drift) >= threshold]
    agreed = [asset for asset in beyond if all(_agrees(fills.drifts[asset], view.drifts[asset], threshold) for view in views)]
    return tuple(sorted(agreed, key=lambda asset: (-abs(fills.drifts[asset]), asset)))


def _agrees(drift: Decimal, drift_pending: Decimal, threshold: Decimal) -> bool:
    return abs(drift_pending) >= threshold and (drift_pending > _ZERO) == (drift > _ZERO)
