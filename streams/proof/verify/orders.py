"""I1, I2, I5, I11: what may happen to a command, from the execution events and the venue's own journal."""

from collections.abc import Iterator

from streams.proof.verify.facts import Raw
from streams.proof.verify.lives import ENDINGS, NEXT, Account, Attempt, Life, Lives, word

CLOCK_MS = 500
"""The venue looks at its clock once more while it writes its journal, and may be held up in between."""


def i1(lives: Lives, account: Account, life: Life | None, raw: Raw) -> Iterator[str]:
    """A second attempt only after proof that the first one is absent (or never left), and attempts count up."""
    if life is None:
        return
    number = raw.fields["attempt"]
    if number != life.attempt + 1:
        yield f"command {life.command_id}: attempt {number} follows attempt {life.attempt}"
    elif number > 1 and life.state != "absent":
        yield f"command {life.command_id}: attempt {number} without proof that {number - 1} is absent"


def i1_accepted(lives: Lives, attempt: Attempt, client: str) -> Iterator[str]:
    """At most one accepted order for each attempt, and one accepted attempt for each command."""
    if len(attempt.accepted) > 1:
        yield f"{client} was accepted {len(attempt.accepted)} times"
    elif sum(bool(one.accepted) for one in lives.siblings(attempt)) > 1:
        yield f"command {attempt.command_id}: 2 orders were accepted, {client} is the second"
    if attempt.disproved is not None:
        yield f"{client} was accepted, but {attempt.disproved[1]} says it is {attempt.disproved[0]}"


def i1_disproved(lives: Lives, account: Account, life: Life | None, raw: Raw) -> Iterator[str]:
    """What the venue accepted is not said to be absent, unsent or rejected. Notes who was: proof of it may be wrong."""
    attempt = lives.attempts.get(raw.fields["client_order_id"])
    if life is not None and not life.is_cancel and attempt is not None:
        attempt.disproved = (raw.kind, raw.place)
        if attempt.accepted:
            yield f"{raw.fields['client_order_id']} is said to be {raw.kind}, but the venue accepted it"


def i2(lives: Lives, account: Account, life: Life | None, raw: Raw) -> Iterator[str]:
    """An admitted command ends once."""
    if (life is None or raw.kind == "admitted") and raw.fields["command_id"] in lives.ended:
        yield f"command {raw.fields['command_id']} had ended before, and is {word(raw)} now"


def i5(lives: Lives, account: Account, life: Life | None, raw: Raw) -> Iterator[str]:
    """Only steps of the life cycle's graph. (Who was never admitted is named by I9, who ends twice by I2.)"""
    what = word(raw)
    if life is not None:
        if what not in NEXT[life.state]:
            yield f"command {life.command_id} is {life.state or 'new'} and cannot be {what}"
    elif raw.fields["command_id"] in lives.ended and what not in ENDINGS and what not in ("admitted", "filled"):
        yield f"command {raw.fields['command_id']} had ended and cannot be {what}"


def i11(lives: Lives, account: Account, life: Life | None, raw: Raw) -> Iterator[str]:
    """Nobody speaks under an epoch that was not announced."""
    if raw.fields["epoch"] > account.epoch:
        yield f"epoch {raw.fields['epoch']} of {account.name} was never announced, {account.epoch} is the highest"


def i11_accepted(attempt: Attempt, client: str) -> Iterator[str]:
    """The venue accepted nothing that a former owner sent, and nothing outside the window of its INTENT."""
    for line in attempt.accepted:
        late_ms = line["at_ms"] - attempt.valid_until_ms
        if attempt.void:
            yield f"{client} was accepted, but a newer owner had started before this INTENT"
        elif late_ms > CLOCK_MS:
            yield f"{client} was accepted {late_ms} ms after the window of this INTENT"
