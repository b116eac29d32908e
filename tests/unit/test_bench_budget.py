"""3.2: how the bench and the test on the real stack count the tokens that were used."""

from bench.budget import RATE, most_in_10_s, tokens_used


def test_a_token_each_third_of_a_second_is_all_of_them() -> None:
    """Behind the three that lay ready."""
    times = [0, 0, 0, *(round(1000 * number / RATE) for number in range(1, 31))]
    assert tokens_used(times, RATE) == 1.0
    assert tokens_used([*times, 20_000], RATE) < 0.6
    assert tokens_used([0, 1, 2], RATE) == 0.0


def test_ten_seconds_begin_anywhere() -> None:
    assert most_in_10_s([]) == 0
    assert most_in_10_s([0, 5_000, 9_999, 10_000, 14_999, 20_000]) == 4
