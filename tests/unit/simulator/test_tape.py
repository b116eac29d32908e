"""3.3: the tape, its path, spread and depth."""

from decimal import Decimal
from random import Random

import pytest

from streams.simulator.tapes.bars import MINUTE_MS, SYMBOLS, TAPE_END_MS, TAPE_FIRST_MS, load_bars
from streams.simulator.tapes.listings import LISTINGS
from streams.simulator.tapes.path import PricePath
from streams.simulator.tapes.tape import Tape, price_at

START_MS = 1_722_838_200_000  # 2024-08-05T06:10Z
TICK = Decimal("0.01")


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_tape_is_one_whole_day_of_sound_bars(symbol):
    bars = load_bars(symbol)
    assert (len(bars), bars[0].at_ms, bars[-1].at_ms) == (1_440, TAPE_FIRST_MS, TAPE_END_MS - MINUTE_MS)
    for bar in bars:
        assert bar.low_quote <= min(bar.open_quote, bar.close_quote)
        assert bar.high_quote >= max(bar.open_quote, bar.close_quote)


def test_the_crash_of_that_day_is_on_it():
    assert min(bar.low_quote for bar in load_bars("BTCUSDT")) == 49_000
    assert min(bar.low_quote for bar in load_bars("ETHUSDT")) == 2_111


def test_a_symbol_that_is_not_on_the_tape_is_refused():
    with pytest.raises(ValueError, match="not on the tape"):
        load_bars("XRPUSDT")


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_each_minute_of_the_path_has_the_figures_of_its_bar(symbol):
    path = PricePath(symbol, TICK, seed=1)
    for index, bar in enumerate(load_bars(symbol)):
        prices = path.minute_ticks(index)
        assert len(prices) == 60
        figures = (prices[0], max(prices), min(prices), prices[-1])
        assert tuple(TICK * ticks for ticks in figures) == (
            bar.open_quote,
            bar.high_quote,
            bar.low_quote,
            bar.close_quote,
        )


def test_the_path_depends_on_the_seed_and_on_nothing_else():
    forwards, backwards, other = (PricePath("BTCUSDT", TICK, seed) for seed in (1, 1, 2))
    instants = range(START_MS, START_MS + 30 * MINUTE_MS, 1_000)
    there = [forwards.price_ticks(at_ms) for at_ms in instants]
    back = [backwards.price_ticks(at_ms) for at_ms in reversed(instants)]
    assert there == back[::-1]
    assert there != [other.price_ticks(at_ms) for at_ms in instants]


def test_the_path_is_the_same_on_every_machine():
    """Golden figures: a change here changes every recorded run."""
    assert PricePath("BTCUSDT", TICK, seed=20_240_805).minute_ticks(370)[:5] == (GOLDEN)
    assert (price_at("BTC/USDT", START_MS), price_at("ETHUSDT", START_MS)) == (Decimal("52076.005"), Decimal("2289.125"))


GOLDEN = (5_207_600, 5_205_707, 5_207_310, 5_208_149, 5_208_987)


def test_instants_off_the_tape_belong_to_its_ends():
    tape = Tape()
    assert tape.last_price("BTCUSDT", TAPE_FIRST_MS - 1) == load_bars("BTCUSDT")[0].open_quote
    assert tape.last_price("BTCUSDT", TAPE_END_MS + 1) == load_bars("BTCUSDT")[-1].close_quote


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_books_are_never_crossed_and_get_deeper_away_from_the_price(symbol):
    tape, rules = Tape(), LISTINGS[symbol].rules
    for beat, at_ms in enumerate(range(START_MS, START_MS + 60 * MINUTE_MS, 7_000)):
        bids, asks = tape.quote(symbol, at_ms, beat)
        assert [price for price, _ in bids] == sorted({price for price, _ in bids}, reverse=True)
        assert [price for price, _ in asks] == sorted({price for price, _ in asks})
        assert bids[0][0] < asks[0][0]
        assert bids[0][0] <= tape.last_price(symbol, at_ms) <= asks[0][0]
        assert sum(quantity for _, quantity in bids[10:]) > sum(quantity for _, quantity in bids[:10])
        for price, quantity in [*bids, *asks]:
            assert price % rules.tick_size == 0
            assert quantity % rules.step_size == 0
            assert quantity > 0


def test_a_violent_minute_has_a_wider_spread_and_a_thinner_book():
    depth = LISTINGS["BTCUSDT"].depth
    calm, violent = (depth.quote(5_000_000, range_ticks, Random(1)) for range_ticks in (1_000, 100_000))
    assert calm[1][0][0] - calm[0][0][0] == TICK
    assert violent[1][0][0] - violent[0][0][0] == 41 * TICK
    assert calm[1][0][1] > 9 * violent[1][0][1]


def test_prices_near_zero_have_only_the_levels_that_fit():
    bids, asks = LISTINGS["BTCUSDT"].depth.quote(3, 0, Random(1))
    assert [price for price, _ in bids] == [3 * TICK, 2 * TICK, TICK]
    assert len(asks) == 20


def test_a_beat_changes_sizes_only():
    tape = Tape()
    first, second = (tape.quote("ETHUSDT", START_MS, beat) for beat in (1, 2))
    assert [price for price, _ in first[0]] == [price for price, _ in second[0]]
    assert first != second


def test_the_days_figures_come_from_complete_bars():
    tape = Tape()
    bars = load_bars("BTCUSDT")[:2]
    day = tape.day("BTCUSDT", TAPE_FIRST_MS + 2 * MINUTE_MS)
    assert day.open_quote == bars[0].open_quote
    assert day.high_quote == max(bar.high_quote for bar in bars)
    assert day.low_quote == min(bar.low_quote for bar in bars)
    assert day.volume_base == bars[0].volume_base + bars[1].volume_base
    assert tape.day("BTCUSDT", TAPE_FIRST_MS).volume_base == bars[0].volume_base
