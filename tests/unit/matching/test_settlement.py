"""3.1: fees in any asset, and funds that move exactly."""

from decimal import Decimal

import pytest

from streams.matching.funds import FEES, Funds
from streams.matching.orders import Status
from streams.matching.settlement import FeeMode, FeeSchedule
from tests.unit.matching.given import accepted, owns, request, venue

RATES = (Decimal("0.001"), Decimal("0.002"))
MAKER, TAKER = RATES


def schedule(mode: FeeMode) -> FeeSchedule:
    return FeeSchedule(*RATES, mode, "BNB", Decimal(500))


@pytest.mark.parametrize(
    ("mode", "side", "fee", "asset"),
    [
        (FeeMode.RECEIVED, "buy", "0.002", "BTC"),
        (FeeMode.RECEIVED, "sell", "0.2", "USDT"),
        (FeeMode.BASE, "buy", "0.002", "BTC"),
        (FeeMode.BASE, "sell", "0.002", "BTC"),
        (FeeMode.QUOTE, "buy", "0.2", "USDT"),
        (FeeMode.QUOTE, "sell", "0.2", "USDT"),
        (FeeMode.RESERVE, "buy", "0.0004", "BNB"),
        (FeeMode.RESERVE, "sell", "0.0004", "BNB"),
    ],
)
def test_a_takers_fee_is_taken_in_the_asset_of_its_schedule(mode, side, fee, asset):
    market = venue(alice=schedule(mode))
    market.set_balance("alice", "BNB", Decimal(1), now_ms=1)
    accepted(market, request("bob", "sell" if side == "buy" else "buy", "1", "100"))
    order = accepted(market, request("alice", side, "1", "100"))
    assert [(fill.fee_amount, fill.fee_asset) for fill in order.fills] == [(Decimal(fee), asset)]
    sign = 1 if side == "buy" else -1
    expected = {"BTC": Decimal(10) + sign, "USDT": Decimal(10_000) - 100 * sign, "BNB": Decimal(1)}
    expected[asset] -= Decimal(fee)
    assert owns(market, "alice") == {name: (amount, 0) for name, amount in expected.items()}
    assert market.funds.balance(FEES, asset).free == Decimal(fee)


def test_a_maker_pays_its_own_rate():
    market = venue(alice=schedule(FeeMode.RECEIVED))
    maker = accepted(market, request("alice", "sell", "1", "100"))
    accepted(market, request("bob", "buy", "1", "100"))
    assert (maker.fills[0].fee_amount, maker.fills[0].fee_asset) == (Decimal("0.1"), "USDT")


def test_a_reserve_that_is_too_small_lets_the_fee_fall_on_the_asset_received():
    market = venue(alice=schedule(FeeMode.RESERVE))
    market.set_balance("alice", "BNB", Decimal("0.0003"), now_ms=1)
    accepted(market, request("bob", "sell", "1", "100"))
    order = accepted(market, request("alice", "buy", "1", "100"))
    assert (order.fills[0].fee_amount, order.fills[0].fee_asset) == (Decimal("0.002"), "BTC")
    assert market.funds.balance("alice", "BNB").free == Decimal("0.0003")


@pytest.mark.parametrize(("mode", "side", "locked"), [(FeeMode.QUOTE, "buy", "100.2"), (FeeMode.BASE, "sell", "1.002")])
def test_a_fee_in_the_asset_spent_is_locked_with_the_order(mode, side, locked):
    market = venue(alice=schedule(mode))
    order = accepted(market, request("alice", side, "1", "100"))
    assert order.locked == Decimal(locked)
    accepted(market, request("bob", "sell" if side == "buy" else "buy", "0.3", "100"))
    assert order.status is Status.PARTIALLY_FILLED
    assert order.locked == Decimal(locked) * Decimal("0.7")
    market.cancel(order, "mine", 4)
    assert all(balance.locked == 0 for _, balance in market.funds.balances("alice"))


def test_a_fee_is_cut_to_what_the_venue_can_book():
    market = venue(alice=FeeSchedule(Decimal(0), Decimal("0.00033333"), FeeMode.QUOTE))
    accepted(market, request("bob", "sell", "0.777", "100.01"))
    order = accepted(market, request("alice", "buy", "0.777", "100.01"))
    assert order.fills[0].fee_amount == Decimal("0.02590233")


def test_an_account_has_the_schedule_it_was_opened_with():
    assert venue(alice=schedule(FeeMode.QUOTE)).fees("alice") == schedule(FeeMode.QUOTE)


@pytest.mark.parametrize(
    ("maker_rate", "mode", "asset"), [("1", FeeMode.QUOTE, ""), ("-0.1", FeeMode.QUOTE, ""), ("0", FeeMode.RESERVE, "")]
)
def test_a_schedule_that_makes_no_sense_is_refused(maker_rate, mode, asset):
    with pytest.raises(ValueError, match=r"rates|reserve"):
        FeeSchedule(Decimal(maker_rate), Decimal(0), mode, asset)


def test_spending_what_is_not_there_is_a_broken_invariant():
    funds = Funds()
    funds.open("alice")
    funds.put("alice", "USDT", Decimal(5))
    assert funds.lock("alice", "USDT", Decimal(6)) is False
    for move in (funds.unlock, funds.spend_locked):
        with pytest.raises(ValueError, match="does not have"):
            move("alice", "USDT", Decimal(1))
    with pytest.raises(ValueError, match="does not have"):
        funds.spend_free("alice", "USDT", Decimal(6))
