"""What became of a lane's commands, by the venue's own journal, the log of events, and the books made of it."""

from collections import Counter
from dataclasses import asdict, astuple, dataclass

from schemas.orders import OrderIntended, OwnerStarted
from streams.matching.journal import Entry
from tests.crash.executor.told import Told


@dataclass
class Verdict:
    """Counts. `missed`: commands that nobody got to the venue in time, as when no lease could be proven; `late`:
    accepted after the next owner's OwnerStarted, but for requests whose bytes had all left before; `void`: their INTENT even
    lies behind it; `overdue`: accepted after timestamp and window in the venue's time; `twice`: commands with more than one
    accepted order; `lost`: commands without an end, fills that books and venue do not share."""

    accepted: int = 0
    missed: int = 0
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
    told: Told,
    journal: list[Entry],
    offset_ms: int,
    left_before: frozenset[str] = frozenset(),
    *,
    books: bool = True,
) -> Verdict:
    """`told` are the account's events; `offset_ms` is the venue's clock against ours; `left_before` are client ids whose
    bytes had all left when the take-over came. Without `books` nothing is looked for that was lost: what executors wrote that
    lack a part of the fence, no ledger folds."""
    verdict = Verdict()
    executed: Counter[str] = Counter()
    for entry in journal:
        if entry.kind != "order_accepted" or entry.body["account"] != account:
            continue
        intent, offset = _cause(told.intents_of_order[str(entry.body["client_order_id"])], entry, told.owners)
        executed[intent.command_id] += 1
        verdict.accepted += 1
        above = [(started, place) for started, place in told.owners if started.epoch > intent.epoch]
        verdict.void += any(place < offset for _, place in above)
        left = intent.client_order_id in left_before
        verdict.late += not left and any(entry.at_ms - offset_ms > started.at_ms for started, _ in above)
        verdict.overdue += entry.at_ms > intent.timestamp_ms + intent.window_ms
    verdict.missed = len(told.missed)
    verdict.twice = sum(count - 1 for count in executed.values() if count > 1)
    verdict.lost = _lost(account, commands, told, journal) if books else 0
    return verdict


def _cause(
    intents: list[tuple[OrderIntended, int]], entry: Entry, owners: list[tuple[OwnerStarted, int]]
) -> tuple[OrderIntended, int]:
    """The intent whose request the venue accepted. Two owners give an attempt one id, when the later one could not know of the
    earlier one's intent: the request then is that of the intent whose window it was in, and which was not void."""

    def unlikely(candidate: tuple[OrderIntended, int]) -> tuple[bool, bool]:
        intent, offset = candidate
        outside = not intent.timestamp_ms <= entry.at_ms <= intent.timestamp_ms + intent.window_ms
        return outside, any(started.epoch > intent.epoch and place < offset for started, place in owners)

    return min(intents, key=unlikely)


def _lost(account: str, commands: list[str], told: Told, journal: list[Entry]) -> int:
    """Commands that did not end in exactly one entry of the books, and trades that only one side knows."""
    ends, booked = told.booked()
    traded = {str(entry.body["trade_id"]) for entry in journal if entry.kind == "fill" and entry.body["account"] == account}
    return sum(ends[command] != 1 for command in commands) + len(booked ^ traded)
