"""Records among the commands whose author proved nothing: seen, counted, told of in few words, and nothing else.

Whoever may write to the topic may claim any id. Were such a record answered under the id that it claims, a stranger could end
a command before its author sends it, or move the mark of what was answered past commands that are still to come. So nothing
of it enters the books but its offset. The first one is told at once; what follows within `TELL_EVERY_MS` is told together,
so that a flood of them makes no flood of events.
"""

from dataclasses import replace

from schemas.orders import CommandsDistrusted
from streams.domain.orders.state import Doubts
from streams.domain.orders.stimuli import CommandDistrusted, Remark
from streams.domain.orders.turn import Turn

TELL_EVERY_MS = 10_000


def distrusted(turn: Turn, event: CommandDistrusted) -> None:
    """Count one record; `tell` says it when it is time."""
    doubts = turn.state.doubts
    causes = {**doubts.causes, event.cause: doubts.causes.get(event.cause, 0) + 1}
    first = not doubts.causes
    turn.change(
        doubts=replace(
            doubts,
            causes=causes,
            detail=event.detail[:200] if first else doubts.detail,
            offset_from=event.offset if first else doubts.offset_from,
            offset_to=event.offset + 1,
        )
    )


def tell(turn: Turn) -> None:
    """State what was counted, at most once in `TELL_EVERY_MS`."""
    doubts = turn.state.doubts
    if not doubts.causes or turn.now.boot_ms < doubts.due_boot_ms:
        return
    turn.change(doubts=Doubts(due_boot_ms=turn.now.boot_ms + TELL_EVERY_MS))
    turn.ask(Remark("commands_distrusted", f"{sum(doubts.causes.values())} records: {doubts.detail}"))
    turn.say(
        CommandsDistrusted(
            **turn.common(),
            causes=dict(doubts.causes),
            detail=doubts.detail,
            offset_from=doubts.offset_from,
            offset_to=doubts.offset_to,
        )
    )


def due(doubts: Doubts) -> int | None:
    """When (boot ms) there is something to tell, or None."""
    return doubts.due_boot_ms if doubts.causes else None
