"""Broker or database away and back: no crash, no order without its fence, nothing lost."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas.orders import CommandAdmitted, CommandExpiredUnsent, CommandNotAdmitted, OrderIntended, OwnerStarted
from streams.agents.executor.spool import SPOOL_DIR
from streams.gateways.postgres import migrate
from streams.local.broker import Broker
from streams.local.database import Database
from tests.stack.executor.installation import CLOCK, Installation, ended, opened, until

pytestmark = pytest.mark.timeout(300)  # whole processes start and take over: a hang guard, not a target

AWAY_S = 8.0
log = logging.getLogger("stack.outages")


@asynccontextmanager
async def installed(broker: Any, database_url: str, topic_prefix: str, state_dir: Path) -> AsyncIterator[Installation]:
    """An installation on these servers, its tables made."""
    migrate(database_url)
    made = Installation(broker.bootstrap, topic_prefix, database_url, state_dir)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def leases_url(own_database: Database) -> str:
    """A database of its own on the test's own server."""
    return own_database.create_database(f"leases_{uuid.uuid4().hex[:8]}")


@pytest.fixture
async def with_own_database(broker: Any, leases_url: str, topic_prefix: str, state_dir: Path) -> AsyncIterator[Installation]:
    async with installed(broker, leases_url, topic_prefix, state_dir) as made:
        yield made


@pytest.fixture
async def with_own_broker(
    own_broker: Broker, empty_database_url: str, topic_prefix: str, state_dir: Path
) -> AsyncIterator[Installation]:
    async with installed(own_broker, empty_database_url, topic_prefix, state_dir) as made:
        yield made


@pytest.fixture
async def with_own_servers(
    own_broker: Broker, leases_url: str, topic_prefix: str, state_dir: Path
) -> AsyncIterator[Installation]:
    async with installed(own_broker, leases_url, topic_prefix, state_dir) as made:
        yield made


async def test_given_the_database_away_then_nothing_is_sent_after_the_lease_and_all_resumes(
    with_own_database: Installation, own_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """6: database away and back: no crash loop, a clear line in the log, nothing lost, flow resumes."""
    installation = with_own_database
    async with installation.executor() as executor:
        await opened(installation)
        own_database.kill()
        try:
            await asyncio.sleep(5.5)  # the lease's own life
            deadline_ms = CLOCK.wall_ms() + 1000
            unsent = await installation.command(installation.place(admit_by_ms=deadline_ms))
            assert await ended(installation, unsent, "expired-unsent", "closed") == ["admitted", "expired-unsent"]
            assert executor.owned == 1
        finally:
            await asyncio.to_thread(own_database.start)
        command = await installation.command(installation.place())
        assert (await ended(installation, command, "closed"))[-1] == "closed"
    assert len(installation.accepted()) == 1
    assert [event.cause for event in await installation.events(kind=CommandExpiredUnsent)] == ["too_late"]
    told = [record.message for record in caplog.records if "nothing is sent once the lease runs out" in record.message]
    assert len(told) == 1


async def test_given_the_broker_away_when_it_is_back_then_waiting_commands_are_traded_once(
    with_own_broker: Installation, own_broker: Broker
) -> None:
    """6: broker away and back: no crash loop, nothing lost, flow resumes."""
    installation = with_own_broker
    async with installation.executor() as executor:
        await opened(installation)
        first = await installation.command(installation.place())
        await ended(installation, first, "closed")
        own_broker.pause()
        try:
            await asyncio.sleep(AWAY_S)
            assert executor.owned == 1
        finally:
            own_broker.resume()
        command = await installation.command(installation.place())
        assert (await ended(installation, command, "closed"))[-1] == "closed"
    assert len(installation.accepted()) == 2
    assert len(await installation.events(kind=OrderIntended)) >= 2
    assert len(await installation.events(kind=OwnerStarted)) == 1


async def test_given_the_broker_killed_and_restarted_then_the_flow_resumes(
    with_own_broker: Installation, own_broker: Broker
) -> None:
    installation = with_own_broker
    async with installation.executor() as executor:
        await opened(installation)
        own_broker.kill()
        await asyncio.to_thread(own_broker.restart)
        command = await installation.command(installation.place(admit_by_ms=CLOCK.wall_ms() + 90_000, input_age_ms_max=90_000))

        async def closed() -> list[str]:
            told = await installation.story(command)
            return told if told and told[-1] == "closed" else []

        assert await until(closed, 60)
        assert executor.owned == 1
    assert len(installation.accepted()) == 1


async def test_3_3_given_the_broker_away_then_the_halt_file_still_takes_orders_off_the_book(
    with_own_broker: Installation, own_broker: Broker
) -> None:
    """The cancels are on disk before they leave, and in the log once there is one again."""
    installation = with_own_broker
    async with installation.executor():
        await opened(installation)
        commands = [
            await installation.command(installation.place(time_in_force="gtc", price_limit_quote="30000")) for _ in range(3)
        ]
        for command in commands:
            await ended(installation, command, "accepted")
        own_broker.pause()
        try:
            (installation.state_dir / "HALT").write_text("all somebody saw something\n")
            began_ms = CLOCK.wall_ms()

            async def off_the_book() -> bool:
                return len(installation.canceled()) == len(commands)

            await until(off_the_book, 4)  # the lease's own life is 5 s; nothing renews what the broker has to say
            took_ms = CLOCK.wall_ms() - began_ms
            assert list((installation.state_dir / SPOOL_DIR).iterdir())
            log.info("%d orders were off the book %d ms after the HALT file, without a broker", len(commands), took_ms)
        finally:
            own_broker.resume()
        for command in commands:
            assert (await ended(installation, command, "closed"))[-1] == "closed"
        refused = await installation.command(installation.place())
        assert await ended(installation, refused, "not-admitted") == ["not-admitted"]
    decided = [event for event in await installation.events(kind=CommandAdmitted) if event.own_cause]
    assert {event.target_command_id for event in decided} == set(commands)
    assert not list((installation.state_dir / SPOOL_DIR).iterdir())
    assert len(installation.accepted()) == len(commands)


async def test_3_3_given_broker_and_database_away_then_the_halt_file_works_while_the_lease_lasts(
    with_own_servers: Installation, own_broker: Broker, own_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """What rests comes off the book by the lease that is still held; what was asked for meanwhile is never sent."""
    installation = with_own_servers
    async with installation.executor():
        await opened(installation)
        resting = installation.place(time_in_force="gtc", price_limit_quote="30000")
        command = await installation.command(resting)
        await ended(installation, command, "accepted")
        own_broker.pause()
        own_database.kill()
        try:
            (installation.state_dir / "HALT").write_text("all\n")
            began_ms = CLOCK.wall_ms()

            async def off_the_book() -> bool:
                return len(installation.canceled()) == 1

            await until(off_the_book, 4)  # the lease's own life is 5 s, and nothing renews it
            log.info("the order was off the book after %d ms, without broker and database", CLOCK.wall_ms() - began_ms)
            assert list((installation.state_dir / SPOOL_DIR).iterdir())
            meanwhile = installation.place()
            asked = asyncio.create_task(installation.command(meanwhile))

            async def noticed() -> bool:
                return any("nothing is sent once the lease runs out" in record.message for record in caplog.records)

            assert await until(noticed, 20), "the database was never away"
        finally:
            own_broker.resume()
            await asyncio.to_thread(own_database.start)
        assert await ended(installation, await asked, "not-admitted") == ["not-admitted"]
        assert (await ended(installation, command, "closed"))[-1] == "closed"
    assert [event.cause for event in await installation.events(kind=CommandNotAdmitted)] == ["halt_file"]
    assert not list((installation.state_dir / SPOOL_DIR).iterdir())
    assert len(installation.accepted()) == 1
