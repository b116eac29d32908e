"""I2 at the cut: a command that has not ended moves on, or is open within its life, or is UNKNOWN with an alarm.

What the program promises, in the checker's own words: an order that is UNKNOWN for a minute halts its portfolio, a minute of
the portfolio's journal; one that outlives its command's `expires_at` gets a cancel from the executor; a cancel is tried as long
as its order stands, and ends with it. `SLACK_MS` more is for who was away and catches up.
"""

from collections import defaultdict
from collections.abc import Iterator

from streams.proof.verify.control import Control
from streams.proof.verify.facts import Raw
from streams.proof.verify.intake import Intake
from streams.proof.verify.lives import Account, Life, Lives
from streams.proof.verify.report import Tally

IDLE_MS_MAX = 60_000
"""How long a command may neither be sent nor end while its account goes on: ten seconds to be admitted, and patience."""
UNKNOWN_MS_MAX = 60_000
SLACK_MS = 60_000

_NEVER_MS = 1 << 62


class Halts:
    """The halts and quarantines of portfolios that stand, as the folds' signals tell them."""

    def __init__(self) -> None:
        self._standing: dict[str, set[str]] = defaultdict(set)
        self._resumed_ms: dict[str, int] = {}

    def take(self, raw: Raw) -> None:
        """One signal. A resume names a quarantine by the id of its signal."""
        fields = raw.fields
        standing = self._standing[fields["portfolio"]]
        match raw.kind:
            case "portfolio-halted":
                standing.add(fields["halt_id"])
            case "quarantined":
                standing.add(fields["signal_id"])
            case "portfolio-resumed":
                if standing.intersection(fields["halt_ids"]):
                    self._resumed_ms[fields["portfolio"]] = fields["at_ms"]
                standing.difference_update(fields["halt_ids"])
            case _:
                pass

    def until_ms(self, portfolio: str) -> int:
        """Until when the portfolio was halted last: for ever while it is, 0 if it never was."""
        return _NEVER_MS if self._standing.get(portfolio) else self._resumed_ms.get(portfolio, 0)


def i2_unfinished(lives: Lives, control: Control, halts: Halts, intake: Intake, tally: Tally) -> None:
    """Judge every command that has not ended."""
    for account in lives.accounts.values():
        cancels = {life.admitted["target_command_id"] for life in account.lives.values() if life.is_cancel}
        for life in account.lives.values():
            found = _idle_cancel(account, life) if life.is_cancel else _idle(account, life)
            if not life.is_cancel:
                found = [*found, *_unalarmed(account, life, control, halts, intake), *_outlived(account, life, cancels)]
            for what in found:
                tally.at(life.place, what)


def _idle(account: Account, life: Life) -> Iterator[str]:
    """An order is sent or ends, as long as its account's owner goes on."""
    idle_ms = account.newest_ms - max(life.at_ms, account.owned_ms)
    if life.state in ("admitted", "absent", "intended") and idle_ms > IDLE_MS_MAX:
        yield f"command {life.command_id} is {life.state} and nothing else for {idle_ms} ms"


def _idle_cancel(account: Account, life: Life) -> Iterator[str]:
    """A cancel ends with its order; while that stands it is tried, as long as the account sends requests at all. Until the fate
    of its order is known it waits."""
    target = account.lives.get(life.admitted["target_command_id"])
    if target is None:
        idle_ms, why = account.newest_ms - max(life.at_ms, account.owned_ms), "its order has ended"
    elif target.state == "open":
        idle_ms, why = account.intended_ms - max(life.at_ms, target.since_ms, account.owned_ms), "its order stands"
    else:
        return
    if idle_ms > IDLE_MS_MAX:
        yield f"cancel {life.command_id} is {life.state} and nothing else for {idle_ms} ms, and {why}"


def _unalarmed(account: Account, life: Life, control: Control, halts: Halts, intake: Intake) -> Iterator[str]:
    """Who lifts a halt has seen the order: from then on the time counts anew."""
    if life.state != "unknown":
        return
    stopped_until_ms = max(
        _NEVER_MS if account.halts else account.resumed_ms,
        halts.until_ms(life.portfolio),
        control.stopped_until_ms(account.name, life.portfolio),
    )
    unknown_ms = intake.now_ms(control.shards.get(life.portfolio)) - max(life.since_ms, stopped_until_ms)
    if unknown_ms > UNKNOWN_MS_MAX + SLACK_MS:
        yield f"command {life.command_id} is UNKNOWN for {unknown_ms} ms, and nothing of {life.portfolio} is halted"


def _outlived(account: Account, life: Life, cancels: set[str]) -> Iterator[str]:
    if life.state not in ("open", "unknown") or life.told is None or life.command_id in cancels:
        return
    expires_ms = life.told.fields["expires_at_ms"]
    over_ms = account.newest_ms - max(expires_ms, account.owned_ms)
    if over_ms > SLACK_MS:
        yield f"command {life.command_id} is {life.state} {account.newest_ms - expires_ms} ms after its life, without a cancel"
