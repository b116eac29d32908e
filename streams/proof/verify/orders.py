"""I1: at most one accepted order for each command attempt, and a second attempt only after proof of absence.

Accepted orders are counted in the venue's own journal; attempts and proofs are read from the execution events, of which
those below the highest announced owner epoch are void.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from streams.proof.verify.facts import Facts, Raw, event_kind
from streams.proof.verify.report import Row, Violation, row

_OURS = re.compile(r"^[a-z2-7]{26}$")
_PROOFS = ("absent", "unsent")
_NEVER = ("absent", "unsent", "rejected")


@dataclass(slots=True)
class _Attempt:
    command_id: str
    number: int
    raw: Raw
    ended: dict[str, Raw] = field(default_factory=dict)


def i1(facts: Facts) -> Row:
    """Orders in the venue's journal against the intents that may have caused them."""
    attempts, violations = _attempts(facts)
    accepted: dict[tuple[str, str], list[int]] = defaultdict(list)
    ours = facts.our_accounts()
    for line in facts.journal:
        if line.get("kind") == "order_accepted" and line.get("account") in ours and _OURS.match(line["client_order_id"]):
            accepted[ours[line["account"]], line["client_order_id"]].append(line["sequence"])
    violations += _accepted(accepted, attempts)
    says = "at most one accepted order for each attempt, a second attempt only after proof of absence"
    return row("I1", says, len(accepted) + len(attempts), violations)


def _attempts(facts: Facts) -> tuple[dict[tuple[str, str], _Attempt], list[Violation]]:
    """The attempts by (account, client order id), and what was wrong with their order."""
    epochs: dict[str, int] = defaultdict(int)
    latest: dict[tuple[str, str], _Attempt] = {}
    found: dict[tuple[str, str], _Attempt] = {}
    violations: list[Violation] = []
    seen: set[tuple[str, str]] = set()
    for raw in facts.events:
        account, epoch, kind = raw.fields.get("account", ""), raw.fields.get("epoch", 0), event_kind(raw)
        if kind == "owner-started":
            epochs[account] = max(epochs[account], epoch)
        if epoch < epochs[account] or "client_order_id" not in raw.fields:
            continue
        client, command = (account, raw.fields["client_order_id"]), (account, raw.fields["command_id"])
        if kind == "intended" and client not in seen:
            seen.add(client)
            attempt = _Attempt(command[1], raw.fields["attempt"], raw)
            violations += _order(latest.get(command), attempt)
            latest[command] = found[client] = attempt
        elif client in found and not kind.startswith("cancel"):
            found[client].ended.setdefault(kind, raw)
    return found, violations


def _order(before: _Attempt | None, attempt: _Attempt) -> Iterator[Violation]:
    where, number = attempt.raw.where, attempt.number
    if before is None:
        if number != 1:
            yield Violation(where, f"command {attempt.command_id} begins with attempt {number}")
        return
    if number != before.number + 1:
        yield Violation(where, f"command {attempt.command_id}: attempt {number} follows attempt {before.number}")
    if not any(proof in before.ended for proof in _PROOFS):
        yield Violation(where, f"command {attempt.command_id}: attempt {number} without proof that {before.number} is absent")


def _accepted(accepted: dict[tuple[str, str], list[int]], attempts: dict[tuple[str, str], _Attempt]) -> Iterator[Violation]:
    by_command: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (account, client), lines in accepted.items():
        where = f"journal:{lines[0]}"
        if len(lines) > 1:
            yield Violation(where, f"{client} was accepted {len(lines)} times, again at {lines[1:]}")
        attempt = attempts.get((account, client))
        if attempt is None:
            yield Violation(where, f"{client} of {account} was accepted without a valid intent")
            continue
        by_command[account, attempt.command_id].append(client)
        for kind in _NEVER:
            if kind in attempt.ended:
                yield Violation(where, f"{client} was accepted, but {attempt.ended[kind].where} says it is {kind}")
    for (_, command_id), clients in by_command.items():
        if len(clients) > 1:
            yield Violation(f"command {command_id}", f"{len(clients)} orders were accepted: {', '.join(clients)}")
