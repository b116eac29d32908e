"""The rounds: a fault at a moment that matters, the work that it stopped goes on, orders flow again."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from streams.agents.projector import SOURCES
from streams.domain.errors import TrimtabError
from streams.gateways.crash_points import Happening, arm, reached
from streams.gateways.postgres import AsyncConnection
from streams.local.flow import Flow
from streams.local.server import Server
from streams.local.supervisor import RoleState
from streams.topics import ORDERS_EVENTS
from tests.crash.flow.doors import Doors
from tests.crash.flow.faults import SERVERS, Fault, Kind
from tests.crash.flow.witness import SPOKEN, Attempt, Place, Witness

PAUSE_S = 8.0
"""Beyond lease (5 s), window (2 s) and session (6 s)."""
AWAY_S = 3.0
"""How long a killed server stays away; a killed broker needs some seconds more to serve again."""
BETWEEN = 5
"""Orders that the venue accepts between two faults, at least."""
GUARD_S = 600.0
"""A hang guard for each wait; on a machine with nothing else to do each takes seconds."""
LEASED = ("executor", "sequencer")


def second(role: str) -> str:
    """The name of a role's second worker under the supervisor."""
    return f"{role}-1"


@dataclass(frozen=True, slots=True)
class Struck:
    """One round: who was hit, among how many workers, at which point or with how many requests out; how many orders were
    accepted since the fault before.

    `recovered_s` is how long the work that was stopped stood still: until another worker went on with it, from the strike, else
    from the moment when the fault ended. For an executor that is the first new order of an account that it held; `whole_s` is
    when all of its accounts had an owner again.
    """

    kind: str
    victim: str
    worker: str
    workers: int
    occasion: str
    intents_open: int
    accepted_between: int
    recovered_s: float
    whole_s: float


def _always() -> bool:
    return True


class Recovery:
    """Looks until the stopped work goes on, and all of it, and remembers when that was."""

    def __init__(
        self, goes_on: Callable[[], bool], since: float | None = None, *, is_whole: Callable[[], bool] = _always
    ) -> None:
        self._waits = [goes_on, is_whole]
        self._since = time.monotonic() if since is None else since
        self._at: list[float] = []

    def look(self) -> bool:
        """Whether all of the work goes on."""
        while len(self._at) < len(self._waits) and self._waits[len(self._at)]():
            self._at.append(time.monotonic())
        return len(self._at) == len(self._waits)

    def ended(self) -> None:
        """The fault is over; where nobody has gone on with the work, the time counts from here."""
        if not self._at:
            self._since = time.monotonic()

    @property
    def seconds(self) -> tuple[float, float]:
        """How long the work stood still: the first of it, all of it."""
        first, whole = self._at
        return first - self._since, whole - self._since


class Rounds:
    """Plays faults on a flow under load. `points` is where the executors' crash points are armed; `between` is how many orders
    have to be accepted from one fault to the next."""

    def __init__(
        self, flow: Flow, witness: Witness, doors: Doors, points: Path, chance: random.Random, between: int = BETWEEN
    ) -> None:
        self._flow = flow
        self._seen = witness
        self._doors = doors
        self._points = points
        self._chance = chance
        self._between = between
        self._accepted_before = len(witness.accepted())

    def play(self, fault: Fault) -> Struck:
        """One round. Raises LocalStackError when something does not come to pass in time."""
        seen = self._seen
        self._wait_accepted(self._accepted_before + self._between, "too few orders were accepted since the fault before")
        worker = self._choose(fault)
        kind = fault.kind.value
        if fault.kind is Kind.TURN:
            kind = "leave" if self._running_one(worker) else "join"
        workers = len(self._running(fault.victim))
        held = self._accounts(worker) if fault.victim == "executor" else []
        occasion, intents_open = self._wait_occasion(fault, worker)
        between, self._accepted_before = len(seen.accepted()) - self._accepted_before, len(seen.accepted())
        recovery = self._strike(fault, worker, held, workers)
        self._wait(recovery.look, f"{worker}: {kind}, and its work does not go on")
        return Struck(kind, fault.victim, worker, workers, occasion, intents_open, between, *recovery.seconds)

    def settle(self) -> None:
        """Orders flow after the last round, too."""
        self._wait_accepted(self._accepted_before + self._between, "orders do not flow after the last fault")

    # The moment

    def _choose(self, fault: Fault) -> str:
        """The worker or server that is hit. Where leases say who works, it is who holds the most of them."""
        if fault.victim in SERVERS:
            return fault.victim
        if fault.kind is Kind.TURN:
            return second(fault.victim)
        self._wait(lambda: bool(self._running(fault.victim)), f"no worker of {fault.victim} runs")
        running = self._running(fault.victim)
        if fault.victim in LEASED:
            held = self._held(fault.victim)
            return max(running, key=lambda worker: len(held.get(worker, ())))
        return self._chance.choice(running)

    def _running_one(self, worker: str) -> bool:
        return self._flow.roles.status(worker).state is not RoleState.STOPPED

    def _running(self, role: str) -> list[str]:
        return [
            status.name
            for status in self._flow.roles.statuses()
            if status.name in (role, second(role)) and status.state is RoleState.RUNNING
        ]

    def _held(self, role: str) -> dict[str, list[str]]:
        """Which accounts or shards the workers of a role hold by their leases."""

        async def read(connection: AsyncConnection) -> list[tuple[str, str]]:
            query = "SELECT resource, owner FROM control.leases WHERE owner <> '' AND expires_at > clock_timestamp()"
            return list(await (await connection.execute(query.encode())).fetchall())

        held: dict[str, list[str]] = {}
        for resource, owner in self._flow.read(read):
            owning, _, instance = owner.partition(":")[0].rpartition("-")
            if owning == role:
                held.setdefault(role if instance == "0" else f"{role}-{instance}", []).append(resource.rpartition("/")[2])
        return held

    def _accounts(self, worker: str) -> list[str]:
        return self._held("executor").get(worker, [])

    def _wait_occasion(self, fault: Fault, worker: str) -> tuple[str, int]:
        """Until the executor has reached its point, where it now is dead or asleep, or else until a request is out."""
        if fault.point is not None:
            directory = self._points / worker
            arm(directory, fault.point, Happening.KILL if fault.kind is Kind.KILL else Happening.STOP)
            self._wait(lambda: reached(directory), f"{worker} never reaches {fault.point}")
            return fault.point.value, len(self._seen.open_intents())
        out: list[Attempt] = []  # looked at once: a moment later its reply may be there

        def is_out() -> bool:
            out[:] = self._seen.open_intents()
            return bool(out)

        self._wait(is_out, f"no request was out before {worker} could be hit")
        return "open intent", len(out)

    # The fault

    def _strike(self, fault: Fault, worker: str, held: list[str], workers: int) -> Recovery:
        if fault.victim in SERVERS:
            return self._strike_server(fault, self._server(fault.victim))
        roles, others = self._flow.roles, workers > 1
        match fault.kind:
            case Kind.KILL:
                if fault.point is None:
                    roles.kill(worker)
                return self._recovery(fault.victim, held, taken=True)
            case Kind.RESTART | Kind.TURN if self._running_one(worker):
                began = time.monotonic()
                roles.stop(worker)
                recovery = self._recovery(fault.victim, held, taken=True, since=began)
                if fault.kind is Kind.RESTART:
                    roles.start(worker)
                return recovery
            case Kind.RESTART | Kind.TURN:
                recovery = self._recovery(fault.victim, [], taken=False)
                roles.start(worker)
                return recovery
            case Kind.PAUSE:
                if fault.point is None:
                    roles.pause(worker)
                recovery = self._recovery(fault.victim, held, taken=others)
                self._endure(recovery, taken=others)
                roles.resume(worker)
            case Kind.CUT:
                self._doors.cut(worker)
                recovery = self._recovery(fault.victim, held, taken=False)
                self._endure(recovery, taken=False)
                self._doors.mend(worker)
        recovery.ended()
        return recovery

    def _strike_server(self, fault: Fault, server: Server) -> Recovery:
        mark = self._seen.ends(ORDERS_EVENTS)
        tables = sum(self._positions().values())

        def goes_on() -> bool:
            intended = any(self._seen.intended(source.partition("/")[2], mark) for source in self._seen.sources("executor"))
            return intended and sum(self._positions().values()) > tables

        recovery = Recovery(goes_on)
        match fault.kind:
            case Kind.KILL:
                server.kill()
                self._pass_time(AWAY_S)
                recovery.ended()
                server.start()
                if fault.victim == "broker":
                    mark |= self._seen.ends(ORDERS_EVENTS)
            case Kind.PAUSE:
                server.pause()
                self._pass_time(PAUSE_S)
                server.resume()
                recovery.ended()
            case _:
                server.restart()
        return recovery

    def _endure(self, recovery: Recovery, *, taken: bool) -> None:
        """For the length of a pause; where another worker is there, until it has gone on with the work."""
        over_at = time.monotonic() + PAUSE_S

        def over() -> bool:
            goes_on = recovery.look()
            return time.monotonic() >= over_at and (goes_on or not taken)

        self._wait(over, "no other worker has taken over from a paused one")

    def _pass_time(self, seconds: float) -> None:
        over_at = time.monotonic() + seconds
        self._wait(lambda: time.monotonic() >= over_at, "time stands still")

    def _server(self, name: str) -> Server:
        server = {"broker": self._flow.broker, "database": self._flow.database}[name]
        assert server is not None
        return server

    # What goes on

    def _recovery(self, role: str, held: list[str], *, taken: bool, since: float | None = None) -> Recovery:
        """Until every part of the role's work is heard of again; for the projector until the tables hold what was there.

        An executor's part is an account: where the work must be `taken`, it is heard of when another owner starts.
        """
        seen = self._seen
        if role == "projector":
            ends = seen.ends(*SOURCES)
            return Recovery(lambda: all(self._positions().get(place, -1) >= end for place, end in ends.items()), since)
        mark = seen.ends(SPOKEN[role])
        if role != "executor":
            return Recovery(lambda: all(seen.spoke(source, mark) for source in seen.sources(role)), since)

        return Recovery(
            lambda: not held or any(seen.intended(account, mark) for account in held),
            since,
            is_whole=lambda: not taken or all(seen.spoke(f"executor/{account}", mark) for account in held),
        )

    def _positions(self) -> Mapping[Place, int]:
        """How far the tables follow each topic; empty while they cannot be read."""
        return positions(self._flow)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        self._flow.wait_until(condition, what, GUARD_S)

    def _wait_accepted(self, target: int, what: str) -> None:
        self._wait(lambda: len(self._seen.accepted()) >= target, what)


def positions(flow: Flow) -> dict[Place, int]:
    """How far the tables follow each topic and partition; empty while they cannot be read."""

    async def read(connection: AsyncConnection) -> dict[Place, int]:
        query = b"SELECT topic, partition, next_offset FROM ledger.projection_offsets"
        return {(topic, partition): offset for topic, partition, offset in await (await connection.execute(query)).fetchall()}

    try:
        return flow.read(read)
    except TrimtabError:
        return {}
