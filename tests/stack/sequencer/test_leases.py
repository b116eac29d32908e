"""Leases on a real database: one holder, compare-and-set, bounded calls."""

import asyncio
import contextlib

import psycopg
import pytest

from streams.gateways.lease import PostgresLeases
from streams.gateways.postgres import migrate
from streams.local.database import Database
from streams.ports.database import LeaseUnreachableError
from tests.wire import Wire

ROW = "journal:0"


async def expire(lease_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(lease_url, autocommit=True) as connection:
        await connection.execute("UPDATE control.leases SET expires_at = now() - interval '1 hour'")


async def test_the_first_of_two_takes_a_row_that_does_not_exist(leases: PostgresLeases):
    assert await leases.read(ROW) is None
    taken = await asyncio.gather(*(leases.take(ROW, owner, None, 1, 60_000) for owner in ("a", "b")))
    assert sorted(taken) == [False, True]
    row = await leases.read(ROW)
    assert row is not None
    assert (row.owner, row.epoch) == ("a" if taken[0] else "b", 1)
    assert 0 < row.expires_in_ms <= 60_000


async def test_hundreds_of_rows_are_renewed_at_the_same_moment(leases: PostgresLeases):
    """An executor with many accounts asks for all of them at once when it stops, and whenever it was held up."""
    rows = [f"executor/a{number:03}" for number in range(300)]
    taken = await asyncio.gather(*(leases.take(row, "a", None, 1, 60_000) for row in rows))
    assert all(taken)
    for _ in range(3):
        assert all(await asyncio.gather(*(leases.renew(row, "a", 1, 60_000) for row in rows)))


async def test_a_held_row_is_not_taken_but_its_owner_may_start_anew(leases: PostgresLeases):
    assert await leases.take(ROW, "a", None, 3, 60_000)
    assert not await leases.take(ROW, "b", 3, 4, 60_000)
    assert await leases.take(ROW, "a", 3, 4, 60_000)
    assert not await leases.take(ROW, "a", 3, 5, 60_000), "the row was not as it was seen"
    assert not await leases.take(ROW, "a", 4, 4, 60_000), "an epoch must grow"


async def test_an_expired_row_is_taken_by_one_and_its_old_owner_renews_no_more(leases: PostgresLeases, lease_url: str):
    assert await leases.take(ROW, "a", None, 1, 60_000)
    assert await leases.renew(ROW, "a", 1, 60_000)
    await expire(lease_url)
    row = await leases.read(ROW)
    assert row is not None
    assert row.expires_in_ms < 0
    assert sorted(await asyncio.gather(*(leases.take(ROW, owner, 1, 2, 60_000) for owner in ("b", "c")))) == [False, True]
    assert not await leases.renew(ROW, "a", 1, 60_000)
    assert not await leases.point(ROW, "a", 1, 5)


async def test_an_expired_row_that_nobody_took_is_renewed(leases: PostgresLeases, lease_url: str):
    await leases.take(ROW, "a", None, 1, 60_000)
    await expire(lease_url)
    assert await leases.renew(ROW, "a", 1, 60_000)


async def test_a_released_row_is_nobodys_and_keeps_epoch_and_checkpoint(leases: PostgresLeases):
    await leases.take(ROW, "a", None, 1, 60_000)
    assert await leases.point(ROW, "a", 1, 77)
    await leases.release(ROW, "b", 1)
    await leases.release(ROW, "a", 1)
    row = await leases.read(ROW)
    assert row is not None
    assert (row.owner, row.epoch, row.checkpoint_offset) == ("", 1, 77)
    assert await leases.take(ROW, "b", 1, 2, 60_000)


async def test_a_call_that_hangs_is_given_up_in_time(lease_url: str):
    async with (
        PostgresLeases(lease_url, call_ms_max=300) as leases,
        await psycopg.AsyncConnection.connect(lease_url) as other,
    ):
        await other.execute("LOCK TABLE control.leases IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(5):
            with pytest.raises(LeaseUnreachableError):
                await leases.read(ROW)


async def test_a_database_that_is_not_there_is_unreachable():
    async with PostgresLeases("postgresql://nobody@127.0.0.1:9/none", call_ms_max=300) as leases:
        with pytest.raises(LeaseUnreachableError):
            await leases.read(ROW)


async def test_6_after_an_absence_however_many_asked_leases_are_reachable_again(own_database: Database):
    """Those who asked in vain stand in the pool's queue for good: a queue that is full must not stay so."""
    await asyncio.to_thread(migrate, own_database.url)
    async with PostgresLeases(own_database.url, call_ms_max=200) as leases:
        assert await leases.take(ROW, "a", None, 1, 60_000)
        await asyncio.to_thread(own_database.kill)
        for _ in range(6):
            answers = await asyncio.gather(*(leases.renew(ROW, "a", 1, 60_000) for _ in range(50)), return_exceptions=True)
            assert all(isinstance(answer, LeaseUnreachableError) for answer in answers)
        await asyncio.to_thread(own_database.start)
        async with asyncio.timeout(20):
            while not await renewed(leases):  # noqa: ASYNC110  a condition in the database, with a deadline
                await asyncio.sleep(0.1)


async def renewed(leases: PostgresLeases) -> bool:
    try:
        return await leases.renew(ROW, "a", 1, 60_000)
    except LeaseUnreachableError:
        return False


@pytest.mark.parametrize("after", range(1, 7))
async def test_2_2_an_owner_asleep_in_the_middle_of_a_renewal_locks_nobody_out(lease_url: str, after: int):
    """Found by the pause matrix: a renewal of several messages kept the row locked while its owner slept."""
    where = psycopg.conninfo.conninfo_to_dict(lease_url)
    async with (
        Wire(str(where["host"]), int(str(where["port"]))) as wire,
        PostgresLeases(wire.address(lease_url)) as sleeper,
        PostgresLeases(lease_url) as heir,
    ):
        await sleeper.take(ROW, "a", None, 1, 1)
        wire.hold(after)
        with contextlib.suppress(LeaseUnreachableError):
            while True:
                await sleeper.renew(ROW, "a", 1, 1)
        assert await heir.take(ROW, "b", 1, 2, 60_000)
        wire.release()


async def test_nobody_takes_nothing(leases: PostgresLeases):
    with pytest.raises(ValueError, match="has a name"):
        await leases.take(ROW, "", None, 1, 1)
