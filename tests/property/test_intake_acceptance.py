"""Whatever two or more writers do to one journal, the records that count tile every source."""

from dataclasses import dataclass, field

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import journal
from streams.domain.intake.acceptance import Acceptance, Verdict, accept
from tests.unit.intake.journals import BOOKS, TICKS, booked, entry, mark, positions, span, started

WRITERS = 3
SOURCE_LENGTH = 10_000


@dataclass
class Writer:
    """An owner as it is built: it learns from the log after its own start, then writes without looking."""

    name: str
    epoch: int = 0
    held: Acceptance | None = None

    def append(self, log: list[journal.JournalRecord], message: journal.JournalRecord) -> None:
        assert self.held is not None
        assert accept(self.held, message, len(log)).counts
        log.append(message.model_copy(update={"expected_offset": len(log)}))


def replay(log: list[journal.JournalRecord]) -> tuple[Acceptance, list[Verdict]]:
    acceptance = Acceptance()
    return acceptance, [accept(acceptance, message, offset) for offset, message in enumerate(log)]


@dataclass
class World:
    """A journal and those who write to it, in any interleaving."""

    log: list[journal.JournalRecord] = field(default_factory=list)
    writers: list[Writer] = field(default_factory=lambda: [Writer(f"{number:032x}") for number in range(WRITERS)])

    def start(self, writer: Writer) -> None:
        """Take a higher epoch, announce it, and learn from the log up to the announcement."""
        writer.epoch = replay(self.log)[0].epoch + 1
        self.log.append(started(writer.epoch, writer.name))
        writer.held = replay(self.log)[0]
        held = writer.held.positions or {TICKS: 0, BOOKS: 0}
        heads = writer.held.ledger_heads
        writer.append(
            self.log,
            positions(
                writer.epoch,
                writer.name,
                dict(held),
                ledger_sequences={account: head.sequence for account, head in heads.items()},
                ledger_hashes={account: head.entry_hash for account, head in heads.items()},
            ),
        )

    def market(self, writer: Writer, length: int) -> None:
        if writer.held is not None:
            begin = writer.held.positions[TICKS]
            writer.append(self.log, mark(writer.epoch, writer.name, begin, begin + length))

    def book(self, writer: Writer) -> None:
        if writer.held is not None:
            offset = writer.held.positions[BOOKS]
            writer.append(self.log, booked(writer.epoch, writer.name, offset, entry(offset + 1)))


STEPS = st.lists(
    st.tuples(st.sampled_from(["start", "market", "market", "book"]), st.integers(0, WRITERS - 1), st.integers(0, 9)),
    min_size=1,
    max_size=60,
)


def played(steps: list[tuple[str, int, int]]) -> World:
    world = World()
    for action, number, length in steps:
        writer = world.writers[number]
        match action:
            case "start":
                world.start(writer)
            case "market":
                world.market(writer, length)
            case _:
                world.book(writer)
    return world


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_accepted_ranges_tile_every_source_and_entries_come_once(steps: list[tuple[str, int, int]]):
    world = played(steps)
    acceptance, verdicts = replay(world.log)
    counted = {TICKS: 0, BOOKS: 0}
    entries = []
    for message, verdict in zip(world.log, verdicts, strict=True):
        if not verdict.counts:
            continue
        for source, taken in message.ranges.items():
            assert taken.offset_from == counted[source]
            counted[source] = taken.offset_to
        if isinstance(message, journal.Input):
            assert verdict is Verdict.ACCEPTED
            entries.append(message.source_offset)
    assert entries == list(range(counted[BOOKS]))
    assert acceptance.positions in ({}, counted)


@given(STEPS, st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_a_look_back_from_any_sound_positions_gives_the_state_of_the_whole_log(steps: list[tuple[str, int, int]], choice: int):
    world = played(steps)
    bases = [
        offset
        for offset, message in enumerate(world.log)
        if isinstance(message, journal.Positions) and message.expected_offset == offset
    ]
    if not bases:
        return
    base = bases[choice % len(bases)]
    message = world.log[base]
    assert isinstance(message, journal.Positions)
    late = Acceptance.at_positions(message)
    for offset in range(base + 1, len(world.log)):
        accept(late, world.log[offset], offset)
    assert late == replay(world.log)[0]


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_the_state_is_the_same_after_every_round_trip_through_json(steps: list[tuple[str, int, int]]):
    world = played(steps)
    acceptance = Acceptance()
    for offset, message in enumerate(world.log):
        accept(acceptance, message, offset)
        acceptance = Acceptance.from_plain(orjson.loads(orjson.dumps(acceptance.to_plain())))
    assert acceptance == replay(world.log)[0]


@given(STEPS, st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_no_record_of_a_replaced_writer_ever_counts(steps: list[tuple[str, int, int]], length: int):
    world = played(steps)
    acceptance, _ = replay(world.log)
    for writer in world.writers:
        if writer.held is None or (writer.epoch, writer.name) == (acceptance.epoch, acceptance.writer):
            continue
        late = mark(writer.epoch, writer.name, 0, length).model_copy(update={"ranges": {TICKS: span(0, length)}})
        before = acceptance.to_plain()
        assert not accept(acceptance, late, len(world.log)).counts
        assert acceptance.to_plain() == before
