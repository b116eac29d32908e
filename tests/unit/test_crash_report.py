"""4.2, 6.4: what the report of a crash run says: whom it left halted, and how long work stood still after which fault."""

import pytest

from schemas.codec import encode
from schemas.envelope import Envelope
from streams.ports.log import Record
from streams.topics import ORDERS_EVENTS, REBALANCE_SIGNALS
from tests.crash.flow.report import parts
from tests.crash.flow.rounds import Struck
from tests.crash.flow.story import Story
from tests.crash.flow.witness import Halts
from tests.examples import example


def record(topic: str, name: str, **changes: object) -> Record:
    message = example(name).model_copy(update=changes)
    headers = Envelope(id="1", type=message.ce_type(), source="any/0", time_ms=0).headers()
    return Record(topic, 0, 7, b"alpha", encode(message), headers)


def heard(*records: Record) -> list[str]:
    halts = Halts()
    for said in records:
        halts.hear(said)
    return halts.told


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
    assert heard(record(topic, name)) == ([told] if told else [])


def test_a_halt_by_a_former_owner_is_void() -> None:
    """Found once: one that slept while others took over woke to a trade of theirs, and halted for it."""
    started = record(ORDERS_EVENTS, "orders.owner-started", account="alpha", epoch=10)
    void, valid = (record(ORDERS_EVENTS, "orders.account-halted", epoch=epoch) for epoch in (9, 10))
    assert heard(started, void) == []
    assert len(heard(void, started)) == len(heard(started, void, valid)) == 1


def test_bytes_that_nobody_can_read_are_no_halt() -> None:
    headers = Envelope(id="1", type="trimtab.orders.account-halted.v1", source="any/0", time_ms=0).headers()
    assert heard(Record(ORDERS_EVENTS, 0, 7, b"alpha", b"\xff", headers)) == []


def test_the_report_lists_each_halt() -> None:
    quiet, halted = "\n".join(parts(Story())), "\n".join(parts(Story(halted=["account alpha: foreign order"])))
    assert "- portfolios and accounts that halted: 0\n" in quiet
    assert "- portfolios and accounts that halted: 1: account alpha: foreign order\n" in halted


def struck(victim: str, kind: str, workers: int, recovered_s: float, whole_s: float | None = None) -> Struck:
    whole_s = recovered_s if whole_s is None else whole_s
    return Struck(kind, victim, victim, workers, "open intent", 1, 5, recovered_s, whole_s)


def recoveries(*rounds: Struck) -> list[list[str]]:
    """The rows of the table about recovery in the report, without its head."""
    lines = "\n".join(parts(Story(rounds=list(rounds)))).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| work stood still (s)"))
    rows = [line.strip("|").split("|") for line in lines[start + 2 : lines.index("", start)]]
    return [[cell.strip() for cell in row] for row in rows]


def test_6_4_recovery_after_a_kill_stands_apart_from_other_faults_and_by_who_stood_by() -> None:
    rows = recoveries(
        struck("ledger", "kill", 1, 6.0),
        struck("ledger", "kill", 2, 3.0),
        struck("ledger", "kill", 2, 5.0),
        struck("ledger", "pause", 2, 9.0),
        struck("ledger", "join", 1, 0.1),
        struck("broker", "kill", 1, 18.0),
    )
    assert rows == [
        ["ledger", "kill", "no", "1", "6.0", "6.0", ""],
        ["ledger", "kill", "yes", "2", "4.0", "5.0", "met"],
        ["ledger", "pause", "yes", "1", "9.0", "9.0", ""],
        ["broker", "kill", "no", "1", "18.0", "18.0", ""],
    ]


def test_6_4_a_kill_that_misses_its_target_is_marked() -> None:
    rows = recoveries(struck("portfolio", "kill", 2, 9.9), struck("portfolio", "kill", 2, 10.1))
    assert rows == [["portfolio", "kill", "yes", "2", "10.0", "10.1", "MISSED by 1 of 2"]]


def test_6_4_an_executors_first_order_and_all_its_accounts_are_told_apart() -> None:
    rows = recoveries(struck("executor", "kill", 2, 7.0, 23.0))
    assert rows == [
        ["executor", "kill", "yes", "1", "7.0", "7.0", "met"],
        ["executor, until all its accounts are owned", "kill", "yes", "1", "23.0", "23.0", ""],
    ]
