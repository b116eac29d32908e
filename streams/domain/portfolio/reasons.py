"""The wording of reasons, once: why a portfolio trades or does not, for signals and command line alike."""

from schemas.rebalance import Reason
from streams.domain.halts import FILL_UNPLACED as FILL_UNPLACED
from streams.domain.halts import FILLS_MISSING as FILLS_MISSING
from streams.domain.halts import LOSS_DAY as LOSS_DAY
from streams.domain.halts import NAV_MOVE as NAV_MOVE
from streams.domain.halts import REJECTED_REPEATEDLY as REJECTED_REPEATEDLY
from streams.domain.halts import TURNOVER_5MIN as TURNOVER_5MIN
from streams.domain.halts import TURNOVER_DAY as TURNOVER_DAY
from streams.domain.halts import UNKNOWN_TOO_LONG as UNKNOWN_TOO_LONG

WORDS: dict[Reason, str] = {
    Reason.QUARANTINED: "an event could not be folded; an operator must look and resume",
    Reason.HALTED: "stopped until a resume names the halt",
    Reason.WAITING_OPENING: "waiting until every account's books are opened",
    Reason.UNCLASSIFIED_FLOW: "money moved by itself; `trimtab flows ack` says what it was",
    Reason.NO_TARGETS: "targets, policy or limits are not set",
    Reason.NO_RULES: "a symbol's rules on its venue are not known yet",
    Reason.NO_PRICE: "a symbol has no price yet",
    Reason.STALE: "a price is older than the policy allows",
    Reason.CROSSED: "a venue's bid is not below its ask",
    Reason.NO_VALUE: "net asset value is not above zero, or beyond all sense: look at prices and holdings",
    Reason.VENUE_CLOSED: "no venue of the portfolio takes orders",
    Reason.UNKNOWN_ORDER: "an order's outcome is not known",
    Reason.UNANSWERED: (
        "a command has no answer in the books; executor or ledger may be behind. Where both have caught up and none came, "
        "halt the portfolio and resume it, which voids it"
    ),
    Reason.IN_WORK: "a plan is in work",
    Reason.LIMIT: "a limit leaves no room",
    Reason.BELOW_MINIMUM: "every leg is below the venue's minimum",
    Reason.WITHIN_BAND: "no drift beyond the threshold",
    Reason.DRIFT: "drift beyond the threshold",
    Reason.SELL_FILLED: "a filled sell funds planned buys",
}
"""One sentence for each reason; a signal's `detail` names the account, symbol or figure."""

# Causes of a debt: what the plan wanted and could not do.
MINIMUM = "MINIMUM"
LIMIT = "LIMIT"
VENUE_CLOSED = "VENUE_CLOSED"
FUNDS = "FUNDS"
FUNDS_ELSEWHERE = "FUNDS_ELSEWHERE"


def in_words(reason: Reason, detail: str = "") -> str:
    """The reason as a sentence, with its detail."""
    return f"{WORDS[reason]}: {detail}" if detail else WORDS[reason]
