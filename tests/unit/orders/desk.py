"""An account's protocol on a table: inputs go in one by one, time is ours, effects are looked at."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar

from schemas.control import AccountLimitsSet, StopKind
from schemas.orders import CancelOrder, ExecutionEvent, Liquidity, PlaceOrder, Side
from streams.domain.ids import command_id, digest_id
from streams.domain.orders.authority import AccountAuthority
from streams.domain.orders.books import Books
from streams.domain.orders.budget import bucket
from streams.domain.orders.outcome import OrderView, Standing, TradeView, VenueReply
from streams.domain.orders.prices import Price, Prices
from streams.domain.orders.protocol import next_wake, step
from streams.domain.orders.state import Rules, State
from streams.domain.orders.stimuli import (
    AuthorityRead,
    CommandRead,
    Effect,
    Input,
    IntentReadBack,
    LeaseRenewed,
    Look,
    Looked,
    LookUp,
    Now,
    Publish,
    Replied,
    SendOrder,
    TakenOver,
    Ticked,
    VenueTimeRead,
)

WALL_MS = 1_700_000_000_000
BOOT_MS = 1_000_000
RULES = Rules("alice", "sim", "binance")
LIMITS = AccountLimitsSet.model_validate(
    {
        "scope": "account:alice",
        "at_ms": 1,
        "who": "tester",
        "account": "alice",
        "order_notional_max_quote": "10000",
        "turnover_5min_max_quote": "50000",
        "turnover_day_max_quote": "100000",
        "open_orders_max": 10,
        "price_collar": "0.5",
        "symbols": ["BTC/USDT", "ETH/USDT"],
    }
)
_E = TypeVar("_E", bound=ExecutionEvent)
_F = TypeVar("_F")


def market(received_at_ms: int) -> Prices:
    """A market at rest around the mid of `place()`, seen just then."""
    price = Price(Decimal(19_989), Decimal(19_991), received_at_ms)
    return {"BTC/USDT": price, "ETH/USDT": price}


def authority(stop: StopKind | None = None, **changes: Any) -> AccountAuthority:
    """What operators allow in these stories: everything, unless told otherwise."""
    return replace(AccountAuthority("main", "0" * 32, limits=LIMITS, stop=stop), **changes)


def place(decision: int = 1, ordinal: int = 0, **changes: Any) -> PlaceOrder:
    """A command to buy 0.1 BTC at 20000."""
    fields = _command(decision, ordinal) | {
        "side": "buy",
        "order_type": "limit",
        "time_in_force": "ioc",
        "quantity_base": "0.1",
        "price_limit_quote": "20000",
        "price_mid_quote": "19990",
        "oldest_received_at_ms": WALL_MS,
        "input_age_ms_max": 60_000,
    }
    return PlaceOrder.model_validate(fields | changes)


def cancel(target: str, decision: int = 2, **changes: Any) -> CancelOrder:
    """A command to cancel what is left of another one's order."""
    return CancelOrder.model_validate(_command(decision, 0) | {"target_command_id": target} | changes)


def _command(decision: int, ordinal: int) -> dict[str, Any]:
    signal = digest_id("signal", str(decision))
    return {
        "command_id": command_id(signal, ordinal),
        "signal_id": signal,
        "portfolio": "main",
        "incarnation": "0" * 32,
        "decision_number": decision,
        "ordinal": ordinal,
        "account": "alice",
        "venue": "sim",
        "symbol": "BTC/USDT",
        "decided_at_ms": WALL_MS,
        "admit_by_ms": WALL_MS + 30_000,
        "expires_at_ms": WALL_MS + 60_000,
    }


def view(client_order_id: str, filled: str = "0", standing: Standing = Standing.OPEN, **changes: Any) -> OrderView:
    """The venue's word on the order of `place()`."""
    shown = OrderView("77", client_order_id, "BTC/USDT", Side.BUY, Decimal("0.1"), Decimal(filled), standing, WALL_MS)
    return replace(shown, **changes)


def trade(trade_id: str, quantity: str = "0.1", **changes: Any) -> TradeView:
    """A fill of venue order 77."""
    amount = Decimal(quantity)
    shown = TradeView(
        trade_id=trade_id,
        venue_order_id="77",
        symbol="BTC/USDT",
        side=Side.BUY,
        price_quote=Decimal(20000),
        quantity_base=amount,
        quote_amount=amount * 20000,
        fee_asset="BTC",
        fee_amount=Decimal("0.0001"),
        liquidity=Liquidity.TAKER,
        venue_time_ms=WALL_MS + 5,
    )
    return replace(shown, **changes)


@dataclass
class Desk:
    """The protocol's state and the clock; `effects` are those of the last input, `events` all that was published. `prices`
    None: the executor sees the market of `place()`, always fresh."""

    state: State
    wall_ms: int = WALL_MS
    boot_ms: int = BOOT_MS
    halt_file: str | None = None
    prices: Prices | None = None
    freeze_file: str | None = None

    def __post_init__(self) -> None:
        self.events: list[ExecutionEvent] = []
        self.effects: tuple[Effect, ...] = ()

    def now(self) -> Now:
        prices = market(self.wall_ms) if self.prices is None else self.prices
        return Now(self.wall_ms, self.boot_ms, self.halt_file, prices, self.freeze_file)

    def put(self, kind: type[Input], **fields: Any) -> tuple[Effect, ...]:
        """One input; its effects."""
        self.state, self.effects = step(self.state, kind(now=self.now(), **fields))
        self.events += [effect.event for effect in self.effects if isinstance(effect, Publish)]
        return self.effects

    def wait(self, milliseconds: int) -> tuple[Effect, ...]:
        """Let time go by, then tick."""
        self.wall_ms += milliseconds
        self.boot_ms += milliseconds
        return self.put(Ticked)

    def wait_until_due(self) -> tuple[Effect, ...]:
        """Let time go by until the protocol wants to be asked."""
        wake = next_wake(self.state)
        assert wake is not None
        return self.wait(max(0, wake - self.boot_ms))

    def renew(self) -> None:
        self.put(LeaseRenewed, asked_wall_ms=self.wall_ms, asked_boot_ms=self.boot_ms, ttl_ms=5000)

    def tell_time(self, ahead_ms: int = 0) -> None:
        self.put(
            VenueTimeRead,
            venue_time_ms=self.wall_ms + ahead_ms,
            asked_boot_ms=self.boot_ms,
            answered_boot_ms=self.boot_ms,
        )

    def allow(self, **changes: Any) -> None:
        self.put(AuthorityRead, authority=authority(**changes), asked_boot_ms=self.boot_ms)

    def refresh(self) -> None:
        """Lease, venue time and control as of now."""
        self.renew()
        self.tell_time()
        self.allow()

    def command(self, command: PlaceOrder | CancelOrder, offset: int | None = None) -> str:
        at = self.state.books.commands_next_offset if offset is None else offset
        self.put(CommandRead, command=command, offset=at)
        return command.command_id

    def read_back(self, command: str, attempt: int = 1) -> tuple[Effect, ...]:
        return self.put(IntentReadBack, command_id=command, attempt=attempt)

    def reply(self, command: str, reply: VenueReply, attempt: int = 1) -> tuple[Effect, ...]:
        return self.put(Replied, command_id=command, attempt=attempt, reply=reply)

    def accept(self, command: str, shown: OrderView, attempt: int = 1) -> tuple[Effect, ...]:
        return self.reply(command, VenueReply(http_status=200, order=shown), attempt)

    def look(self, command: str, attempt: int = 1, **fields: Any) -> tuple[Effect, ...]:
        """An answer to a look: by default the venue shows nothing, now, and conclusively."""
        found = Look(self.wall_ms, None, (), True)
        return self.put(Looked, command_id=command, attempt=attempt, look=replace(found, **fields))

    def intended(self, command: str) -> str:
        """The client order id of the newest attempt."""
        intent = self.state.books.orders[command].intent
        assert intent is not None
        return intent.client_order_id

    def asked(self, kind: type[_F]) -> list[_F]:
        """The last input's effects of one kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def said(self, kind: type[_E]) -> list[_E]:
        """All events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def story(self, command: str) -> list[str]:
        """The types of the events about one command."""
        told = [event for event in self.events if getattr(event, "command_id", "") == command]
        return [event.TYPE.removeprefix("orders.") for event in told]

    def sent(self, command: PlaceOrder | None = None) -> tuple[str, str]:
        """A command whose request has just left: its id and its client order id."""
        given = self.command(command or place())
        self.read_back(given)
        assert len(self.asked(SendOrder)) == 1
        return given, self.intended(given)

    def unknown(self) -> tuple[str, str]:
        """A command whose reply was lost: its id and its client order id."""
        given, client_order_id = self.sent()
        self.reply(given, VenueReply(http_status=504))
        assert len(self.asked(LookUp)) == 1
        return given, client_order_id


def desk(books: Books | None = None, rules: Rules = RULES, orders_per_second: Decimal | None = None) -> Desk:
    """An opened account, owned, with lease, venue time and control at hand."""
    made = books if books is not None else Books("alice", epoch=3, opened=True)
    table = Desk(State(rules, made, bucket(orders_per_second)))
    table.refresh()
    table.put(TakenOver)
    return table
