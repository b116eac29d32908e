"""Double entry: every movement as signed lines that sum to zero for each asset.

Ledger accounts: `assets:<account>` is what the account holds; `trading:<account>` the other side of every trade;
`fees:<account>` what venues took; `equity:opening`, `equity:unclassified` and `equity:external` where holdings came from.
A fill moves the venue's own quote amount on both sides, so no rest arises here: an amount that must be computed is rounded
down to 18 places where the fill is observed, and the rest, below 1e-18, is smaller than anything the books can carry.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from schemas.ledger import Posting
from schemas.orders import OrderFilled, Side
from streams.domain.errors import InvariantError
from streams.domain.numbers import MONEY

OPENING = "equity:opening"
UNCLASSIFIED = "equity:unclassified"
EXTERNAL = "equity:external"


def assets(account: str) -> str:
    """The ledger account of what `account` holds."""
    return f"assets:{account}"


def trading(account: str) -> str:
    """The ledger account of the other side of every trade of `account`."""
    return f"trading:{account}"


def fees(account: str) -> str:
    """The ledger account of the fees that `account` paid."""
    return f"fees:{account}"


def opening(account: str, totals: Mapping[str, Decimal]) -> tuple[Posting, ...]:
    """The opening of the books: every asset's total against equity; zero totals have no lines."""
    return balanced(line for asset in sorted(totals) for line in _move(OPENING, assets(account), asset, totals[asset]))


def fill(event: OrderFilled) -> tuple[Posting, ...]:
    """One trade: base one way, quote the other, and the fee in whatever asset the venue took it."""
    base, quote = event.symbol.split("/")
    holder, counter = assets(event.account), trading(event.account)
    source, target = (counter, holder) if event.side is Side.BUY else (holder, counter)
    return balanced(
        (
            *_move(source, target, base, event.quantity_base),
            *_move(target, source, quote, event.quote_amount),
            *_move(holder, fees(event.account), event.fee_asset, event.fee_amount),
        )
    )


def flow_observed(account: str, asset: str, amount: Decimal) -> tuple[Posting, ...]:
    """A deposit (positive) or withdrawal (negative) whose nature nobody has told yet."""
    return balanced(_move(UNCLASSIFIED, assets(account), asset, amount))


def flow_classified(asset: str, amount: Decimal) -> tuple[Posting, ...]:
    """The same flow, now known: it leaves the unclassified equity for the external one."""
    return balanced(_move(EXTERNAL, UNCLASSIFIED, asset, amount))


def balanced(lines: Iterable[Posting]) -> tuple[Posting, ...]:
    """The lines, proven to sum to zero for each asset. Raises InvariantError otherwise."""
    postings, sums = tuple(lines), dict[str, Decimal]()
    for line in postings:
        sums[line.asset] = MONEY.add(sums.get(line.asset, Decimal(0)), line.amount)
    off = {asset: str(rest) for asset, rest in sums.items() if rest}
    if off:
        raise InvariantError(f"postings do not sum to zero: {off}; nothing may be booked from here on")
    return postings


def _move(source: str, target: str, asset: str, amount: Decimal) -> tuple[Posting, ...]:
    if not amount:
        return ()
    return (
        Posting(ledger_account=target, asset=asset, amount=amount),
        Posting(ledger_account=source, asset=asset, amount=amount.copy_negate()),
    )
