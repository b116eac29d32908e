"""The fold as a whole, over random journals: the same journal gives the same bytes, from any point and with any screen."""

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import encode
from schemas.control import StopKind
from schemas.envelope import Message
from schemas.journal import JournalRecord
from schemas.orders import CancelOrder, OrderCommand, PlaceOrder, Side
from schemas.rebalance import (
    PortfolioHalted,
    PortfolioQuarantined,
    Reason,
    RebalanceDecided,
    RebalanceHeldBack,
    Signal,
    TransitionCause,
)
from schemas.venue import TradingStatus
from streams.domain.ids import client_order_id
from streams.domain.portfolio import snapshot
from streams.domain.portfolio.shard import step
from streams.domain.portfolio.state import Shard
from tests.unit.portfolio.story import PRICES, Story, created, halt_id, limits, on_target, policy, targets

PORTFOLIOS = {"alpha": {"BTC": "0.5", "ETH": "0.3"}, "beta": {"BTC": "0.4", "ETH": "0.3"}, "gamma": {"BTC": "0.2"}}


class Life:
    """Random days of a shard with three portfolios: prices wander, orders end in every way, operators interfere."""

    def __init__(self, seed: int, steps: int):
        self.random = Random(seed)
        self.story = Story()
        self.open: list[PlaceOrder] = []
        self.unknown: list[PlaceOrder] = []
        self.unanswered: list[PlaceOrder] = []
        self.halts: list[str] = []
        self.prices = dict(PRICES)
        self.begin()
        for _ in range(steps):
            self.step()

    def begin(self) -> None:
        for name, shares in PORTFOLIOS.items():
            incarnation = f"{len(name):032x}"
            # One of them is patient where it moves to new targets; for the others an order of any size will do.
            order_max = Decimal("0.005") if name == "gamma" else Decimal(1)
            allowed = limits(name, transition_order_max=order_max, transition_hour_max=Decimal("0.02"))
            for event in (created(name, incarnation=incarnation), targets(name, **shares), policy(name), allowed):
                self.story.control(event)
            self.story.opened(f"{name}-main", name, on_target(100_000, **shares))
        for symbol in PRICES:
            self.story.rules(symbol)
        self.hear(self.story.mark(self.prices))

    def step(self) -> None:
        acts = [self.quiet, self.quiet, self.wander, self.wander, self.work, self.work, self.work, self.interfere]
        self.hear(self.random.choice(acts)())

    def hear(self, said: list[Message]) -> None:
        for message in said:
            if isinstance(message, PlaceOrder):
                self.open.append(message)
            elif isinstance(message, CancelOrder):
                self.hear(self.story.admitted(message))
                self.hear(self.story.cancel_ended(message, client_order_id(message.target_command_id, 1)))
            elif isinstance(message, PortfolioHalted):
                self.halts.append(message.halt_id)
            elif isinstance(message, PortfolioQuarantined):
                raise AssertionError(f"{message.portfolio}: {message.cause}: {message.detail}")

    def quiet(self) -> list[Message]:
        return self.story.mark(self.moved(4), self.random.choice([50, 1_000, 1_000, 15_000, 61_000]))

    def wander(self) -> list[Message]:
        return self.story.mark(self.moved(150), self.random.choice([50, 1_000]), fresh=self.random.random() < 0.9)

    def moved(self, basis_points: int) -> dict[str, Decimal]:
        symbols = self.random.sample(sorted(self.prices), self.random.randint(0, 2))
        for symbol in symbols:
            factor = 1 + Decimal(self.random.randint(-basis_points, basis_points)).scaleb(-4)
            self.prices[symbol] = max(round(self.prices[symbol] * factor, 2), Decimal(1))
        return {symbol: self.prices[symbol] for symbol in symbols}

    def work(self) -> list[Message]:
        if self.unknown and self.random.random() < 0.5:
            return self.settle(self.unknown.pop())
        if self.unanswered and self.random.random() < 0.2:
            return self.story.not_admitted(self.unanswered.pop())
        if not self.open:
            return self.quiet()
        order = self.open.pop(self.random.randrange(len(self.open)))
        end = self.random.random()
        if end < 0.6:
            return self.story.executed(order, Decimal(self.random.choice(["1", "1", "0.5", "0.05", "0"])))
        if end < 0.7:
            return self.story.not_admitted(order)
        if end < 0.8:
            return self.story.rejected(order, self.random.choice(["-2010", "-1013"]))
        if end < 0.95:
            self.unknown.append(order)
            return self.story.unknown(order)
        self.unanswered.append(order)
        return []

    def settle(self, order: PlaceOrder) -> list[Message]:
        if self.random.random() < 0.5:
            return [*self.story.absent(order), *self.story.expired_unsent(order)]
        return [*self.story.found(order), *self.story.filled(order), *self.story.closed(order)]

    def interfere(self) -> list[Message]:
        act = self.random.randrange(8)
        if act == 0:
            self.halts.append(halt_id(len(self.halts)))
            scope = self.random.choice(["all", "portfolio:beta", "account:gamma-main", "venue:binance"])
            return self.story.stop(scope, self.halts[-1], self.random.choice(list(StopKind)))
        if act in (1, 2) and self.halts:
            lifted, self.halts = self.halts, []
            return self.story.resume(*lifted)
        if act == 3:
            return self.story.status(self.random.choice([TradingStatus.TRADING, TradingStatus.TRADING, TradingStatus.CLOSED]))
        if act == 4:
            weight = Decimal(self.random.randint(18, 22)).scaleb(-2)
            return self.story.control(targets("gamma", BTC=str(weight)))
        if act == 5:
            name, number = self.random.choice(sorted(PORTFOLIOS)), str(self.random.randrange(3))
            side, price = self.random.choice(list(Side)), self.random.choice(["45000", "48000", None])
            return self.story.hand_seen(f"{name}-main", name, number, side, self.random.choice(["0", "0.05", "0.4"]), price)
        if act == 6:
            name = self.random.choice(sorted(PORTFOLIOS))
            return self.story.hand_gone(f"{name}-main", name, str(self.random.randrange(3)))
        return self.story.rules("ETH/USDT", notional_min_quote=Decimal(self.random.choice([5, 300])))


lives = st.builds(Life, st.integers(0, 2**32), st.integers(1, 60))


@given(lives)
@settings(max_examples=25, deadline=None)
def test_the_same_journal_gives_the_same_bytes_wherever_it_is_taken_up_and_whatever_is_screened(life: Life):
    """A snapshot after every record makes each step work on a copy: changing the shard in place comes to the same."""
    said, state = life.story.said, snapshot.dump(life.story.shard)

    for load_every, screened in ((None, True), (1, True), (7, True), (None, False)):
        again, end = life.story.replayed(load_every, screened)
        assert [encode(message) for message in again] == [encode(message) for message in said]
        assert end == state


@given(lives)
@settings(max_examples=25, deadline=None)
def test_ids_are_unique_numbers_have_no_gaps_and_amounts_are_text(life: Life):
    said = life.story.said

    ids = [m.command_id if isinstance(m, OrderCommand) else m.signal_id for m in said if isinstance(m, OrderCommand | Signal)]
    assert len(ids) == len(set(ids)) == len(said)
    for name in PORTFOLIOS:
        numbers = [m.decision_number for m in said if isinstance(m, Signal) and m.portfolio == name]
        assert numbers == sorted(numbers)
        assert set(numbers) >= set(range(1, max(numbers, default=0) + 1))
        signals = {m.signal_id for m in said if isinstance(m, Signal) and m.portfolio == name}
        commands = [m for m in said if isinstance(m, OrderCommand) and m.portfolio == name]
        assert all(command.signal_id in signals for command in commands)
        assert len({(command.decision_number, command.ordinal) for command in commands}) == len(commands)
    assert not list(_floats(json.loads(snapshot.dump(life.story.shard))))


@given(lives)
@settings(max_examples=25, deadline=None)
def test_drifts_sum_to_zero_and_holdings_are_what_the_ledger_booked(life: Life):
    for message in life.story.said:
        if isinstance(message, RebalanceDecided):
            assert sum(view.drift for view in message.assets.values()) == 0
            assert sum(view.drift_pending for view in message.assets.values()) == 0
    for name, state in life.story.shard.portfolios.items():
        for account, held in state.accounts.items():
            lines = [line for entry in life.story.entries for line in entry.postings]
            booked = {asset: Decimal(0) for asset in held.holdings}
            for line in lines:
                if line.ledger_account == f"assets:{account}":
                    booked[line.asset] += line.amount
            assert booked == held.holdings, name


@given(lives)
@settings(max_examples=25, deadline=None)
def test_3_4_no_decision_spends_what_orders_by_hand_bind(life: Life):
    for message in life.story.said:
        if not isinstance(message, RebalanceDecided):
            continue
        free = {asset: view.holding - view.reserved for asset, view in message.assets.items()}
        sent = [leg for leg in message.legs if leg.command_id is not None]
        for leg in sent:
            if leg.side is Side.SELL:
                assert leg.quantity_base <= free[leg.symbol.split("/")[0]]
        spent = sum(leg.quantity_base * leg.price_cap_quote * Decimal("1.001") for leg in sent if leg.side is Side.BUY)
        assert not spent or spent <= free["USDT"]


@given(lives)
@settings(max_examples=25, deadline=None)
def test_3_1_a_transition_spends_no_more_than_its_budget_in_small_orders(life: Life):
    for message in life.story.said:
        if not isinstance(message, RebalanceDecided) or message.transition is None:
            continue
        sent = [leg.quantity_base * leg.price_mid_quote for leg in message.legs if leg.command_id is not None]
        assert message.transition.spent_quote + sum(sent) <= message.transition.budget_quote
        assert all(quote <= Decimal("0.005") * message.nav_quote for quote in sent)


@given(st.integers(0, 2**32), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_a_batch_that_is_skipped_would_have_changed_nothing(seed: int, steps: int):
    """The screen against the exact look, one batch at a time."""
    life = Life(seed, steps)
    before = snapshot.dump(life.story.shard)
    screened, exact = snapshot.load(before), snapshot.load(before)
    screened.watches = dict(life.story.shard.watches)
    record = life.story.batch({f"binance:{symbol}": _around(price, seed) for symbol, price in life.prices.items()})

    assert _folded(screened, record) == _folded(exact, record)


def _folded(shard: Shard, record: JournalRecord) -> tuple[list[bytes], bytes]:
    return [encode(message) for message in step(shard, record)], snapshot.dump(shard)


def _around(price: Decimal, seed: int) -> tuple[Decimal, Decimal]:
    moved = price * (1 + Decimal(seed % 101 - 50).scaleb(-4))
    return round(moved - Decimal("0.0001"), 8), round(moved + Decimal("0.0001"), 8)


def _floats(form: object) -> Iterator[float]:
    if isinstance(form, float):
        yield form
    elif isinstance(form, dict):
        for value in form.values():
            yield from _floats(value)
    elif isinstance(form, list):
        for value in form:
            yield from _floats(value)


def test_the_lives_that_are_drawn_hold_what_they_are_about():
    """Otherwise the properties above would hold of nothing."""
    said = [message for seed in range(12) for message in Life(seed, 60).story.said]
    kinds = Counter(type(message).__name__ for message in said)

    assert kinds.keys() >= {"RebalanceDecided", "RebalanceHeldBack", "PortfolioObserved", "PortfolioResumed", "CancelOrder"}
    assert kinds["RebalanceDecided"] > 30
    assert kinds["PortfolioHalted"] > 0
    assert Reason.UNANSWERED in {message.reason for message in said if isinstance(message, RebalanceHeldBack)}
    decided = [message for message in said if isinstance(message, RebalanceDecided)]
    assert TransitionCause.TARGETS in {message.transition.cause for message in decided if message.transition}
    assert any(view.reserved for message in decided for view in message.assets.values())
