"""The lives of commands as the execution events tell them: what is open on each account, and what the venue was sent.

Every check of the order path looks at this before it judges the next event. Events of an epoch below the highest announced
one are void: evidence of a former owner that changes nothing here. An ended command leaves eight bytes.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from streams.proof.verify.compact import Digests, Recent
from streams.proof.verify.facts import EXACT, ZERO, Place, Raw, amount

ENDED_KEPT = 1 << 14
"""So many ended commands are remembered whole: what other sources say of them may be behind."""
EVENTS_KEPT = 1 << 17

NEXT: dict[str, dict[str, str]] = {
    "": {"admitted": "admitted", "not-admitted": "not_admitted"},
    "admitted": {
        "intended": "intended",
        "expired-unsent": "expired_unsent",
        "cancel-intended": "intended",
        "cancel-ended": "cancel_ended",
    },
    "intended": {
        "unsent": "absent",
        "accepted": "open",
        "rejected": "rejected",
        "unknown": "unknown",
        "filled": "open",
        "cancel-ended": "cancel_ended",
    },
    "unknown": {
        "unknown": "unknown",
        "accepted": "open",
        "found": "open",
        "filled": "open",
        "absent": "absent",
        "cancel-intended": "intended",
        "cancel-ended": "cancel_ended",
    },
    "absent": {
        "intended": "intended",
        "expired-unsent": "expired_unsent",
        "filled": "absent",
        "cancel-intended": "intended",
        "cancel-ended": "cancel_ended",
    },
    "open": {
        "accepted": "open",
        "found": "open",
        "filled": "open",
        "closed-filled": "filled",
        "closed-canceled": "canceled",
        "closed-expired": "expired",
    },
}
"""The life cycle, written a second time: state, then what happens, to the state after it. An ended command has no steps."""

LEADS_TO = {what: state for steps in NEXT.values() for what, state in steps.items()} | {"filled": "open"}
"""Where an event leads whether or not it was legal: one illegal step is named once."""

ENDED = {"not_admitted", "expired_unsent", "cancel_ended", "rejected", "filled", "canceled", "expired"}
ENDINGS = {what for what, state in LEADS_TO.items() if state in ENDED and what != "filled"}
"""What ends a command: each of these once for a command, and nothing but fills after it."""

KINDS = {"closed" if what.startswith("closed-") else what for what in LEADS_TO}
"""The kinds of events about a command."""


@dataclass(slots=True)
class Life:
    """An admitted command that has not ended. `told` are the command's own words, None when no command was found for it.
    Its last event was at `at_ms`; it has been in its state since `since_ms`."""

    command_id: str
    portfolio: str
    symbol: str
    is_cancel: bool
    admitted: Mapping[str, Any]
    told: Raw | None
    place: Place
    at_ms: int
    since_ms: int = 0
    state: str = ""
    attempt: int = 0
    reserved_quote: Decimal = ZERO
    traded_quote: Decimal = ZERO


class Turnover:
    """Quote units traded within a span, in buckets of time; only whole buckets inside the span count."""

    def __init__(self, span_ms: int, bucket_ms: int) -> None:
        self._span_ms = span_ms
        self._bucket_ms = bucket_ms
        self._buckets: dict[int, Decimal] = {}
        self._total = ZERO
        self._since_ms = 0

    def add(self, at_ms: int, quote: Decimal) -> None:
        """Count one fill."""
        bucket = at_ms - at_ms % self._bucket_ms
        if bucket < self._since_ms:
            return
        is_late = bool(self._buckets) and bucket not in self._buckets and bucket < next(reversed(self._buckets))
        self._buckets[bucket] = EXACT.add(self._buckets.get(bucket, ZERO), quote)
        self._total = EXACT.add(self._total, quote)
        if is_late:
            self._buckets = dict(sorted(self._buckets.items()))

    def until(self, at_ms: int) -> Decimal:
        """What was traded in the span that ends at that time. Time does not run back."""
        self._since_ms = max(self._since_ms, at_ms - self._span_ms)
        while self._buckets and (first := next(iter(self._buckets))) < self._since_ms:
            self._total = EXACT.subtract(self._total, self._buckets.pop(first))
        return self._total


@dataclass(slots=True)
class Account:
    """One account as its events up to here tell it: its owner started at `owned_ms`, sent its last request at `intended_ms`;
    the last halt of those that were lifted was so at `resumed_ms`."""

    name: str
    epoch: int = 0
    owned_ms: int = 0
    newest_ms: int = 0
    intended_ms: int = 0
    resumed_ms: int = 0
    lives: dict[str, Life] = field(default_factory=dict)
    halts: dict[str, str] = field(default_factory=dict)
    turnover_5min: Turnover = field(default_factory=lambda: Turnover(300_000, 1000))
    turnover_day: Turnover = field(default_factory=lambda: Turnover(86_400_000, 60_000))


@dataclass(slots=True)
class Attempt:
    """One request that may have reached the venue, `void` if no owner may have sent it.

    `accepted` are the venue's lines that say that it did; `disproved` is the event that says that it did not.
    """

    account: str
    command_id: str
    place: Place
    void: bool
    valid_until_ms: int
    accepted: list[Mapping[str, Any]] = field(default_factory=list)
    disproved: tuple[str, Place] | None = None


class Lives:
    """All accounts, and the attempts by client order id; `leaving` is told of each attempt before it is forgotten."""

    def __init__(self, leaving: Callable[[str, Attempt], None], ended_kept: int) -> None:
        self.accounts: dict[str, Account] = {}
        self.attempts: dict[str, Attempt] = {}
        self.ended = Digests()
        self._clients: dict[str, list[str]] = {}
        self._say_leaving = leaving
        self._ended_kept = ended_kept
        self._leaving: deque[str] = deque()
        self._seen = Recent(EVENTS_KEPT)
        self._trades = Recent(EVENTS_KEPT)

    def account(self, name: str) -> Account:
        """The account of that name."""
        found = self.accounts.get(name)
        if found is None:
            found = self.accounts[name] = Account(name)
        return found

    def is_repeat(self, raw: Raw) -> bool:
        """Whether this very event was there before: events come at least once."""
        return bool(raw.ce_id) and not self._seen.add(raw.ce_id)

    def attempted(self, account: Account, raw: Raw) -> Attempt:
        """Note an INTENT of an order, a void one too. Two owners may intend one attempt: the valid INTENT stands for it."""
        fields = raw.fields
        client, void = fields["client_order_id"], fields["epoch"] < account.epoch
        until_ms = fields["timestamp_ms"] + fields["window_ms"]
        attempt = self.attempts.get(client)
        if attempt is None:
            attempt = self.attempts[client] = Attempt(account.name, fields["command_id"], raw.place, void, until_ms)
            self._clients.setdefault(attempt.command_id, []).append(client)
        elif attempt.void and not void:
            attempt.void, attempt.place, attempt.valid_until_ms = False, raw.place, until_ms
        return attempt

    def siblings(self, attempt: Attempt) -> list[Attempt]:
        """The attempts of the same command, this one too."""
        clients = self._clients.get(attempt.command_id, ())
        return [self.attempts[client] for client in clients if client in self.attempts]

    def evolve(self, account: Account, life: Life | None, raw: Raw) -> None:
        """Take one event in that is no repeat and not void."""
        fields, kind = raw.fields, raw.kind
        account.newest_ms = max(account.newest_ms, fields["at_ms"])
        if kind == "account-halted":
            account.halts[fields["halt_id"]] = fields["cause"]
        elif kind == "account-resumed":
            for halt_id in fields["halt_ids"]:
                if account.halts.pop(halt_id, None) is not None:
                    account.resumed_ms = fields["at_ms"]
        elif kind == "filled":
            self._fill(account, life, fields)
        if life is not None:
            self._advance(account, life, raw)
        elif kind == "not-admitted":
            self.ended.add(fields["command_id"])

    def _advance(self, account: Account, life: Life, raw: Raw) -> None:
        what = word(raw)
        legal, before = NEXT[life.state].get(what) if life.state in NEXT else None, life.state
        life.state = legal or (LEADS_TO.get(what, life.state) if what != "filled" else life.state)
        life.at_ms = raw.fields["at_ms"]
        if life.state != before:
            life.since_ms = life.at_ms
        if what in ("intended", "cancel-intended"):
            life.attempt, account.intended_ms = raw.fields["attempt"], life.at_ms
        account.lives[life.command_id] = life
        if life.state in ENDED:
            del account.lives[life.command_id]
            self.ended.add(life.command_id)
            self._forget_later(life.command_id)

    def _fill(self, account: Account, life: Life | None, fields: Mapping[str, Any]) -> None:
        if not self._trades.add(f"{account.name} {fields['symbol']} {fields['trade_id']} {fields['side']}"):
            return
        quote = amount(fields["quote_amount"])
        account.turnover_5min.add(fields["venue_time_ms"], quote)
        account.turnover_day.add(fields["venue_time_ms"], quote)
        if life is not None:
            life.traded_quote = EXACT.add(life.traded_quote, quote)

    def close(self) -> None:
        """Nothing comes any more: all attempts leave."""
        for client, attempt in self.attempts.items():
            self._say_leaving(client, attempt)
        self.attempts.clear()

    def _forget_later(self, command_id: str) -> None:
        """The venue's journal may still be behind: an ended command's attempts stay for a while."""
        self._leaving.append(command_id)
        if len(self._leaving) > self._ended_kept:
            for client in self._clients.pop(self._leaving.popleft(), ()):
                self._say_leaving(client, self.attempts.pop(client))


def word(raw: Raw) -> str:
    """What an event says has happened: its kind, the end at the venue told apart by how it ended."""
    return f"closed-{raw.fields['closed_as']}" if raw.kind == "closed" else raw.kind
