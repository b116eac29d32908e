"""Numbers: what is rounded, which way, and that nothing is lost on the wire."""

from decimal import ROUND_HALF_UP, Decimal, Inexact, getcontext, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.values import exact, plain
from streams.domain.ids import client_order_id, command_id, digest_id, signal_id
from streams.domain.numbers import MONEY, floor_to_step, price_down, price_up

wire = st.decimals(min_value=Decimal("-1e19"), max_value=Decimal("1e19"), places=18)
positive = st.decimals(min_value=Decimal("1e-18"), max_value=Decimal("1e15"), places=18)
ticks = st.sampled_from([Decimal(text) for text in ("0.00001", "0.01", "0.5", "2.5", "25", "1", "0.000025", "0.1")])


@given(wire)
def test_a_decimal_survives_the_wire_and_equal_values_have_equal_text(value: Decimal):
    assert exact(plain(value)) == value
    assert repr(exact(plain(value))) == repr(exact(value))  # canonical text takes a shorter way to the same
    longer = f"{value:f}0" if "." in f"{value:f}" else f"{value:f}.0"
    assert len(longer) > 40 or plain(exact(longer)) == plain(value)


@given(positive, ticks)
def test_amounts_and_prices_land_on_ticks_and_on_the_safe_side(value: Decimal, tick: Decimal):
    down, up = price_down(value, tick), price_up(value, tick)
    with localcontext(prec=80):
        assert down <= value <= up
        assert value - down < tick
        assert up - value < tick
        assert down % tick == 0
        assert up % tick == 0
    assert floor_to_step(value, tick) == down


def test_money_never_rounds_and_the_thread_context_does_not_matter():
    with pytest.raises(Inexact):
        MONEY.divide(Decimal(1), Decimal(3))
    with localcontext():
        getcontext().prec, getcontext().rounding = 3, ROUND_HALF_UP
        assert floor_to_step(Decimal("1.23459"), Decimal("0.0001")) == Decimal("1.2345")


def test_a_step_of_zero_is_refused():
    with pytest.raises(ValueError, match="above zero"):
        floor_to_step(Decimal(1), Decimal(0))


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_ids_of_different_causes_differ(one: list[str], other: list[str]):
    assert (digest_id(*one) == digest_id(*other)) == (one == other)


def test_ids_follow_from_their_cause():
    signal = signal_id("demo", "balanced", "a1" * 16, 7)
    assert signal == signal_id("demo", "balanced", "a1" * 16, 7) != signal_id("prod", "balanced", "a1" * 16, 7)
    assert command_id(signal, 0) != command_id(signal, 1)
    first, second = client_order_id(command_id(signal, 0), 1), client_order_id(command_id(signal, 0), 2)
    assert first != second
    assert len(first) == 26
    assert set(first) <= set("abcdefghijklmnopqrstuvwxyz234567")
