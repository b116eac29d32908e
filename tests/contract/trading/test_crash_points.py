"""4.1: an executor dies at each of its named steps, whatever the venue did with its request; the next one puts it right."""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.orders import OrderIntended
from streams.agents.executor.agent import Executor
from streams.ports import Point
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


class Story:
    """One command, one death, one venue."""

    def __init__(self, server: Server, state_dir: Path, outcome: str) -> None:
        changes, faults, self.end, self.taken = OUTCOMES[outcome]
        self.server = server
        server.venue.faults.install(FaultPlan.model_validate({"faults": faults}))
        self.house = House(addresses(server.port), ("sim-alice", "sim-alice-secret"), state_dir, FUNDS)
        self.command = self.house.command(self.house.place(**changes))

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
        entries = [entry.body for entry in self.server.venue.market.journal.since(1) if entry.kind == "order_accepted"]
        funds = self.server.venue.market.funds
        holds = {asset: balance.free + balance.locked for asset, balance in funds.balances(ACCOUNT)}
        assert len(entries) == self.taken
        self.house.settled([body["client_order_id"] for body in entries], holds)
        assert self.house.halts() == []
        intents = Counter(event.attempt for event in self.house.events(OrderIntended))
        assert set(intents.values()) == {1}, "an attempt was intended twice"


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


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_4_1_whoever_dies_at_any_step_the_next_owner_ends_the_command_rightly(outcome: str, tmp_path: Path) -> None:
    room = asyncio.Semaphore(TOGETHER)

    async def play(point: Point, unacked_is_kept: bool) -> None:
        async with room, Server(SimulatorSettings.model_validate(SETTINGS)) as server:
            story = Story(server, tmp_path / f"{point}-{unacked_is_kept}", outcome)
            try:
                await story.die(Death(point, unacked_is_kept))
                await story.take_over()
                story.settled()
            except AssertionError as error:
                told = story.house.story(story.command)
                raise AssertionError(f"{point}, unacked {'kept' if unacked_is_kept else 'lost'}: {told}: {error}") from error

    ends = await asyncio.gather(*(play(*case) for case in CASES), return_exceptions=True)
    failures = [end for end in ends if end is not None]
    assert not failures, "\n".join(map(str, failures))
