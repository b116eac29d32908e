"""A run in figures: what was done to whom, how long the work stood still, and what became of the orders."""

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import product
from statistics import median

from tests.crash.flow.faults import VICTIMS
from tests.crash.flow.rounds import Struck
from tests.crash.flow.story import Story

ALL_ACCOUNTS = "executor, until all its accounts are owned"
KINDS = ("kill", "pause", "restart", "cut off", "join", "leave")
STOPPED = tuple(kind for kind in KINDS if kind != "join")
"""What stops work."""
RECOVERED_S = 10.0
RECOVERED = (
    f"The target: after kill -9 with two workers a first new order or output within {RECOVERED_S:.0f} s. An executor's time is "
    "that to the first new order of an account that it held; a role's is that until every part of its work was heard of, which "
    "is later than its first output. It counts from the strike where another worker went on while the fault lasted, else from "
    "the fault's end."
)


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
    """How long work stood still, for each role or server, kind of fault, and whether another worker was there."""
    seconds: dict[tuple[str, str, bool], list[float]] = defaultdict(list)
    for struck in rounds:
        stood_by = struck.workers > 1
        seconds[struck.victim, struck.kind, stood_by].append(struck.recovered_s)
        if struck.victim == "executor":
            seconds[ALL_ACCOUNTS, struck.kind, stood_by].append(struck.whole_s)
    head = ["work stood still (s)", "fault", "another worker stood by", "n", "p50", "max", f"target {RECOVERED_S:.0f} s"]
    rows = [f"| {' | '.join(head)} |", "|---|" + "---|" * (len(head) - 1)]
    for victim in VICTIMS:
        for whose in (victim, ALL_ACCOUNTS) if victim == "executor" else (victim,):
            for kind, stood_by in product(STOPPED, (False, True)):
                if found := seconds[whose, kind, stood_by]:
                    target = _target(found) if whose != ALL_ACCOUNTS and kind == "kill" and stood_by else ""
                    spread = f"{len(found)} | {median(found):.1f} | {max(found):.1f}"
                    rows.append(f"| {whose} | {kind} | {'yes' if stood_by else 'no'} | {spread} | {target} |")
    return "\n".join([*rows, "", RECOVERED])


def _target(seconds: list[float]) -> str:
    late = sum(taken > RECOVERED_S for taken in seconds)
    return f"MISSED by {late} of {len(seconds)}" if late else "met"


def _points(rounds: Iterable[Struck]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for struck in rounds:
        counts[struck.occasion] += 1
    return "\n".join(["| struck at | times |", "|---|---|", *(f"| {at} | {counts[at]} |" for at in sorted(counts))])


def _verified(verified: str) -> str:
    return f"`trimtab verify` afterwards:\n\n```\n{verified.strip()}\n```"
