"""What every plan obeys, whatever the portfolio: zero sums, no crossing, no growth, the venue's rules, the funds."""

from dataclasses import dataclass
from decimal import Decimal

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.orders import Side
from streams.domain.numbers import floor_to_step
from streams.domain.portfolio.funds import cost_at_cap, spendable_quote
from streams.domain.portfolio.plan import inner_edge, make_plan, netted
from streams.domain.portfolio.threshold import triggered
from streams.domain.portfolio.valuation import look, value
from tests.unit.portfolio.story import Story, created, key, limits, policy, targets

ASSETS: tuple[str, ...] = ("BTC", "ETH", "SOL", "XRP")
THRESHOLD, EDGE = Decimal("0.0042"), Decimal("0.0021")

drifts = st.integers(-300, 300).map(lambda n: Decimal(n).scaleb(-4))
prices = st.integers(1, 10**7).map(lambda n: Decimal(n).scaleb(-2))


@settings(deadline=None)
@given(st.lists(drifts, min_size=1, max_size=4), st.sampled_from([0, 1]))
def test_after_a_plan_every_drift_is_within_the_threshold_and_none_crossed_zero_or_grew(xs: list[Decimal], quote_only: int):
    before = dict(zip(ASSETS, xs, strict=False))
    if quote_only:  # the case in which only the quote asset triggers
        before = {asset: max(min(drift, Decimal("0.004")), Decimal("-0.004")) for asset, drift in before.items()}
    quote_before = -sum(before.values())
    aimed = {a: inner_edge(x, EDGE) if abs(x) >= THRESHOLD else x for a, x in before.items()}

    after = netted(aimed, EDGE if abs(quote_before) >= THRESHOLD else THRESHOLD, ())

    quote_after = -sum(after.values())
    assert all(abs(drift) <= THRESHOLD for drift in [*after.values(), quote_after])
    assert all(abs(after[a]) <= abs(before[a]) and after[a] * before[a] >= 0 for a in before)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 10**9), min_size=2, max_size=5),
    st.lists(prices, min_size=4, max_size=4),
    st.lists(st.integers(1, 100), min_size=2, max_size=5),
)
def test_drifts_and_weights_sum_exactly(units: list[int], marks: list[Decimal], shares: list[int]):
    count = min(len(units), len(shares))
    assets = [*ASSETS[: count - 1], "USDT"]
    weights = {asset: Decimal(share) / 1000 for asset, share in zip(assets[:-1], shares, strict=False)}
    weights["USDT"] = 1 - sum(weights.values(), Decimal(0))
    holdings = {asset: Decimal(n).scaleb(-6) for asset, n in zip(assets, units, strict=False)}

    valued = value(holdings, dict(zip(assets[:-1], marks, strict=False)), weights, "USDT")

    assume(valued is not None)
    assert valued is not None
    assert sum(valued.drifts.values()) == 0
    assert sum(valued.weights.values()) == 1


@dataclass(frozen=True)
class Drawn:
    """A portfolio with two risky assets somewhere around its targets, at odd prices under odd rules."""

    marks: tuple[Decimal, Decimal]
    shares: tuple[int, int]
    nav: int
    off: tuple[int, int]
    order_max: int
    tick: str
    step: str
    notional_min: str

    def story(self) -> Story:
        """The portfolio as it stands before it decides anything."""
        marks = dict(zip(("BTC", "ETH"), self.marks, strict=True))
        shares = {asset: Decimal(n) / 100 for asset, n in zip(marks, self.shares, strict=True)}
        story = Story()
        story.control(created())
        story.control(targets(BTC=str(shares["BTC"]), ETH=str(shares["ETH"])))
        story.control(policy())
        story.control(limits(order_notional_max=Decimal(self.order_max).scaleb(-3)))
        for asset in shares:
            story.rules(
                f"{asset}/USDT",
                price_tick_quote=Decimal(self.tick),
                quantity_step_base=Decimal(self.step),
                notional_min_quote=Decimal(self.notional_min),
            )
        totals = {
            asset: floor_to_step(self.nav * shares[asset] * (1 + Decimal(off).scaleb(-4)) / mark, Decimal("1e-8"))
            for (asset, mark), off in zip(marks.items(), self.off, strict=True)
        }
        rest = self.nav - sum((totals[asset] * mark for asset, mark in marks.items()), Decimal(0))
        story.opened("alpha-main", "alpha", totals | {"USDT": max(floor_to_step(rest, Decimal("1e-8")), Decimal(0))})
        story.stop("all")
        story.mark({f"{asset}/USDT": mark for asset, mark in marks.items()})
        story.shard.world.stops.clear()
        return story


portfolios = st.builds(
    Drawn,
    marks=st.tuples(prices, prices),
    shares=st.tuples(st.integers(20, 60), st.integers(5, 39)),
    nav=st.integers(50, 10**7),
    off=st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)),
    order_max=st.integers(1, 1000),
    tick=st.sampled_from(["0.01", "0.5", "0.000001"]),
    step=st.sampled_from(["0.00001", "0.001", "2.5"]),
    notional_min=st.sampled_from(["1", "5", "100"]),
)


@given(portfolios)
@settings(deadline=None)
def test_orders_obey_the_rules_the_funds_and_the_side_of_the_drift(drawn: Drawn):
    story = drawn.story()
    world, state = story.shard.world, story.portfolio()
    sight = look(world, state)
    assume(sight is not None)
    assert sight is not None
    assets = triggered(sight.fills, sight.outcomes, THRESHOLD)
    assume(assets)

    plan = make_plan(world, state, sight, assets, ())

    held = state.accounts["alpha-main"].holdings
    for leg in (*plan.send, *plan.waiting):
        base = leg.symbol.split("/")[0]
        rules = world.rules[key(leg.symbol)]
        assert leg.quantity_base == floor_to_step(leg.quantity_base, rules.quantity_step_base)
        assert leg.price_cap_quote == floor_to_step(leg.price_cap_quote, rules.price_tick_quote)
        assert leg.quantity_base * leg.price_cap_quote >= rules.notional_min_quote
        drift = sight.fills.drifts[base]
        moved = leg.quantity_base * leg.price_mid_quote / sight.fills.nav_quote
        assert moved <= abs(drift) + Decimal("1e-17")  # never across the target
        assert (drift > 0) == (leg.side is Side.SELL)
        if leg.side is Side.SELL:
            assert leg.quantity_base <= held[base]
    sent = [leg for leg in plan.send if leg.side is Side.BUY]
    costs = sum(cost_at_cap(leg.quantity_base, leg.price_cap_quote, world.rules[key(leg.symbol)]) for leg in sent)
    assert costs <= max(spendable_quote(world, state, "alpha-main", sight.fills.nav_quote), 0)
    assert len({leg.side for leg in plan.send}) <= 1  # where an account sells, its buys wait
    assert not plan.waiting or plan.send[0].side is Side.SELL
