"""2.1: when an account's owner-to-be tries to take it, and when again."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from streams.agents.executor.config import AccountConfig
from streams.agents.executor.leasehold import Leasehold, resource_of
from streams.agents.executor.owner import AccountOwner
from streams.ports.database import LeaseUnreachableError
from tests.unit.executor.memory import MemoryLeases, TestClock
from tests.unit.executor.test_parts import ACCOUNT, near, running, until


class Unanswered(MemoryLeases):
    """A take that is not answered, then one that comes too late."""

    def __init__(self, clock: TestClock) -> None:
        super().__init__(clock)
        self.takes: list[int] = []
        self.reads = 0

    async def read(self, resource: str) -> Any:
        self.reads += 1
        return await super().read(resource)

    async def take(self, resource: str, owner: str, epoch_seen: int | None, epoch_new: int, ttl_ms: int) -> bool:
        self.takes.append(self.clock.boot_ms())
        if len(self.takes) == 1:
            raise LeaseUnreachableError("late")
        return False


async def test_2_1_given_a_take_without_answer_then_the_life_of_the_lease_is_not_waited_again(tmp_path: Path) -> None:
    around, _, _, clock = near(tmp_path)
    leases = Unanswered(clock)
    config = replace(around.config, lease_renew_ms=20)
    around = replace(around, config=config, leases=leases, leasehold=Leasehold(leases, clock, config))
    around.control.current_at_boot_ms = clock.boot_ms()
    leases.rows[resource_of(ACCOUNT)] = ("other", 3, clock.boot_ms() + 4000, None)
    owner = AccountOwner(around, AccountConfig(ACCOUNT, "sim", (), adopted=True), cast("Any", None))
    async with running(around.leasehold.run(), owner.run()):
        await until(lambda: leases.reads >= 2)
        clock.go(5000)
        await until(lambda: len(leases.takes) >= 2)
        owner.stop()
    assert set(leases.takes) == {clock.boot_ms()}
