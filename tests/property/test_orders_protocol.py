"""The order protocol under arbitrary orders of events: I1, I2, I4, I5, I11, I16 hold after every step, and all drains."""

from collections import Counter

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.orders import CommandAdmitted, OrderAbsent, OrderClosed, OrderFound, OrderIntended
from streams.lab.invariants import Violation
from tests.property.orders_world import World

_SYMBOLS = st.sampled_from(["BTC/USDT", "ETH/USDT"])
_INDEX = st.integers(0, 7)
_ACTIONS = st.one_of(
    st.tuples(st.just("give"), _SYMBOLS),
    st.tuples(st.just("give_cancel"), _INDEX),
    st.tuples(st.just("repeat"), _INDEX),
    st.tuples(st.just("read_command")),
    st.tuples(st.just("read_command")),
    st.tuples(st.just("read_back")),
    st.tuples(st.just("read_back")),
    st.tuples(st.just("arrive"), _INDEX, st.sampled_from(["none", "half", "full"]), st.integers(0, 2000), st.booleans()),
    st.tuples(st.just("read_back_again"), _INDEX),
    st.tuples(st.just("fill_rest"), _INDEX),
    st.tuples(st.just("hear"), _INDEX),
    st.tuples(st.just("hear"), _INDEX),
    st.tuples(st.just("lose"), _INDEX),
    st.tuples(st.just("not_connected")),
    st.tuples(st.just("answer"), _INDEX),
    st.tuples(st.just("time_out")),
    st.tuples(st.just("look"), _INDEX, st.booleans()),
    st.tuples(st.just("look"), _INDEX, st.just(False)),
    st.tuples(st.just("wait"), st.sampled_from([1, 90, 400, 1100, 2500, 5000])),
    st.tuples(st.just("refresh")),
    st.tuples(st.just("take_over")),
    st.tuples(st.just("superseded")),
    st.tuples(st.just("toggle_halt")),
)
_NEEDS_COMMANDS = ("give_cancel", "repeat")


# Found once: two cancels of one command that was never sent, due in the same step.
TWO_CANCELS: list[tuple] = [
    ("read_command",),
    ("read_command",),
    ("refresh",),
    ("give", "BTC/USDT"),
    ("read_command",),
    ("give", "BTC/USDT"),
    ("give", "BTC/USDT"),
    ("give", "BTC/USDT"),
    ("give_cancel", 0),
    ("give_cancel", 0),
]

# Found once: an order is canceled by a halt, and the next owner cancels it again within the same millisecond.
CANCELED_AGAIN: list[tuple] = [("read_back",), ("arrive", 0, "none", 0, False), ("answer", 0), ("toggle_halt",)]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_ACTIONS, min_size=10, max_size=50))
@example(TWO_CANCELS)
@example(CANCELED_AGAIN)
def test_1_4_whatever_happens_in_whatever_order_the_invariants_hold_and_all_drains(actions: list[tuple]) -> None:
    try:
        play(actions)
    except Violation as broken:
        raise AssertionError(str(broken)) from broken  # an ordinary failure, which can be shrunk


def play(actions: list[tuple]) -> None:
    world = World()
    world.give("BTC/USDT")
    world.read_command()
    for name, *arguments in actions:
        if name not in _NEEDS_COMMANDS or world.commands:
            getattr(world, name)(*arguments)
    world.drain()


def test_1_4_the_world_reaches_the_rare_states() -> None:
    """A check that cannot fail is a defect: the stories that the property is about do happen in this world."""
    seen: Counter[str] = Counter()

    found = World()
    found.give("BTC/USDT")
    found.read_command()
    found.read_back()
    found.arrive(0, "full", 1500, True)
    found.answer(0)
    found.drain()
    absent = World()
    absent.give("BTC/USDT")
    absent.read_command()
    absent.read_back()
    absent.lose(0)
    absent.answer(0)
    absent.drain()
    inherited = World()
    inherited.give("BTC/USDT")
    inherited.read_command()
    inherited.read_back()
    inherited.take_over()
    inherited.arrive(0, "half", 0, False)
    inherited.drain()
    for world in (found, absent, inherited):
        seen.update(type(event).__name__ for _, event in world.log)
    assert seen[OrderFound.__name__] == 2
    assert seen[OrderAbsent.__name__] == 1
    assert seen[OrderIntended.__name__] == 4
    assert seen[OrderClosed.__name__] == seen[CommandAdmitted.__name__] == 3
