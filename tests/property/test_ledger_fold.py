"""Whatever executors live through, the books balance, chain, count every trade once, and come out the same to the byte."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.orders import ClosedAs, Side
from streams.agents.ledger import LedgerFold
from streams.domain.numbers import MONEY
from streams.proof.verify.verification import LEDGER
from tests.unit.ledger.story import Story, entries, fold, holdings
from tests.unit.verify.world import History, raw_output

QUANTITIES = st.decimals(min_value="0.00000001", max_value="1000", places=8).map(str)
PRICES = st.decimals(min_value="0.01", max_value="100000", places=2).map(str)
FEES = st.tuples(st.decimals(min_value=0, max_value=10, places=18).map(str), st.sampled_from(["BTC", "USDT", "BNB"]))
SIDES = st.sampled_from(Side)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """An account's life: orders that fill, get lost, found, retried or refused, take-overs, flows, late reports, repeats."""
    story = Story().begun(BTC="5000", USDT="100000000", BNB="100")
    for number in range(draw(st.integers(1, 6))):
        _order(draw, story, f"o{number}")
        match draw(st.sampled_from(["", "flow", "hand", "owner", "repeat", "evidence", "stranger"])):
            case "flow":
                story.flow(f"f{number}", "USDT", draw(st.sampled_from(["1.5", "-0.000000000000000001"])))
            case "hand":
                story.hand(f"h{number}")
                story.hand_gone(f"h{draw(st.integers(0, number))}")
            case "owner":
                story.owner(story.epoch + 1)
            case "repeat":
                story.again(draw(st.sampled_from(story.records)))
            case "evidence" if story.epoch > 1:
                story.filled(f"o{number}", f"old{number}", epoch=story.epoch - 1)
            case "stranger":
                story.filled(f"s{number}", f"x{number}")
            case _:
                continue
    return story


def _order(draw: st.DrawFn, story: Story, name: str) -> None:
    quantity = draw(QUANTITIES)
    story.admitted(name, draw(SIDES), quantity)
    attempt = 1
    while draw(st.booleans()) and attempt < 4:
        story.intended(name, attempt, quantity)
        if draw(st.booleans()):
            story.unsent(name, attempt)
        else:
            story.unknown(name, attempt)
            story.absent(name, attempt)
        attempt += 1
    ending = draw(st.sampled_from(["expired", "rejected", "filled", "left"]))
    if ending == "expired":
        story.expired_unsent(name)
        return
    story.intended(name, attempt, quantity)
    if ending == "rejected":
        story.rejected(name, attempt)
    elif ending == "filled":
        _fills(draw, story, name, attempt, quantity)


def _fills(draw: st.DrawFn, story: Story, name: str, attempt: int, quantity: str) -> None:
    if draw(st.booleans()):
        story.accepted(name, attempt)
    else:
        story.unknown(name, attempt)
        story.found(name, attempt)
    parts = draw(st.integers(1, 3))
    for part in range(parts):
        fee, asset = draw(FEES)
        story.filled(name, f"t-{name}-{part}", quantity, draw(PRICES), fee, asset, attempt)
    how = draw(st.sampled_from(ClosedAs))
    story.closed(name, how, quantity, "1", attempt)


def violated(story: Story) -> set[str]:
    """What the independent checker finds in the books alone."""
    history = History()
    history.topics[LEDGER] = [raw_output(place, output) for place, output in enumerate(fold(story.records))]
    return {row.check for row in history.report().rows if row.violated}


@settings(deadline=None, max_examples=30)
@given(stories())
def test_for_each_asset_all_ledger_accounts_sum_to_zero(story: Story):
    totals: dict[str, Decimal] = {}
    for (_, asset), amount in holdings(entries(fold(story.records))).items():
        totals[asset] = MONEY.add(totals.get(asset, Decimal(0)), amount)
    assert set(totals.values()) <= {Decimal(0)}


@settings(deadline=None, max_examples=30)
@given(stories())
def test_the_independent_checker_finds_nothing_in_chain_and_fills(story: Story):
    assert not violated(story) & {"I4", "I17"}


@settings(deadline=None, max_examples=30)
@given(stories(), st.data())
def test_events_give_byte_equal_entries_however_often_and_wherever_the_fold_restarts(story: Story, data: st.DataObject):
    expected = fold(story.records)
    cut = data.draw(st.integers(0, len(story.records)))
    before = LedgerFold(0, None)
    begun = fold(story.records[:cut], before)
    after = LedgerFold(0, before.snapshot())
    assert begun + fold(story.records[cut:], after) == expected == fold(story.records)


@settings(deadline=None, max_examples=30)
@given(stories(), st.data())
def test_any_repeat_of_what_was_said_leaves_the_books_as_they_are(story: Story, data: st.DataObject):
    expected = fold(story.records)
    ledger = LedgerFold(0, None)
    told = []
    for place, record in enumerate(story.records):
        told += fold([record], ledger)
        told += fold(data.draw(st.lists(st.sampled_from(story.records[: place + 1]), max_size=2)), ledger)
    assert told == expected
