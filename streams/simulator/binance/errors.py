"""What this venue says when it refuses: HTTP status, code and words, as its clients know them."""

from dataclasses import dataclass, field

from streams.matching.orders import Refusal
from streams.simulator.limits import Exceeded, Limits


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal as it goes out."""

    code: int
    text: str
    http_status: int = 400
    headers: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, int | str]:
        """The body."""
        return {"code": self.code, "msg": self.text}


class RefusedRequest(Exception):
    """Ends the handling of a request; the server sends `answer`."""

    def __init__(self, answer: Answer):
        super().__init__(answer.text)
        self.answer = answer


BAD_KEY_FORMAT = Answer(-2014, "API-key format invalid.", 401)
NO_RIGHT = Answer(-2015, "Invalid API-key, IP, or permissions for action.", 401)
BAD_SIGNATURE = Answer(-1022, "Signature for this request is not valid.")
OUTSIDE_WINDOW = Answer(-1021, "Timestamp for this request is outside of the recvWindow.")
AHEAD_OF_SERVER = Answer(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
WINDOW_TOO_LONG = Answer(-1131, "recvWindow must be less than 60000.")
INVALID_SYMBOL = Answer(-1121, "Invalid symbol.")
INVALID_ORDER_TYPE = Answer(-1116, "Invalid orderType.")
INVALID_SIDE = Answer(-1117, "Invalid side.")
INVALID_TIME_IN_FORCE = Answer(-1115, "Invalid timeInForce.")
NO_SUCH_ORDER = Answer(-2013, "Order does not exist.")
CANCEL_REJECTED = Answer(-2011, "Unknown order sent.")
NEITHER_ID = Answer(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
NO_SUCH_METHOD = Answer(-1000, "Unknown method.")

OF_REFUSAL = {
    Refusal.PRICE_FILTER: Answer(-1013, "Filter failure: PRICE_FILTER"),
    Refusal.LOT_SIZE: Answer(-1013, "Filter failure: LOT_SIZE"),
    Refusal.MARKET_LOT_SIZE: Answer(-1013, "Filter failure: MARKET_LOT_SIZE"),
    Refusal.NOTIONAL: Answer(-1013, "Filter failure: NOTIONAL"),
    Refusal.MARKET_CLOSED: Answer(-1013, "Market is closed."),
    Refusal.UNKNOWN_SYMBOL: INVALID_SYMBOL,
    Refusal.INSUFFICIENT_FUNDS: Answer(-2010, "Account has insufficient balance for requested action."),
    Refusal.DUPLICATE: Answer(-2010, "Duplicate order sent."),
    Refusal.WOULD_TAKE: Answer(-2010, "Order would immediately match and take."),
    Refusal.UNKNOWN_ORDER: CANCEL_REJECTED,
}
"""The core's refusals in this dialect."""


def missing(name: str) -> Answer:
    """A mandatory parameter is not there."""
    return Answer(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal(name: str, legal: str) -> Answer:
    """A parameter is not of its form."""
    return Answer(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def unwanted(name: str) -> Answer:
    """A parameter does not belong to this kind of order."""
    return Answer(-1106, f"Parameter '{name}' sent when not required.")


def unread(read: int, sent: int) -> Answer:
    """A parameter that nobody knows."""
    return Answer(-1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.")


def too_precise(name: str) -> Answer:
    """More decimals than an amount can have."""
    return Answer(-1111, f"Parameter '{name}' has too much precision.")


def limit_exceeded(exceeded: Exceeded, limits: Limits) -> Answer:
    """429 with the time to stay away, or 418 for an address that did not."""
    headers = {"Retry-After": str(exceeded.retry_after_s)}
    if exceeded.limit == "ban":
        return Answer(-1003, "Way too much request weight used; IP banned. Please use WebSocket Streams.", 418, headers)
    if exceeded.limit == "weight":
        text = (
            f"Too much request weight used; current limit is {limits.settings.weight_1m_max} request weight per 1 MINUTE."
            " Please use WebSocket Streams for live updates to avoid polling the API."
        )
        return Answer(-1003, text, 429, headers)
    count, interval = (
        (limits.settings.orders_10s_max, "10 SECOND")
        if exceeded.limit == "orders_10s"
        else (limits.settings.orders_1d_max, "1 DAY")
    )
    return Answer(-1015, f"Too many new orders; current limit is {count} orders per {interval}.", 429, headers)
