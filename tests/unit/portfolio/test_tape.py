"""An hour of 5 August 2024 in two minutes: real prices move three portfolios out of their bands and back, with fills at the
mid a second later."""

from decimal import Decimal
from functools import cache

from schemas.envelope import Message
from schemas.orders import PlaceOrder, Side
from schemas.rebalance import PortfolioObserved, Reason, RebalanceDecided
from streams.domain.portfolio import tca
from streams.simulator.tapes.tape import Tape
from tests.unit.portfolio.story import Story, created, key, limits, only, policy, state_of, targets

TAPE_START_MS = 1_722_838_200_000  # 06:10 UTC
SPEED = 30
SHARES = {
    "a-50-30": {"BTC": "0.5", "ETH": "0.3"},
    "b-40-30": {"BTC": "0.4", "ETH": "0.3"},
    "c-60-20": {"BTC": "0.6", "ETH": "0.2"},
}


@cache
def played() -> tuple[Story, list[Message]]:
    tape, story, said = Tape(), Story(), list[Message]()
    prices = prices_at(tape, 0)
    for name, shares in SHARES.items():
        generous = limits(name, turnover_5min_max=Decimal(1), turnover_day_max=Decimal(1), loss_day_max=Decimal("0.02"))
        for event in (created(name), targets(name, **shares), policy(name), generous):
            story.control(event)
        totals = {asset: round(Decimal(share) * 100_000 / prices[f"{asset}/USDT"], 5) for asset, share in shares.items()}
        spent = sum((totals[asset] * prices[f"{asset}/USDT"] for asset in shares), Decimal(0))
        story.opened(f"{name}-main", name, totals | {"USDT": Decimal(100_000) - spent})
    for symbol in prices:
        story.rules(symbol)
    due: list[tuple[int, PlaceOrder]] = []
    for tick in range(1_200):
        new = story.mark(prices_at(tape, tick * 100 * SPEED), after_ms=100)
        for at_ms, order in [pair for pair in due if pair[0] <= story.now_ms]:
            due.remove((at_ms, order))
            new = [*new, *story.executed(order)]
        due += [(story.now_ms + 1_000, order) for order in new if isinstance(order, PlaceOrder)]
        said += new
    return story, said


def prices_at(tape: Tape, elapsed_ms: int) -> dict[str, Decimal]:
    return {f"{asset}/USDT": tape.mid_price(f"{asset}USDT", TAPE_START_MS + elapsed_ms) for asset in ("BTC", "ETH")}


def test_real_prices_drive_several_rebalances_of_each_portfolio():
    story, said = played()

    for name in SHARES:
        own = [m for m in said if isinstance(m, RebalanceDecided) and m.portfolio == name and m.reason is Reason.DRIFT]
        seen = [m for m in said if isinstance(m, PortfolioObserved) and m.portfolio == name][-1]
        assert len(own) >= 2, name
        assert own[0].at_ms - story.records[0].sequenced_at_ms < 60_000, name
        assert max(abs(view.drift_pending) for view in state_of(story, name).assets.values()) < Decimal("0.0042")
        assert seen.time_in_band_ms > Decimal("0.9") * seen.time_total_ms
    replayed, _ = story.replayed(load_every=500)
    assert replayed == story.said


def test_fills_cost_their_fee_and_what_the_price_moved_since_the_decision():
    story, said = played()
    fills = [entry for entry in story.entries if entry.trade_id]
    first = only(PlaceOrder, [m for m in said if isinstance(m, PlaceOrder)][:1])

    cost = tca.shortfall_bp(
        tca.Fill(entry.side or Side.BUY, entry.price_mid_quote or Decimal(0), entry.fill_quantity_base or Decimal(0),
                 entry.fill_quote_amount or Decimal(0), entry.fee_amount or Decimal(0))
        for entry in fills
    )  # fmt: skip

    assert cost == 10  # at the mid of the decision, so nothing but the fee of 10 bp
    assert first.symbol in {"BTC/USDT", "ETH/USDT"}
    assert key(first.symbol) in story.shard.world.quotes
