"""3.1: what holds for every sequence of requests."""

from collections import Counter
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.matching.journal import Entry
from streams.matching.market import Market
from streams.matching.orders import Kind, Order, OrderRequest, Refused, Side, TimeInForce
from streams.matching.settlement import FeeMode, FeeSchedule
from tests.unit.matching.given import RULES

ACCOUNTS = ("alice", "bob")
ASSETS = ("BTC", "USDT", "BNB")
CENT, MILLI = Decimal("0.01"), Decimal("0.001")

prices = st.integers(9_990, 10_010).map(lambda cents: cents * CENT)
quantities = st.integers(1, 3_000).map(lambda steps: steps * MILLI)
orders = st.fixed_dictionaries(
    {
        "account": st.sampled_from(ACCOUNTS),
        "side": st.sampled_from(list(Side)),
        "kind": st.sampled_from(list(Kind)),
        "time_in_force": st.sampled_from(list(TimeInForce)),
        "client_order_id": st.sampled_from([f"id{number}" for number in range(20)]),
        "quantity_base": quantities,
        "quantity_quote": st.sampled_from([Decimal(0), Decimal(0), Decimal("77.77")]),
        "price_quote": prices,
    }
)
quotes = st.tuples(st.integers(9_985, 10_005), st.lists(quantities, max_size=4), st.lists(quantities, max_size=4))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("order"), orders),
        st.tuples(st.just("quote"), quotes),
        st.tuples(st.just("cancel"), st.integers(0, 10)),
        st.tuples(st.just("put"), st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(ASSETS), st.integers(0, 900))),
    ),
    max_size=40,
)
schedules = st.builds(
    FeeSchedule,
    st.sampled_from([Decimal(0), Decimal("0.00075"), Decimal("0.001")]),
    st.sampled_from([Decimal(0), Decimal("0.00033333"), Decimal("0.002")]),
    st.sampled_from(list(FeeMode)),
    st.just("BNB"),
    st.just(Decimal("512.3")),
)


def opened(fees: tuple[FeeSchedule, FeeSchedule]) -> Market:
    market = Market([RULES])
    for account, schedule in zip(ACCOUNTS, fees, strict=True):
        market.open_account(account, schedule)
        market.set_balance(account, "BTC", Decimal(7), now_ms=0)
        market.set_balance(account, "USDT", Decimal(700), now_ms=0)
        market.set_balance(account, "BNB", Decimal("0.001"), now_ms=0)
    return market


def perform(market: Market, step: tuple, now_ms: int) -> Order | Refused | None:
    kind, what = step
    if kind == "order":
        fields = dict(what)
        if fields["kind"] is not Kind.MARKET:
            fields["quantity_quote"] = Decimal(0)
        elif fields["quantity_quote"]:
            fields["quantity_base"] = Decimal(0)
        return market.submit(OrderRequest(symbol="BTCUSDT", **fields), now_ms)
    if kind == "quote":
        best, bids, asks = what
        market.quote(
            "BTCUSDT",
            [((best - index) * CENT, quantity) for index, quantity in enumerate(bids)],
            [((best + 2 + index) * CENT, quantity) for index, quantity in enumerate(asks)],
            now_ms,
        )
    elif kind == "cancel":
        resting = [order for account in ACCOUNTS for order in market.register.open(account, None)]
        if what < len(resting):
            return market.cancel(resting[what], "cancel", now_ms)
    else:
        account, asset, amount = what
        market.set_balance(account, asset, Decimal(amount), now_ms)
    return None


def run(script: list[tuple], fees: tuple[FeeSchedule, FeeSchedule]) -> Market:
    market = opened(fees)
    for now_ms, step in enumerate(script, 1):
        perform(market, step, now_ms)
    return market


def held(market: Market, account: str, asset: str) -> Decimal:
    balance = market.funds.balance(account, asset)
    return balance.free + balance.locked


@settings(deadline=None)
@given(steps, st.tuples(schedules, schedules))
def test_money_is_conserved_for_each_asset_exactly(script, fees):
    market = run(script, fees)
    entered: Counter[str] = Counter()
    for entry in market.journal.since(1):
        if entry.kind == "balance_set":
            entered[str(entry.body["asset"])] += Decimal(str(entry.body["change"]))
    for asset in ASSETS:
        assert sum(held(market, account, asset) for account in market.funds.accounts()) == entered[asset]


@settings(deadline=None)
@given(steps, st.tuples(schedules, schedules))
def test_nobody_goes_below_zero_and_locks_are_those_of_open_orders(script, fees):
    market = run(script, fees)
    for account in ACCOUNTS:
        locked = {asset: Decimal(0) for asset in ASSETS}
        for order in market.register.open(account, None):
            locked["USDT" if order.side is Side.BUY else "BTC"] += order.locked
        for asset in ASSETS:
            balance = market.funds.balance(account, asset)
            assert balance.free >= 0
            assert balance.locked == locked[asset]


@settings(deadline=None)
@given(steps, st.tuples(schedules, schedules))
def test_the_journal_alone_gives_every_customers_balance(script, fees):
    market = run(script, fees)
    balances: Counter[tuple[str, str]] = Counter()
    for entry in market.journal.since(1):
        body = {name: str(value) for name, value in entry.body.items()}
        if entry.kind == "balance_set":
            balances[body["account"], body["asset"]] += Decimal(body["change"])
        elif entry.kind == "fill":
            sign = 1 if body["side"] == "BUY" else -1
            balances[body["account"], "BTC"] += sign * Decimal(body["quantity_base"])
            balances[body["account"], "USDT"] -= sign * Decimal(body["amount_quote"])
            balances[body["account"], body["fee_asset"]] -= Decimal(body["fee_amount"])
    for account in ACCOUNTS:
        for asset in ASSETS:
            assert held(market, account, asset) == balances[account, asset]


@settings(deadline=None)
@given(steps, st.tuples(schedules, schedules))
def test_no_order_fills_beyond_its_quantity_or_its_price(script, fees):
    market = run(script, fees)
    accepted: dict[int, Entry] = {}
    filled: Counter[int] = Counter()
    for entry in market.journal.since(1):
        if entry.kind == "order_accepted":
            accepted[int(entry.body["order_id"])] = entry
        elif entry.kind == "fill":
            order = accepted[int(entry.body["order_id"])].body
            filled[int(entry.body["order_id"])] += Decimal(str(entry.body["quantity_base"]))
            assert filled[int(entry.body["order_id"])] <= Decimal(str(order["quantity_base"]))
            assert filled[int(entry.body["order_id"])] == Decimal(str(entry.body["filled_base"]))
            if order["order_kind"] != "MARKET":
                price, limit = Decimal(str(entry.body["price_quote"])), Decimal(str(order["price_quote"]))
                assert price <= limit if order["side"] == "BUY" else price >= limit


@settings(deadline=None)
@given(steps, st.tuples(schedules, schedules))
def test_price_comes_before_time_and_the_book_is_never_crossed(script, fees):
    """Each trade was with the best resting price, and there with the oldest order."""
    market = opened(fees)
    for now_ms, step in enumerate(script, 1):
        resting = [order for account in ACCOUNTS for order in market.register.open(account, None)]
        before = {order.order_id: (order.price_quote, order.side, order.filled_base) for order in resting}
        perform(market, step, now_ms)
        book = market.books["BTCUSDT"]
        bid, ask = book.best(Side.BUY), book.best(Side.SELL)
        assert bid is None or ask is None or bid < ask
        for order in resting:
            price, side, filled = before[order.order_id]
            if order.filled_base == filled or order.status.value == "CANCELED":
                continue
            better = [
                other
                for other in resting
                if other.side is side
                and other.order_id != order.order_id
                and (other.price_quote < price if side is Side.SELL else other.price_quote > price)
            ]
            older = [
                other
                for other in resting
                if other.side is side and other.price_quote == price and other.order_id < order.order_id
            ]
            assert all(not other.status.is_open for other in [*better, *older])


@settings(deadline=None)
@given(steps, st.tuples(schedules, schedules))
def test_equal_requests_give_a_byte_equal_journal(script, fees):
    lines = [[entry.line() for entry in run(script, fees).journal.since(1)] for _ in range(2)]
    assert lines[0] == lines[1]


@settings(deadline=None)
@given(steps, st.tuples(schedules, schedules))
def test_what_is_refused_changes_nothing(script, fees):
    market = opened(fees)
    for now_ms, step in enumerate(script, 1):
        sequence, update_id = market.journal.sequence, market.books["BTCUSDT"].update_id
        held_before = [held(market, account, asset) for account in ACCOUNTS for asset in ASSETS]
        if isinstance(perform(market, step, now_ms), Refused):
            assert (market.journal.sequence, market.books["BTCUSDT"].update_id) == (sequence, update_id)
            assert [held(market, account, asset) for account in ACCOUNTS for asset in ASSETS] == held_before


@settings(deadline=None)
@given(steps, st.tuples(schedules, schedules))
def test_differences_rebuild_the_book(script, fees):
    market = opened(fees)
    book = market.books["BTCUSDT"]
    rebuilt: dict[Side, dict[Decimal, Decimal]] = {Side.BUY: {}, Side.SELL: {}}
    last_id = book.update_id
    for now_ms, step in enumerate(script, 1):
        perform(market, step, now_ms)
        changes = book.drain_changes()
        if changes is None:
            continue
        assert changes.update_id_first == last_id + 1
        last_id = changes.update_id_last
        for side, levels in ((Side.BUY, changes.bids), (Side.SELL, changes.asks)):
            rebuilt[side] |= dict(levels)
    for side in Side:
        assert {price: total for price, total in rebuilt[side].items() if total} == dict(book.levels(side))
