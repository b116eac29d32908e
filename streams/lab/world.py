"""One history in virtual time: executors that compete for accounts, their log, leases, venue, operators and books.

Given a plan, `play` lets everything happen; the witness checks the invariants after every step, and after the last fault all
must drain.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from zlib import crc32

from schemas.control import ControlEvent
from streams.agents.executor.config import AccountConfig
from streams.domain.errors import InvariantError, UnreachableError
from streams.domain.orders.prices import Price, seen
from streams.lab.chance import Chance, Key
from streams.lab.engine import Engine
from streams.lab.executor.process import WALL_MS, Process
from streams.lab.executor.seat import Seat
from streams.lab.happenings import Happenings
from streams.lab.invariants import Violation
from streams.lab.outside.leases import Row
from streams.lab.outside.log import AccountLog
from streams.lab.outside.venue import VENUE, Venue
from streams.lab.plan import SYMBOLS, Plan
from streams.lab.witness import Witness

PRICE_WINDOW_MS = 8000
DRAIN_MS_MAX = 180_000
LATE_FILLS_MS = 15_000


@dataclass(slots=True)
class Outcome:
    """How a history ended. `violation` is what broke, `story` is told only when asked for."""

    plan: Plan
    orders: int
    accepted: int
    steps: int
    seen: Counter[str]
    virtual_ms: int
    violation: Violation | None = None
    struck: tuple[Key, ...] = ()
    story: list[str] = field(default_factory=list)


class World:
    """Everything of one history."""

    def __init__(self, plan: Plan, spared: frozenset[Key] = frozenset(), telling: bool = False) -> None:
        self.plan = plan
        self.engine = Engine()
        self.chance = Chance(plan.seed, spared)
        self.telling = telling
        self.story: list[str] = []
        self.seen: Counter[str] = Counter()
        self.control: list[ControlEvent] = []
        self.rows: dict[str, Row] = {}
        self.prices: dict[str, Price] = {}
        self.feed_silent_until_ms = self.log_away_until_ms = self.database_away_until_ms = 0
        self.cheated_ms: dict[str, int] = dict.fromkeys(plan.accounts, -1_000_000)
        self.venue = Venue(self, plan.venue_offset_ms)
        self.logs = {account: AccountLog(account) for account in plan.accounts}
        self.witness = Witness(self)
        self.happenings = Happenings(self)
        for account in plan.accounts:
            self.venue.open_account(account)
        self.processes = [Process(self, number) for number in range(plan.processes)]
        for process in self.processes:
            for number, account in enumerate(plan.accounts):
                budget = Decimal(15) if number == 2 else None
                Seat(self, process, AccountConfig(account, VENUE, SYMBOLS, budget), self.logs[account])

    def play(self) -> Outcome:
        """Let it happen, to the end or to the first violation."""
        violation = None
        try:
            self._play()
        except Violation as broken:
            violation = broken
        except InvariantError as broken:
            violation = Violation("I5", f"the program stopped: {broken}")
        except AssertionError as broken:
            violation = Violation("I5", f"the program's own assertion failed: {broken!r}")
        if violation is not None:
            self.tell(f"VIOLATION {violation}")
        return Outcome(
            self.plan,
            self.happenings.orders_given,
            sum(len(checks.accepted) for checks in self.witness.checks.values()),
            self.witness.steps,
            self.seen,
            self.engine.now_ms,
            violation,
            tuple(self.chance.struck),
            self.story,
        )

    def _play(self) -> None:
        engine = self.engine
        for item in self.plan.items:
            engine.at(item.at_ms, self.happenings.happen, item)
        self._move(0)
        for process in self.processes:
            engine.at(2 * process.number, process.start)
        end_ms = self.plan.end_ms
        engine.run(end_ms)
        self._calm()
        while not self._is_quiet():
            if engine.now_ms > end_ms + DRAIN_MS_MAX:
                break
            engine.run(engine.now_ms + 1000)
        engine.run(engine.now_ms + LATE_FILLS_MS)
        for account, checks in self.witness.checks.items():
            trades = sum(len(self.venue.accepted[order].order.fills) for order in checks.accepted.values())
            checks.drained(self.happenings.given[account], self.venue.totals(account), trades)

    def _calm(self) -> None:
        """The last fault is over."""
        self.chance.quiet = True
        self.log_away_until_ms = self.database_away_until_ms = self.feed_silent_until_ms = 0
        for process in self.processes:
            process.machine.remove_halt_file()
            process.down_until_ms = 0
            process.start()
        self.happenings.resume_all()

    def _is_quiet(self) -> bool:
        for account in self.plan.accounts:
            tenure = self.witness.owners[account]
            if tenure is None or tenure.state is None or tenure.state.books.orders or not tenure.has_read_all():
                return False
        return True

    def _move(self, number: int) -> None:
        self.venue.move(number)
        if self.engine.now_ms >= self.feed_silent_until_ms:
            quotes = {symbol: Price(bid, ask, self.wall_ms()) for symbol, (bid, ask) in self.venue.best.items()}
            self.prices = {s: seen(self.prices.get(s), quote, PRICE_WINDOW_MS) for s, quote in quotes.items()}
        up_ms = min(0 if process.up else process.down_until_ms for process in self.processes)
        self.engine.at(max(self.engine.now_ms + 700, min(up_ms - 700, self.engine.now_ms + 3_600_000)), self._move, number + 1)

    # What parts ask of the world

    def wall_ms(self) -> int:
        """True UTC."""
        return WALL_MS + self.engine.now_ms

    def tell(self, words: str) -> None:
        """A line of the story."""
        if self.telling:
            self.story.append(f"{self.engine.now_ms / 1000:10.3f} s  {words}")

    @property
    def log_is_away(self) -> bool:
        """Whether the broker takes and gives nothing."""
        return self.engine.now_ms < self.log_away_until_ms

    @property
    def database_is_away(self) -> bool:
        """Whether leases answer nobody."""
        return self.engine.now_ms < self.database_away_until_ms

    def unreachable(self, why: str) -> Exception:
        """What a port raises when provably nothing happened."""
        return UnreachableError(why)

    def identity(self, client_order_id: str) -> tuple[int, ...]:
        """What chance knows an order by."""
        return (crc32(client_order_id.encode()),)


def play(plan: Plan, spared: Sequence[Key] = (), telling: bool = False) -> Outcome:
    """Play one history."""
    return World(plan, frozenset(spared), telling).play()
