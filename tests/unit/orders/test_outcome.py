"""1.2: every signal that was measured of the dialect, and what it proves about an order: the table that `judge` follows."""

from typing import Any

import pytest

from streams.domain.orders.outcome import NOT_FOUND, REFUSALS, Consequence, Failure, Proof, VenueReply, judge

OURS = "b" * 26
NONE, PAUSE, HALT, RESYNC = Consequence.NONE, Consequence.PAUSE, Consequence.HALT, Consequence.RESYNC
_UNKNOWN = (Proof.UNKNOWN, NONE)


def told(status: int, code: str | None = None, text: str = "") -> dict[str, Any]:
    """A reply of the venue; without a code its body was a page, or nothing."""
    return {"http_status": status, "code": code, "text": text} | ({"failure": Failure.UNUSABLE} if code is None else {})


SIGNALS = [
    # The limiter, in the venue's own words; a page with the same status may come from anybody on the way.
    (told(429, "-1003", "Too much request weight used"), (Proof.REFUSED, PAUSE)),
    (told(418, "-1003", "Way too much request weight used; IP banned"), (Proof.REFUSED, PAUSE)),
    (told(400, "-1003"), (Proof.REFUSED, PAUSE)),
    (told(429, "-1015", "Too many new orders"), (Proof.REFUSED, PAUSE)),
    (told(400, "-1015"), (Proof.REFUSED, PAUSE)),
    (told(429), _UNKNOWN),
    (told(418), _UNKNOWN),
    # Firewalls, gateways, redirects.
    *((told(status), _UNKNOWN) for status in (302, 403, 404, 409, 451, 500, 502, 503, 504, 524)),
    # Filters and funds.
    *(
        (told(400, "-1013", f"Filter failure: {name}"), (Proof.REFUSED, NONE))
        for name in ("LOT_SIZE", "MARKET_LOT_SIZE", "PRICE_FILTER", "PERCENT_PRICE_BY_SIDE", "NOTIONAL", "MAX_NUM_ORDERS")
    ),
    (told(400, "-1013", "Market is closed."), (Proof.REFUSED, NONE)),
    (told(400, "-2010", "Market is closed."), (Proof.REFUSED, NONE)),
    (told(400, "-2010", "Account has insufficient balance for requested action."), (Proof.REFUSED, NONE)),
    (told(400, "-2010", "Order would immediately match and take."), (Proof.REFUSED, NONE)),
    (told(400, "-2010", "This symbol is not permitted for this account."), (Proof.REFUSED, NONE)),
    # The id is in use: that proves presence.
    (told(400, "-2010", "Duplicate order sent."), _UNKNOWN),
    # Key, rights, account: nobody but a person helps.
    (told(400, "-2010", "This action is disabled on this account."), (Proof.REFUSED, HALT)),
    (told(400, "-2011", "This action is disabled on this account."), (Proof.REFUSED, HALT)),
    (told(400, "-2010", "This account may not place or cancel orders."), (Proof.REFUSED, HALT)),
    (told(400, "-2010", "Rest API trading is not enabled."), (Proof.REFUSED, HALT)),
    (told(401, "-1002"), (Proof.REFUSED, HALT)),
    (told(400, "-1022", "Signature for this request is not valid."), (Proof.REFUSED, HALT)),
    (told(401, "-2014"), (Proof.REFUSED, HALT)),
    (told(401, "-2015", "Invalid API-key, IP, or permissions for action."), (Proof.REFUSED, HALT)),
    # Time.
    (told(400, "-1021", "Timestamp for this request is outside of the recvWindow."), (Proof.REFUSED, RESYNC)),
    # Cancels and queries.
    (told(400, "-2011", "Unknown order sent."), (Proof.REFUSED, NONE)),
    (told(400, "-2013", "Order does not exist."), _UNKNOWN),
    # What the venue itself does not know.
    *((told(400, code), _UNKNOWN) for code in ("-1000", "-1001", "-1004", "-1006", "-1007", "-1008")),
    *((told(503, code), _UNKNOWN) for code in ("-1000", "-1001", "-1006", "-1007", "-1008")),
    (told(400, "1", "System is under maintenance."), _UNKNOWN),
    # No reply, or none that can be read.
    ({"failure": Failure.NO_REPLY}, _UNKNOWN),
    ({"http_status": 200, "failure": Failure.UNUSABLE}, _UNKNOWN),
    # Provably nothing was sent.
    ({"failure": Failure.NOT_CONNECTED}, (Proof.UNREACHABLE, NONE)),
    ({"failure": Failure.NOT_SENT}, (Proof.UNREACHABLE, NONE)),
]


@pytest.mark.parametrize(("facts", "expected"), SIGNALS, ids=lambda value: str(value)[:60])
def test_1_2_a_signal_proves_what_the_table_says_and_no_more(
    facts: dict[str, Any], expected: tuple[Proof, Consequence]
) -> None:
    outcome = judge("binance", VenueReply(**facts), "BTC/USDT", OURS)
    assert (outcome.proof, outcome.consequence) == expected


@pytest.mark.parametrize("code", REFUSALS["binance"])
@pytest.mark.parametrize("status", [None, 200, 302, 500, 502, 503, 504])
def test_1_2_no_code_is_a_refusal_unless_the_venue_itself_says_so(code: str, status: int | None) -> None:
    reply = VenueReply(http_status=status, code=code, text="This action is disabled on this account.")
    assert judge("binance", reply, "BTC/USDT", OURS).proof is Proof.UNKNOWN


def test_1_2_not_found_is_an_answer_to_a_question_and_never_a_refusal() -> None:
    assert not NOT_FOUND["binance"] & REFUSALS["binance"].keys()
