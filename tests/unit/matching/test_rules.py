"""3.1: the filters, one by one."""

from dataclasses import replace
from decimal import Decimal

import pytest

from streams.matching.orders import Kind, Refusal
from streams.matching.rules import check_order
from tests.unit.matching.given import RULES, request


@pytest.mark.parametrize(
    ("quantity", "price", "refusal"),
    [
        ("1", "100", None),
        ("1", "100.001", Refusal.PRICE_FILTER),
        ("1", "1000000.01", Refusal.PRICE_FILTER),
        ("1", "0.001", Refusal.PRICE_FILTER),
        ("0.0005", "100", Refusal.LOT_SIZE),
        ("1.0005", "100", Refusal.LOT_SIZE),
        ("100.001", "100", Refusal.LOT_SIZE),
        ("0", "100", Refusal.LOT_SIZE),
        ("0.001", "4999.99", Refusal.NOTIONAL),
        ("0.001", "5000", None),
        ("100", "10000", None),
        ("100", "10000.01", Refusal.NOTIONAL),
        ("50.001", "100", None),
    ],
)
def test_limit_orders(quantity, price, refusal):
    assert check_order(RULES, request("alice", "buy", quantity, price), None) == refusal


@pytest.mark.parametrize(
    ("quantity", "reference", "refusal"),
    [
        ("50", "100", None),
        ("50.001", "100", Refusal.MARKET_LOT_SIZE),
        ("100.001", "100", Refusal.LOT_SIZE),
        ("0.001", "4999", Refusal.NOTIONAL),
        ("0.001", None, None),
        ("50", "1000000", None),
    ],
)
def test_market_orders_in_base_units(quantity, reference, refusal):
    price = Decimal(reference) if reference else None
    assert check_order(RULES, request("alice", "buy", quantity), price) == refusal


@pytest.mark.parametrize(("amount", "refusal"), [("5", None), ("4.99", Refusal.NOTIONAL)])
def test_market_orders_in_quote_units(amount, refusal):
    asked = request("alice", "buy", "0", quantity_quote=Decimal(amount))
    assert check_order(RULES, asked, Decimal(100)) == refusal


def test_the_bounds_of_notional_may_leave_market_orders_alone():
    rules = replace(RULES, applies_notional_min_to_market=False, applies_notional_max_to_market=True)
    assert check_order(rules, request("alice", "buy", "0.001"), Decimal(1)) is None
    assert check_order(rules, request("alice", "buy", "50"), Decimal(1_000_000)) is Refusal.NOTIONAL


def test_post_only_orders_obey_the_filters_of_limit_orders():
    asked = request("alice", "buy", "1", "100.001", kind=Kind.LIMIT_MAKER)
    assert check_order(RULES, asked, None) is Refusal.PRICE_FILTER


def test_ticks_need_not_be_powers_of_ten():
    rules = replace(RULES, tick_size=Decimal("2.5"), price_min=Decimal("2.5"))
    assert check_order(rules, request("alice", "buy", "1", "102.5"), None) is None
    assert check_order(rules, request("alice", "buy", "1", "101"), None) is Refusal.PRICE_FILTER


@pytest.mark.parametrize(
    ("tick", "step", "words"),
    [("0", "1", "above zero"), ("1", "0", "above zero"), ("0.00001", "0.0001", "eight decimals")],
)
def test_a_pair_that_cannot_be_traded_exactly_is_refused(tick, step, words):
    with pytest.raises(ValueError, match=words):
        replace(RULES, tick_size=Decimal(tick), step_size=Decimal(step))
