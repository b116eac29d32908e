"""Two executors and one account: whoever dies, sleeps or is overtaken, each order exists once and each command ends."""

import os
import signal

import pytest

from schemas.orders import OrderClosed, OrderIntended, OrderUnknown, OwnerStarted
from streams.domain.ids import client_order_id
from streams.domain.orders.books import Books, evolve
from tests.stack.executor.installation import Installation, ended, opened, until

pytestmark = pytest.mark.timeout(300)  # whole processes start and take over: a hang guard, not a target


async def owners(installation: Installation) -> list[str]:
    return [event.owner for event in await installation.events(kind=OwnerStarted)]


async def test_given_an_owner_killed_between_intent_and_reply_then_the_other_finds_its_order(
    installation: Installation,
) -> None:
    async with installation.process("first") as first:
        await opened(installation)
        async with installation.process("second"):
            # given a request that hangs at the venue
            await installation.post("latency", {"order": 3000})
            command = await installation.command(installation.place())
            await until(lambda: installation.events(kind=OrderIntended))
            # when
            os.kill(first.pid, signal.SIGKILL)
            await installation.post("latency", {})
            # then
            told = await ended(installation, command, "closed")
            # and the next command of the account is traded by the second
            following = await installation.command(installation.place())
            await ended(installation, following, "closed")
    assert told[:3] == ["admitted", "intended", "unknown"]
    assert (await installation.events(kind=OrderUnknown))[0].cause == "inherited"
    assert await owners(installation) == ["first", "second"]
    attempts = [intent.client_order_id for intent in await installation.events(kind=OrderIntended)]
    accepted = [order["client_order_id"] for order in installation.accepted()]
    assert len(accepted) == len(set(accepted)) == len(await installation.events(kind=OrderClosed)) == 2
    assert set(accepted) <= set(attempts)


async def test_given_an_owner_asleep_past_its_lease_when_it_wakes_then_it_sends_nothing(installation: Installation) -> None:
    """4: paused between check and send past its lease, and woken."""
    async with installation.process("first") as first:
        await opened(installation)
        async with installation.process("second"):
            commands = [await installation.command(installation.place()) for _ in range(5)]
            await until(lambda: installation.events(kind=OrderIntended))
            os.kill(first.pid, signal.SIGSTOP)
            commands += [await installation.command(installation.place()) for _ in range(5)]
            for command in commands:
                await ended(installation, command, "closed")
            started = [event for event in await installation.events(kind=OwnerStarted) if event.owner == "second"]
            late = [entry for entry in installation.server.venue.market.journal.since(1) if entry.kind == "order_accepted"]
            assert started
            # when the first one wakes with commands of its own in hand
            os.kill(first.pid, signal.SIGCONT)
            last = await installation.command(installation.place())
            await ended(installation, last, "closed")
            assert first.returncode is None
    accepted = [order["client_order_id"] for order in installation.accepted()]
    assert len(accepted) == len(set(accepted)) == 11
    assert len(late) == 10
    # what the first one still had to say is void in the log: it leaves no second outcome and nothing open
    books = Books("alice")
    for event in await installation.events():
        books = evolve(books, event)
    assert not books.orders
    ids = {client_order_id(command, attempt): command for command in [*commands, last] for attempt in range(1, 6)}
    assert sorted(ids[client] for client in accepted) == sorted([*commands, last])


async def test_given_the_lease_row_is_given_away_under_a_healthy_owner_then_the_log_fences_it(
    installation: Installation,
) -> None:
    """A lease row that expires under a healthy owner: only the log tells it in time."""
    async with installation.executor("first"):
        await opened(installation)
        await installation.expire_leases_as("usurper", epoch=7)
        usurped = OwnerStarted(account="alice", epoch=7, at_ms=1, owner="usurper")
        await installation.write("orders.events.v1", "alice", usurped)
        # the owner's own lease deadline has not passed yet
        command = await installation.command(installation.place())
        told = await ended(installation, command, "closed")
    # nothing of epoch 1 left after the usurper's announcement; the owner took the account back above it
    events = await installation.events()
    seventh = next(n for n, event in enumerate(events) if event.epoch == 7)
    sent = [event for event in events[seventh:] if event.TYPE in ("orders.accepted", "orders.found", "orders.rejected")]
    assert {event.epoch for event in sent} == {8}
    assert told[-1] == "closed"
    assert len(installation.accepted()) == 1
