"""The holes that each part of the fence closes, alone: a round that falls through when the part is left out.

The parts cover for each other on purpose. So a hole may name others that are left out as well, in both runs: two runs of a
hole differ in its part alone, and what one of them loses is what that part is for.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from streams.agents.executor.takeover import resource_of
from streams.gateways.crash_points import Happening, arm
from streams.ports.process import Point
from streams.topics import ORDERS_COMMANDS, partition_of
from tests.crash.executor.lanes import GUARD_S, STOOD_STILL, Hand, Lane, is_so
from tests.crash.executor.without import Part
from tests.stack.executor.installation import until

SLOW = {"lease_ttl_ms": 2500, "lease_renew_ms": 400, "window_ms": 1500, "margin_ms": 800}
"""Settings under which bytes can be held for a while and still be valid."""
PATIENT = {"lease_ttl_ms": 2200}
"""Settings under which an owner whose renewals hang has time to do harm."""
HELD_S = 0.7
ON_ITS_WAY_MS = 150

Round = Callable[[Lane], Awaitable[None]]


@dataclass(frozen=True)
class Hole:
    """One hole. `story` is what happens, for the report; `beside` are other parts that are left out with and without `part`."""

    part: Part
    story: str
    play: Round
    beside: tuple[Part, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def asleep(point: Point, *, wall: int = 0, boot: int = 0, deaf: bool = False) -> Round:
    """A process is stopped at `point`, and wakes with these clocks when somebody else trades its account."""

    async def play(lane: Lane) -> None:
        turned = {"wall": wall, "boot": boot} if wall or boot else None
        await lane.pause_round(point, turned, deaf)

    return play


async def held_until_the_lease_ends(lane: Lane) -> None:
    """Renewals get lost, and what the owner sends is held up until another one owns the account."""
    owner, other = lane.roles()
    losses = owner.losses
    owner.wires["database"].cut()
    owner.wires["venue"].hold()
    given = []
    while lane.owner() != other.owner:
        given += await lane.give_for(0.05)
    await _restored(lane, owner, losses, given)


async def row_lost(lane: Lane) -> None:
    """The lease row falls back to nobody under a healthy owner, whose renewals hang; another one takes it at once.

    What the owner read back a moment before may be on its way meanwhile: these INTENTs lie before OwnerStarted.
    """
    owner, other = lane.roles()
    losses = owner.losses
    owner.wires["database"].cut()
    given = await lane.give_for(0.1)
    await _lose_row(lane)
    while lane.owner() != other.owner:
        given += await lane.give_for(0.05)
    given += await lane.give_for(0.4)
    lane.left_before |= lane.intended_just_before(other.owner, ON_ITS_WAY_MS)
    await _restored(lane, owner, losses, given)


async def held_over_a_take_over(lane: Lane) -> None:
    """A request is held up, its owner loses the row at once, and the request is let go while the venue would still take it."""
    while True:
        owner, other = lane.roles()
        losses = owner.losses
        owner.wires["venue"].hold()
        arm(owner.directory, Point.REQUEST_WRITTEN, Happening.TELL)
        command = await lane.give()
        if await lane.struck(owner, command, owns=True):
            break
        owner.wires["venue"].release()
        await lane.ended(command)
    await until(is_so(lambda: lane.intent_of(command) is not None))
    intent = lane.intent_of(command)
    assert intent is not None
    lane.left_before.add(intent.client_order_id)
    owner.wires["database"].cut()
    await _lose_row(lane)
    await lane.taken_over(other)
    given = await lane.give_for(HELD_S)
    await _restored(lane, owner, losses, [command, *given])


async def replayed(lane: Lane) -> None:
    """Commands that were answered come again, byte for byte, and another process takes over."""
    owner, other = lane.roles()
    given = await lane.give_for(0.1)
    for command in given:
        await lane.ended(command)
    partition = partition_of(lane.name.encode(), await lane.log.partitions(ORDERS_COMMANDS))
    for record in await lane.records(ORDERS_COMMANDS, partition):
        if record.key == lane.name.encode():
            await lane.write_raw(ORDERS_COMMANDS, lane.name, record.value or b"", record.headers)
    await owner.kill()
    await lane.taken_over(other)
    await owner.start()
    await lane.ended(await lane.give())


async def _restored(lane: Lane, owner: Hand, losses: int, given: list[str]) -> None:
    """All wires work again; everything ends, and who lost the account, `losses` times before this, knows it. On a busy machine
    it may have known it before the round began."""
    owner.wires["venue"].release()
    owner.wires["database"].mend()
    for command in given:
        await lane.ended(command)
    await until(is_so(lambda: owner.losses > losses or not owner.owns), GUARD_S)
    await lane.ended(await lane.give())


async def _lose_row(lane: Lane) -> None:
    async with await psycopg.AsyncConnection.connect(lane.dsn) as connection:
        await connection.execute(
            "UPDATE control.leases SET owner = '', expires_at = clock_timestamp() WHERE resource = %s",
            (resource_of(lane.name),),
        )


HOLES = (
    Hole(Part.LEASE, "bytes held while renewals get lost, let go at the take-over", held_until_the_lease_ends),
    Hole(Part.READ_BACK, "the row falls to another one under an owner whose renewals hang", row_lost, config=PATIENT),
    Hole(
        Part.TIMESTAMP,
        "asleep before the request, wakes with BOOTTIME that stood still",
        asleep(Point.BEFORE_REQUEST, boot=STOOD_STILL, deaf=True),
        (Part.READ_BACK, Part.WALL_STEP),
        PATIENT,
    ),
    Hole(Part.WINDOW, "asleep between the last check and the bytes", asleep(Point.AFTER_CHECK)),
    Hole(
        Part.WALL_STEP,
        "asleep with a command in hand, wakes with BOOTTIME that stood still",
        asleep(Point.COMMAND_READ, boot=STOOD_STILL, deaf=True),
        (Part.READ_BACK, Part.TIMESTAMP, Part.VENUE_STEP),
        PATIENT,
    ),
    Hole(
        Part.VENUE_STEP,
        "asleep with a command in hand, wakes with both clocks that stood still",
        asleep(Point.COMMAND_READ, wall=STOOD_STILL, boot=STOOD_STILL, deaf=True),
        (Part.READ_BACK,),
        PATIENT,
    ),
    Hole(Part.LAST_CHECK, "asleep while a connection is made", asleep(Point.IN_CONNECT), (Part.WINDOW,)),
    Hole(Part.PROOF, "a request held over a take-over, let go within its window", held_over_a_take_over, config=SLOW),
    Hole(Part.INHERITED, "a request held over a take-over, let go within its window", held_over_a_take_over, config=SLOW),
    Hole(Part.ANSWERED, "answered commands come again before a take-over", replayed),
)
