"""Every halt that happens by itself: the word for its cause, who notices it, and what an operator does about it.

A halt stops new orders and takes open ones off the book; cancels still pass. It has an id, its cause is one of these words in
the ledger, in signals, in tables and on the command line alike, and nothing lifts it but an operator's resume that names the
id. What was decided before that resume is void.
"""

from dataclasses import dataclass

# The executor's, each of one account.
LEDGER_DIFFERS = "ledger_differs"
UNKNOWN_CLIENT_ORDER_ID = "unknown_client_order_id"
ORDER_MISMATCH = "order_mismatch"
OVERFILL = "overfill"
FILL_OF_ABSENT_ORDER = "fill_of_absent_order"
FILL_NOWHERE = "fill_unplaced"
ORDER_OVERDUE = "order_overdue"
REJECTED_BY_VENUE = "rejected_repeatedly"
KEY_REFUSED = "key_refused"
PERMISSION_CHANGE = "permission_change"
CLOCK_OFFSET = "clock_offset"

# The portfolio fold's, each of one portfolio.
UNKNOWN_TOO_LONG = "UNKNOWN_TOO_LONG"
REJECTED_REPEATEDLY = "REJECTED_REPEATEDLY"
FILL_UNPLACED = "FILL_UNPLACED"
FILLS_MISSING = "FILLS_MISSING"
TURNOVER_5MIN = "TURNOVER_5MIN"
TURNOVER_DAY = "TURNOVER_DAY"
NAV_MOVE = "NAV_MOVE"
LOSS_DAY = "LOSS_DAY"


@dataclass(frozen=True, slots=True)
class Cause:
    """What halts, in words, and what to do before it is resumed."""

    words: str
    remedy: str


EXECUTOR: dict[str, Cause] = {
    LEDGER_DIFFERS: Cause(
        "a quiet account holds something else than the books say, twice in a row, and neither trades nor deposits nor "
        "withdrawals explain it",
        "find the cause at the venue; a resume accepts exactly this difference, another one halts again",
    ),
    UNKNOWN_CLIENT_ORDER_ID: Cause(
        "an order on the book carries an id in our format that nobody here gave, seen twice",
        "find the other installation that trades here; cancel its order at the venue",
    ),
    ORDER_MISMATCH: Cause(
        "the venue shows another order under an id of ours than was sent", "compare both; the log holds what was sent"
    ),
    OVERFILL: Cause("an order was filled beyond its quantity", "compare the venue's trades with `trimtab ledger tail`"),
    FILL_OF_ABSENT_ORDER: Cause(
        "a trade belongs to an attempt that was refused or proven absent; it is booked, and the next attempt may trade as well",
        "compare what was wanted with what traded; the venue broke its own rule of validity",
    ),
    FILL_NOWHERE: Cause(
        "a trade is of an order with an id of ours that nobody remembers: it ended over 48 hours ago, or was never ours",
        "compare the venue's trades with the books; the trade is posted nowhere, so that the totals differ by it",
    ),
    ORDER_OVERDUE: Cause(
        "an order has not ended a minute past its `expires_at`, or past the loss of its command, though the venue answers and "
        "cancels may leave: it stands, or is not shown any more, or not with all its trades",
        "look at the order at the venue; it is asked for and canceled on, and closes when its end and its trades are shown",
    ),
    REJECTED_BY_VENUE: Cause(
        "the venue refused three orders with the same code within a minute", "the code says why: funds, filters, rights"
    ),
    KEY_REFUSED: Cause("the venue refused an order for its key", "look at the key's rights and addresses at the venue"),
    PERMISSION_CHANGE: Cause(
        "the trading key may withdraw, or may no longer trade or read", "correct the key at the venue, or give another one"
    ),
    CLOCK_OFFSET: Cause(
        "this machine's clock is more than 500 ms from the venue's, twice in a row", "correct the clock (NTP), then resume"
    ),
}
"""By the executor, for the account, as `orders.account-halted`."""

FOLD: dict[str, Cause] = {
    UNKNOWN_TOO_LONG: Cause(
        "nobody knows for more than a minute whether the venue has an order", "`trimtab unknown resolve` looks for its proof"
    ),
    REJECTED_REPEATEDLY: Cause(
        "three orders of the portfolio were refused with the same code within a minute", "the code says why"
    ),
    FILL_UNPLACED: Cause("a fill belongs to an order that nobody remembers", "compare the venue's trades with the books"),
    FILLS_MISSING: Cause("an order ended before all its fills were seen", "compare the venue's trades with the books"),
    TURNOVER_5MIN: Cause("fills outside a transition crossed `turnover_5min_max`", "look at what traded; resuming counts anew"),
    TURNOVER_DAY: Cause("fills outside a transition crossed `turnover_day_max`", "look at what traded; resuming counts anew"),
    NAV_MOVE: Cause(
        "within five minutes fills moved net asset value by more than 1 %, which no mark explains",
        "compare these fills with the venue and with other venues' prices",
    ),
    LOSS_DAY: Cause(
        "over the last day the portfolio lost more than `loss_day_max` against holding its targets",
        "look at costs and at the time out of band; resuming counts anew",
    ),
}
"""By the portfolio fold, for the portfolio, as `rebalance.portfolio-halted`."""

CAUSES = EXECUTOR | FOLD


def in_words(cause: str) -> str:
    """The cause with its meaning, and its detail where it stands behind a colon; one of another build is its own word."""
    known = CAUSES.get(cause.partition(":")[0])
    return f"{cause}: {known.words}" if known is not None else cause
