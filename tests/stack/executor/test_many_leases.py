"""2.1: the port ManyLeases, by its twin in memory and by PostgreSQL: one call for all is what a call for each would be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import psycopg
import pytest

from streams.gateways.lease import PostgresLeases
from streams.gateways.postgres import migrate
from streams.ports.database import LeaseUnreachableError, ManyLeases
from tests.unit.executor.memory import MemoryLeases, TestClock

ROWS = tuple(f"executor/a{number:03}" for number in range(300))


@dataclass
class Store:
    """The leases, and a way to let all of them run out."""

    leases: ManyLeases
    expire: Callable[[], Awaitable[None]]


@pytest.fixture
def lease_url(empty_database_url: str) -> str:
    migrate(empty_database_url)
    return empty_database_url


@pytest.fixture(params=["twin", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "twin":
        clock = TestClock()

        async def pass_time() -> None:
            clock.go(3_600_000)

        yield Store(MemoryLeases(clock), pass_time)
        return
    url = request.getfixturevalue("lease_url")

    async def expire() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute("UPDATE control.leases SET expires_at = now() - interval '1 hour'")

    async with PostgresLeases(url, call_ms_max=2_000) as leases:
        yield Store(leases, expire)


async def test_2_1_all_rows_are_read_and_renewed_in_one_call_each(store: Store) -> None:
    leases = store.leases
    for epoch, row in enumerate(ROWS, 1):
        assert await leases.take(row, "a", None, epoch, 60_000)
    await leases.point(ROWS[7], "a", 8, 77)
    epochs = {row: epoch for epoch, row in enumerate(ROWS, 1)}
    await store.expire()
    assert {lease.expires_in_ms < 0 for lease in (await leases.read_all(ROWS)).values()} == {True}
    assert set(await leases.renew_all("a", epochs, 60_000)) == set(ROWS)
    rows = await leases.read_all([*ROWS, "executor/nobody"])
    assert rows.keys() == set(ROWS)
    assert all(rows[row].resource == row and rows[row].epoch == epoch for row, epoch in epochs.items())
    assert all(lease.owner == "a" and 50_000 < lease.expires_in_ms <= 60_000 for lease in rows.values())
    assert {row: lease.checkpoint_offset for row, lease in rows.items() if lease.checkpoint_offset} == {ROWS[7]: 77}
    for row in ROWS[:2]:
        one = await leases.read(row)
        assert one is not None
        assert (one.owner, one.epoch, one.checkpoint_offset) == ("a", epochs[row], None)


async def test_2_1_each_row_is_renewed_under_its_own_epoch_and_only_by_its_owner(store: Store) -> None:
    leases, (mine, taken, raised, released, missing) = store.leases, ROWS[:5]
    for row in (mine, taken, raised, released):
        assert await leases.take(row, "a", None, 3, 60_000)
    await store.expire()
    assert await leases.take(taken, "b", 3, 4, 60_000)
    assert await leases.take(raised, "a", 3, 5, 60_000)
    await leases.release(released, "a", 3)
    assert set(await leases.renew_all("a", dict.fromkeys((mine, taken, raised, released, missing), 3), 90_000)) == {mine}
    rows = await leases.read_all(ROWS[:5])
    assert {row: (lease.owner, lease.epoch) for row, lease in rows.items()} == {
        mine: ("a", 3),
        taken: ("b", 4),
        raised: ("a", 5),
        released: ("", 3),
    }
    assert [row for row, lease in rows.items() if lease.expires_in_ms > 60_000] == [mine]
    assert set(await leases.renew_all("a", {mine: 2}, 90_000)) == set()


async def test_2_1_of_a_renewal_and_a_take_over_of_expired_rows_each_row_has_one_winner(lease_url: str) -> None:
    """Both at the same moment, again and again: no row is renewed by one and taken by another, and none waits for ever."""
    async with (
        PostgresLeases(lease_url, call_ms_max=5_000) as owner,
        PostgresLeases(lease_url, call_ms_max=5_000) as heir,
        await psycopg.AsyncConnection.connect(lease_url, autocommit=True) as connection,
    ):
        rows = ROWS[:40]
        for row in rows:
            await owner.take(row, "a", None, 1, 60_000)
        for epoch in range(1, 6):
            await connection.execute("UPDATE control.leases SET owner = 'a', expires_at = now() - interval '1 hour'")
            takes = [heir.take(row, "b", epoch, epoch + 1, 60_000) for row in reversed(rows)]
            renewed, *taken = await asyncio.gather(owner.renew_all("a", dict.fromkeys(rows, epoch), 60_000), *takes)
            won = {row for row, worked in zip(reversed(rows), taken, strict=True) if worked}
            assert won | renewed == set(rows)
            assert not won & renewed
            left = [row for row in rows if row in renewed]
            await connection.execute("UPDATE control.leases SET epoch = %s WHERE resource = ANY(%s)", (epoch + 1, left))


async def test_2_1_a_renewal_that_was_given_up_does_not_stop_the_next(lease_url: str) -> None:
    epochs = dict.fromkeys(ROWS, 1)
    async with PostgresLeases(lease_url, call_ms_max=500) as leases:
        for row in ROWS:
            await leases.take(row, "a", None, 1, 60_000)
        async with await psycopg.AsyncConnection.connect(lease_url) as other:
            await other.execute("SELECT 1 FROM control.leases WHERE resource = %s FOR UPDATE", (ROWS[150],))
            for _ in range(3):
                with pytest.raises(LeaseUnreachableError, match="300 leases"):
                    await leases.renew_all("a", epochs, 60_000)
        async with asyncio.timeout(10):
            while not await renewed(leases, epochs):  # noqa: ASYNC110  a condition in the database, with a deadline
                await asyncio.sleep(0.05)


async def renewed(leases: PostgresLeases, epochs: dict[str, int]) -> bool:
    try:
        return await leases.renew_all("a", epochs, 60_000) == set(epochs)
    except LeaseUnreachableError:
        return False
