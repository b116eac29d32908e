"""A run in figures: what was done to whom, how long the work stood still, and what became of the orders."""

import re
from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from tests.crash.flow.faults import VICTIMS
from tests.crash.flow.rounds import Struck
from tests.crash.flow.story import Story

ALL_ACCOUNTS = "executor, until all its accounts are owned"
KINDS = ("kill", "pause", "restart", "cut off", "join", "leave")


def parts(story: Story) -> list[str]:
    """The report's parts, in Markdown."""
    return [_sums(story), _faults(story.rounds), _recoveries(story.rounds), _points(story.rounds), _verified(story.verified)]


def checks(verified: str) -> dict[str, tuple[int, int]]:
    """Items and violations of each check, from the table that `trimtab verify` prints."""
    rows = re.findall(r"^(\S+) +(\d+) +(\d+) ", verified, re.MULTILINE)
    return {check: (int(items), int(violations)) for check, items, violations in rows}


def _sums(story: Story) -> str:
    told, rounds = story.verdict, story.rounds
    figures = {
        "rounds": len(rounds),
        "pauses": sum(struck.kind == "pause" for struck in rounds),
        "orders accepted by the venue in the rounds": sum(struck.accepted_between for struck in rounds),
        "fewest orders accepted between two faults": min((struck.accepted_between for struck in rounds), default=0),
        "orders accepted by the venue in the whole run": told.accepted,
        "duplicates by the venue's own journal": told.twice,
        "losses (commands without exactly one end, trades that only the books or only the venue have)": told.lost,
        "sends by former owners (accepted after a later OwnerStarted, the intent not below it)": told.void,
        "accepted after a later OwnerStarted at all": told.late,
        "accepted after timestamp and window": told.overdue,
        "portfolios and accounts that halted": _listed(story.halted),
        "minutes under load": f"{story.lasted_s / 60:.1f}",
        "drained after the last fault (s)": f"{story.drained_s:.1f}",
    }
    return "\n".join(f"- {what}: {figure}" for what, figure in figures.items())


def _listed(who: list[str]) -> str:
    return f"{len(who)}: {'; '.join(who)}" if who else "0"


def _faults(rounds: Iterable[Struck]) -> str:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for struck in rounds:
        for place in ((struck.victim, struck.kind), ("all", struck.kind), (struck.victim, "all"), ("all", "all")):
            counts[place] += 1
    kinds = (*KINDS, "all")
    rows = [f"| faults | {' | '.join(kinds)} |", "|---|" + "---|" * len(kinds)]
    for victim in (*VICTIMS, "all"):
        rows.append(f"| {victim} | " + " | ".join(str(counts[victim, kind] or "") for kind in kinds) + " |")
    return "\n".join(rows)


def _recoveries(rounds: Iterable[Struck]) -> str:
    """How long work stood still, where one worker was there and where another one was."""
    alone: dict[str, list[float]] = defaultdict(list)
    helped: dict[str, list[float]] = defaultdict(list)
    for struck in rounds:
        if struck.kind == "join":
            continue
        times = helped if struck.workers > 1 else alone
        times[struck.victim].append(struck.recovered_s)
        if struck.victim == "executor":
            times[ALL_ACCOUNTS].append(struck.whole_s)
    head = ["work stood still (s)", "alone: faults", "p50", "max", "with another worker: faults", "p50", "max"]
    rows = [f"| {' | '.join(head)} |", "|---|" + "---|" * (len(head) - 1)]
    for victim in VICTIMS:
        rows.append(f"| {victim} | {_spread(alone[victim])} | {_spread(helped[victim])} |")
        if victim == "executor":
            rows.append(f"| {ALL_ACCOUNTS} | {_spread(alone[ALL_ACCOUNTS])} | {_spread(helped[ALL_ACCOUNTS])} |")
    note = "From the strike where another worker went on while the fault lasted, else from the end of the fault."
    return "\n".join([*rows, "", note])


def _spread(seconds: list[float]) -> str:
    return f"{len(seconds)} | {median(seconds):.1f} | {max(seconds):.1f}" if seconds else "0 | |"


def _points(rounds: Iterable[Struck]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for struck in rounds:
        counts[struck.occasion] += 1
    return "\n".join(["| struck at | times |", "|---|---|", *(f"| {at} | {counts[at]} |" for at in sorted(counts))])


def _verified(verified: str) -> str:
    return f"`trimtab verify` afterwards:\n\n```\n{verified.strip()}\n```"
