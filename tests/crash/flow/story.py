"""The crash run: one installation, every role and server killed while orders flow, and what was left of it.

    python -m tests.crash.flow.story DIRECTORY      tells it to a terminal

Phases: faults of the venue on a calm hour at SPEED 1; then prices move fast, and every role, the broker and the database are
killed one after the other, each while a request is out; then all is frozen, ended and verified; every topic gets a message
that nobody can read, and trading goes on; at last the derived tables are dropped and rebuilt.
"""

import logging
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from streams.agents.projector import SOURCES
from streams.domain.errors import TrimtabError
from streams.gateways import views
from streams.gateways.postgres import AsyncConnection
from streams.local.flow import Flow, VenuePlan
from streams.local.supervisor import RoleStatus
from streams.ports import KafkaConnection, Output
from streams.topics import (
    DEAD_LETTERS,
    MARKET_TICKERS,
    ORDERS_EVENTS,
    ORDERS_LEDGER,
    PORTFOLIO_JOURNAL,
    REBALANCE_SIGNALS,
    dead_letter,
)
from tests.crash.flow import portfolios
from tests.crash.flow.witness import Attempt, Witness, now_ms

LONG = os.environ.get("TRIMTAB_TEST_LONG") == "1"
ROUNDS = 3 if LONG else 1
AWAY_S = 20.0 if LONG else 3.0
"""How long broker and database stay away; a killed broker needs some seconds more to serve again."""

CALM_MS = 1_722_830_400_000  # 04:00 UTC: a calm hour, with enough tape behind it for a slow machine
SPEED = 20
ORDER_MS = 300
EACH_FAULT = 2
RATE_PER_S = 1.0
BETWEEN_KILLS = 5
GUARD_S = 180.0
"""A hang guard for each wait; on a machine with nothing else to do each takes seconds."""

NOT_READY = {"waiting_opening", "no_targets", "no_rules", "no_price"}
ENDED = {"filled", "canceled", "expired", "rejected", "not_admitted", "expired_unsent", "cancel_ended"}
SPOKEN = {
    "feed": MARKET_TICKERS,
    "sequencer": PORTFOLIO_JOURNAL,
    "portfolio": REBALANCE_SIGNALS,
    "executor": ORDERS_EVENTS,
    "ledger": ORDERS_LEDGER,
}
"""What shows that a role is at work again. The projector's rows show it for the projector and for the servers."""

VICTIMS = ("feed", "sequencer", "portfolio", "executor", "ledger", "projector", "broker", "database")
UNREADABLE = tuple(
    (topic, reader)
    for topic, reader in DEAD_LETTERS
    if reader != "feed"  # the feed's are frames of the venue
)
"""(topic, reader) of all that is read today."""


@dataclass(frozen=True)
class Kill:
    """One kill: how many requests were out, what was accepted since the kill before, how long until work went on."""

    victim: str
    intents_open: int
    accepted_between: int
    idle_s: float


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
    kills: list[Kill] = field(default_factory=list)
    verified: str = ""
    books: Books | None = None
    letters: tuple[str, ...] = ()
    accepted_after_letters: int = 0
    accepted: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    fills: int = 0
    halted: tuple[str, ...] = ()
    statuses: tuple[RoleStatus, ...] = ()
    logs: dict[str, str] = field(default_factory=dict)


def tell(directory: Path, say: Callable[[str], None]) -> Story:
    """Live through the whole run. Raises LocalStackError when something does not come to pass in time."""
    directory.mkdir(parents=True, exist_ok=True)
    settings_file = portfolios.write(directory / "crash.toml")
    plan = VenuePlan(CALM_MS, latency_ms={"order": ORDER_MS}, limits={"weight_1m_max": 1_000_000, "orders_10s_max": 100_000})
    with Flow(directory / "flow", settings_file, plan, fsync=False, say=say) as flow:
        teller = _Teller(flow, say)
        try:
            return teller.tell()
        finally:
            teller.close()


class _Teller:
    def __init__(self, flow: Flow, say: Callable[[str], None]) -> None:
        self._flow = flow
        self._say = say
        self._story = Story()
        self._witness: Witness | None = None

    def close(self) -> None:
        if self._witness is not None:
            self._witness.close()

    def tell(self) -> Story:
        self._start()
        self._meet_faults()
        self._speed_up()
        for _ in range(ROUNDS):
            for victim in VICTIMS:
                self._kill(victim)
        self._come_to_rest()
        self._story.verified = self._flow.trimtab("verify")
        self._say("verified")
        self._post_garbage()
        self._come_to_rest()
        self._rebuild()
        self._look_back()
        return self._story

    # The phases

    def _start(self) -> None:
        flow = self._flow
        flow.start_servers()
        flow.prepare()
        flow.start_roles()
        self._wait(lambda: self._observed() == portfolios.COUNT, "not every portfolio is open and observed")
        flow.go()
        self._witness = Witness(KafkaConnection(flow.bootstrap), flow.journal_path)
        self._say("every portfolio is open, prices move at SPEED 1")

    def _meet_faults(self) -> None:
        """Three faults on a calm market; new targets make every portfolio trade."""
        flow, witness = self._flow, self._seen
        rules = [{"fault": fault, "next": EACH_FAULT} for fault in ("reply_lost", "late_order", "request_lost")]
        flow.control("faults", {"faults": rules})
        portfolios.write(flow.settings_file, shifted=True)
        flow.trimtab("config", "apply", "--why", "so that all must trade")

        def over() -> bool:
            struck = all(count == EACH_FAULT for count in self._faults_done().values())
            return struck and not witness.unresolved()

        self._wait(over, "the faults did not strike, or an order's fate stayed unknown")
        self._story.faults_done = self._faults_done()
        self._story.faulty = [replace(attempt) for attempt in witness.attempts.values()]
        self._say(f"faults are over: {self._story.faults_done}")

    def _speed_up(self) -> None:
        self._flow.control("speed", {"speed": SPEED})
        since_ms = now_ms()
        self._wait(lambda: self._seen.rate_per_s(since_ms) >= RATE_PER_S, "too few orders flow")
        self._story.rate_per_s = self._seen.rate_per_s(since_ms)
        self._say(f"SPEED {SPEED}: {self._story.rate_per_s:.1f} orders/s accepted")

    def _kill(self, victim: str) -> None:
        """SIGKILL while a request is out; wait until it works again and enough was accepted since."""
        witness, before = self._seen, len(self._seen.accepted())
        intents: list[Attempt] = []

        def is_out() -> bool:
            intents[:] = witness.open_intents()
            return bool(intents)

        self._wait(is_out, f"no request was out before {victim} could be killed")
        began = time.monotonic()
        match victim:
            case "broker":
                assert self._flow.broker is not None
                self._flow.broker.kill()
                self._stay_away()
                self._flow.broker.start()
            case "database":
                assert self._flow.database is not None
                self._flow.database.kill()
                self._stay_away()
                self._flow.database.start()
            case role:
                self._flow.roles.kill(role)
        mark = self._spoken(victim)
        self._wait(lambda: self._spoken(victim) > mark, f"{victim} was killed and is not at work again")
        idle_s = time.monotonic() - began
        self._wait_accepted(BETWEEN_KILLS, f"{victim} was killed and orders do not flow again")
        self._story.kills.append(Kill(victim, len(intents), len(witness.accepted()) - before, idle_s))
        self._say(f"{self._story.kills[-1]}, whole again after {time.monotonic() - began:.1f} s")

    def _stay_away(self) -> None:
        back_at = time.monotonic() + AWAY_S
        self._wait(lambda: time.monotonic() >= back_at, "time stands still")

    def _come_to_rest(self) -> None:
        """Nothing new; what was begun ends and is in the tables."""
        self._flow.trimtab("halt", "all", "--freeze", "--why", "end of the crash run")
        self._wait(lambda: not self._seen.unresolved() and self._is_at_rest(), "orders are still open")
        self._say("all has ended")

    def _rebuild(self) -> None:
        """With everybody silent but the projector, drop the schema `ledger` under it and let it be filled again."""
        flow = self._flow
        self._story.statuses = flow.roles.statuses()
        flow.roles.stop(*reversed(SPOKEN))  # the first of the flow first: it stops in reverse order
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
        signals = self._flow.read(lambda connection: views.signals(connection, limit=1_000_000))
        story.halted = tuple(f"{signal.portfolio}: {signal.body}" for signal in signals if signal.kind == "portfolio-halted")
        story.logs = {status.name: self._flow.roles.log_path(status.name).read_text() for status in story.statuses}

    def _post_garbage(self) -> None:
        """One message that nobody can read into every topic that is read, then trading goes on."""
        bytes_of = {topic: b"\xff no message " + secrets.token_bytes(8) for topic, _ in UNREADABLE}
        for topic, value in bytes_of.items():
            self._seen.ask(self._seen.log.append(Output(topic, b"a00", value, (("ce_type", b"no.such.type"),))))
        waiting = {dead_letter(topic, reader): bytes_of[topic] for topic, reader in UNREADABLE}
        for topic, value in waiting.items():
            self._wait(lambda topic=topic, value=value: self._holds(topic, value), f"nothing was put aside in {topic}")
        self._story.letters = tuple(waiting)
        before = len(self._seen.accepted())
        self._flow.trimtab("resume", "all", "--why", "garbage was put aside")
        self._wait_accepted(BETWEEN_KILLS, "orders do not flow after unreadable messages")
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
        return self._flow.control("state")["faults_done"]

    def _spoken(self, victim: str) -> int:
        """A figure that grows only while the victim works."""
        return self._seen.ends(SPOKEN[victim]) if victim in SPOKEN else sum(self._positions().values())

    def _positions(self) -> dict[str, int]:
        """How far the tables follow each topic; empty while they cannot be read."""

        async def read(connection: AsyncConnection) -> dict[str, int]:
            query = "SELECT topic, sum(next_offset)::bigint FROM ledger.projection_offsets GROUP BY topic"
            return dict(await (await connection.execute(query)).fetchall())

        try:
            return self._flow.read(read)
        except TrimtabError:
            return {}

    def _is_projected(self) -> bool:
        positions = self._positions()
        return all(positions.get(topic, 0) == self._seen.ends(topic) for topic in SOURCES)

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

    story = tell(Path(sys.argv[1]), say)
    say(story.verified)
    for status in story.statuses:
        say(str(status))


if __name__ == "__main__":
    main()
