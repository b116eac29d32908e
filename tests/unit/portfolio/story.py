"""Stories for the portfolio fold: given past messages, when one arrives, then these messages.

`Story` writes a real journal (writer, offsets, ranges that tile) and folds it step by step; `answer` plays the executor for
the orders that were decided, with the real books in between, so that ledger entries are the ones the program makes.
"""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any, TypeVar

from schemas.codec import encode
from schemas.control import (
    ControlEvent,
    PolicySet,
    PortfolioCreated,
    PortfolioLimitsSet,
    StopKind,
    TargetsSet,
    TradingResumed,
    TradingStopped,
)
from schemas.envelope import Message
from schemas.journal import Input, JournalRecord, MarketBatch, News, Positions, Quote, Range, WriterStarted
from schemas.ledger import LedgerEntry
from schemas.orders import (
    AccountHalted,
    AccountOpened,
    AccountResumed,
    CancelEnded,
    CancelOrder,
    ClosedAs,
    CommandAdmitted,
    CommandExpiredUnsent,
    CommandNotAdmitted,
    ExecutionEvent,
    ForeignOrderGone,
    ForeignOrderSeen,
    Liquidity,
    OrderAbsent,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderFound,
    OrderIntended,
    OrderRejected,
    OrderUnknown,
    OwnerStarted,
    PlaceOrder,
    Side,
)
from schemas.rebalance import PortfolioObserved, Reason
from schemas.venue import TradingStatus, VenueRules, VenueStatus
from streams.domain.ids import client_order_id, digest_id
from streams.domain.intake.acceptance import Verdict, accept
from streams.domain.ledger.books import Books
from streams.domain.numbers import DECISION
from streams.domain.portfolio import snapshot
from streams.domain.portfolio.decide import consider
from streams.domain.portfolio.shard import step
from streams.domain.portfolio.state import PortfolioState, Shard, World

Kind = TypeVar("Kind", bound=Message)
START_MS = 1_722_838_200_000
WRITER = "0" * 31 + "1"
INCARNATION = "a" * 32
PRICES = {"BTC/USDT": Decimal(50_000), "ETH/USDT": Decimal(2_500)}
TOPICS = (
    "market.tickers.v1",
    "operator.control.v1",
    "orders.ledger.v1",
    "venue.rules.v1",
    "venue.status.v1",
    "account.balances.v1",
)
SPREAD = Decimal("0.0001")


class Story:
    """A shard that lives through what a test tells. `said` holds every message so far, `records` the journal."""

    def __init__(self, shard: int = 0):
        self.shard = Shard(shard, World("test"))
        self.books = Books()
        self.now_ms = START_MS
        self.said: list[Message] = []
        self.records: list[JournalRecord] = []
        self.positions = {f"{topic}:0": 0 for topic in TOPICS}
        self.events = 0
        self.sequence = 0
        self.epochs: set[str] = set()
        self.entries: list[LedgerEntry] = []
        self.give(WriterStarted(epoch=1, writer=WRITER, expected_offset=0, sequenced_at_ms=START_MS))
        self.give(Positions(**self._head({}), positions=dict(self.positions)))

    # The journal.

    def give(self, record: JournalRecord) -> list[Message]:
        """Fold one record; returns what is said."""
        verdict = accept(self.shard.acceptance, record, len(self.records))
        self.records.append(record)
        if verdict is not Verdict.ACCEPTED:
            return []
        said = step(self.shard, record)
        self.said += said
        return said

    def input(self, message: Message, topic: str) -> list[Message]:
        """Journal one source message."""
        source = f"{topic}:0"
        offset = self.positions[source]
        return self.give(
            Input(
                **self._head({source: self._range(source, 1)}),
                source=source,
                source_offset=offset,
                source_type=message.ce_type(),
                source_id=f"{source}@{offset}",
                source_value=encode(message).decode(),
            )
        )

    def mark(self, prices: dict[str, Decimal] | None = None, after_ms: int = 1_000, fresh: bool = True) -> list[Message]:
        """A market batch `after_ms` later: `prices` are new mids by symbol. `fresh`: all known symbols were heard of."""
        self.now_ms += after_ms
        self.sequence += 1
        return self.give(self.batch({key(symbol): quoted(price) for symbol, price in (prices or {}).items()}, fresh))

    def batch(self, quotes: dict[str, tuple[Decimal, Decimal]], fresh: bool = True) -> MarketBatch:
        """The batch record of these (bid, ask) by venue:symbol."""
        source = "market.tickers.v1:0"
        first = self.positions[source]
        ranges = {source: self._range(source, len(quotes))} if quotes else {}
        heard = {*quotes, *(self.shard.world.quotes if fresh else ())}
        return MarketBatch(
            **self._head(ranges),
            quotes={
                name: Quote(
                    bid_price_quote=bid,
                    bid_quantity_base=Decimal(10),
                    ask_price_quote=ask,
                    ask_quantity_base=Decimal(10),
                    venue_sequence=self.sequence + 1,
                    source=source,
                    source_offset=first + n,
                )
                for n, (name, (bid, ask)) in enumerate(sorted(quotes.items()))
            },
            news={name: News(received_at_ms=self.now_ms) for name in sorted(heard)},
        )

    def _head(self, ranges: dict[str, Range]) -> dict[str, Any]:
        for source, taken in ranges.items():
            self.positions[source] = taken.offset_to
        return {
            "epoch": 1,
            "writer": WRITER,
            "expected_offset": len(self.records),
            "sequenced_at_ms": self.now_ms,
            "ranges": ranges,
        }

    def _range(self, source: str, count: int) -> Range:
        first = self.positions[source]
        return Range(offset_from=first, offset_to=first + count, journalled=count)

    # What operators and venues say.

    def control(self, event: ControlEvent) -> list[Message]:
        return self.input(event, "operator.control.v1")

    def rules(self, symbol: str, venue: str = "binance", **changes: Any) -> list[Message]:
        return self.input(venue_rules(symbol, venue, **changes), "venue.rules.v1")

    def status(self, status: TradingStatus, venue: str = "binance", **changes: Any) -> list[Message]:
        message = VenueStatus(venue=venue, status=status, observed_at_ms=self.now_ms, **changes)
        return self.input(message, "venue.status.v1")

    def stop(self, scope: str, halt_id: str = "b" * 32, kind: StopKind = StopKind.HALT) -> list[Message]:
        return self.control(TradingStopped(scope=scope, at_ms=self.now_ms, who="op", halt_id=halt_id, kind=kind))

    def resume(self, *halt_ids: str, scope: str = "all") -> list[Message]:
        return self.control(TradingResumed(scope=scope, at_ms=self.now_ms, who="op", halt_ids=halt_ids))

    # What execution says, through the real books.

    def execution(self, event: ExecutionEvent) -> list[Message]:
        """Book an execution event and journal the entry it makes."""
        if event.account not in self.epochs:
            self.epochs.add(event.account)
            started = OwnerStarted(account=event.account, epoch=1, at_ms=self.now_ms, owner="test")
            self.books.book(started, f"owner {event.account}")
        self.events += 1
        entry = self.books.book(event, f"event {self.events}")
        assert entry is not None
        self.entries.append(entry)
        return self.input(entry, "orders.ledger.v1")

    def opened(self, account: str, portfolio: str, totals: dict[str, Decimal], venue: str = "binance") -> list[Message]:
        return self.execution(
            AccountOpened(**self._event(account), portfolio=portfolio, venue=venue, totals=totals, venue_time_ms=self.now_ms)
        )

    def account_halted(self, account: str, portfolio: str, halt_id: str) -> list[Message]:
        return self.execution(AccountHalted(**self._event(account), portfolio=portfolio, halt_id=halt_id, cause="drift"))

    def account_resumed(self, account: str, portfolio: str, halt_id: str) -> list[Message]:
        return self.execution(AccountResumed(**self._event(account), portfolio=portfolio, halt_ids=(halt_id,)))

    def hand_seen(self, account: str, portfolio: str, number: str, side: Side, base: str, price: str | None) -> list[Message]:
        """An order by hand for BTC stands on the account's book, with this much left of it."""
        symbol = "BTC/USDT"
        return self.execution(
            ForeignOrderSeen(
                **self._event(account),
                portfolio=portfolio,
                flow_id=f"order/{symbol}/{number}",
                venue_order_id=number,
                symbol=symbol,
                side=side,
                quantity_base=Decimal(base) + 1,
                filled_base=Decimal(1),
                price_limit_quote=None if price is None else Decimal(price),
                venue_time_ms=self.now_ms,
            )
        )

    def hand_gone(self, account: str, portfolio: str, number: str) -> list[Message]:
        flow = {"flow_id": f"order/BTC/USDT/{number}", "venue_time_ms": self.now_ms}
        return self.execution(ForeignOrderGone(**self._event(account), portfolio=portfolio, **flow))

    def admitted(self, command: PlaceOrder | CancelOrder) -> list[Message]:
        fields = command.model_dump(
            include={"side", "quantity_base", "price_limit_quote", "price_mid_quote", "target_command_id"}
        )
        return self.execution(
            CommandAdmitted(
                **self._command(command),
                command_type=command.ce_type(),
                incarnation=command.incarnation,
                decision_number=command.decision_number,
                ordinal=command.ordinal,
                decided_at_ms=command.decided_at_ms,
                commands_offset=0,
                **fields,
            )
        )

    def not_admitted(self, command: PlaceOrder | CancelOrder, cause: str = "late") -> list[Message]:
        return self.execution(
            CommandNotAdmitted(
                **self._command(command),
                incarnation=command.incarnation,
                decision_number=command.decision_number,
                ordinal=command.ordinal,
                cause=cause,
                commands_offset=0,
            )
        )

    def intended(self, command: PlaceOrder) -> list[Message]:
        return self.execution(
            OrderIntended(
                **self._attempt(command),
                side=command.side,
                order_type=command.order_type,
                time_in_force=command.time_in_force,
                quantity_base=command.quantity_base,
                price_limit_quote=command.price_limit_quote,
                timestamp_ms=self.now_ms,
                window_ms=2_000,
            )
        )

    def accepted(self, command: PlaceOrder) -> list[Message]:
        return self.execution(OrderAccepted(**self._attempt(command), venue_order_id="1", venue_time_ms=self.now_ms))

    def rejected(self, command: PlaceOrder, code: str = "-2010") -> list[Message]:
        self.admitted(command)
        self.intended(command)
        return self.execution(OrderRejected(**self._attempt(command), code=code, detail="no"))

    def unknown(self, command: PlaceOrder) -> list[Message]:
        self.admitted(command)
        self.intended(command)
        return self.execution(OrderUnknown(**self._attempt(command), cause="timeout"))

    def found(self, command: PlaceOrder) -> list[Message]:
        return self.execution(OrderFound(**self._attempt(command), venue_order_id="1", venue_time_ms=self.now_ms))

    def absent(self, command: PlaceOrder) -> list[Message]:
        return self.execution(OrderAbsent(**self._attempt(command), venue_time_ms=self.now_ms, queries=3))

    def expired_unsent(self, command: PlaceOrder) -> list[Message]:
        return self.execution(CommandExpiredUnsent(**self._command(command), cause="too late"))

    def cancel_ended(self, command: CancelOrder, client: str) -> list[Message]:
        return self.execution(
            CancelEnded(
                **self._command(command),
                attempt=1,
                client_order_id=client,
                target_command_id=command.target_command_id,
                cause="closed",
            )
        )

    def filled(
        self, command: PlaceOrder, quantity: Decimal | None = None, price: Decimal | None = None, **changes: Any
    ) -> list[Message]:
        """One fill, by default of the whole order at its mid, with a fee of 10 bp in quote."""
        quantity = command.quantity_base if quantity is None else quantity
        price = price or command.price_mid_quote
        fields: dict[str, Any] = {
            "venue": command.venue,
            "venue_order_id": "1",
            "trade_id": f"t{self.events}",
            "side": command.side,
            "price_quote": price,
            "quantity_base": quantity,
            "quote_amount": price * quantity,
            "fee_asset": command.symbol.split("/")[1],
            "fee_amount": price * quantity / 1000,
            "liquidity": Liquidity.TAKER,
            "venue_time_ms": self.now_ms,
        }
        return self.execution(OrderFilled(**self._attempt(command), **(fields | changes)))

    def closed(self, command: PlaceOrder, filled: Decimal | None = None) -> list[Message]:
        """The order's end; `filled` is what the venue says was filled, the whole order by default."""
        filled = command.quantity_base if filled is None else filled
        return self.execution(
            OrderClosed(
                **self._attempt(command),
                closed_as=ClosedAs.FILLED if filled == command.quantity_base else ClosedAs.EXPIRED,
                filled_base=filled,
                filled_quote=filled * command.price_mid_quote,
                venue_time_ms=self.now_ms,
            )
        )

    def executed(self, command: PlaceOrder, part: Decimal = Decimal(1)) -> list[Message]:
        """Admission to end of one order, `part` of it filled at the mid; returns everything said meanwhile."""
        said = [*self.admitted(command), *self.intended(command), *self.accepted(command)]
        step_base = self.shard.world.rules[f"{command.venue}:{command.symbol}"].quantity_step_base
        quantity = command.quantity_base * part // step_base * step_base
        if quantity:
            said += self.filled(command, quantity)
        return [*said, *self.closed(command, quantity)]

    def work_off(self, commands: Iterable[Message], part: Decimal = Decimal(1), rounds_max: int = 20) -> list[Message]:
        """Execute orders and whatever they cause until nothing new is decided; returns everything said."""
        todo, said = [m for m in commands if isinstance(m, PlaceOrder)], []
        for _ in range(rounds_max):
            if not todo:
                return said
            new = self.executed(todo.pop(0), part)
            said += new
            todo += [m for m in new if isinstance(m, PlaceOrder)]
        raise AssertionError("the story does not come to rest")

    def _event(self, account: str) -> dict[str, Any]:
        return {"account": account, "epoch": 1, "at_ms": self.now_ms}

    def _command(self, command: PlaceOrder | CancelOrder) -> dict[str, Any]:
        head = {"portfolio": command.portfolio, "command_id": command.command_id, "symbol": command.symbol}
        return self._event(command.account) | head

    def _attempt(self, command: PlaceOrder) -> dict[str, Any]:
        return self._command(command) | {"attempt": 1, "client_order_id": client_order_id(command.command_id, 1)}

    # Looking.

    def portfolio(self, name: str = "alpha") -> PortfolioState:
        return self.shard.portfolios[name]

    def replayed(self, load_every: int | None = None, screened: bool = True) -> tuple[list[Message], bytes]:
        """Fold the whole journal anew, through snapshots every so many records, with or without the screen."""
        shard, said = Shard(self.shard.number, World("test")), []
        for offset, record in enumerate(self.records):
            if accept(shard.acceptance, record, offset) is Verdict.ACCEPTED:
                said += step(shard, record)
            if load_every and offset % load_every == 0:
                shard = snapshot.load(snapshot.dump(shard))
            if not screened:
                shard.watches.clear()
        return said, snapshot.dump(shard)


def key(symbol: str, venue: str = "binance") -> str:
    return f"{venue}:{symbol}"


def quoted(price: Decimal) -> tuple[Decimal, Decimal]:
    """A bid and an ask around a mid."""
    return price - SPREAD, price + SPREAD


def venue_rules(symbol: str, venue: str = "binance", **changes: Any) -> VenueRules:
    base, quote = symbol.split("/")
    fields: dict[str, Any] = {
        "venue": venue,
        "symbol": symbol,
        "base": base,
        "quote": quote,
        "status": TradingStatus.TRADING,
        "price_tick_quote": Decimal("0.01"),
        "quantity_step_base": Decimal("0.00001"),
        "quantity_min_base": Decimal("0.00001"),
        "quantity_max_base": Decimal(9_000),
        "notional_min_quote": Decimal(5),
        "fee_maker": Decimal("0.001"),
        "fee_taker": Decimal("0.001"),
        "rules_version": 1,
        "observed_at_ms": START_MS,
    }
    return VenueRules(**(fields | changes))


def created(portfolio: str = "alpha", **changes: Any) -> PortfolioCreated:
    fields: dict[str, Any] = {
        "scope": f"portfolio:{portfolio}",
        "at_ms": START_MS,
        "who": "op",
        "portfolio": portfolio,
        "incarnation": INCARNATION,
        "shard": 0,
        "quote": "USDT",
        "accounts": {f"{portfolio}-main": "binance"},
    }
    return PortfolioCreated(**(fields | changes))


def targets(portfolio: str = "alpha", **weights: str) -> TargetsSet:
    """Target weights by asset; what is missing to 1 is the quote's."""
    shares = {asset: Decimal(weight) for asset, weight in (weights or {"BTC": "0.5", "ETH": "0.3"}).items()}
    shares.setdefault("USDT", 1 - sum(shares.values(), Decimal(0)))
    symbols = {asset: f"{asset}/USDT" for asset in shares if asset != "USDT"}
    head: dict[str, Any] = {"scope": f"portfolio:{portfolio}", "at_ms": START_MS, "who": "op", "portfolio": portfolio}
    return TargetsSet(**head, weights=shares, symbols=symbols)


def policy(portfolio: str = "alpha", **changes: Any) -> PolicySet:
    fields: dict[str, Any] = {
        "scope": f"portfolio:{portfolio}",
        "at_ms": START_MS,
        "who": "op",
        "portfolio": portfolio,
        "band": Decimal("0.005"),
        "threshold": Decimal("0.0042"),
        "edge_inner": Decimal("0.0021"),
        "price_cap": Decimal("0.002"),
        "mark_age_ms_max": 60_000,
        "admit_within_ms": 10_000,
        "order_life_ms": 3_600_000,
        "observe_every_ms": 10_000,
    }
    return PolicySet(**(fields | changes))


def limits(portfolio: str = "alpha", **changes: Any) -> PortfolioLimitsSet:
    """Wide limits. A move of less than one order is no transition: with orders of any size nothing is one."""
    fields: dict[str, Any] = {
        "scope": f"portfolio:{portfolio}",
        "at_ms": START_MS,
        "who": "op",
        "portfolio": portfolio,
        "order_notional_max": Decimal("0.5"),
        "turnover_5min_max": Decimal(1),
        "turnover_day_max": Decimal(5),
        "loss_day_max": Decimal("0.02"),
        "transition_order_max": Decimal(1),
    }
    return PortfolioLimitsSet(**(fields | changes))


def on_target(nav: int = 100_000, **weights: str) -> dict[str, Decimal]:
    """Holdings that stand exactly on their targets at PRICES."""
    shares = {asset: Decimal(weight) for asset, weight in (weights or {"BTC": "0.5", "ETH": "0.3"}).items()}
    totals = {asset: share * nav / PRICES[f"{asset}/USDT"] for asset, share in shares.items()}
    return totals | {"USDT": nav * (1 - sum(shares.values(), Decimal(0)))}


def at_rest(**policy_changes: Any) -> Story:
    """One portfolio (50/30/20, NAV 100 000) on its targets, everything known, nothing to do."""
    story = Story()
    for event in (created(), targets(), policy(**policy_changes), limits()):
        story.control(event)
    for symbol in PRICES:
        story.rules(symbol)
    story.opened("alpha-main", "alpha", on_target())
    story.mark(PRICES)
    return story


def orders(said: Iterable[Message]) -> list[PlaceOrder]:
    return [message for message in said if isinstance(message, PlaceOrder)]


def sells(said: Iterable[Message]) -> list[PlaceOrder]:
    return [order for order in orders(said) if order.side is Side.SELL]


def buys(said: Iterable[Message]) -> list[PlaceOrder]:
    return [order for order in orders(said) if order.side is Side.BUY]


def cancels(said: Iterable[Message]) -> list[CancelOrder]:
    return [message for message in said if isinstance(message, CancelOrder)]


def only(kind: type[Kind], said: Iterable[Message]) -> Kind:
    """The single message of that kind."""
    found = [message for message in said if isinstance(message, kind)]
    assert len(found) == 1, f"{len(found)} {kind.__name__}: {found}"
    return found[0]


def two_accounts(main: dict[str, str], side: dict[str, str]) -> Story:
    """A portfolio with targets 50/30/20 on two accounts of one venue, seen before the first price."""
    story = Story()
    accounts = {"alpha-main": "binance", "alpha-side": "binance"}
    for event in (created(accounts=accounts), targets(), policy(), limits(order_notional_max=Decimal(1))):
        story.control(event)
    for symbol in PRICES:
        story.rules(symbol)
    for account, totals in (("alpha-main", main), ("alpha-side", side)):
        story.opened(account, "alpha", {asset: Decimal(amount) for asset, amount in totals.items()})
    return story


def reason_now(story: Story, name: str = "alpha") -> Reason:
    """What the portfolio would say of itself at this instant; nothing changes."""
    return state_of(story, name).reason


def state_of(story: Story, name: str = "alpha") -> PortfolioObserved:
    """The observation that the portfolio would make at this instant; nothing changes."""
    asked = replace(story.portfolio(name), observed_at_ms=0)
    with localcontext(DECISION):
        _, said, _ = consider(story.shard.world, asked)
    return only(PortfolioObserved, said)


def halt_id(n: int) -> str:
    return digest_id("test", str(n))
