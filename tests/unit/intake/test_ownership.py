"""When a lease may be taken, and what an owner checks before it appends."""

import pytest

from streams.agents.sequencer.errors import OwnershipLostError
from streams.agents.sequencer.ownership import LeaseWatch, Ownership
from streams.ports.database import Lease
from tests.unit.intake.fakes import HandClock, MemoryLeases

TTL = 5_000
ROW = "journal:0"


def row(expires_in_ms: int, owner: str = "them", epoch: int = 4) -> Lease:
    return Lease(ROW, owner, epoch, expires_in_ms)


@pytest.mark.parametrize("seen", [None, row(0, owner=""), row(4_000, owner="me")])
def test_a_lease_that_is_nobodys_or_ours_is_taken_at_once(seen: Lease | None):
    assert LeaseWatch("me", TTL).may_take(seen, 0)


def test_a_dead_owners_lease_is_taken_when_it_is_expired_and_was_unchanged_for_a_ttl():
    watch = LeaseWatch("me", TTL)
    looks = [watch.may_take(row(4_500 - elapsed), elapsed) for elapsed in range(0, 6_000, 1_000)]
    assert looks == [False] * 5 + [True]


def test_a_lease_that_is_renewed_is_never_taken():
    watch = LeaseWatch("me", TTL)
    assert not any(watch.may_take(row(5_000), elapsed) for elapsed in range(0, 60_000, 1_000))


def test_after_an_outage_every_lease_is_expired_and_a_healthy_owner_has_a_ttl_to_renew():
    watch = LeaseWatch("me", TTL)
    assert not watch.may_take(row(3_000), 0)
    watch.unreachable()
    assert not watch.may_take(row(-20_000), 23_000)
    assert not watch.may_take(row(-21_000), 24_000)
    assert not watch.may_take(row(5_000), 25_000)
    assert not watch.may_take(row(4_000), 26_000)


def test_an_outage_begins_the_watch_anew():
    watch = LeaseWatch("me", TTL)
    assert not watch.may_take(row(0), 0)
    watch.unreachable()
    assert not watch.may_take(row(-6_000), 6_000)
    assert watch.may_take(row(-11_000), 11_000)


def test_a_change_of_owner_begins_the_watch_anew():
    watch = LeaseWatch("me", TTL)
    assert not watch.may_take(row(0), 0)
    assert not watch.may_take(row(-5_000, epoch=5), 5_000)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def leases(clock: HandClock) -> MemoryLeases:
    leases = MemoryLeases(clock)
    leases.rows[ROW] = ("me", 4, clock.boot + TTL)
    return leases


@pytest.fixture
def ownership(leases: MemoryLeases, clock: HandClock) -> Ownership:
    return Ownership(leases, clock, row(TTL, owner="me"), clock.boot, TTL)


async def test_within_the_deadline_nothing_is_asked(ownership: Ownership, leases: MemoryLeases, clock: HandClock):
    clock.pass_ms(TTL)
    await ownership.check()
    assert leases.asked == 0


async def test_past_the_deadline_the_row_is_asked_once_and_the_deadline_moves(
    ownership: Ownership, leases: MemoryLeases, clock: HandClock
):
    clock.pass_ms(TTL + 1)
    await ownership.check()
    await ownership.check()
    assert leases.asked == 1


async def test_an_owner_that_was_replaced_while_it_was_paused_stops_for_good(
    ownership: Ownership, leases: MemoryLeases, clock: HandClock
):
    clock.pass_ms(60_000)
    leases.rows[ROW] = ("them", 5, clock.boot + TTL)
    for _ in range(2):
        with pytest.raises(OwnershipLostError):
            await ownership.check()
    assert leases.asked == 1


async def test_while_the_database_is_away_an_owner_goes_on_and_asks_now_and_then(
    ownership: Ownership, leases: MemoryLeases, clock: HandClock
):
    leases.reachable = False
    clock.pass_ms(TTL + 1)
    for _ in range(100):
        await ownership.check()
        clock.pass_ms(100)
    assert 3 <= leases.asked <= 5
    leases.reachable = True
    clock.pass_ms(3_000)
    await ownership.check()
    assert leases.rows[ROW] == ("me", 4, clock.boot + TTL)


async def test_release_frees_the_row_and_survives_a_database_that_is_away(
    ownership: Ownership, leases: MemoryLeases, clock: HandClock
):
    leases.reachable = False
    await ownership.release()
    assert leases.rows[ROW][0] == "me"
    leases.reachable = True
    await ownership.release()
    assert leases.rows[ROW] == ("", 4, clock.boot)
