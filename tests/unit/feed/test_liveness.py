"""The data clock: only news counts as life. Row 10 of the mission."""

from itertools import pairwise

import pytest

from schemas.market import Ticker
from streams.agents.feed import messages
from streams.agents.feed.liveness import Liveness
from tests.unit.feed.fakes import quote_frame

T0 = 1_000_000


def ticker(sequence: int, bid: str = "100.00", symbol: str = "BTC/USDT") -> Ticker:
    return messages.ticker("sim", quote_frame(sequence, bid=bid, ask="200.00", symbol=symbol))


@pytest.fixture
def clock() -> Liveness:
    return Liveness(("BTC/USDT",), stall_after_ms=5000, fallback_after_ms=30_000, fallback_every_ms=1000, started_at_ms=T0)


def test_every_symbol_is_asked_for_at_once_because_subscribing_sends_nothing(clock: Liveness) -> None:
    assert clock.due(T0) == ["BTC/USDT"]
    clock.asked("BTC/USDT", T0)
    assert clock.due(T0 + 4999) == []
    assert clock.due(T0 + 5000) == ["BTC/USDT"]


def test_news_postpones_the_question(clock: Liveness) -> None:
    clock.asked("BTC/USDT", T0)
    clock.heard(ticker(1), T0 + 4000)
    assert clock.due(T0 + 8999) == []
    assert clock.due(T0 + 9000) == ["BTC/USDT"]


def test_the_same_old_frame_for_ever_is_no_life(clock: Liveness) -> None:
    clock.heard(ticker(7), T0)
    for second in range(1, 31):
        clock.heard(ticker(7), T0 + second * 1000)
    assert clock.due(T0 + 30_000) == ["BTC/USDT"]
    assert clock.fallen(T0 + 30_000) == ["BTC/USDT"]


def test_an_equal_answer_on_an_open_socket_is_a_quiet_market(clock: Liveness) -> None:
    clock.heard(ticker(1), T0)
    for second in range(5, 121, 5):
        assert not clock.polled(ticker(1 + second), T0 + second * 1000, socket_open=True)
    assert clock.fallen(T0 + 121_000) == []


def test_an_equal_answer_without_an_open_socket_is_no_life(clock: Liveness) -> None:
    clock.heard(ticker(1), T0)
    clock.polled(ticker(1), T0 + 29_000, socket_open=False)
    assert clock.fallen(T0 + 30_000) == ["BTC/USDT"]


def test_two_different_answers_without_news_between_are_a_stall(clock: Liveness) -> None:
    clock.heard(ticker(1), T0)
    clock.asked("BTC/USDT", T0 + 5000)
    assert not clock.polled(ticker(5, "101.00"), T0 + 5000, socket_open=True)
    assert clock.due(T0 + 6000) == ["BTC/USDT"], "a suspicion is checked soon"
    assert clock.polled(ticker(6, "101.00"), T0 + 6000, socket_open=True)


def test_an_answer_that_overtook_the_socket_is_no_stall(clock: Liveness) -> None:
    clock.heard(ticker(1), T0)
    assert not clock.polled(ticker(5, "101.00"), T0 + 5000, socket_open=True)
    clock.heard(ticker(6, "101.00"), T0 + 5100)
    assert not clock.polled(ticker(9, "102.00"), T0 + 10_200, socket_open=True)


def test_a_socket_that_never_said_anything_is_found_stalled_too(clock: Liveness) -> None:
    answers = [clock.polled(ticker(n, f"10{n}.00"), T0 + n * 5000, socket_open=True) for n in range(3)]
    assert answers == [False, False, True]


def test_dialling_anew_grows_seldom_while_it_does_not_help(clock: Liveness) -> None:
    clock.heard(ticker(1), T0)
    resets = [
        second
        for second in range(5, 300)
        if clock.polled(ticker(1000 + second, f"{100 + second / 100:.2f}"), T0 + second * 1000, socket_open=True)
    ]
    gaps = [later - earlier for earlier, later in pairwise(resets)]
    assert gaps[0] >= 10
    assert max(gaps) >= 60
    assert len(resets) <= 9


def test_after_dialling_anew_a_quiet_market_is_quiet(clock: Liveness) -> None:
    clock.heard(ticker(1), T0)
    clock.polled(ticker(5, "101.00"), T0 + 5000, socket_open=True)
    assert clock.polled(ticker(6, "101.00"), T0 + 6000, socket_open=True)
    later = [clock.polled(ticker(7, "101.00"), T0 + at * 1000, socket_open=True) for at in range(20, 200, 5)]
    assert not any(later)


def test_polling_takes_over_after_30_seconds_and_ends_with_news(clock: Liveness) -> None:
    clock.heard(ticker(1), T0)
    assert clock.fallen(T0 + 29_999) == []
    assert clock.fallen(T0 + 30_000) == ["BTC/USDT"]
    assert clock.fallen(T0 + 30_001) == [], "said once"
    clock.asked("BTC/USDT", T0 + 30_000)
    assert clock.due(T0 + 31_000) == ["BTC/USDT"], "every second now"
    assert clock.heard(ticker(9), T0 + 32_000)
    assert not clock.heard(ticker(10), T0 + 32_100)
    assert clock.due(T0 + 33_000) == []


def test_the_longest_waiting_symbol_comes_first() -> None:
    clock = Liveness(("A/B", "C/D"), 5000, 30_000, 1000, started_at_ms=T0)
    clock.asked("A/B", T0 + 10)
    clock.asked("C/D", T0 + 5)
    assert clock.due(T0 + 6000) == ["C/D", "A/B"]
