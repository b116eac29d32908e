"""A look back over a journal's tail: what its accepted records amount to, without reading it from the start."""

from schemas import journal
from schemas.envelope import Headers
from streams.domain.errors import InvariantError, RefusedError
from streams.domain.intake.acceptance import Acceptance, accept, journal_record
from streams.ports.log import Log, Record
from streams.topics import PORTFOLIO_JOURNAL

CHUNK = 512
GROWTH = 4


def read_journal(record: Record) -> journal.JournalRecord:
    """The message of a journal record. Raises InvariantError."""
    return journal_record(_ce_type(record.headers), record.value)


async def read_tail(log: Log, shard: int, upto: int) -> Acceptance:
    """The acceptance state of a shard's journal below offset `upto`.

    Begins at the newest Positions that lies at the offset its writer expected: by induction from its own WriterStarted,
    nobody whose epoch counts wrote in between. A Positions elsewhere may be a late record of a paused owner. Raises
    RefusedError when there is none and the journal's beginning is gone.
    """
    begin = await log.begin_offset(PORTFOLIO_JOURNAL, shard)
    offset_from, size = upto, CHUNK
    found: list[tuple[int, journal.JournalRecord]] = []
    while offset_from > begin:
        older_to, offset_from = offset_from, max(begin, offset_from - size)
        records = await log.read(PORTFOLIO_JOURNAL, shard, offset_from, older_to)
        older = [(record.offset, read_journal(record)) for record in records]
        base = _base(older)
        if base is not None:
            acceptance = Acceptance.at_positions(older[base][1])  # pyright: ignore[reportArgumentType]  _base chose its type
            return _fold(acceptance, older[base + 1 :] + found)
        found = older + found
        size *= GROWTH
    if begin > 0:
        raise RefusedError(
            f"{PORTFOLIO_JOURNAL}:{shard} begins at {begin} and holds no Positions to begin from: restore it from the archive"
        )
    return _fold(Acceptance(), found)


def _base(records: list[tuple[int, journal.JournalRecord]]) -> int | None:
    for index in range(len(records) - 1, -1, -1):
        offset, message = records[index]
        if isinstance(message, journal.Positions) and message.expected_offset == offset:
            return index
    return None


def _fold(acceptance: Acceptance, records: list[tuple[int, journal.JournalRecord]]) -> Acceptance:
    for offset, message in records:
        accept(acceptance, message, offset)
    return acceptance


def _ce_type(headers: Headers) -> str:
    for name, value in headers:
        if name == "ce_type":
            return value.decode(errors="replace")
    raise InvariantError("a journal record has no ce_type header")
