"""4.4: what the checker says of the lives of commands (I1, I2, I5, I11)."""

from schemas.ledger import OrderState
from schemas.orders import ClosedAs
from streams.domain.ids import client_order_id, digest_id
from streams.domain.orders.lifecycle import LEGAL, Happened
from streams.proof.verify.lives import ENDED, NEXT
from streams.proof.verify.verification import COMMANDS, EVENTS
from tests.unit.verify.lies import failed, seen_before_events
from tests.unit.verify.world import History, World, raw_record


def test_i1_two_orders_for_one_command_of_which_one_was_proven_absent(world: World):
    world.accepted("b", attempt=1)
    found = failed(world.history())["I1"]
    assert "2 orders were accepted" in found
    assert "says it is absent" in found


def test_i1_an_order_is_said_to_be_absent_after_the_venue_accepted_it(world: World):
    world.story.admitted("c")
    world.story.intended("c")
    world.story.rejected("c")
    world.accepted("c")
    assert "says it is rejected" in failed(world.history())["I1"]
    seen_before_events(world.journal)
    assert "is said to be rejected, but the venue accepted it" in failed(world.history())["I1"]


def test_i1_an_order_without_an_intent(world: World):
    world.accepted("nobody")
    client = client_order_id(digest_id("nobody"), 1)
    where = f"venue's journal:{len(world.journal)}"
    assert failed(world.history()) == {"I1": f"{where}: {client} of main was accepted without an INTENT"}


def test_i1_a_second_attempt_without_proof_of_absence(history: History):
    history.drop(history.of(EVENTS, "absent"))
    assert "attempt 2 without proof that 1 is absent" in failed(history)["I1"]


def test_i1_attempts_that_do_not_count_up(history: History):
    history.change(history.of(EVENTS, "intended", 2), attempt=5)
    assert failed(history).keys() == {"I1"}
    assert "attempt 5 follows attempt 1" in failed(history)["I1"]


def test_i1_other_peoples_orders_are_not_ours(world: World):
    world.line("order_accepted", account="main", client_order_id="by-hand-1")
    world.line("order_accepted", account="stranger", client_order_id=client_order_id(digest_id("z"), 1))
    world.line("order_closed", account="main", client_order_id=client_order_id(digest_id("a"), 1))
    world.line("halted")
    assert world.history().report().passed


def test_i1_the_venues_clock_may_be_behind(world: World):
    seen_before_events(world.journal)
    assert world.history().report().passed


def test_i2_open_unknown_and_young_commands_have_not_ended(world: World):
    for name, word in (("c", "accepted"), ("d", "unknown"), ("e", "")):
        world.story.admitted(name, quantity="0.1")
        world.story.intended(name, quantity="0.1")
        if word:
            getattr(world.story, word)(name)
        if word != "unknown":
            world.accepted(name)
    assert failed(world.history()).keys() == {"I16"}, "only that e was intended in doubt"


def test_i2_a_new_owner_is_given_time(world: World):
    world.story.admitted("c")
    world.story.at_ms += 90_000
    world.story.owner(epoch=3)
    world.story.halted()
    assert world.history().report().passed


def test_i2_a_command_is_answered_once(world: World):
    world.story.not_admitted("c")
    history = world.history()
    world.story.not_admitted("c")
    world.story.admitted("a")
    history.topics[EVENTS] = [raw_record(record) for record in world.story.records]
    assert failed(history)["I2"].count("had ended before") == 2


def test_i5_nothing_but_fills_after_the_end(world: World):
    history = world.history()
    history.topics[EVENTS].append(raw_record(world.story.accepted("a")))
    assert failed(history).keys() == {"I5"}
    assert "had ended and cannot be accepted" in failed(history)["I5"]


def test_i5_the_graph_that_is_written_twice_is_one_graph():
    words = {Happened.FILL: "filled"}

    def plain(state: OrderState | None) -> str:
        return "" if state is None else state.value

    ours: dict[str, dict[str, str]] = {}
    for (state, happened), step in LEGAL.items():
        if state is None or state.value not in ENDED:
            word = words.get(happened, happened.value.replace("_", "-"))
            ours.setdefault(plain(state), {})[word] = step.state.value
    assert ours == NEXT


def test_i11_an_epoch_that_nobody_announced(history: History):
    history.change(history.of(EVENTS, "closed"), epoch=7)
    found = failed(history)
    assert "epoch 7 of main was never announced" in found["I11"]


def test_i11_an_order_accepted_after_its_window(world: World):
    world.accepted("a")
    line = next(line for line in world.journal if line["kind"] == "order_accepted")
    world.journal.pop()
    line["at_ms"] += 5_000
    found = failed(world.history())
    assert found.keys() == {"I11"}
    assert "ms after the window" in found["I11"]


def test_i11_an_attempt_of_two_owners_is_the_newer_ones(world: World):
    """A former owner's INTENT lands late, and the newer owner intends the same attempt under the same client order id."""
    world.story.admitted("c")
    world.story.intended("c", epoch=1)
    world.story.intended("c")
    world.accepted("c")
    assert world.history().report().passed


def test_a_repeat_of_an_event_changes_nothing(world: World):
    for record in list(world.story.records):
        world.story.again(record)
    history = world.history()
    history.topics[COMMANDS] = history.topics[COMMANDS][:2]
    assert history.report().passed


def test_cancels_are_commands_too_and_the_executors_own_have_no_author(world: World):
    story = world.story
    story.admitted("c")
    story.intended("c")
    world.accepted("c")
    story.accepted("c")
    cancel = {"side": None, "quantity_base": None, "price_limit_quote": None, "price_mid_quote": None}
    story.admitted("x", command_type="orders.cancel", target_command_id=digest_id("c"), own_cause="halted", **cancel)
    story.cancel_intended("x", "c")
    story.closed("c", ClosedAs.CANCELED, base="0", quote="0")
    story.cancel_ended("x", "c")
    history = world.history()
    assert history.report().passed, history.report().text()
