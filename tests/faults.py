"""Every fault of a venue: what the venue did, what Trimtab does, and the test that shows it. `docs/faults.md` is made of it."""

import ast
from dataclasses import dataclass
from pathlib import Path

from streams.simulator.faults import Fault

ROOT = Path(__file__).resolve().parents[1]
FAULTS = "tests/contract/trading/test_faults.py"
NEWS = "tests/contract/trading/test_news.py"


@dataclass(frozen=True)
class Row:
    """One fault. `switches` are the simulated venue's; `test` is a function of `where`."""

    fault: str
    venue: str
    trimtab: str
    test: str
    switches: tuple[Fault, ...] = ()
    by: str = ""
    where: str = FAULTS


_PROVES_NOTHING = "UNKNOWN: the symbol is blocked, the order is asked for by its client id and found; it is not sent again"

ROWS = (
    Row(
        "Lost reply",
        "took the order; the connection ended without a reply, at once or after the client's patience",
        _PROVES_NOTHING,
        "test_4_3_a_lost_reply_leaves_an_order_that_is_found_and_not_sent_again",
        (Fault.REPLY_LOST,),
    ),
    Row(
        "Lost request",
        "never saw the order; the connection ended",
        "UNKNOWN until the venue's own time is past timestamp + window + margin and repeated queries, open orders and trades "
        "show nothing; then ABSENT, and the next attempt under its own client id",
        "test_4_3_a_lost_request_is_proven_absent_before_the_next_attempt_leaves_under_its_own_id",
        (Fault.REQUEST_LOST,),
    ),
    Row(
        "Late acceptance",
        "took the order, and for a while denied knowing it",
        'an early "not found" proves nothing; the order is found and adopted. The bound is window + margin after the request: '
        "a venue that shows it only later, which its own rules forbid, makes an order absent that exists; its fill finds it, "
        "the account halts, and `trimtab verify` names it",
        "test_4_3_an_order_that_appears_after_an_honest_not_found_is_adopted",
        (Fault.LATE_ORDER,),
    ),
    Row(
        "HTTP 200 with HTML, an empty or a truncated body",
        "took the order; the reply has status 200 and is a page, nothing, or ends in the middle",
        f"a reply counts only with an id, the symbol and the client id that were sent: {_PROVES_NOTHING}",
        "test_4_3_a_reply_that_proves_nothing_is_no_reply",
        (Fault.REPLY_HTML, Fault.REPLY_EMPTY, Fault.REPLY_CUT),
    ),
    Row(
        "5xx after acceptance",
        "took the order; a gateway answers 502",
        f"no 5xx is ever a refusal, whatever code it carries: {_PROVES_NOTHING}",
        "test_4_3_a_reply_that_proves_nothing_is_no_reply",
        (Fault.REPLY_5XX,),
    ),
    Row(
        "429 and 418",
        "refused the order for too many requests, or banned the address; says for how long",
        "the command ends REJECTED; no request of any role leaves before that time is over; the next order goes out after it",
        "test_4_3_a_refusal_of_the_limiter_ends_the_command_and_silences_all_requests_as_long_as_asked",
        (Fault.REFUSED_429, Fault.REFUSED_418),
        by="`/control/limits` for real ones",
    ),
    Row(
        "-1021",
        "its clock stepped: the request's timestamp lies outside the window",
        "a definite no: REJECTED; the time is read anew at once, a step voids the lease until its next renewal, and more "
        "than 500 ms between both clocks halt the account, clock_offset",
        "test_4_3_a_timestamp_outside_the_window_is_refused_and_the_time_is_read_anew",
        by="`/control/clock`",
    ),
    Row(
        "Client id reused after a fill",
        "takes a client id again once its first order is final, and shows an order of that id that is not ours",
        "every attempt has its own id; an order found under it counts only if it is not older than its intent and is what was "
        "sent; else the account halts, order_mismatch",
        "test_4_3_an_order_under_our_id_that_is_older_than_its_intent_is_not_adopted",
        by="always so",
    ),
    Row(
        "Cancel crossing a fill",
        "the order traded just before its cancel arrived, which is refused",
        "what the cancel did is read from its target: FILLED with all fills; the cancel ends with it",
        "test_4_3_a_cancel_that_crosses_a_fill_ends_with_the_fill",
        (Fault.CANCEL_CROSSED,),
    ),
    Row(
        "Fill after a cancel",
        "confirmed the cancel, and shows a trade of before only later",
        "the fill is booked to the ended order, once, and flagged LATE_FILL; the books agree with the venue",
        "test_4_3_a_fill_that_shows_after_its_order_was_canceled_is_booked_and_flagged",
        (Fault.FILL_AFTER_CANCEL,),
    ),
    Row(
        "Duplicate or missing stream messages",
        "tells each report twice, or leaves reports out",
        "a fill counts once by the venue's trade id, from the stream or by request; requests show what the stream left out",
        "test_4_3_messages_of_the_stream_that_come_twice_or_not_at_all_change_nothing",
        (Fault.STREAM_TWICE, Fault.STREAM_MISSING),
    ),
    Row(
        "Silent stream",
        "says nothing more, while the connection lives and answers pings",
        "nothing waits; a trade that requests have shown and the stream has not told for 5 s gives it away: it is redialled",
        "test_4_3_a_stream_that_falls_silent_delays_nothing_and_is_dialled_anew",
        (Fault.STREAM_SILENT,),
    ),
    Row(
        "Frames of the stream that cannot be read",
        "sends text that is no JSON, lacks fields, or says NaN",
        "the frame is lost and counted, the connection and all later frames are not",
        "test_1_3_a_frame_that_nobody_can_read_costs_itself_alone",
        by="a server of the test",
        where=NEWS,
    ),
)


def problems(root: Path = ROOT) -> list[str]:
    """What keeps the table from being true: tests that do not exist, switches without a row."""
    found = []
    for row in ROWS:
        if row.test not in _functions(root / row.where):
            found.append(f"docs/faults.md: {row.fault}: {row.where} has no {row.test}")
    covered = {switch for row in ROWS for switch in row.switches}
    return found + [f"docs/faults.md: {fault.value} has no row in tests/faults.py" for fault in Fault if fault not in covered]


def page() -> str:
    """The page. Raises ValueError when the table is not true."""
    if wrong := problems():
        raise ValueError("\n".join(wrong))
    lines = ["| fault | what the venue did | what Trimtab does | test |", "| --- | --- | --- | --- |"]
    for row in ROWS:
        switches = ", ".join(f"`{switch.value}`" for switch in row.switches)
        switched = ", ".join(part for part in (switches, row.by) if part)
        lines.append(f"| {row.fault}<br>{switched} | {row.venue} | {row.trimtab} | [`{row.test}`](../{row.where}) |")
    return f"""# What venues do wrong, and what Trimtab does then

Generated from `tests/faults.py` by `python tests/docs.py`; `make check` compares, and fails when a named test does not exist or
a fault of the simulated venue has no row. The words under a fault are its switches: `POST /control/faults`, or `faults` in the
settings of `python -m streams.simulator`. The tests drive the whole executor (agent, protocol, gateway, unmodified ccxt over
HTTP) through the fault and then compare books, commands and the venue's own journal.

{chr(10).join(lines)}
"""


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
