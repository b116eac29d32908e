"""2.1: the leases of one process, however many accounts it has."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from streams.agents.executor.config import AccountConfig
from streams.agents.executor.fence import LostError
from streams.agents.executor.leasehold import Claim, Leasehold, resource_of
from streams.ports.database import Lease, LeaseUnreachableError
from tests.unit.executor.memory import MemoryLeases, TestClock
from tests.unit.executor.test_parts import config, running, until

ACCOUNTS = tuple(f"a{number:03}" for number in range(100))
RENEW_MS = 20


class Asked(MemoryLeases):
    """Remembers what it was asked."""

    def __init__(self, clock: TestClock) -> None:
        super().__init__(clock)
        self.reads: list[int] = []
        self.renewals: list[int] = []
        self.fails = 0

    async def read_all(self, resources: Collection[str]) -> dict[str, Lease]:
        self.reads.append(len(resources))
        self._there()
        return await super().read_all(resources)

    async def renew_all(self, owner: str, epochs: Mapping[str, int], ttl_ms: int) -> frozenset[str]:
        self.renewals.append(len(epochs))
        if self.fails:
            self.fails -= 1
            raise LeaseUnreachableError("late")
        self._there()
        return await super().renew_all(owner, epochs, ttl_ms)


class Holding:
    """The port Holder: what an account was told."""

    def __init__(self) -> None:
        self.renewals: list[tuple[int, int]] = []
        self.over = False

    def renewed(self, asked_wall_ms: int, asked_boot_ms: int) -> None:
        self.renewals.append((asked_wall_ms, asked_boot_ms))

    def superseded(self) -> None:
        self.over = True


class Estate:
    """A process that holds the leases of all accounts."""

    def __init__(self, tmp_path: Path) -> None:
        self.clock = TestClock()
        self.leases = Asked(self.clock)
        accounts = tuple(AccountConfig(account, "sim", ()) for account in ACCOUNTS)
        # `replace` on purpose skips nothing: the pace is a tenth of what the rule about window and lease allows.
        self.config = replace(config(tmp_path), accounts=accounts, lease_renew_ms=RENEW_MS)
        self.leasehold = Leasehold(self.leases, self.clock, self.config)
        self.holding = {account: Holding() for account in ACCOUNTS}
        self.lost: dict[str, asyncio.Future[None]] = {}

    async def take_all(self, stack: ExitStack) -> None:
        for epoch, account in enumerate(ACCOUNTS, 1):
            assert await self.leases.take(resource_of(account), "me", None, epoch, 5000)
            claim = Claim(epoch, self.clock.wall_ms(), self.clock.boot_ms())
            self.lost[account] = stack.enter_context(self.leasehold.held(account, claim, self.holding[account]))

    async def passes(self, renewals: int) -> None:
        """Until so many more renewals of all were asked."""
        target = len(self.leases.renewals) + renewals
        await until(lambda: len(self.leases.renewals) >= target)


@pytest.fixture
def estate(tmp_path: Path) -> Estate:
    return Estate(tmp_path)


async def test_2_1_given_many_accounts_then_their_leases_are_renewed_in_one_call(estate: Estate) -> None:
    with ExitStack() as stack:
        await estate.take_all(stack)
        taken = (estate.clock.wall_ms(), estate.clock.boot_ms())
        estate.clock.go(700)
        async with running(estate.leasehold.run()):
            await estate.passes(2)
    assert set(estate.leases.renewals) == {100}
    asked = (estate.clock.wall_ms(), estate.clock.boot_ms())
    for account, holding in estate.holding.items():
        assert holding.renewals[:2] == [taken, asked], account
        assert not holding.over
    assert {row[2] for row in estate.leases.rows.values()} == {estate.clock.boot_ms() + 5000}


async def test_2_1_given_a_row_of_somebody_else_then_only_that_account_is_lost(estate: Estate) -> None:
    with ExitStack() as stack:
        await estate.take_all(stack)
        estate.leases.rows[resource_of("a007")] = ("other", 99, estate.clock.boot_ms() + 5000, None)
        async with running(estate.leasehold.run()):
            await estate.passes(3)
        with pytest.raises(LostError):
            await estate.lost["a007"]
        assert [account for account, holding in estate.holding.items() if holding.over] == ["a007"]
        assert not any(lost.done() for account, lost in estate.lost.items() if account != "a007")
    assert len(estate.holding["a007"].renewals) == 1
    assert len(estate.holding["a008"].renewals) > 2


async def test_2_1_given_a_lease_given_up_while_it_is_renewed_then_its_next_tenure_is_not_told_of_it(estate: Estate) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(Asked):
        async def renew_all(self, owner: str, epochs: Mapping[str, int], ttl_ms: int) -> frozenset[str]:
            asked.set()
            await answer.wait()
            return frozenset()

    leasehold = Leasehold(Slow(estate.clock), estate.clock, estate.config)
    old, new = Holding(), Holding()
    async with running(leasehold.run()):
        with leasehold.held("a000", Claim(1, 0, 0), old):
            await asked.wait()
        with leasehold.held("a000", Claim(2, 5, 5), new) as lost:
            answer.set()
            await asyncio.sleep(0)
            assert not lost.done()
    assert (old.over, new.over) == (False, False)
    assert new.renewals == [(5, 5)]


async def test_2_1_given_accounts_that_wait_then_their_rows_are_read_in_one_call(estate: Estate) -> None:
    await estate.leases.take(resource_of("a001"), "other", None, 3, 5000)
    async with running(estate.leasehold.run()):
        sights = await asyncio.gather(*(estate.leasehold.look(account) for account in ACCOUNTS))
    assert estate.leases.reads == [100]
    rows = [sight.lease for sight in sights]
    assert [row.epoch for row in rows if row is not None] == [3]
    assert {(sight.boot_ms, sight.took_ms) for sight in sights} == {(estate.clock.boot_ms(), 0)}


async def test_2_1_given_the_database_away_then_one_line_says_so_and_one_that_it_is_back(
    estate: Estate, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the number of accounts and tries. Found by the crash run: 28 351 lines."""
    caplog.set_level(logging.INFO)

    async def wait_for_rows() -> None:
        while True:
            try:
                await estate.leasehold.look("other")
            except LeaseUnreachableError:
                continue

    with ExitStack() as stack:
        await estate.take_all(stack)
        async with running(estate.leasehold.run(), wait_for_rows()):
            for _ in range(2):
                await estate.passes(2)
                estate.leases.away = True
                await estate.passes(5)
                assert len(estate.leases.reads) > 3
                estate.clock.go(3200)
                estate.leases.away = False
                await estate.passes(3)
    told = [record.getMessage() for record in caplog.records if record.name == "trimtab.executor"]
    away = "leases cannot be renewed or taken (away): nothing is sent once the lease runs out; 100 accounts are held"
    back = "leases are reachable again after 3.2 s; 100 accounts are held"
    assert told == [away, back] * 2


async def test_2_1_given_one_late_answer_then_nothing_is_said_and_nothing_is_lost(
    estate: Estate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with ExitStack() as stack:
        await estate.take_all(stack)
        async with running(estate.leasehold.run()):
            for _ in range(3):
                estate.leases.fails = 1
                await estate.passes(3)
        assert not any(lost.done() for lost in estate.lost.values())
    assert [record.getMessage() for record in caplog.records if record.name == "trimtab.executor"] == []
