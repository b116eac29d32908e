"""What a plan's items do: operators give commands and stop things, machines and services fail, clocks go wrong."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

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
from schemas.orders import CancelOrder, OrderType, PlaceOrder, Side, TimeInForce
from streams.domain.ids import command_id, digest_id, signal_id
from streams.lab.history import History
from streams.lab.outside.leases import Database
from streams.lab.outside.log import AccountLog
from streams.lab.outside.venue import VENUE, Venue
from streams.lab.plan import SYMBOLS, Item
from streams.lab.process import SYNCHRONIZED_MS, Process

INCARNATION = "0" * 32


class Happenings:
    """Does to the world what an item says. `given` names each command that was given, by its id, for each account."""

    def __init__(
        self,
        history: History,
        logs: Mapping[str, AccountLog],
        database: Database,
        venue: Venue,
        processes: Sequence[Process],
    ) -> None:
        self._history = history
        self._logs = logs
        self._database = database
        self._venue = venue
        self._processes = processes
        self.orders_given = 0
        self.given: dict[str, dict[str, str]] = {account: {} for account in logs}
        self._places: dict[str, list[PlaceOrder]] = {account: [] for account in logs}
        for account in logs:
            self._set_up(account)

    def happen(self, item: Item) -> None:
        """Let an item happen."""
        self._history.tell(f"#{item.number} {item.words()}")
        getattr(self, "_" + item.kind.replace(" ", "_").replace("'", ""))(item, *item.fields)

    def _set_up(self, account: str) -> None:
        common: dict[str, Any] = {"at_ms": self._history.wall_ms() - 1000, "who": "operator"}
        self._say(
            PortfolioCreated(
                scope=f"portfolio:{account}", portfolio=account, incarnation=INCARNATION, shard=0, quote="USDT",
                accounts={account: VENUE}, **common,
            )
        )  # fmt: skip
        self._say(
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

    # Commands

    def _place(
        self, item: Item, account: str, symbol: str, side: str, force: str, off: int, thousandths: int, life_ms: int
    ) -> None:
        self.orders_given += 1
        chance, mid, now_ms = self._history.chance, self._venue.mid_cents(symbol), self._history.wall_ms()
        sign = 1 if side == "buy" else -1
        scale = {"BTC/USDT": 1, "ETH/USDT": 5, "SOL/USDT": 100}[symbol]
        late_ms = (
            chance.between(500, 14_000, "late command", item.number)
            if chance.strikes(4000, "command comes late", item.number)
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
        target, now_ms = places[-back], self._history.wall_ms()
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
        self.given[account][command.command_id] = name
        self._logs[account].give(command)

    def _repeat(self, item: Item, account: str, back: int) -> None:
        log = self._logs[account]
        if len(log.commands) >= back:
            log.give(log.commands[-back])

    def _garbage(self, item: Item, account: str) -> None:
        self._logs[account].give(None)

    # Operators

    def _say(self, event: ControlEvent) -> None:
        self._history.control.append(event)

    def _spoken(self) -> dict[str, Any]:
        return {"at_ms": self._history.wall_ms(), "who": "operator"}

    def _halt(self, item: Item, scope: str, for_ms: int, kind: StopKind = StopKind.HALT) -> None:
        halt_id = digest_id("stop", str(item.number))
        self._say(TradingStopped(scope=scope, halt_id=halt_id, kind=kind, **self._spoken()))
        self._later(for_ms, self.resume, (halt_id,), scope)

    def _freeze(self, item: Item, scope: str, for_ms: int) -> None:
        self._halt(item, scope, for_ms, StopKind.FREEZE)

    def resume(self, halt_ids: tuple[str, ...], scope: str) -> None:
        """Somebody lifts these halts."""
        if halt_ids:
            self._say(TradingResumed(scope=scope, halt_ids=halt_ids, **self._spoken()))

    def resume_all(self) -> None:
        """Everything that operators stopped goes on."""
        self.resume(tuple(stop.halt_id for stop in self._history.control if isinstance(stop, TradingStopped)), "all")

    def _cancel_all(self, item: Item, scope: str, _: int) -> None:
        self._say(CancelRequested(scope=scope, **self._spoken()))

    def _halt_file(self, item: Item, process: int, for_ms: int) -> None:
        hosts = self._processes if item.number % 3 else self._processes[process : process + 1]
        for host in hosts:
            host.lay_halt_file(for_ms, freeze=item.number % 4 == 0)

    def _deposit(self, item: Item, account: str, asset: str, amount: int) -> None:
        moved = Decimal(amount)
        self._say(TransferAnnounced(scope=f"account:{account}", account=account, asset=asset, amount=moved, **self._spoken()))
        self._venue.deposit(account, f"flow/{item.number}", asset, moved)

    # Machines

    def _kill(self, item: Item, process: int, for_ms: int) -> None:
        self._processes[process].die(for_ms)

    def _all_down(self, item: Item, for_ms: int) -> None:
        for process in self._processes:
            process.die(for_ms + 2 * process.number)

    def _worst_hour(self, item: Item, for_ms: int) -> None:
        """The HALT file is laid while the log is away, and then the executors die: what they canceled is on disk alone."""
        self._log_away(item, 0, for_ms)
        for process in self._processes:
            process.lay_halt_file(for_ms)
            self._later(700, process.die, 900)

    def _sleep(self, item: Item, process: int, for_ms: int) -> None:
        self._processes[process].sleep(for_ms, "")

    def _clocks_stand_still(self, item: Item, process: int, for_ms: int) -> None:
        self._processes[process].sleep(for_ms, "with all clocks", wall_stands=True, boot_stands=True)

    def _boot_stands_still(self, item: Item, process: int, for_ms: int) -> None:
        self._processes[process].sleep(for_ms, "with BOOTTIME", boot_stands=True)

    def _wall_steps(self, item: Item, process: int, by_ms: int) -> None:
        machine = self._processes[process].machine
        machine.step_wall(by_ms)
        self._later(SYNCHRONIZED_MS, machine.step_wall, -by_ms)

    # Services

    def _venues_time_steps(self, item: Item, by_ms: int) -> None:
        venue = self._venue
        if abs(venue.offset_ms + by_ms) <= 900:
            venue.offset_ms += by_ms

    def _row_lost(self, item: Item, account: str) -> None:
        self._database.lose_row(account)

    def _row_expired(self, item: Item, account: str) -> None:
        self._database.expire_row(account)

    def _log_away(self, item: Item, process: int, for_ms: int) -> None:
        self._history.log_away_until_ms = self._history.engine.now_ms + for_ms

    def _database_away(self, item: Item, process: int, for_ms: int) -> None:
        self._history.database_away_until_ms = self._history.engine.now_ms + for_ms

    def _feed_silent(self, item: Item, process: int, for_ms: int) -> None:
        self._history.feed_silent_until_ms = self._history.engine.now_ms + for_ms

    def _later(self, delay_ms: int, call: Callable[..., None], *args: Any) -> None:
        self._history.engine.at(self._history.engine.now_ms + delay_ms, call, *args)
