"""What a database says that takes no writes: it is as good as away, and the next connection may lead to another one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from streams.domain.errors import UnreachableError
from streams.gateways.postgres import single


class Connection:
    """A connection to a server that became a standby while it was open."""

    def __init__(self) -> None:
        self.closed = False

    async def execute(self, statement: str) -> None:
        raise psycopg.errors.ReadOnlySqlTransaction("cannot execute UPDATE in a read-only transaction")

    async def close(self) -> None:
        self.closed = True


class Pool:
    """Gives out that connection."""

    def __init__(self) -> None:
        self.made = Connection()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        yield self.made


async def test_2_1_given_a_server_that_became_a_standby_then_it_is_unreachable_and_its_connection_is_given_up() -> None:
    """Found once: an owner of leases ended with an error that nobody expects, instead of going on until its deadline."""
    pool: Any = Pool()
    with pytest.raises(UnreachableError, match="read-only"):
        async with single(pool) as connection:
            await connection.execute("UPDATE control.leases SET owner = ''")
    assert pool.made.closed


async def test_2_1_given_an_error_of_our_own_then_it_stays_what_it_is() -> None:
    pool: Any = Pool()
    with pytest.raises(psycopg.errors.UndefinedTable):
        async with single(pool):
            raise psycopg.errors.UndefinedTable("control.leases")
    assert not pool.made.closed
