"""One history in virtual time: executors that compete for accounts, their log, leases, venue, operator and books.

Given a plan, `play` lets everything happen and checks the invariants after every step; after the last fault all must drain.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from zlib import crc32

from schemas.control import (
    AccountLimitsSet,
    CancelRequested,
    ControlEvent,
    PortfolioCreated,
    StopKind,
    TradingResumed,
    TradingStopped,
    TransferAnnounced,
)
from schemas.ledger import EntryKind, Flag, LedgerEntry, OrderState
from schemas.orders import (
    AccountHalted,
    CancelOrder,
    ClosedAs,
    CommandEvent,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    OrderAbsent,
    OrderClosed,
    OrderFound,
    OrderIntended,
    OrderRejected,
    OrderType,
    OrderUnknown,
    OrderUnsent,
    OwnerStarted,
    PlaceOrder,
    Side,
    TimeInForce,
)
from streams.agents.executor.config import AccountConfig
from streams.agents.executor.takeover import resource_of
from streams.domain.errors import InvariantError, UnreachableError
from streams.domain.ids import command_id, digest_id, signal_id
from streams.domain.ledger.books import Books
from streams.domain.orders.authority import for_account
from streams.domain.orders.outcome import FlowView, VenueReply
from streams.domain.orders.prices import Price, seen
from streams.domain.orders.stimuli import CancelRequest, OrderRequest, SendCancel, SendOrder
from streams.lab import invariants
from streams.lab.chance import Chance, Key
from streams.lab.engine import Engine
from streams.lab.executor import Seat, Tenure
from streams.lab.invariants import TrueTrade, Violation
from streams.lab.leases import Row
from streams.lab.log import AccountLog, Written
from streams.lab.plan import SYMBOLS, Item, Plan
from streams.lab.process import WALL_MS, Process
from streams.lab.venue import FUNDS, VENUE, Venue
from streams.matching import orders as core
from streams.ports import Point

INCARNATION = "0" * 32
PRICE_WINDOW_MS = 8000
DRAIN_MS_MAX = 180_000
_ENDED = {core.Status.FILLED: ClosedAs.FILLED, core.Status.CANCELED: ClosedAs.CANCELED, core.Status.EXPIRED: ClosedAs.EXPIRED}


@dataclass(slots=True)
class Left:
    """A request whose bytes left."""

    epoch: int
    at_ms: int
    woken: bool


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
        self.fared: Counter[str] = Counter()
        self.killed_at: Counter[Point] = Counter()
        self.slept_at: Counter[Point] = Counter()
        self.steps = 0
        self.orders_given = 0
        self.control: list[ControlEvent] = []
        self.rows: dict[str, Row] = {}
        self.flows: dict[str, list[FlowView]] = {account: [] for account in plan.accounts}
        self.prices: dict[str, Price] = {}
        self._feed_silent_until_ms = 0
        self.log_away_until_ms = 0
        self.database_away_until_ms = 0
        self.cheated_ms: dict[str, int] = dict.fromkeys(plan.accounts, -1_000_000)
        self.venue = Venue(self)
        self.venue.offset_ms = plan.venue_offset_ms
        self.books = Books()
        self.logs = {account: AccountLog(account) for account in plan.accounts}
        self.checks = {account: invariants.Account(self) for account in plan.accounts}
        self.tenures: dict[str, Tenure | None] = dict.fromkeys(plan.accounts)
        self._given: dict[str, dict[str, str]] = {account: {} for account in plan.accounts}
        self._places: dict[str, list[PlaceOrder]] = {account: [] for account in plan.accounts}
        self._offsets: dict[str, int] = {}
        self._left: dict[str, Left] = {}
        self._started: dict[str, dict[int, int]] = {account: {} for account in plan.accounts}
        for account in plan.accounts:
            self.venue.open_account(account)
            self._set_up(account)
        self.processes = [Process(self, number) for number in range(plan.processes)]
        for process in self.processes:
            for number, account in enumerate(plan.accounts):
                budget = Decimal(15) if number == 2 else None
                Seat(self, process, AccountConfig(account, VENUE, SYMBOLS, budget), self.logs[account])

    # Playing

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
        for what, count in self.fared.items():
            self.seen[f"fared: {what}"] += count
        return Outcome(
            self.plan,
            self.orders_given,
            sum(len(checks.accepted) for checks in self.checks.values()),
            self.steps,
            self.seen,
            self.engine.now_ms,
            violation,
            tuple(self.chance.struck),
            self.story,
        )

    def _play(self) -> None:
        engine = self.engine
        for item in self.plan.items:
            engine.at(item.at_ms, self._happen, item)
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
        engine.run(engine.now_ms + 15_000)  # fills that are shown late
        for account, checks in self.checks.items():
            trades = sum(len(self.venue.accepted[order].order.fills) for order in checks.accepted.values())
            checks.drained(self._given[account], self.venue.totals(account), trades)

    def _calm(self) -> None:
        """The last fault is over."""
        self.chance.quiet = True
        self.log_away_until_ms = self.database_away_until_ms = self._feed_silent_until_ms = 0
        for process in self.processes:
            process.machine.halt_file = None
            process.down_until_ms = 0
            process.start()
        self._resume(tuple(stop.halt_id for stop in self.control if isinstance(stop, TradingStopped)), "all")

    def _is_quiet(self) -> bool:
        for account in self.plan.accounts:
            tenure = self.tenures[account]
            if tenure is None or tenure.state is None or tenure.state.books.orders or not tenure.has_read_all():
                return False
        return True

    def _move(self, number: int) -> None:
        self.venue.move(number)
        if self.engine.now_ms >= self._feed_silent_until_ms:
            quotes = {symbol: Price(bid, ask, self.wall_ms()) for symbol, (bid, ask) in self.venue.best.items()}
            self.prices = {s: seen(self.prices.get(s), quote, PRICE_WINDOW_MS) for s, quote in quotes.items()}
        up_ms = min(0 if process.up else process.down_until_ms for process in self.processes)
        self.engine.at(max(self.engine.now_ms + 700, min(up_ms - 700, self.engine.now_ms + 3_600_000)), self._move, number + 1)

    def _set_up(self, account: str) -> None:
        common: dict[str, Any] = {"at_ms": WALL_MS - 1000, "who": "operator"}
        self.control.append(
            PortfolioCreated(
                scope=f"portfolio:{account}", portfolio=account, incarnation=INCARNATION, shard=0, quote="USDT",
                accounts={account: VENUE}, **common,
            )
        )  # fmt: skip
        self.control.append(
            AccountLimitsSet.model_validate(
                {
                    "scope": f"account:{account}",
                    "account": account,
                    "order_notional_max_quote": "10000",
                    "turnover_5min_max_quote": "100000000",
                    "turnover_day_max_quote": "1000000000",
                    "open_orders_max": 30,
                    "price_collar": "0.1",
                    "symbols": SYMBOLS,
                    **common,
                }
            )
        )

    # The plan's items

    def _happen(self, item: Item) -> None:
        self.tell(f"#{item.number} {item.words()}")
        getattr(self, "_" + item.kind.replace(" ", "_").replace("'", ""))(item, *item.fields)

    def _place(
        self, item: Item, account: str, symbol: str, side: str, force: str, off: int, thousandths: int, life_ms: int
    ) -> None:
        self.orders_given += 1
        mid, now_ms = self.venue.mid_cents(symbol), self.wall_ms()
        sign = 1 if side == "buy" else -1
        scale = {"BTC/USDT": 1, "ETH/USDT": 5, "SOL/USDT": 100}[symbol]
        late_ms = (
            self.chance.between(500, 14_000, "late command", item.number)
            if self.chance.strikes(4000, "command comes late", item.number)
            else 0
        )
        order = PlaceOrder(
            **self._command(item, account, symbol),
            decided_at_ms=now_ms - late_ms,
            admit_by_ms=now_ms - late_ms + 10_000,
            expires_at_ms=now_ms - late_ms + life_ms,
            side=Side(side),
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce(force),
            quantity_base=Decimal(thousandths * scale).scaleb(-3),
            price_limit_quote=Decimal(mid + sign * off).scaleb(-2),
            price_mid_quote=Decimal(mid).scaleb(-2),
            oldest_received_at_ms=now_ms - late_ms,
            input_age_ms_max=8000,
        )
        self._places[account].append(order)
        self._give(account, order, f"#{item.number}")

    def _cancel(self, item: Item, account: str, back: int) -> None:
        places = self._places[account]
        if len(places) < back:
            return
        target, now_ms = places[-back], self.wall_ms()
        fields = self._command(item, account, target.symbol)
        fields |= {"decided_at_ms": now_ms, "admit_by_ms": now_ms + 10_000, "expires_at_ms": now_ms + 60_000}
        self._give(account, CancelOrder(**fields, target_command_id=target.command_id), f"#{item.number}")

    def _command(self, item: Item, account: str, symbol: str) -> dict[str, Any]:
        signal = signal_id("lab", account, INCARNATION, item.number)
        return {
            "command_id": command_id(signal, 0), "signal_id": signal, "portfolio": account, "incarnation": INCARNATION,
            "decision_number": item.number, "ordinal": 0, "account": account, "venue": VENUE, "symbol": symbol,
        }  # fmt: skip

    def _give(self, account: str, command: PlaceOrder | CancelOrder, name: str) -> None:
        self._given[account][command.command_id] = name
        self.logs[account].commands.append(command)

    def _repeat(self, item: Item, account: str, back: int) -> None:
        commands = self.logs[account].commands
        if len(commands) >= back:
            commands.append(commands[-back])

    def _garbage(self, item: Item, account: str) -> None:
        self.logs[account].commands.append(None)

    def _kill(self, item: Item, process: int, for_ms: int) -> None:
        self.processes[process].die(for_ms)

    def _sleep(self, item: Item, process: int, for_ms: int) -> None:
        self.processes[process].sleep(for_ms, "")

    def _clocks_stand_still(self, item: Item, process: int, for_ms: int) -> None:
        self.processes[process].sleep(for_ms, "with all clocks", wall_stands=True, boot_stands=True)

    def _boot_stands_still(self, item: Item, process: int, for_ms: int) -> None:
        self.processes[process].sleep(for_ms, "with BOOTTIME", boot_stands=True)

    def _wall_steps(self, item: Item, process: int, by_ms: int) -> None:
        machine = self.processes[process].machine
        machine.wall_offset_ms += by_ms
        self.engine.at(self.engine.now_ms + 6000, self._wall_steps_back, machine.number, by_ms)

    def _wall_steps_back(self, process: int, by_ms: int) -> None:
        self.processes[process].machine.wall_offset_ms -= by_ms

    def _venues_time_steps(self, item: Item, by_ms: int) -> None:
        if abs(self.venue.offset_ms + by_ms) <= 900:
            self.venue.offset_ms += by_ms

    def _row_lost(self, item: Item, account: str) -> None:
        self.lose_row(account)

    def lose_row(self, account: str) -> None:
        """The database fails over to a copy that never had the row: anybody may take the account."""
        self.rows.pop(resource_of(account), None)
        self.cheated_ms[account] = self.engine.now_ms

    def _row_expired(self, item: Item, account: str) -> None:
        """The database's clock jumps: the row looks expired although its owner is well."""
        row = self.rows.get(resource_of(account))
        if row is not None:
            row.expires_ms = self.engine.now_ms - 1
            self.cheated_ms[account] = self.engine.now_ms

    def _log_away(self, item: Item, process: int, for_ms: int) -> None:
        self.log_away_until_ms = self.engine.now_ms + for_ms

    def _database_away(self, item: Item, process: int, for_ms: int) -> None:
        self.database_away_until_ms = self.engine.now_ms + for_ms

    def _feed_silent(self, item: Item, process: int, for_ms: int) -> None:
        self._feed_silent_until_ms = self.engine.now_ms + for_ms

    def _halt(self, item: Item, scope: str, for_ms: int, kind: StopKind = StopKind.HALT) -> None:
        halt_id = digest_id("stop", str(item.number))
        self.control.append(TradingStopped(scope=scope, at_ms=self.wall_ms(), who="operator", halt_id=halt_id, kind=kind))
        self.engine.at(self.engine.now_ms + for_ms, self._resume, (halt_id,), scope)

    def _freeze(self, item: Item, scope: str, for_ms: int) -> None:
        self._halt(item, scope, for_ms, StopKind.FREEZE)

    def _resume(self, halt_ids: tuple[str, ...], scope: str) -> None:
        if halt_ids:
            self.control.append(TradingResumed(scope=scope, at_ms=self.wall_ms(), who="operator", halt_ids=halt_ids))

    def _halt_file(self, item: Item, process: int, for_ms: int) -> None:
        hosts = self.processes if item.number % 3 else self.processes[process : process + 1]
        for one in hosts:
            one.machine.halt_file = "an operator is worried"
            for seat in one.seats:
                if seat.tenure is not None:
                    one.hear(seat.tenure.look_again)
        self.engine.at(self.engine.now_ms + for_ms, self._no_halt_file)

    def _no_halt_file(self) -> None:
        for process in self.processes:
            process.machine.halt_file = None

    def _cancel_all(self, item: Item, scope: str, _: int) -> None:
        self.control.append(CancelRequested(scope=scope, at_ms=self.wall_ms(), who="operator"))

    def _all_down(self, item: Item, for_ms: int) -> None:
        for process in self.processes:
            process.die(for_ms + 2 * process.number)

    def _worst_hour(self, item: Item, for_ms: int) -> None:
        """The HALT file is laid while the log is away, and then the executors die: what they canceled is on disk alone."""
        self._log_away(item, 0, for_ms)
        self._halt_file(item, 0, for_ms)
        for process in self.processes:
            self.engine.at(self.engine.now_ms + 700, process.die, 900)

    def _deposit(self, item: Item, account: str, asset: str, amount: int) -> None:
        now_ms, moved = self.venue.now_ms(), Decimal(amount)
        self.control.append(
            TransferAnnounced(
                scope=f"account:{account}", at_ms=self.wall_ms(), who="operator", account=account, asset=asset, amount=moved
            )
        )
        free = self.venue.market.funds.balance(account, asset).free
        self.venue.market.set_balance(account, asset, free + moved, now_ms)
        self.flows[account].append(FlowView(f"flow/{item.number}", asset, moved, now_ms))

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

    def watch_control(self, process: Process) -> None:
        """A process reads control again and again."""
        self.engine.at(self.engine.now_ms + 20, self._read_control, process, process.life)

    def _read_control(self, process: Process, life: int) -> None:
        if process.life != life:
            return
        if not self.log_is_away:
            process.hear(self._control_read, process)
        self.engine.at(self.engine.now_ms + 1500, self._read_control, process, life)

    def _control_read(self, process: Process) -> None:
        process.read_control()
        for seat in process.seats:
            if seat.tenure is not None:
                seat.tenure.authority_changed()

    # The log

    def landed(self, log: AccountLog, written: Written) -> int:
        """An event is durable: it is checked, booked, and told to those who follow."""
        log.events.append(written)
        offset, event = len(log.events) - 1, written.event
        if self.telling:
            self.tell(f"  {event.account}: {_words(event)}")
        if isinstance(event, OwnerStarted):
            self._started[log.account][event.epoch] = self.engine.now_ms
        checks = self.checks[log.account]
        if checks.written(event):
            self._note(checks, event)
        else:
            self.seen["a former owner's event came after its successor"] += 1
        entry = self.books.book(event, written.ce_id)
        if entry is not None:
            self._booked(checks, entry)
        if self.chance.strikes(3000, "the ledger reads again", offset):
            again = log.events[max(0, offset - 5) :]
            if any(self.books.book(old.event, old.ce_id) is not None for old in again):
                raise Violation("I17", "an event that was booked made another entry")
            self.seen["events booked again, without effect"] += len(again)
        if isinstance(event, OrderIntended | OwnerStarted) or event.TYPE == "orders.cancel-intended":
            for follower in tuple(log.followers):
                follower(offset)
        return offset

    def _booked(self, checks: invariants.Account, entry: LedgerEntry) -> None:
        checks.entry(entry)
        if Flag.LATE_FILL in entry.flags:
            self.seen["late fill"] += 1
        if entry.kind is EntryKind.FILL_UNPLACED:
            self.seen["fill unplaced, two days after its order"] += 1

    def _note(self, checks: invariants.Account, event: object) -> None:
        """Count rare states by what the log says."""
        seen = self.seen
        match event:
            case OrderFound():
                seen["UNKNOWN, then found"] += 1
            case OrderAbsent():
                seen["UNKNOWN, then absent"] += 1
            case OrderUnknown() if event.cause == "inherited":
                seen["inherited intent"] += 1
            case OrderUnknown():
                seen["UNKNOWN"] += 1
            case OrderUnsent():
                seen[f"unsent: {event.cause.partition(':')[0]}"] += 1
            case OrderIntended() if event.attempt > 1:
                seen["absent or unsent, then another attempt"] += 1
            case OrderRejected():
                seen["rejected"] += 1
            case CommandExpiredUnsent():
                seen[f"expired unsent: {event.cause}"] += 1
            case CommandNotAdmitted():
                seen[f"not admitted: {event.cause.partition(':')[0]}"] += 1
            case OrderClosed():
                seen[f"closed as {event.closed_as.value}"] += 1
            case AccountHalted():
                seen["account halted by itself"] += 1
                self.engine.at(self.engine.now_ms + 2500, self._resume, (event.halt_id,), f"account:{event.account}")
            case CommandEvent() if getattr(event, "own_cause", ""):
                seen[f"own cancel: {event.own_cause.partition(':')[0]}"] += 1  # type: ignore[attr-defined]

    # The executor

    def taken_over(self, tenure: Tenure) -> None:
        """A tenure begins."""
        self.tenures[tenure.seat.account.account] = tenure
        self.seen["take-over"] += 1

    def tenure_ended(self, tenure: Tenure) -> None:
        """A tenure is over."""
        if self.tenures[tenure.seat.account.account] is tenure:
            self.tenures[tenure.seat.account.account] = None
        if tenure.requests and tenure.process.up:
            self.seen["lease lost in flight"] += 1

    def process_died(self, process: Process) -> None:
        """What a process leaves behind when it dies."""
        self.seen["executor killed"] += 1
        for seat in process.seats:
            tenure = seat.tenure
            if tenure is None or tenure.state is None:
                continue
            if tenure.requests:
                self.seen["killed with a request in flight"] += 1
            departed = self.checks[seat.account.account].departed
            for order in tenure.state.books.orders.values():
                if order.state is OrderState.INTENDED and order.intent is not None and not order.is_cancel:
                    unsent = (order.command_id, order.intent.attempt, 0) not in departed
                    self.seen["killed between intent and request"] += unsent

    def process_woke(self, process: Process) -> None:
        """A process goes on after a sleep."""
        for seat in process.seats:
            tenure = seat.tenure
            if tenure is not None and not tenure.over and self.tenures[seat.account.account] is not tenure:
                self.seen["paused owner woke to a successor"] += 1

    def stepped(self, tenure: Tenure) -> None:
        """One step of the protocol was taken."""
        self.steps += 1

    def intended(self, tenure: Tenure, event: OrderIntended) -> None:
        """An owner decided to send."""
        if self.engine.now_ms < tenure.paused_until_ms:
            raise Violation("I9", "an order is intended although the venue asked for a pause")

    def permitted(self, tenure: Tenure, effect: SendOrder | SendCancel) -> None:
        """The last look let a request pass: was that right?"""
        request = effect.request
        if isinstance(effect, SendOrder) or tenure.process.machine.halt_file is None:
            checks = self.checks[tenure.seat.account.account]
            checks.released(effect.command_id, effect.attempt, request.client_order_id, request.timestamp_ms)
        self._lease_holds(tenure, request)
        if isinstance(effect, SendOrder):
            self._may_open(tenure, tenure.process, effect.command_id)

    def _lease_holds(self, tenure: Tenure, request: OrderRequest | CancelRequest) -> None:
        """I11: the row is ours for longer than the request's window, unless the row or all clocks cheated."""
        account = tenure.seat.account.account
        row, now_ms, process = self.rows.get(resource_of(account)), self.engine.now_ms, tenure.process
        if now_ms - self.cheated_ms[account] < 10_000 or not process.sleep_left_clocks:
            return
        ours = row is not None and (row.owner, row.epoch) == (tenure.seat.config.owner, tenure.claimed.epoch)
        if not ours or row is None or row.expires_ms < now_ms + request.window_ms:
            raise Violation("I11", f"{process.name} sends although its lease does not outlast the request's window")

    def _may_open(self, tenure: Tenure, process: Process, command: str) -> None:
        """I8, I16: a new order only on fresh inputs, and when nobody said no."""
        assert tenure.state is not None
        order, now_ms = tenure.state.books.orders[command].command, process.machine.wall_ms()
        assert isinstance(order, PlaceOrder)
        fresh = now_ms <= order.admit_by_ms + 50 and now_ms - order.oldest_received_at_ms <= order.input_age_ms_max + 50
        if not fresh:
            raise Violation("I8", "an order is sent after its admission or on inputs that are too old")
        if now_ms - self.prices[order.symbol].received_at_ms > order.input_age_ms_max + 50:
            raise Violation("I8", "an order is sent although its market was not seen for too long")
        if process.machine.halt_file is not None:
            raise Violation("I16", "an order is sent under the HALT file")
        authority = for_account(process.authority, order.account, VENUE)
        if process.control_at_boot_ms is not None and process.machine.boot_ms() - process.control_at_boot_ms > 100:
            if authority.stop is not None:
                raise Violation("I16", f"an order is sent although the account is stopped: {authority.stop.value}")
            if order.decided_at_ms < authority.voided_before_ms:
                raise Violation("I16", "an order is sent that a resume voided")

    def departed(self, tenure: Tenure, effect: SendOrder | SendCancel) -> None:
        """The bytes leave."""
        account, process, client_order_id = tenure.seat.account.account, tenure.process, effect.request.client_order_id
        woken = self.engine.now_ms - process.woke_ms < 10
        epoch = tenure.claimed.epoch if isinstance(effect, SendCancel) else 0
        self.checks[account].left(effect.command_id, effect.attempt, epoch)
        self._left[client_order_id] = Left(tenure.claimed.epoch, self.engine.now_ms, woken)
        what = "a cancel of" if isinstance(effect, SendCancel) else "order"
        self.tell(f"  {process.name} sends {what} {client_order_id[:8]} of {account}")
        if woken:
            self.seen["sent after waking, with the old timestamp"] += 1

    def replied(self, tenure: Tenure, effect: SendOrder | SendCancel, reply: VenueReply) -> None:
        """A request came to its end."""
        if reply.http_status == 429:
            tenure.paused_until_ms = self.engine.now_ms + (reply.retry_after_ms or 0)
            self.seen["budget pause after 429"] += 1
        left = self._left.get(effect.request.client_order_id)
        if reply.code == "-1021" and left is not None and left.woken:
            self.seen["paused owner refused by the window"] += 1
        if tenure.over:
            self.seen["reply to an owner that is none"] += 1
        self.tell(
            f"  {effect.request.client_order_id[:6]} answered: {reply.http_status} {reply.code or ''} {reply.failure or ''}"
        )

    # The venue

    def accepted(self, account: str, order: core.Order, request: OrderRequest) -> None:
        """The venue accepted an order."""
        self.checks[account].taken(order.client_order_id)
        self.tell(f"  the venue accepts {order.client_order_id[:6]}, filled {order.filled_base} of {order.quantity_base}")
        left = self._left[order.client_order_id]
        for epoch, at_ms in self._started[account].items():
            if epoch <= left.epoch:
                continue
            self.seen["bytes of a former owner accepted after the take-over"] += 1
            if left.at_ms > at_ms and left.at_ms - self.cheated_ms[account] > 10_000:
                raise Violation("I11", "an order was accepted whose bytes left after another owner had started")

    def holds(self, client_order_id: str) -> bool:
        """Truth: whether an order was ever accepted under this id."""
        return client_order_id in self.venue.accepted

    def quantity(self, client_order_id: str) -> Decimal:
        """Truth: how much it is for."""
        return self.venue.accepted[client_order_id].order.quantity_base

    def ended(self, client_order_id: str) -> ClosedAs | None:
        """Truth: how it ended."""
        accepted = self.venue.accepted.get(client_order_id)
        return None if accepted is None else _ENDED.get(accepted.order.status)

    def shown(self, client_order_id: str) -> Decimal:
        """Truth: how much of it was never hidden."""
        accepted = self.venue.accepted[client_order_id]
        fills = accepted.order.fills
        return sum((fill.quantity_base for fill in fills[: len(fills) - accepted.hidden]), Decimal(0))

    def trade(self, client_order_id: str, trade_id: str) -> TrueTrade | None:
        """Truth: a trade of it."""
        accepted = self.venue.accepted.get(client_order_id)
        for fill in accepted.order.fills if accepted is not None else ():
            if str(fill.trade_id) == trade_id:
                return TrueTrade(fill.quantity_base, fill.amount_quote, fill.fee_amount)
        return None


def _words(event: object) -> str:
    fields = []
    for name in ("command_id", "attempt", "client_order_id", "cause", "epoch", "own_cause", "trade_id", "quantity_base"):
        value = getattr(event, name, None)
        if value not in (None, ""):
            fields.append(f"{name.removesuffix('_id')} {str(value)[:8] if name.endswith('id') else value}")
    return f"{getattr(event, 'TYPE', '')} ({', '.join(fields)})"


def play(plan: Plan, spared: Sequence[Key] = (), telling: bool = False) -> Outcome:
    """Play one history."""
    return World(plan, frozenset(spared), telling).play()


__all__ = ["FUNDS", "Outcome", "World", "play"]
