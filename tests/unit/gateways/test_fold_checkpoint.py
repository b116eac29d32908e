"""4: the form of a checkpoint in its changelog."""

import random

import pytest

from streams.gateways.faust.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointWriter,
    Found,
    Generation,
    find_checkpoint,
)

NOTHING = Found(None, 0, ())
View = dict[bytes, bytes | None]


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def land(view: View, generation: Generation, header: bool = True, stale: bool = True) -> None:
    """What a compacted topic shows after these records."""
    view.update(generation.chunks)
    if header:
        view.update([generation.header])
    if stale:
        view.update((key, None) for key in generation.stale)


def test_a_small_state_is_one_record() -> None:
    generation = CheckpointWriter(3, NOTHING).encode(Checkpoint("v1", 42, b'{"a":1}'))
    view: View = {}
    land(view, generation)
    assert generation.chunks == ()
    assert len(view) == 1
    assert find_checkpoint(view, 3).checkpoint == Checkpoint("v1", 42, b'{"a":1}')


def test_a_large_state_is_chunks_and_then_a_header() -> None:
    checkpoint = Checkpoint("v1", 42, noise(10_000))
    generation = CheckpointWriter(0, NOTHING, chunk_bytes=1000).encode(checkpoint)
    view: View = {}
    land(view, generation)
    assert len(generation.chunks) == 11
    assert all(len(value) <= 1000 for _, value in generation.chunks)
    assert find_checkpoint(view, 0).checkpoint == checkpoint


def test_chunks_without_a_header_are_no_checkpoint() -> None:
    view: View = {}
    land(view, CheckpointWriter(0, NOTHING, chunk_bytes=1000).encode(Checkpoint("v1", 42, noise(5000))), header=False)
    found = find_checkpoint(view, 0)
    assert found.checkpoint is None
    assert found.epoch_max == 1


def test_a_writer_that_dies_inside_a_generation_leaves_the_one_before() -> None:
    writer = CheckpointWriter(0, NOTHING, chunk_bytes=1000)
    view: View = {}
    states = [noise(5000, seed) for seed in range(5)]
    for number, state in enumerate(states[:-1]):
        land(view, writer.encode(Checkpoint("v1", number, state)))
    land(view, writer.encode(Checkpoint("v1", 4, states[4])), header=False, stale=False)
    assert find_checkpoint(view, 0).checkpoint == Checkpoint("v1", 3, states[3])


def test_own_generations_and_what_was_inherited_are_cleaned_up_but_never_the_newest_two() -> None:
    view: View = {}
    land(view, CheckpointWriter(0, NOTHING, chunk_bytes=1000).encode(Checkpoint("v1", 1, noise(5000))))
    inherited = set(view)
    writer = CheckpointWriter(0, find_checkpoint(view, 0), chunk_bytes=1000)
    for number in range(2, 10):
        land(view, writer.encode(Checkpoint("v1", number, noise(5000, number))))
        live = {key for key, value in view.items() if value is not None}
        assert (inherited <= live) == (number < 4)
        assert len(live - inherited) <= 2 * 6 + 1
        assert find_checkpoint(view, 0).checkpoint == Checkpoint("v1", number, noise(5000, number))


def test_a_late_checkpoint_of_a_former_owner_is_older_and_never_mixed() -> None:
    # Given two owners that recovered the same view, so that both have the same epoch
    view: View = {}
    land(view, CheckpointWriter(0, NOTHING, chunk_bytes=1000).encode(Checkpoint("v1", 1, noise(4000))))
    found = find_checkpoint(view, 0)
    former, owner = CheckpointWriter(0, found, chunk_bytes=1000), CheckpointWriter(0, found, chunk_bytes=1000)
    late = former.encode(Checkpoint("v1", 2, noise(4000, 2)))
    # When the former one wakes between any two records of the owner's generations
    for number in range(3, 9):
        land(view, owner.encode(Checkpoint("v1", number, noise(4000, number))))
    land(view, late)
    # Then the owner's newest is still what is found
    assert find_checkpoint(view, 0).checkpoint == Checkpoint("v1", 8, noise(4000, 8))


def test_the_epoch_grows_past_everything_seen() -> None:
    view: View = {b"0/c/7/abc/0/0": b"orphan", b"0/h/5/abc": None}
    found = find_checkpoint(view, 0)
    assert found.epoch_max == 7
    key, _ = CheckpointWriter(0, found).encode(Checkpoint("v1", 0, b"")).header
    assert key.startswith(b"0/h/8/")


def test_other_partitions_are_not_read() -> None:
    view: View = {}
    land(view, CheckpointWriter(1, NOTHING).encode(Checkpoint("v1", 9, b"one")))
    land(view, CheckpointWriter(11, NOTHING).encode(Checkpoint("v1", 8, b"eleven")))
    assert find_checkpoint(view, 1).checkpoint == Checkpoint("v1", 9, b"one")
    assert find_checkpoint(view, 2) == Found(None, 0, ())


@pytest.mark.parametrize("what", ["cut", "swapped", "schema", "header", "chunk"])
def test_damage_is_an_error_and_never_an_empty_shard(what: str) -> None:
    writer = CheckpointWriter(0, NOTHING, chunk_bytes=1000)
    generation = writer.encode(Checkpoint("v1", 3, noise(3500)))
    view: View = {}
    land(view, generation)
    header, value = generation.header
    if what == "cut":
        view[generation.chunks[-1][0]] = generation.chunks[-1][1][:-10]
    elif what == "swapped":
        other = CheckpointWriter(0, NOTHING, chunk_bytes=1000).encode(Checkpoint("v1", 3, noise(3500, 2)))
        view.update((mine[0], theirs[1]) for mine, theirs in zip(generation.chunks, other.chunks, strict=True))
    elif what == "schema":
        view[header] = value.replace(b'"schema":1', b'"schema":2')
    elif what == "header":
        view[header] = b"not json"
    else:
        view[generation.chunks[0][0]] = None
    with pytest.raises(CheckpointError):
        find_checkpoint(view, 0)
