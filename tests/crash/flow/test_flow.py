"""Everything is struck while orders flow, read from one run (`story.py`).

The numbers are acceptance points: 4.2 and 6.1 of the issue about the order path; 6, 7.2, 7.3 and 7.4 of the one about the flow.
"""

import re
from collections import Counter

import pytest

from streams.local.supervisor import RoleState
from streams.topics import dead_letter
from tests.crash.executor.tally import SEED
from tests.crash.flow.faults import BLOCK, POINTS, ROLES, VICTIMS, Kind
from tests.crash.flow.report import checks
from tests.crash.flow.rounds import BETWEEN
from tests.crash.flow.story import EACH_FAULT, PORTFOLIOS, RATE_PER_S, ROUNDS, UNREADABLE, Story
from tests.crash.flow.witness import Attempt

pytestmark = pytest.mark.timeout(1_200 + 120 * ROUNDS)  # the first test waits for the whole run

CHECKS = {"I1", "I2", "I3", "I4", "I5", "I6", "I8", "I9", "I10", "I11", "I14", "I16", "I17", "fills"}


def by_command(attempts: list[Attempt]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda attempt: attempt.number):
        found.setdefault(attempt.command_id, []).append(attempt)
    return found


def test_7_3_orders_flowed_before_the_first_kill(story: Story):
    assert story.rate_per_s >= RATE_PER_S


def test_4_2_every_fault_came_while_a_request_was_out_or_at_a_step_of_the_executor(story: Story):
    """The occasion of a fault at an armed step is the step: at most of them no request is out."""
    points = {point.value for point in POINTS}
    assert {struck.occasion for struck in story.rounds} <= {*points, "open intent"}
    assert all(struck.intents_open > 0 for struck in story.rounds if struck.occasion == "open intent")


def test_4_2_enough_orders_were_accepted_between_faults(story: Story):
    assert all(struck.accepted_between >= BETWEEN for struck in story.rounds)


def test_4_2_everything_drained_after_the_last_fault(story: Story):
    """I13."""
    assert story.drained_s > 0
    assert {attempt.client_order_id for attempt in story.attempts if not attempt.ended} == set()


def test_6_1_no_order_was_doubled_or_lost_or_sent_by_a_former_owner(story: Story):
    assert story.verdict.clean, f"SEED={SEED}: {story.verdict}"
    assert story.verdict.accepted >= len(story.rounds) * BETWEEN


def test_4_2_the_rounds_hold_every_kind_of_fault(story: Story):
    faults = Counter((struck.kind, struck.victim) for struck in story.rounds)
    kinds = Counter(struck.kind for struck in story.rounds)
    if ROUNDS:
        assert len(story.rounds) == ROUNDS
        assert kinds["pause"] >= BLOCK[Kind.PAUSE] * (ROUNDS // sum(BLOCK.values()))
    else:  # 7.3: every role and server
        assert all(faults["kill", victim] == 1 for victim in VICTIMS)
    assert {"kill", "pause", "restart", "cut off", "join"} <= kinds.keys() or 0 < ROUNDS < 20


def test_7_3_the_faults_struck_on_the_calm_market(story: Story):
    assert story.faults_done == {"request_lost": EACH_FAULT, "reply_lost": EACH_FAULT, "late_order": EACH_FAULT}
    unknown = [attempt for attempt in story.faulty if attempt.unknown]
    assert len(unknown) >= 3 * EACH_FAULT


def test_7_3_lost_replies_and_late_orders_end_as_found(story: Story):
    """Both faults leave an order at the venue: each of these orders was UNKNOWN and then FOUND, one after three seconds."""
    found = [attempt for attempt in story.faulty if attempt.unknown and attempt.ended == "OrderFound"]
    assert len(found) >= 2 * EACH_FAULT
    assert {attempt.client_order_id for attempt in found} <= set(story.accepted)
    late = [attempt for attempt in found if attempt.ended_at_ms - attempt.intended_at_ms > 3_000]
    assert len(late) >= EACH_FAULT


def test_7_3_lost_requests_end_as_absent_with_a_second_attempt(story: Story):
    absent = [attempt for attempt in story.faulty if attempt.ended == "OrderAbsent"]
    assert len(absent) >= EACH_FAULT
    commands = by_command(story.attempts)
    for attempt in absent:
        following = [later for later in commands[attempt.command_id] if later.number == attempt.number + 1]
        assert [later.client_order_id for later in following] != [attempt.client_order_id]
        assert len(following) == 1


def test_7_3_no_order_of_the_venue_ends_as_absent(story: Story):
    absent = {attempt.client_order_id for attempt in story.attempts if attempt.ended == "OrderAbsent"}
    assert absent
    assert not absent & set(story.accepted)


def test_7_3_no_command_was_executed_twice(story: Story):
    assert max(Counter(story.accepted).values()) == 1
    accepted = set(story.accepted)
    for attempts in by_command(story.attempts).values():
        assert sum(attempt.client_order_id in accepted for attempt in attempts) <= 1


def test_7_2_4_4_every_invariant_holds_while_orders_flow_and_at_the_end(story: Story):
    for verified in (*story.verified_running, story.verified):
        found = checks(verified)
        assert found.keys() == CHECKS
        assert {check: violations for check, (items, violations) in found.items() if violations or not items} == {}


def test_7_4_dropped_tables_are_rebuilt_to_the_byte(story: Story):
    assert story.books is not None
    rows = {line.split()[0]: int(line.split()[1]) for line in story.books.before.splitlines()}
    assert rows["fills"] == story.fills >= len(story.rounds) * BETWEEN
    assert all(
        rows[table] >= PORTFOLIOS.count for table in ("heads", "entries", "postings", "orders", "balances", "signals", "legs")
    )
    assert story.books.after == story.books.before


def test_6_nothing_crashes_in_a_loop(story: Story):
    """A role comes back after each kill of its own; the loss of a server it rides out, or ends and is back once."""
    struck = Counter(struck.worker for struck in story.rounds)
    servers = sum(struck[server] for server in ("broker", "database"))
    for status in story.statuses:
        assert status.state is RoleState.RUNNING or status.name not in ROLES
        assert status.restarts <= struck[status.name] + servers + 1, status


def test_6_no_portfolio_and_no_account_was_halted(story: Story):
    """An account that its executor halts stops trading for the rest of the run: nothing else would fail for it."""
    assert story.halted == []


def test_6_a_role_says_once_what_is_away(story: Story):
    """The executor cannot read control without the broker nor renew leases without the database, and says so in its words."""
    executor = story.logs["executor"] + story.logs.get("executor-1", "")
    gone = {struck.victim for struck in story.rounds if struck.kind in ("kill", "pause")}
    assert "broker" not in gone or "control cannot be read on" in executor
    assert "broker" not in gone or "control is read to its end again" in executor
    assert "database" not in gone or "nothing is sent once the lease runs out" in executor
    leases = re.findall(r"leases (?:cannot be|are reachable)", executor)
    assert len(leases) <= 4 * len(story.rounds)  # each of two workers says once that they are away, and once that it is over
    lines = Counter(re.sub(r"[\d.:a-fT-]+", "", line) for log in story.logs.values() for line in log.splitlines())
    assert max(lines.values()) <= PORTFOLIOS.count * len(story.rounds), lines.most_common(3)


def test_4_2_nobody_died_but_by_our_hand_or_for_want_of_a_server(story: Story):
    """No process broke an invariant (70), met an unexpected error in a fold (71), or was ended by the machine."""
    statuses = Counter(re.findall(r"ended with status (-?\d+)", "\n".join(story.deaths)))
    assert statuses.keys() <= {"-9", "75"}, story.deaths


def test_6_unreadable_messages_are_put_aside_and_the_flow_goes_on(story: Story):
    assert story.letters == tuple(dead_letter(topic, reader) for topic, reader in UNREADABLE)
    assert len(story.letters) == 12
    assert story.accepted_after_letters >= BETWEEN
