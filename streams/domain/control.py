"""What the control topic says at its end, and what it would take to make it say something else.

The topic is the truth for portfolios, targets, policy, limits and stops; a settings file is a proposal, and applying it
means appending the difference.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.control import (
    AccountLimitsSet,
    ControlEvent,
    PolicySet,
    PortfolioCreated,
    PortfolioLimitsSet,
    ShardAssigned,
    TargetsSet,
    TradingResumed,
    TradingStopped,
)
from streams.domain.errors import RefusedError

_SETTINGS = (PortfolioCreated, TargetsSet, PolicySet, PortfolioLimitsSet, AccountLimitsSet)
_WHO_AND_WHEN = {"at_ms", "who", "why", "incarnation"}


@dataclass(slots=True)
class Controls:
    """The newest word of each kind on each scope, and the stops that nobody has lifted, by halt id."""

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
            self.newest[event.TYPE, event.scope] = event
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

    Raises RefusedError when a proposal changes what a portfolio is (its quote or accounts).
    """
    wanted: list[ControlEvent] = []
    for event in proposed:
        current = controls.newest.get((event.TYPE, event.scope))
        if current is None:
            wanted.append(event)
        elif event.model_dump(exclude=_WHO_AND_WHEN) != current.model_dump(exclude=_WHO_AND_WHEN):
            wanted.append(_change(current, event))
    return wanted


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
