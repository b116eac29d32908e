"""4.2: whom a crash run left halted, and that its report says so."""

import pytest

from schemas.codec import encode
from schemas.envelope import Envelope
from streams.ports import Record
from streams.topics import ORDERS_EVENTS, REBALANCE_SIGNALS
from tests.crash.flow.report import parts
from tests.crash.flow.story import Story
from tests.crash.flow.witness import halt_of
from tests.examples import example


def record(topic: str, name: str) -> Record:
    message = example(name)
    headers = Envelope(id="1", type=message.ce_type(), source="any/0", time_ms=0).headers()
    return Record(topic, 0, 7, b"alpha", encode(message), headers)


@pytest.mark.parametrize(
    ("topic", "name", "told"),
    [
        (ORDERS_EVENTS, "orders.account-halted", "account alpha: foreign order (order 1002 carries our id)"),
        (REBALANCE_SIGNALS, "rebalance.portfolio-halted", f"portfolio balanced: UNKNOWN_TOO_LONG (command {'0f' * 16})"),
        (REBALANCE_SIGNALS, "rebalance.quarantined", "portfolio balanced: InvariantError (a fill of an unknown order)"),
        (ORDERS_EVENTS, "orders.account-resumed", None),
        (ORDERS_EVENTS, "orders.filled", None),
    ],
)
def test_a_halt_is_heard_whoever_says_it(topic: str, name: str, told: str | None) -> None:
    assert halt_of(record(topic, name)) == told


def test_bytes_that_nobody_can_read_are_no_halt() -> None:
    headers = Envelope(id="1", type="trimtab.orders.account-halted.v1", source="any/0", time_ms=0).headers()
    assert halt_of(Record(ORDERS_EVENTS, 0, 7, b"alpha", b"\xff", headers)) is None


def test_the_report_lists_each_halt() -> None:
    quiet, halted = "\n".join(parts(Story())), "\n".join(parts(Story(halted=["account alpha: foreign order"])))
    assert "- portfolios and accounts that halted: 0\n" in quiet
    assert "- portfolios and accounts that halted: 1: account alpha: foreign order\n" in halted
