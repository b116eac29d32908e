"""Which control events count, what the topic says at its end, and what it would take to make it say something else.

The topic is the truth for portfolios, targets, policy, limits and stops; a settings file is a proposal, and applying it
means appending the difference.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.control import (
    AccountLimitsSet,
    ControlEvent,
    KeyTrusted,
    PolicySet,
    PortfolioCreated,
    PortfolioLimitsSet,
    ShardAssigned,
    TargetsSet,
    TradingResumed,
    TradingStopped,
)
from streams.domain.errors import RefusedError

_SETTINGS = (PortfolioCreated, TargetsSet, PolicySet, PortfolioLimitsSet, AccountLimitsSet, KeyTrusted)
_WHO_AND_WHEN = {"at_ms", "who", "why", "incarnation"}
DATED_BACK_MS_MAX = 600_000
"""How far operators' clocks may differ."""


class OutOfTimeError(ValueError):
    """A control event that its operator did not say now."""


@dataclass(slots=True)
class Hearing:
    """Tells an operator's word from its echo: a signature proves who spoke, not that it was now.

    Everybody who may write to the topic can append an old signed event again, and who holds a key that has ended can date an
    event back. So an event counts once, and only while it is not dated long before the newest nor its key over by then; a stop
    counts at any date, but once for each halt id. Every reader starts at the topic's beginning, so that all judge alike.

    `appended_at_ms` is when the broker appended the event: its record's timestamp, which nobody who writes to the topic can
    choose. The newest is the one that was appended last, so that no operator's wrong clock is handed on to the others.
    """

    newest_ms: int = 0
    _said: dict[bytes, int] = field(default_factory=dict)
    _stops: set[str] = field(default_factory=set)
    _forget_above: int = 1024

    def key_time_ms(self, event: ControlEvent, appended_at_ms: int) -> int:
        """When the key of this event must be valid: by its own date, and for what is no stop when it was appended. So whoever
        holds a key that ended says nothing more, whatever date he gives."""
        return event.at_ms if isinstance(event, TradingStopped) else max(event.at_ms, appended_at_ms, self.newest_ms)

    def hear(self, event: ControlEvent, value: bytes, appended_at_ms: int) -> None:
        """Take one verified event in, in topic order; `value` are its bytes. Raises OutOfTimeError for one not to be obeyed."""
        if isinstance(event, TradingStopped):
            if event.halt_id in self._stops:
                raise OutOfTimeError(f"halt {event.halt_id} was said before")
            self._stops.add(event.halt_id)
            return
        if event.at_ms < self.newest_ms - DATED_BACK_MS_MAX:
            raise OutOfTimeError(f"dated {self.newest_ms - event.at_ms} ms before the newest control event")
        digest = hashlib.sha256(event.TYPE.encode() + b"\0" + value).digest()[:16]
        if digest in self._said:
            raise OutOfTimeError("the same was said before")
        self._said[digest] = event.at_ms
        self.newest_ms = max(self.newest_ms, appended_at_ms)
        if len(self._said) > self._forget_above:
            self._forget()

    def _forget(self) -> None:
        """What is dated too far back to be taken again need not be remembered."""
        oldest_ms = self.newest_ms - DATED_BACK_MS_MAX
        self._said = {digest: at_ms for digest, at_ms in self._said.items() if at_ms >= oldest_ms}
        self._forget_above = max(1024, 2 * len(self._said))


def dated(event: ControlEvent, appended_at_ms: int) -> ControlEvent:
    """The event as of when the broker appended it, to be held against other times: operators' clocks may be minutes off."""
    return event.model_copy(update={"at_ms": appended_at_ms})


@dataclass(slots=True)
class Controls:
    """The newest word of each kind on each scope, the keys on record, and the stops that nobody has lifted, by halt id."""

    newest: dict[tuple[str, str], ControlEvent] = field(default_factory=dict)
    stops: dict[str, TradingStopped] = field(default_factory=dict)

    def evolve(self, event: ControlEvent) -> None:
        """Take one control event in, in topic order."""
        if isinstance(event, TradingStopped):
            self.stops[event.halt_id] = event
        elif isinstance(event, TradingResumed):
            for halt_id in event.halt_ids:
                self.stops.pop(halt_id, None)
        elif isinstance(event, _SETTINGS):
            self.newest[_subject(event)] = event
        elif isinstance(event, ShardAssigned):
            created = self.newest.get((PortfolioCreated.TYPE, event.scope))
            if isinstance(created, PortfolioCreated):
                self.newest[PortfolioCreated.TYPE, event.scope] = created.model_copy(update={"shard": event.shard})


def fold(events: Iterable[ControlEvent]) -> Controls:
    """The controls after these events."""
    controls = Controls()
    for event in events:
        controls.evolve(event)
    return controls


def difference(controls: Controls, proposed: Sequence[ControlEvent]) -> list[ControlEvent]:
    """The events to append so that the topic says what is proposed; empty when it does already.

    Raises RefusedError when a proposal changes what a portfolio is (its quote or accounts), or takes another one's account.
    """
    wanted: list[ControlEvent] = []
    for event in proposed:
        current = controls.newest.get(_subject(event))
        if current is None:
            _refuse_taken(controls, event)
            wanted.append(event)
        elif event.model_dump(exclude=_WHO_AND_WHEN) != current.model_dump(exclude=_WHO_AND_WHEN):
            wanted.append(_change(current, event))
    return wanted


def _refuse_taken(controls: Controls, event: ControlEvent) -> None:
    if not isinstance(event, PortfolioCreated):
        return
    for other in controls.newest.values():
        if isinstance(other, PortfolioCreated) and (taken := sorted(other.accounts.keys() & event.accounts.keys())):
            raise RefusedError(
                f"portfolio {event.portfolio}: account {taken[0]} belongs to portfolio {other.portfolio} and stays there; "
                "give the new portfolio an account of its own"
            )


def _subject(event: ControlEvent) -> tuple[str, str]:
    """What an event is the newest word on: each key is a subject of its own."""
    return event.TYPE, event.key_id if isinstance(event, KeyTrusted) else event.scope


def _change(current: ControlEvent, event: ControlEvent) -> ControlEvent:
    if not isinstance(event, PortfolioCreated) or not isinstance(current, PortfolioCreated):
        return event
    if (event.quote, event.accounts) != (current.quote, current.accounts):
        raise RefusedError(
            f"portfolio {event.portfolio}: its quote asset and accounts are what it is and cannot change; "
            f"the topic says {current.quote} and {sorted(current.accounts)}; give the new one another name"
        )
    return ShardAssigned(
        scope=event.scope,
        at_ms=event.at_ms,
        who=event.who,
        why=event.why,
        portfolio=event.portfolio,
        shard=event.shard,
    )
