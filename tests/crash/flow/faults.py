"""What may happen to the flow, and what is drawn for a run."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from streams.ports.process import Point

ROLES = ("feed", "sequencer", "portfolio", "executor", "ledger", "projector")
SERVERS = ("broker", "database")
VICTIMS = (*ROLES, *SERVERS)

POINTS = tuple(
    point
    for point in Point
    if point not in (Point.LEASE_TAKEN, Point.OWNER_STARTED, Point.PAST_READ, Point.IN_CONNECT, Point.BEFORE_RELEASE)
)
"""Where an executor that trades is killed and paused. The other points lie in a take-over, on a cold connection and in an
orderly stop: `tests/crash/executor` strikes there."""


class Kind(StrEnum):
    """How a worker or a server is struck."""

    KILL = "kill"
    """SIGKILL; the supervisor, or we for a server, start it again."""
    PAUSE = "pause"
    """SIGSTOP beyond lease and window; SIGCONT when another worker, where there is one, has taken over."""
    RESTART = "restart"
    """An orderly stop and a start."""
    CUT = "cut off"
    """Nothing passes between the worker and the broker, for as long as a pause."""
    TURN = "join or leave"
    """A second worker of the role starts, or stops in order."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What to do, to which role or server. `point` is the executor's step at which it happens."""

    kind: Kind
    victim: str
    point: Point | None = None


BLOCK = {Kind.PAUSE: 9, Kind.KILL: 3, Kind.RESTART: 2, Kind.CUT: 2, Kind.TURN: 4}
"""Twenty rounds of a long run."""

BAGS: dict[Kind, tuple[str, ...]] = {
    Kind.PAUSE: (*VICTIMS, "executor", "executor", "sequencer"),
    Kind.KILL: VICTIMS,
    Kind.RESTART: VICTIMS,
    Kind.CUT: ROLES,
    Kind.TURN: ROLES,
}
"""Every victim of a kind has its turn before one comes again. Who owns by a lease is paused more often than others."""


def draw(rounds: int, chance: random.Random) -> list[Fault]:
    """So many rounds. Each block of twenty begins with a worker that joins or leaves, executors and sequencers first."""
    bags: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    faults: list[Fault] = []
    while len(faults) < rounds:
        kinds = [kind for kind, count in BLOCK.items() for _ in range(count)]
        chance.shuffle(kinds)
        kinds.remove(Kind.TURN)
        faults += [_fault(kind, bags, chance) for kind in (Kind.TURN, *kinds)]
    return faults[:rounds]


def kill_everything() -> list[Fault]:
    """The short form: each role and server is killed once; then an executor gets company, is paused, and one is cut off."""
    kills = [Fault(Kind.KILL, victim) for victim in VICTIMS]
    company = [Fault(Kind.TURN, "executor"), Fault(Kind.PAUSE, "executor", Point.INTENT_DURABLE), Fault(Kind.TURN, "executor")]
    return [*kills, *company, Fault(Kind.CUT, "sequencer"), Fault(Kind.RESTART, "portfolio")]


def _fault(kind: Kind, bags: dict[Kind, list[str]], chance: random.Random) -> Fault:
    if not bags[kind]:
        bags[kind] = _filled(kind, chance)
    victim = bags[kind].pop(0)
    at_point = victim == "executor" and kind in (Kind.KILL, Kind.PAUSE)
    return Fault(kind, victim, chance.choice(POINTS) if at_point else None)


def _filled(kind: Kind, chance: random.Random) -> list[str]:
    victims: Sequence[str] = BAGS[kind]
    shuffled = chance.sample(victims, len(victims))
    if kind is Kind.TURN:
        shuffled.sort(key=lambda role: role not in ("executor", "sequencer"))
    return shuffled
