"""4.4: the independent checker holds nothing against what the real executor, ledger fold and matching core do in bad times.

The histories are the lab's: lost replies, take-overs, sleeping owners, stepping clocks, halts, cancels. Its own invariants hold
in them; here the checker reads what they leave, and then a lie in one of them.
"""

from dataclasses import replace

import orjson
import pytest

from streams.agents.ledger import LedgerFold
from streams.lab.plan import plan
from streams.lab.world import World
from streams.proof.verify.facts import Raw
from streams.proof.verify.verification import COMMANDS, CONTROL, EVENTS, LEDGER, Setting
from tests.unit.verify.world import History, raw_output, raw_record, said, tables_of

SEEDS = (2, 6, 8, 10, 11, 12)
"""In these something of everything happens."""

ORDERS = 120
CHECKED = {"I1", "I2", "I3", "I4", "I5", "I6", "I8", "I9", "I10", "I11", "I16", "I17", "fills"}
"""All but the sequencer's accounts, which no journal of the lab tells."""


def played(seed: int) -> History:
    """What a history of the lab leaves in its topics, at its venue and in its tables; nobody signs there."""
    world = World(plan(seed, ORDERS))
    assert world.play().violation is None
    history = History(setting=Setting(dev=True, projected=dict.fromkeys(range(len(world.logs)), 1 << 60)))
    spoken = enumerate(world.history.control)
    history.topics[CONTROL] = [said(CONTROL, place, "x", event, event.at_ms) for place, event in spoken]
    for partition, (account, log) in enumerate(world.logs.items()):
        for offset, command in enumerate(log.commands):
            raw = Raw(COMMANDS, partition, offset, account.encode(), b"?", "")
            if command is not None:
                raw = replace(said(COMMANDS, offset, account, command, command.decided_at_ms), partition=partition)
            history.topics[COMMANDS].append(raw)
        fold = LedgerFold(partition, None)
        entries: list[Raw] = []
        for offset, written in enumerate(log.events):
            record = written.record(offset)
            history.topics[EVENTS].append(replace(raw_record(record), partition=partition, at_ms=written.event.at_ms))
            entries += [raw_output(len(entries), output) for output in fold.step(record)]
        history.topics[LEDGER] += [replace(entry, partition=partition) for entry in entries]
    history.journal = [orjson.loads(entry.line()) for entry in world.venue.market.journal.since(1)]
    history.tables = tables_of(history.topics[LEDGER])
    return history


@pytest.mark.parametrize("seed", SEEDS)
def test_4_4_nothing_is_held_against_a_history_in_which_all_holds(seed: int) -> None:
    report = played(seed).report()
    assert {row.check for row in report.rows if row.passed} == CHECKED, report.text()


def test_6_3_a_lie_in_such_a_history_is_named() -> None:
    history = played(2)
    intended = history.of(EVENTS, "intended")
    line = next(one for one in history.journal if one.get("client_order_id") == intended.fields["client_order_id"])
    history.journal.append(dict(history.journal[-1]) | line | {"kind": "order_accepted", "sequence": 10_000})
    report = history.report()
    assert [row.check for row in report.rows if row.violated] == ["I1"], report.text()
    assert report.rows[0].violations[0].place == intended.place
