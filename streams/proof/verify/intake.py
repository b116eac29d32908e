"""I14: what the sequencer read of each source partition is accounted for, offset by offset, in the records that count.

Which journal records count is decided here a second time: a WriterStarted with a higher epoch makes its writer the current
one, and of the others only the current writer's count.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from streams.proof.verify.facts import Raw
from streams.proof.verify.report import Tally

_PARTS = ("journalled", "conflated", "stale", "repeated", "not_needed", "dead_lettered")


@dataclass(slots=True)
class _Shard:
    """One journal partition so far: its writer, its time, and up to where each source was accounted for."""

    epoch: int = 0
    writer: str = ""
    now_ms: int = 0
    positions: dict[str, int] = field(default_factory=dict)


class Intake:
    """The journals of all shards."""

    def __init__(self) -> None:
        self.tally = Tally("I14", "each source: read = journalled + conflated + stale or repeated + not needed + dead-lettered")
        self._shards: dict[int, _Shard] = {}

    def take(self, raw: Raw) -> None:
        """Judge one journal record, if it counts."""
        if not raw.ce_type.startswith("trimtab.journal."):
            return
        shard, fields = self._shards.setdefault(raw.partition, _Shard()), raw.fields
        if raw.kind == "writer-started":
            if fields["epoch"] > shard.epoch:
                shard.epoch, shard.writer = fields["epoch"], fields["writer"]
            return
        if fields["epoch"] > shard.epoch:
            self.tally.at(raw.place, f"epoch {fields['epoch']} was never started")
        if (fields["epoch"], fields["writer"]) != (shard.epoch, shard.writer):
            return
        shard.now_ms = max(shard.now_ms, fields["sequenced_at_ms"])
        for what in i14(shard.positions, raw):
            self.tally.at(raw.place, what)
        ranges = fields.get("ranges", {})
        self.tally.items += len(ranges)
        shard.positions.update({source: taken["offset_to"] for source, taken in ranges.items()})
        if raw.kind == "positions":
            shard.positions.update(fields["positions"])
        elif raw.kind == "source-gap":
            shard.positions[fields["source"]] = fields["gap_to"]

    def now_ms(self, shard: int | None) -> int:
        """The newest time in the journal of a shard, 0 where there is none."""
        return self._shards[shard].now_ms if shard in self._shards else 0


def i14(positions: dict[str, int], raw: Raw) -> Iterator[str]:
    """What is wrong with the accounts of one journal record that counts."""
    fields, carried = raw.fields, 0
    for source, taken in fields.get("ranges", {}).items():
        begin, end = taken["offset_from"], taken["offset_to"]
        if positions.get(source, begin) != begin:
            yield f"{source} goes on at {begin}, accounted for up to {positions[source]}"
        parts = sum(taken.get(part, 0) for part in _PARTS)
        if parts != end - begin:
            yield f"{source} [{begin}, {end}): {parts} offsets accounted for of {end - begin}"
        carried += taken.get("journalled", 0)
    carries = len(fields.get("quotes", ())) if raw.kind == "market-batch" else int(raw.kind == "input")
    if carried != carries:
        yield f"{carried} offsets are said to be journalled, the record carries {carries}"
    if raw.kind == "input":
        taken = fields.get("ranges", {}).get(fields["source"])
        if taken is None or taken["offset_to"] != fields["source_offset"] + 1:
            yield f"{fields['source']} {fields['source_offset']} is not the end of its range"
    elif raw.kind == "positions":
        for source, position in fields["positions"].items():
            if positions.get(source, position) != position:
                yield f"{source} is said to stand at {position}, accounted for up to {positions[source]}"
    elif raw.kind == "source-gap" and positions.get(fields["source"], fields["gap_from"]) != fields["gap_from"]:
        yield f"{fields['source']}: a gap begins at {fields['gap_from']}, accounted for up to {positions[fields['source']]}"
