"""4.1: an executor dies at each of its named steps, whatever the venue did with its request; the next one puts it right.

What is under way then is an order in one matrix, and the cancel of a standing order in the other.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas.orders import CancelEnded, CancelIntended, ClosedAs, OrderClosed, OrderIntended
from streams.agents.executor.agent import Executor
from streams.ports.process import Point
from streams.simulator.faults import FaultPlan
from streams.simulator.server import Server
from streams.simulator.settings import SimulatorSettings
from tests.contract.trading.house import ACCOUNT, House, addresses, until
from tests.contract.trading.mortal import Death, DiedError, MortalLeases, MortalLog

FUNDS = {"BTC": "2", "USDT": "1000"}
SETTINGS: dict[str, Any] = {
    "accounts": {"alice": {"balances": FUNDS}},
    "keys": {"sim-alice": {"account": "alice", "secret": "sim-alice-secret"}},
    "limits": {"weight_1m_max": 1_000_000},
    "tape": {"refresh_ms": 10_000},
}
UNACKED = (Point.INTENT_APPENDED, Point.EVENT_APPENDED)
CASES = [(point, True) for point in Point] + [(point, False) for point in UNACKED]
TOGETHER = 8
# What the venue does with the first request: the command, the faults, and how its story and the venue's journal end.
OUTCOMES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str, int]] = {
    "accepted": ({}, [], "closed", 1),
    "refused": ({"quantity_base": "0.05"}, [], "rejected", 0),
    "never saw it": ({}, [{"fault": "request_lost", "next": 1}], "closed", 1),
}


# The same for a cancel: the faults, and how its order ends.
CANCEL_OUTCOMES: dict[str, tuple[list[dict[str, Any]], ClosedAs]] = {
    "canceled": ([], ClosedAs.CANCELED),
    "refused, for the order is filled": ([{"fault": "cancel_crossed", "next": 1}], ClosedAs.FILLED),
    "never saw it": ([{"fault": "request_lost", "requests": ["cancel"], "next": 1}], ClosedAs.CANCELED),
}


class Story(ABC):
    """One command, one death, one venue. `end` is the command's last event, `taken` how many orders the venue has then."""

    command: str
    end: str
    taken: int

    def __init__(self, server: Server, state_dir: Path, faults: list[dict[str, Any]]) -> None:
        self.server = server
        self._faults = faults
        self.house = House(addresses(server.port), ("sim-alice", "sim-alice-secret"), state_dir, FUNDS)

    def fault(self) -> None:
        self.server.venue.faults.install(FaultPlan.model_validate({"faults": self._faults}))

    def journal(self, kind: str) -> list[dict[str, Any]]:
        return [entry.body for entry in self.server.venue.market.journal.since(1) if entry.kind == kind]

    @abstractmethod
    async def begin(self) -> None:
        """What lies before the command, and the command."""

    def over(self) -> bool:
        return (self.house.story(self.command) or [""])[-1] == self.end

    async def die(self, death: Death) -> None:
        """An executor lives until its death, or stops in order once the command is over, which is where some die."""
        executor = self.house.build(
            points=death, log=MortalLog(self.house.broker, death), leases=MortalLeases(self.house.leases, death)
        )
        sessions: list[Any] = []
        if death.at is Point.IN_CONNECT:
            _without_warm_connections(executor, death, sessions)
        running = asyncio.create_task(executor.run())
        await until(lambda: death.come.is_set() or self.over(), lambda: f"{death.at}: {self.house.story(self.command)}")
        executor.stop()
        await until(lambda: death.come.is_set() or running.done(), lambda: death.at)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, DiedError):
            await running
        await _bury(executor, sessions)
        assert death.come.is_set(), f"{death.at} was never reached"

    async def take_over(self) -> None:
        """Another executor, with nothing but the log; it need not wait for the lease, so that bytes may still be under way."""
        self.house.leases.rows.clear()
        async with self.house.executor():
            await self.house.ended(self.command, self.end)

    def settled(self) -> None:
        """Nothing is doubled, lost, open or wrong, and nothing halted."""
        entries = self.journal("order_accepted")
        funds = self.server.venue.market.funds
        holds = {asset: balance.free + balance.locked for asset, balance in funds.balances(ACCOUNT)}
        assert len(entries) == self.taken
        assert sum(self.server.venue.faults.done.values()) == len(self._faults)
        self.house.settled([body["client_order_id"] for body in entries], holds)
        assert self.house.halts() == []
        for kind in (OrderIntended, CancelIntended):
            intents = Counter(event.attempt for event in self.house.events(kind))
            assert set(intents.values()) <= {1}, f"an attempt was intended twice: {kind.TYPE}"


class OrderStory(Story):
    """An order is under way."""

    def __init__(self, server: Server, state_dir: Path, outcome: str) -> None:
        self._changes, faults, self.end, self.taken = OUTCOMES[outcome]
        super().__init__(server, state_dir, faults)

    async def begin(self) -> None:
        self.fault()
        self.command = self.house.command(self.house.place(**self._changes))

    def settled(self) -> None:
        super().settled()
        assert self.house.events(OrderIntended)


class CancelStory(Story):
    """A cancel is under way, of an order that stands since another owner's days."""

    end, taken = "cancel-ended", 1

    def __init__(self, server: Server, state_dir: Path, outcome: str) -> None:
        faults, self._closed_as = CANCEL_OUTCOMES[outcome]
        super().__init__(server, state_dir, faults)

    async def begin(self) -> None:
        async with self.house.executor():
            self._target = self.house.command(self.house.resting())
            await self.house.reached(self._target, "accepted")
        self._intents = len(self.house.events(OrderIntended))
        self.fault()
        self.command = self.house.command(self.house.cancel(self._target))

    def settled(self) -> None:
        """The order ended once, as the venue has it; the cancel that was given ended after it; no order took its place."""
        super().settled()
        (closed,), (body,) = self.house.events(OrderClosed), self.journal("order_closed")
        assert (closed.command_id, closed.closed_as) == (self._target, self._closed_as)
        assert (body["status"], Decimal(body["filled_base"])) == (closed.closed_as.upper(), closed.filled_base)
        assert len(self.house.events(OrderIntended)) == self._intents
        (ended,) = self.house.events(CancelEnded)
        assert (ended.command_id, ended.target_command_id) == (self.command, self._target)


async def _bury(executor: Executor, sessions: list[Any]) -> None:
    """The kernel closes what a process had open."""
    for venue in executor._venues.values():
        await venue.close()
    for session in sessions:
        await session.close()


def _without_warm_connections(executor: Executor, death: Death, sessions: list[Any]) -> None:
    """Before the request is made, the connections that were kept warm are out of reach."""
    client = executor._venues[ACCOUNT]._client  # type: ignore[attr-defined]
    reach = death.reach

    def reach_cold(point: Point) -> None:
        if point is Point.BEFORE_REQUEST and client.session is not None:
            sessions.append(client.session)
            client.session = None
        reach(point)

    death.reach = reach_cold  # type: ignore[method-assign]


async def play_all(tell: Callable[[Server, Path], Story], tmp_path: Path) -> None:
    """The story with a death at each point."""
    room = asyncio.Semaphore(TOGETHER)

    async def play(point: Point, unacked_is_kept: bool) -> None:
        async with room, Server(SimulatorSettings.model_validate(SETTINGS)) as server:
            story = tell(server, tmp_path / f"{point}-{unacked_is_kept}")
            await story.begin()
            try:
                await story.die(Death(point, unacked_is_kept))
                await story.take_over()
                story.settled()
            except AssertionError as error:
                told = story.house.story(story.command)
                raise AssertionError(f"{point}, unacked {'kept' if unacked_is_kept else 'lost'}: {told}: {error}") from error

    ends = await asyncio.gather(*(play(*case) for case in CASES), return_exceptions=True)
    failures = [end for end in ends if end is not None]
    assert not failures, "\n".join(map(repr, failures))


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_4_1_whoever_dies_at_any_step_the_next_owner_ends_the_command_rightly(outcome: str, tmp_path: Path) -> None:
    await play_all(lambda server, state_dir: OrderStory(server, state_dir, outcome), tmp_path)


@pytest.mark.parametrize("outcome", CANCEL_OUTCOMES)
async def test_4_1_whoever_dies_during_a_cancel_the_next_owner_ends_it_with_its_order(outcome: str, tmp_path: Path) -> None:
    await play_all(lambda server, state_dir: CancelStory(server, state_dir, outcome), tmp_path)
