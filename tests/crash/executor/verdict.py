"""What became of a lane's commands, by the venue's own journal, the log of events, and the books made of it."""

from collections import Counter, defaultdict
from dataclasses import asdict, astuple, dataclass
from typing import Any

from schemas.codec import decode
from schemas.envelope import Envelope
from schemas.ledger import EntryKind, LedgerEntry
from schemas.orders import OrderIntended, OwnerStarted
from streams.agents.ledger import LedgerFold
from streams.matching.journal import Entry
from streams.ports import Record

ENDS = frozenset(
    {EntryKind.CLOSED, EntryKind.REJECTED, EntryKind.NOT_ADMITTED, EntryKind.EXPIRED_UNSENT, EntryKind.CANCEL_ENDED}
)


@dataclass
class Verdict:
    """Counts. `late`: accepted after the next owner's OwnerStarted, but for requests whose bytes had all left before;
    `void`: their INTENT even lies behind it; `overdue`: accepted after timestamp and window in the venue's time; `twice`:
    commands with more than one accepted order; `lost`: commands without an end, fills that books and venue do not share."""

    accepted: int = 0
    late: int = 0
    void: int = 0
    overdue: int = 0
    twice: int = 0
    lost: int = 0

    @property
    def clean(self) -> bool:
        return not (self.late or self.void or self.overdue or self.twice or self.lost)

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(*(mine + others for mine, others in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Verdict") -> "Verdict":
        return Verdict(*(mine - others for mine, others in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in asdict(self).items())


def judge(
    account: str,
    commands: list[str],
    records: list[Record],
    journal: list[Entry],
    offset_ms: int,
    left_before: frozenset[str] = frozenset(),
    *,
    books: bool = True,
) -> Verdict:
    """`records` are the account's events; `offset_ms` is the venue's clock against ours; `left_before` are client ids whose
    bytes had all left when the take-over came. Without `books` nothing is looked for that was lost: what executors wrote that
    lack a part of the fence, no ledger folds."""
    intents: dict[str, list[tuple[OrderIntended, int]]] = defaultdict(list)
    owners: list[tuple[int, int, int]] = []
    for record in records:
        event: Any = decode(Envelope.read(record.headers).type, record.value)
        if isinstance(event, OwnerStarted):
            owners.append((event.epoch, record.offset, event.at_ms))
        if isinstance(event, OrderIntended):
            intents[event.client_order_id].append((event, record.offset))
    verdict = Verdict()
    executed: Counter[str] = Counter()
    for entry in journal:
        if entry.kind != "order_accepted" or entry.body["account"] != account:
            continue
        intent, offset = _cause(intents[str(entry.body["client_order_id"])], entry, owners)
        executed[intent.command_id] += 1
        verdict.accepted += 1
        above = [owner for owner in owners if owner[0] > intent.epoch]
        verdict.void += any(started < offset for _, started, _ in above)
        left = intent.client_order_id in left_before
        verdict.late += not left and any(entry.at_ms - offset_ms > at_ms for _, _, at_ms in above)
        verdict.overdue += entry.at_ms > intent.timestamp_ms + intent.window_ms
    verdict.twice = sum(count - 1 for count in executed.values() if count > 1)
    verdict.lost = _lost(account, commands, records, journal) if books else 0
    return verdict


def _cause(
    intents: list[tuple[OrderIntended, int]], entry: Entry, owners: list[tuple[int, int, int]]
) -> tuple[OrderIntended, int]:
    """The intent whose request the venue accepted. Two owners give an attempt one id, when the later one could not know of the
    earlier one's intent: the request then is that of the intent whose window it was in, and which was not void."""

    def unlikely(candidate: tuple[OrderIntended, int]) -> tuple[bool, bool]:
        intent, offset = candidate
        outside = not intent.timestamp_ms <= entry.at_ms <= intent.timestamp_ms + intent.window_ms
        return outside, any(epoch > intent.epoch and started < offset for epoch, started, _ in owners)

    return min(intents, key=unlikely)


def _lost(account: str, commands: list[str], records: list[Record], journal: list[Entry]) -> int:
    """Commands that did not end in exactly one entry of the books, and trades that only one side knows."""
    fold = LedgerFold(records[0].partition, None)
    entries: list[LedgerEntry] = []
    for record in records:
        for output in fold.step(record):
            entry = decode(LedgerEntry.ce_type(), output.value)
            assert isinstance(entry, LedgerEntry)
            entries.append(entry)
    ends = Counter(entry.command_id for entry in entries if entry.kind in ENDS)
    booked = {entry.trade_id for entry in entries if entry.trade_id is not None}
    traded = {str(entry.body["trade_id"]) for entry in journal if entry.kind == "fill" and entry.body["account"] == account}
    return sum(ends[command] != 1 for command in commands) + len(booked ^ traded)
