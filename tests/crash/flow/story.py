"""The crash run: one installation, every role and server struck while orders flow, and what was left of it.

    python -m tests.crash.flow.story DIRECTORY      tells it to a terminal

Phases: faults of the venue on a calm hour at SPEED 1; then prices move fast, and the rounds strike roles, broker and database,
each while a request is out or at an armed step of the executor; then all is frozen, drained and verified; every topic gets a
message that nobody can read, and trading goes on; at last the derived tables are dropped and rebuilt.

The short form kills everything once. With ROUNDS in the environment it is so many rounds, drawn by SEED, with a hundred
portfolios.
"""

import logging
import os
import random
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from schemas.codec import decode
from schemas.envelope import Envelope
from schemas.orders import OrderCommand
from streams.agents.projector import SOURCES
from streams.domain.errors import TrimtabError
from streams.gateways import views
from streams.gateways.postgres import AsyncConnection
from streams.local.flow import ROLES, Flow, VenuePlan
from streams.local.supervisor import RoleStatus
from streams.matching.journal import Entry
from streams.ports.log import KafkaConnection, Output
from streams.settings import PREFIX
from streams.topics import DEAD_LETTERS, ORDERS_COMMANDS, ORDERS_EVENTS, REBALANCE_SIGNALS, dead_letter
from tests.crash.executor.tally import SEED
from tests.crash.executor.told import Told
from tests.crash.executor.verdict import Verdict, judge
from tests.crash.flow.doors import Doors
from tests.crash.flow.faults import draw, kill_everything
from tests.crash.flow.portfolios import Portfolios
from tests.crash.flow.rounds import BETWEEN, GUARD_S, Rounds, Struck, positions, second
from tests.crash.flow.witness import Attempt, Witness, now_ms

ROUNDS = int(os.environ.get("ROUNDS") or 0)
PORTFOLIOS = Portfolios(100, shards=4, observe_every_ms=5_000) if ROUNDS else Portfolios(20, shards=2, observe_every_ms=1_000)

CALM_MS = 1_722_830_400_000  # 04:00 UTC: a calm hour, with enough tape behind it for a slow machine
SPEED = 20
ORDER_MS = 300
VENUE_FAULTS = ("reply_lost", "late_order", "request_lost")
EACH_FAULT = 2
RATE_PER_S = 1.0
TELLING = {"PYTHONFAULTHANDLER": "1"}
"""A process that the machine ends, and not we, says where it was."""
LOADED = 85
"""Orders between two faults of a long run: 120 rounds then have ten thousand."""

NOT_READY = {"waiting_opening", "no_targets", "no_rules", "no_price"}
ENDED = {"filled", "canceled", "expired", "rejected", "not_admitted", "expired_unsent", "cancel_ended"}
UNREADABLE = tuple(
    (topic, reader)
    for topic, reader in DEAD_LETTERS
    if reader != "feed"  # the feed's are frames of the venue
)
"""(topic, reader) of all that is read today."""


@dataclass(frozen=True)
class Books:
    """All derived tables as `trimtab db dump` prints them, before the schema was dropped and after it was rebuilt."""

    before: str
    after: str


@dataclass
class Story:
    """What happened, told after everything stopped."""

    faults_done: dict[str, int] = field(default_factory=dict)
    faulty: list[Attempt] = field(default_factory=list)
    rate_per_s: float = 0.0
    rounds: list[Struck] = field(default_factory=list)
    lasted_s: float = 0.0
    drained_s: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    verified_running: list[str] = field(default_factory=list)
    verified: str = ""
    books: Books | None = None
    letters: tuple[str, ...] = ()
    accepted_after_letters: int = 0
    accepted: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    fills: int = 0
    halted: list[str] = field(default_factory=list)
    statuses: tuple[RoleStatus, ...] = ()
    logs: dict[str, str] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)


def tell(directory: Path, say: Callable[[str], None], story: Story) -> Story:
    """Live through the whole run; `story` fills on the way. Raises LocalStackError when something does not come to pass in
    time."""
    directory.mkdir(parents=True, exist_ok=True)
    settings_file = PORTFOLIOS.write(directory / "crash.toml")
    plan = VenuePlan(CALM_MS, latency_ms={"order": ORDER_MS}, limits={"weight_1m_max": 1_000_000, "orders_10s_max": 100_000})
    workers = [worker for role in ROLES for worker in (role, second(role))]

    def hear(line: str) -> None:
        if " ended with status " in line:
            story.deaths.append(line)
        say(line)

    with (
        closing(Doors(workers)) as doors,
        Flow(directory / "flow", settings_file, plan, fsync=False, doors=doors.ports, environment=TELLING, say=hear) as flow,
        closing(_Teller(flow, doors, say, story)) as teller,
    ):
        teller.tell()
    return story


class _Teller:
    def __init__(self, flow: Flow, doors: Doors, say: Callable[[str], None], story: Story) -> None:
        self._flow = flow
        self._doors = doors
        self._say = say
        self._points = flow.directory / "points"
        self._story = story
        self._witness: Witness | None = None

    def close(self) -> None:
        if self._witness is not None:
            self._witness.close()

    def tell(self) -> None:
        self._start()
        self._meet_faults()
        self._speed_up()
        self._verify_running()
        self._play()
        self._verify_running()
        self._come_to_rest()
        self._story.verdict = self._judge()
        self._say(f"judged: {self._story.verdict}")
        self._story.verified = self._verify()
        self._say("verified")
        self._post_garbage()
        self._come_to_rest()
        self._rebuild()
        self._look_back()

    # The phases

    def _start(self) -> None:
        flow = self._flow
        flow.start_servers()
        flow.prepare()
        for role in ROLES:
            for instance, worker in (("", role), ("1", second(role))):
                variables = {"KAFKA__BOOTSTRAP": self._doors.bootstrap(worker), "CRASH_POINTS": str(self._points / worker)}
                flow.add_worker(role, instance, {f"{PREFIX}{name}": value for name, value in variables.items()})
        flow.start_roles()
        self._wait(lambda: self._observed() == PORTFOLIOS.count, "not every portfolio is open and observed")
        flow.go()
        self._witness = Witness(KafkaConnection(flow.bootstrap), flow.journal_path)
        self._story.halted = self._witness.halted  # known also of a run that does not come to its end
        self._say("every portfolio is open, prices move at SPEED 1")

    def _meet_faults(self) -> None:
        """Three faults on a calm market; new targets make every portfolio trade."""
        flow, witness = self._flow, self._seen
        rules = [{"fault": fault, "next": EACH_FAULT} for fault in VENUE_FAULTS]
        flow.control("faults", {"faults": rules})
        PORTFOLIOS.write(flow.settings_file, shifted=True)
        flow.trimtab("config", "apply", "--why", "so that all must trade")

        def have_struck() -> bool:
            return all(count == EACH_FAULT for count in self._faults_done().values())

        self._wait(have_struck, "the faults did not strike")
        hit = witness.unresolved()
        self._wait(lambda: all(attempt.ended for attempt in hit), "an order's fate stayed unknown")
        self._story.faults_done = self._faults_done()
        self._story.faulty = [replace(attempt) for attempt in witness.attempts.values()]
        self._say(f"faults are over: {self._story.faults_done}")

    def _speed_up(self) -> None:
        self._flow.control("speed", {"speed": SPEED})
        since_ms = now_ms()
        self._wait(lambda: self._seen.rate_per_s(since_ms) >= RATE_PER_S, "too few orders flow")
        self._story.rate_per_s = self._seen.rate_per_s(since_ms)
        self._say(f"SPEED {SPEED}: {self._story.rate_per_s:.1f} orders/s accepted")

    def _play(self) -> None:
        chance, began = random.Random(SEED), time.monotonic()
        faults = draw(ROUNDS, chance) if ROUNDS else kill_everything()
        between = LOADED if ROUNDS else BETWEEN
        rounds = Rounds(self._flow, self._seen, self._doors, self._points, chance, between)
        for number, fault in enumerate(faults, 1):
            struck = rounds.play(fault)
            self._story.rounds.append(struck)
            orders = len(self._seen.accepted())
            self._say(f"{number}/{len(faults)} {struck} after {time.monotonic() - began:.0f} s, {orders} orders")
        rounds.settle()
        self._story.lasted_s = time.monotonic() - began

    def _verify_running(self) -> None:
        """What is in flight at the checker's cut breaks nothing."""
        self._story.verified_running.append(self._verify())
        self._say("verified while orders flow")

    def _verify(self) -> str:
        """What the checker says; the tests read it, so that a violation does not end the run before the rest is known."""
        try:
            return self._flow.trimtab("verify", timeout_s=1_200)
        except TrimtabError as error:
            return str(error)

    def _come_to_rest(self) -> None:
        """Nothing new; what was begun ends and is in the tables."""
        began = time.monotonic()
        self._flow.trimtab("freeze", "all", "--why", "end of the crash run")
        self._wait(lambda: not self._seen.unresolved() and self._is_at_rest(), "orders are still open")
        self._story.drained_s = self._story.drained_s or time.monotonic() - began
        self._say("all has ended")

    def _rebuild(self) -> None:
        """With everybody silent but the projector, drop the schema `ledger` under it and let it be filled again."""
        flow = self._flow
        self._story.statuses = flow.roles.statuses()
        silent = [worker for role in ROLES if role != "projector" for worker in (role, second(role))]
        flow.roles.stop(*silent)  # the first of the flow first: it stops in reverse order
        self._wait(self._is_projected, "the tables do not reach the end of their topics")
        before = flow.trimtab("db", "dump")
        flow.trimtab("db", "rebuild", "--yes")
        self._wait(self._is_projected, "the dropped tables are not filled again")
        self._story.books = Books(before, flow.trimtab("db", "dump"))
        self._say("dropped and rebuilt")

    def _look_back(self) -> None:
        story, witness = self._story, self._seen
        story.accepted, story.attempts = witness.accepted(), list(witness.attempts.values())
        story.fills = witness.fills()
        ends = witness.ends(ORDERS_EVENTS, REBALANCE_SIGNALS)
        self._wait(lambda: witness.has_heard(ends), "the last events are not heard")
        logs = {status.name: self._flow.roles.log_path(status.name) for status in story.statuses}
        story.logs = {name: path.read_text() for name, path in logs.items() if path.exists()}

    def _judge(self) -> Verdict:
        """What became of every command, account by account."""
        commands: dict[str, list[str]] = defaultdict(list)
        for record in self._seen.records(ORDERS_COMMANDS):
            command = decode(Envelope.read(record.headers).type, record.value)
            assert isinstance(command, OrderCommand)
            commands[command.account].append(command.command_id)
        told: dict[str, Told] = defaultdict(Told)
        for record in self._seen.records(ORDERS_EVENTS):
            told[(record.key or b"").decode()].hear(record)
        journal: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._seen.journal():
            journal[str(entry.body.get("account"))].append(entry)
        verdicts = (judge(account, commands[account], told[account], journal[account], 0) for account in sorted(told))
        return sum(verdicts, Verdict())

    def _post_garbage(self) -> None:
        """One message that nobody can read into every topic that is read, then trading goes on."""
        bytes_of = {topic: b"\xff no message " + secrets.token_bytes(8) for topic, _ in UNREADABLE}
        for topic, value in bytes_of.items():
            self._seen.ask(self._seen.log.append(Output(topic, b"a000", value, (("ce_type", b"no.such.type"),))))
        waiting = {dead_letter(topic, reader): bytes_of[topic] for topic, reader in UNREADABLE}
        for topic, value in waiting.items():
            self._wait(lambda topic=topic, value=value: self._holds(topic, value), f"nothing was put aside in {topic}")
        self._story.letters = tuple(waiting)
        before = len(self._seen.accepted())
        self._flow.trimtab("resume", "all", "--why", "garbage was put aside")
        self._wait_accepted(BETWEEN, "orders do not flow after unreadable messages")
        self._story.accepted_after_letters = len(self._seen.accepted()) - before
        self._say("unreadable messages are put aside, orders flow")

    # What can be seen

    @property
    def _seen(self) -> Witness:
        assert self._witness is not None
        return self._witness

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        self._flow.wait_until(condition, what, GUARD_S)

    def _wait_accepted(self, count: int, what: str) -> None:
        target = len(self._seen.accepted()) + count
        self._wait(lambda: len(self._seen.accepted()) >= target, what)

    def _observed(self) -> int:
        try:
            return sum(row.reason not in NOT_READY for row in self._flow.read(views.portfolios))
        except TrimtabError:
            return 0

    def _faults_done(self) -> dict[str, int]:
        done = self._flow.control("state")["faults_done"]
        return {fault: done[fault] for fault in VENUE_FAULTS}

    def _is_projected(self) -> bool:
        found = positions(self._flow)
        return all(found.get(place, 0) == end for place, end in self._seen.ends(*SOURCES).items())

    def _is_at_rest(self) -> bool:
        async def read(connection: AsyncConnection) -> bool:
            return all(order.state in ENDED for order in await views.orders(connection, limit=100_000))

        return self._flow.read(read)

    def _holds(self, topic: str, value: bytes) -> bool:
        async def read() -> bool:
            log = self._seen.log
            end = await log.end_offset(topic, 0)
            return any(record.value == value for record in await log.read(topic, 0, await log.begin_offset(topic, 0), end))

        return self._seen.ask(read())


def main() -> None:
    """Tell the story to a terminal."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    began = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f}  {line}\n")
        sys.stdout.flush()

    story = tell(Path(sys.argv[1]), say, Story())
    say(story.verified)
    for status in story.statuses:
        say(str(status))


if __name__ == "__main__":
    main()
