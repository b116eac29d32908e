"""What keeps one process from holding up another in the database."""

import psycopg
import pytest

from streams.domain.errors import UnreachableError
from streams.gateways.postgres import make_pool, transaction


async def test_4_2_a_process_that_stands_still_in_a_transaction_lets_go_of_its_locks(empty_database_url: str):
    """Found by the crash run: a projector was stopped in the middle, and the other one waited for its rows for ever."""
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE TABLE place (next_offset int)")
        connection.execute("INSERT INTO place VALUES (0)")
    async with make_pool(empty_database_url, name="test") as pool:

        async def stand_still() -> None:
            async with transaction(pool, idle_timeout_ms=200) as frozen:
                await frozen.execute("UPDATE place SET next_offset = 1")
                async with transaction(pool) as other:
                    await other.execute("UPDATE place SET next_offset = 2")
                await frozen.execute("UPDATE place SET next_offset = 3")

        # Given one that has changed a row and says nothing any more, when another one wants it, then that one gets it,
        # and the first learns that all it said is void
        with pytest.raises(UnreachableError):
            await stand_still()
        async with transaction(pool) as after:
            assert await (await after.execute("SELECT next_offset FROM place")).fetchone() == (2,)
