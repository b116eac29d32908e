"""One history in virtual time: executors that compete for accounts, their log, leases, venue, operators and books.

Given a plan, `play` lets everything happen; the witness checks the invariants after every step, and after the last fault all
must drain.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from streams.agents.executor.config import AccountConfig
from streams.domain.errors import InvariantError
from streams.domain.orders.prices import Price, seen
from streams.lab.chance import Key
from streams.lab.executor.owner import AccountOwner
from streams.lab.executor.seat import Seat
from streams.lab.happenings import Happenings
from streams.lab.history import History
from streams.lab.invariants import Violation
from streams.lab.outside.leases import Database
from streams.lab.outside.log import AccountLog
from streams.lab.outside.venue import VENUE, Venue
from streams.lab.plan import SYMBOLS, Plan
from streams.lab.process import Process
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
    """Everything of one history, put together."""

    def __init__(self, plan: Plan, spared: frozenset[Key] = frozenset(), telling: bool = False) -> None:
        self.plan = plan
        self.history = History(plan.seed, spared, telling)
        self.venue = Venue(self.history, plan.venue_offset_ms)
        self.database = Database(self.history, plan.accounts)
        self.logs = {account: AccountLog(account) for account in plan.accounts}
        self.processes = [Process(self.history, number) for number in range(plan.processes)]
        self.happenings = Happenings(self.history, self.logs, self.database, self.venue, self.processes)
        self.witness = Witness(self.history, self.logs, self.database, self.venue, self.happenings)
        for number, (account, log) in enumerate(self.logs.items()):
            self.venue.open_account(account)
            config = AccountConfig(account, VENUE, SYMBOLS, Decimal(15) if number == 2 else None)
            for process in self.processes:
                seat = Seat(self.history, process, config, log, self.database, self.venue, self.witness)
                process.residents.append(AccountOwner(seat))

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
            self.history.tell(f"VIOLATION {violation}")
        return Outcome(
            self.plan,
            self.happenings.orders_given,
            sum(len(checks.accepted) for checks in self.witness.checks.values()),
            self.witness.steps,
            self.history.seen,
            self.history.engine.now_ms,
            violation,
            tuple(self.history.chance.struck),
            self.history.story,
        )

    def _play(self) -> None:
        engine = self.history.engine
        for item in self.plan.items:
            engine.at(item.at_ms, self.happenings.happen, item)
        self._move(0)
        for process in self.processes:
            engine.at(2 * process.number, process.start)
        end_ms = self.plan.end_ms
        engine.run(end_ms)
        self._calm()
        while not self.witness.at_rest():
            if engine.now_ms > end_ms + DRAIN_MS_MAX:
                break
            engine.run(engine.now_ms + 1000)
        engine.run(engine.now_ms + LATE_FILLS_MS)
        for account, checks in self.witness.checks.items():
            trades = sum(len(self.venue.accepted[order].order.fills) for order in checks.accepted.values())
            checks.drained(self.happenings.given[account], self.venue.totals(account), trades)

    def _calm(self) -> None:
        """The last fault is over."""
        self.history.calm()
        for process in self.processes:
            process.machine.remove_halt_file()
            process.down_until_ms = 0
            process.start()
        self.happenings.resume_all()

    def _move(self, number: int) -> None:
        self.venue.move(number)
        history, now_ms = self.history, self.history.engine.now_ms
        if not history.feed_is_silent:
            quotes = {symbol: Price(bid, ask, history.wall_ms()) for symbol, (bid, ask) in self.venue.best.items()}
            history.prices = {s: seen(history.prices.get(s), quote, PRICE_WINDOW_MS) for s, quote in quotes.items()}
        up_ms = min(0 if process.up else process.down_until_ms for process in self.processes)
        history.engine.at(max(now_ms + 700, min(up_ms - 700, now_ms + 3_600_000)), self._move, number + 1)


def play(plan: Plan, spared: Sequence[Key] = (), telling: bool = False) -> Outcome:
    """Play one history."""
    return World(plan, frozenset(spared), telling).play()
