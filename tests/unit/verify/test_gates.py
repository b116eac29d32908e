"""4.4: what the checker says of what must be true before a request (I8, I9, I10, I16)."""

from base64 import b64encode
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.control import KeyPurpose, KeyTrusted, StopKind, TradingResumed, TradingStopped
from schemas.orders import Side
from streams.domain.ids import digest_id
from streams.proof.verify.verification import COMMANDS, CONTROL, EVENTS
from tests.unit.ledger.story import START_MS
from tests.unit.verify.lies import failed, limits_set
from tests.unit.verify.world import AGE_MS_MAX, KEY_IDS, LONG_AGO_MS, PRIVATE, History, World, said


def test_i8_a_command_that_allows_older_inputs_than_its_policy(history: History):
    history.sign(history.topics[COMMANDS][0], input_age_ms_max=AGE_MS_MAX + 1)
    assert "its policy 5000" in failed(history)["I8"]


def test_i8_a_command_decided_on_an_old_input(history: History):
    command = history.topics[COMMANDS][0]
    history.sign(command, oldest_received_at_ms=command.fields["decided_at_ms"] - AGE_MS_MAX - 1)
    assert "decided on an input 5001 ms old" in failed(history)["I8"]


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("symbols", ("ETH/USDT",), "not among the allowed symbols"),
        ("order_notional_max_quote", Decimal(25_249), "notional 25250.0 is above 25249"),
        ("price_collar", Decimal("0.009"), "worse than the mid 50000 by more than the collar 0.009"),
        ("open_orders_max", 0, "1 open orders are more than 0"),
        ("turnover_5min_max_quote", Decimal(49_999), "turnover 50000.0 in 5min is above 49999"),
        ("turnover_day_max_quote", Decimal(49_999), "turnover 50000.0 in day is above 49999"),
    ],
)
def test_i9_each_limit(world: World, limit: str, value: Any, words: str):
    history = world.history()
    history.topics[CONTROL][2] = limits_set(LONG_AGO_MS, **{limit: value})
    found = failed(history)
    assert found.keys() == {"I9"}
    assert words in found["I9"]


def test_i9_an_intent_for_more_than_was_admitted_and_one_without_limits(history: History):
    history.change(history.of(EVENTS, "intended"), quantity_base="0.6")
    assert "is more than was admitted" in failed(history)["I9"]
    history.drop(history.topics[CONTROL][2])
    assert "no limits were set for main" in failed(history)["I9"]


def test_i9_an_order_without_a_limit_price(world: World):
    world.story.admitted("c", price_limit_quote=None)
    found = failed(world.history())
    assert found.keys() == {"I9"}
    assert "has no collar" in found["I9"]


def test_i9_a_limit_is_given_time_to_be_heard(history: History):
    tight = limits_set(START_MS, offset=3, order_notional_max_quote=Decimal(1))
    history.topics[CONTROL].append(tight)
    assert history.report().passed
    history.topics[CONTROL][-1] = limits_set(START_MS - 20_000, offset=3, order_notional_max_quote=Decimal(1))
    assert failed(history).keys() == {"I9"}


def test_i9_turnover_is_forgotten_after_its_time(world: World):
    history = world.history()
    history.topics[CONTROL][2] = limits_set(LONG_AGO_MS, turnover_5min_max_quote=Decimal(80_000))
    assert history.report().passed
    world.order("c", Side.BUY, "0.7", "50000", fee="0", trade=3)
    history = world.history()
    history.topics[CONTROL][2] = limits_set(LONG_AGO_MS, turnover_5min_max_quote=Decimal(80_000))
    assert failed(history).keys() == {"I9"}
    later = World.made()
    later.story.at_ms += 301_000
    later.order("c", Side.BUY, "0.7", "50000", fee="0", trade=3)
    history = later.history()
    history.topics[CONTROL][2] = limits_set(LONG_AGO_MS, turnover_5min_max_quote=Decimal(80_000))
    assert history.report().passed, history.report().text()


def test_i10_in_trials_what_nobody_signed_is_accepted_and_counted(history: History):
    for topic in (COMMANDS, CONTROL):
        history.topics[topic] = [replace(raw, signature=b"", key_id="") for raw in history.topics[topic]]
    history.setting = replace(history.setting, dev=True, trusted=None)
    report = history.report()
    assert report.passed
    assert "note: unsigned accepted: dev (5 commands and control events)" in report.text()
    history.setting = replace(history.setting, dev=False)
    assert "it carries no signature" in failed(history)["I10"]


def test_i10_keys_end_have_purposes_and_are_known_or_not(history: History):
    keys = dict(history.setting.trusted or {})
    commands = keys[KEY_IDS[KeyPurpose.COMMANDS]]
    for key, words in (
        (replace(commands, purpose="control"), "is trusted for control, not for commands"),
        (replace(commands, valid_until_ms=START_MS), "was not valid at"),
        (None, "is not trusted"),
    ):
        trusted = {key_id: one for key_id, one in keys.items() if one is not commands}
        if key is not None:
            trusted[KEY_IDS[KeyPurpose.COMMANDS]] = key
        history.setting = replace(history.setting, trusted=trusted)
        assert words in failed(history)["I10"]


def test_i10_a_key_that_control_recorded_counts_if_a_trusted_key_signed_it(world: World):
    history = world.history()
    keys = dict(history.setting.trusted or {})
    del keys[KEY_IDS[KeyPurpose.COMMANDS]]
    history.setting = replace(history.setting, trusted=keys)
    public_key = b64encode(PRIVATE.public_key().public_bytes_raw()).decode()
    message = KeyTrusted(
        scope="all", at_ms=LONG_AGO_MS, who="ada", key_id=KEY_IDS[KeyPurpose.COMMANDS], purpose=KeyPurpose.COMMANDS,
        public_key=public_key, valid_from_ms=0, valid_until_ms=START_MS + 10**9,
    )  # fmt: skip
    recorded = said(CONTROL, 9, "all", message, LONG_AGO_MS)
    history.topics[CONTROL].append(recorded)
    assert history.report().passed
    history.topics[CONTROL][-1] = replace(recorded, signature=bytes(64))
    assert failed(history).keys() == {"I10"}


def test_i10_an_admission_that_names_no_command_another_one_and_another_price(world: World):
    history = world.history()
    first, second = history.topics[COMMANDS]
    history.topics[COMMANDS] = [second]
    assert "no command of main lies at offset" in failed(history)["I10"]
    history.topics[COMMANDS] = [first, second]
    history.sign(second, command_id=digest_id("other"))
    assert "is another command" in failed(history)["I10"]
    history = world.history()
    history.sign(history.topics[COMMANDS][1], price_limit_quote="49000")
    assert "price_limit_quote is 49500, the command" in failed(history)["I10"]


@pytest.mark.parametrize("scope", ["all", "account:main", "portfolio:alpha", "venue:sim"])
def test_i16_while_an_operator_has_stopped_trading(history: History, scope: str):
    stop = TradingStopped(scope=scope, at_ms=START_MS - 20_000, who="ada", halt_id=digest_id("h"), kind=StopKind.FREEZE)
    history.topics[CONTROL].append(said(CONTROL, 3, scope, stop, stop.at_ms))
    assert failed(history).keys() == {"I16"}
    resume = TradingResumed(scope=scope, at_ms=START_MS - 10_000, who="ada", halt_ids=(digest_id("h"),))
    history.topics[CONTROL].append(said(CONTROL, 4, scope, resume, resume.at_ms))
    assert history.report().passed


def test_i16_an_operators_clock_makes_no_violation_and_hides_none(history: History):
    """What he says counts from when the broker took it; before, a slow clock stopped backwards, and a fast one resumed late."""
    stop = TradingStopped(scope="all", at_ms=START_MS - 300_000, who="ada", halt_id=digest_id("h"), kind=StopKind.HALT)
    history.topics[CONTROL].append(said(CONTROL, 3, "all", stop, START_MS + 20_000))
    assert history.report().passed
    history.topics[CONTROL][-1] = said(CONTROL, 3, "all", stop, START_MS - 60_000)
    resume = TradingResumed(scope="all", at_ms=START_MS + 300_000, who="ada", halt_ids=(digest_id("h"),))
    history.topics[CONTROL].append(said(CONTROL, 4, "all", resume, START_MS - 20_000))
    assert history.report().passed
    fast = stop.model_copy(update={"at_ms": START_MS + 300_000, "halt_id": digest_id("i")})
    history.topics[CONTROL].append(said(CONTROL, 5, "all", fast, START_MS - 15_000))
    assert failed(history).keys() == {"I16"}


def test_i16_a_stop_of_somebody_else_of_a_stranger_and_one_that_was_just_said_stop_nothing(history: History):
    stop = TradingStopped(scope="venue:other", at_ms=LONG_AGO_MS, who="ada", halt_id=digest_id("h"), kind=StopKind.HALT)
    young = stop.model_copy(update={"scope": "all", "at_ms": START_MS, "halt_id": digest_id("i")})
    stranger = stop.model_copy(update={"scope": "all", "halt_id": digest_id("j")})
    history.topics[CONTROL] += [said(CONTROL, 3, "x", stop, stop.at_ms), said(CONTROL, 4, "x", young, young.at_ms)]
    history.topics[CONTROL].append(replace(said(CONTROL, 5, "x", stranger, stranger.at_ms), signature=bytes(64)))
    assert history.report().passed


def test_i16_while_the_account_is_halted_and_not_after_it_was_resumed(world: World):
    world.story.halted()
    world.story.admitted("c")
    world.story.intended("c")
    assert "intended while main is halted" in failed(world.history())["I16"]
    world = World.made()
    world.story.halted()
    world.story.resumed()
    world.story.admitted("c")
    world.story.intended("c")
    assert world.history().report().passed
