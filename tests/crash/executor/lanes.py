"""Lanes of the executor's crash tests: one account with a venue of its own and two executors, one of which owns the account.

All lanes share broker, database and topics, and run side by side. A hand is a place for one executor process after another;
it has a directory with its settings, its log, its crash points and its turned clocks.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg

from schemas.orders import OrderIntended
from streams.gateways.crash_points import Happening, arm, disarm, reached
from streams.gateways.kafka import KafkaReader
from streams.ports.process import Point
from streams.simulator.server import Server
from streams.simulator.settings import SimulatorSettings
from streams.topics import ORDERS_EVENTS
from tests.crash.executor.told import Told
from tests.crash.executor.verdict import Verdict, judge
from tests.stack.executor.installation import CLOCK, Installation, until
from tests.wire import Wire

QUICK = {
    "lease_ttl_ms": 2000,
    "lease_renew_ms": 300,
    "window_ms": 800,
    "margin_ms": 400,
    "opening_gap_ms": 200,
    "control_every_ms": 300,
    "time_every_ms": 1000,
    "checkpoint_every_ms": 2000,
    "reconcile_every_ms": 3000,
    "stop_within_ms": 500,
    # Clocks are turned here on purpose: what must hold is the fence, not the halt that a wrong clock brings.
    "clock_offset_ms_max": 60_000,
}
ADMIT_MS = 20_000
END_OF = {"accepted": "closed", "refused": "rejected", "never": "closed"}
TAKE_OVER = (Point.LEASE_TAKEN, Point.OWNER_STARTED, Point.PAST_READ)
STOOD_STILL = -1
GIVE_EVERY_S = 0.03
FEEL_EVERY_S = 0.05
DEAF_S = 0.6
GUARD_S = 240.0  # a hang guard, not a target: a machine that is shared may let no lease be proven for minutes
WHOLE_REQUEST_LEFT = (Point.REQUEST_WRITTEN, Point.REPLY_READ, Point.EVENT_APPENDED)


def is_so(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    """A condition that is known here, for `until`."""

    async def ask() -> bool:
        return holds()

    return ask


class Park:
    """What all lanes share: topics, keys, database, the nursery of executors, and one reader of all events.

    Venues and wires live in this process's loop; `stood_still_ms_max` is for how long they answered nobody at most.
    """

    def __init__(self, base: Installation, database_url: str) -> None:
        self.base = base
        self.database_url = database_url
        self.told: dict[str, Told] = defaultdict(Told)
        self.stood_still_ms_max = 0
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Park"]:
        self._nursery = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.crash.executor.nursery", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._feel())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert self._nursery.stdin is not None
            self._nursery.stdin.close()
            await self._nursery.wait()

    async def _read(self) -> None:
        reader = KafkaReader(self.base.connection)
        await reader.start()
        try:
            partitions = await self.base.log.partitions(ORDERS_EVENTS)
            await reader.assign({(ORDERS_EVENTS, partition): 0 for partition in range(partitions)})
            while True:
                for record in await reader.poll(50):
                    self.told[(record.key or b"").decode()].hear(record)
        finally:
            await reader.close()

    async def _feel(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + FEEL_EVERY_S
            await asyncio.sleep(FEEL_EVERY_S)
            self.stood_still_ms_max = max(self.stood_still_ms_max, round(1000 * (loop.time() - due_s)))

    def quiet(self) -> str:
        """How quiet the harness itself was, for a report."""
        return f"The harness's loop, in which venues and wires live, stood still for {self.stood_still_ms_max} ms at most."

    async def start(self, settings: Path) -> int:
        """A new executor; its process id."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        async with self._turn:
            self._nursery.stdin.write(f"{settings}\n".encode())
            return int(await self._nursery.stdout.readline())


class Hand:
    """A place for one executor after another. Its ways to database and venue lead over wires that can be cut and held."""

    def __init__(self, lane: "Lane", name: str, wires: Mapping[str, Wire], without: tuple[str, ...]) -> None:
        self._lane = lane
        self._name = name
        self.wires = wires
        self._without = without
        self._starts = 0
        self.owner = ""
        self.pid = 0

    @property
    def directory(self) -> Path:
        return self._lane.state_dir / self.owner

    async def start(self) -> None:
        """Start another process here; the one before is gone."""
        self._starts += 1
        self.owner = f"{self._lane.name}-{self._name}-{self._starts}"
        self.directory.mkdir()
        settings = self._lane.settings(
            self.owner,
            directory=str(self.directory),
            without=list(self._without),
            venue_port=self.wires["venue"].port,
            dsn=self.wires["database"].address(self._lane.dsn),
        )
        path = self.directory / "settings.json"
        path.write_text(json.dumps(settings))
        self.pid = await self._lane.park.start(path)

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def state(self) -> str:
        """The letter by which the kernel tells what a process does; empty when there is none."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return ""

    async def gone(self) -> None:
        await until(is_so(lambda: self.state == ""))

    async def kill(self) -> None:
        """End the process at once."""
        self.signal(signal.SIGKILL)
        await self.gone()

    async def stopped(self) -> None:
        await until(is_so(lambda: self.state == "T"))

    @property
    def struck(self) -> bool:
        """Whether the armed point was reached."""
        return reached(self.directory)

    @property
    def losses(self) -> int:
        """How often this process found that it lost the account."""
        return (self.directory / "log").read_text().count("is lost: ")

    @property
    def owns(self) -> bool:
        """Whether this process takes itself for the owner."""
        return (self.directory / "log").read_text().count("is owned under epoch") > self.losses

    def turn_clocks(self, wall: int = 0, boot: int = 0) -> None:
        """What the process's clocks show from now on, against the machine's."""
        fresh = self.directory / "clock.new"
        fresh.write_text(json.dumps({"wall": wall, "boot": boot}))
        fresh.rename(self.directory / "clock")


class Lane(Installation):
    """One account, its venue, and its two hands. `offset_ms` is how far the venue's clock is from ours."""

    def __init__(self, park: Park, name: str, *, offset_ms: int = 0, without: tuple[str, ...] = (), **config: Any) -> None:
        base = park.base
        super().__init__(
            base.connection.bootstrap, base.connection.topic_prefix, park.database_url, base.state_dir / name, (name,)
        )
        self.park = park
        self.told = park.told[name]
        self.name = name
        self.log = base.log
        self.http = base.http
        self.trusted = base.trusted
        self.signers = base.signers
        self.offset_ms = offset_ms
        self.commands: list[str] = []
        self.left_before: set[str] = set()
        self._without = without
        self._config = QUICK | config
        self.hands: list[Hand] = []

    async def open(self) -> None:
        self.state_dir.mkdir()
        settings = {
            "accounts": {self.name: {"balances": {"BTC": "2", "USDT": "20000000"}}},
            "keys": {f"sim-{self.name}": {"account": self.name, "secret": f"sim-{self.name}-secret"}},
            "limits": {"weight_1m_max": 1_000_000, "orders_10s_max": 10_000},
            "tape": {"refresh_ms": 1000},
            "clock_offset_ms": self.offset_ms,
        }
        self.server = await self._exits.enter_async_context(Server(SimulatorSettings.model_validate(settings)))
        await self.allow(turnover_5min_max_quote="100000000", turnover_day_max_quote="100000000")
        for name in ("left", "right"):
            where = psycopg.conninfo.conninfo_to_dict(self.dsn)
            database = Wire(str(where.get("host", "127.0.0.1")), int(where.get("port", 5432)))
            wires = {
                "venue": await self._exits.enter_async_context(Wire("127.0.0.1", self.server.port)),
                "database": await self._exits.enter_async_context(database),
            }
            hand = Hand(self, name, wires, self._without)
            await hand.start()
            self.hands.append(hand)
        await until(is_so(lambda: self.told.opened), 180)

    async def close(self) -> None:
        for hand in self.hands:
            hand.signal(signal.SIGKILL)
            await hand.gone()
        await super().close()

    def settings(self, owner: str, **changes: Any) -> dict[str, Any]:
        return super().settings(owner) | {"config": self._config} | changes

    # Owners

    def owner(self) -> str:
        """Who owns the account, by the log."""
        return self.told.owner

    def roles(self) -> tuple[Hand, Hand]:
        """The hand that owns the account, and the other."""
        first, second = self.hands
        return (first, second) if first.owner == self.owner() else (second, first)

    async def taken_over(self, hand: Hand) -> None:
        """Until this hand owns the account."""

        await until(is_so(lambda: self.owner() == hand.owner), GUARD_S)

    # Commands

    async def give(self, outcome: str = "accepted") -> str:
        """Give a command that the venue will accept, refuse, or never see."""
        # An account whose gate stays closed, such as one that lost its fence, ends its commands within the guard.
        changes: dict[str, Any] = {"admit_by_ms": CLOCK.wall_ms() + ADMIT_MS}
        if outcome == "refused":  # nothing of this asset is there to be sold
            changes |= {
                "symbol": "ETH/USDT",
                "side": "sell",
                "price_limit_quote": "1500",
                "price_mid_quote": "2000",
                "quantity_base": "0.1",
            }
        if outcome == "never":
            await self.fault({"fault": "request_lost", "next": 1})
        command = await self.command(self.place(self.name, **changes))
        self.commands.append(command)
        return command

    async def give_for(self, seconds: float) -> list[str]:
        """Give one command after another for so long."""
        given: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    given.append(await self.give())
                    await asyncio.sleep(GIVE_EVERY_S)
        return given

    async def ended(self, command: str) -> list[str]:
        """The story of a command, once it ended; an owner without its fence may go on about it."""
        await until(is_so(lambda: command in self.told.ended), GUARD_S)
        return self.told.stories[command]

    async def traded(self) -> None:
        """Give one command after another until the venue took one; only such as nobody got there in time may come before it."""
        async with asyncio.timeout(GUARD_S):
            while "closed" not in (story := await self.ended(command := await self.give())):
                assert command in self.told.missed, story

    def intent_of(self, command: str) -> OrderIntended | None:
        """The newest intent of a command."""
        return self.told.intent_of_command.get(command)

    def intended_just_before(self, owner: str, within_ms: int) -> set[str]:
        """The client ids of INTENTs of former owners that lie so shortly before this one's OwnerStarted."""
        (started, place) = [told for told in self.told.owners if told[0].owner == owner][-1]
        before = [intent for intent, offset in self.told.intents if offset < place]
        return {intent.client_order_id for intent in before if intent.at_ms >= started.at_ms - within_ms}

    # Faults

    async def strike(self, point: Point, happening: Happening, outcome: str = "accepted") -> tuple[Hand, str]:
        """Kill or stop a process at a point, until another one owns the account. The hand that was hit, and the command that
        was under way."""
        while True:
            owner, other = self.roles()
            victim = other if point in TAKE_OVER else owner
            former = (owner.owner, victim.owner)
            arm(victim.directory, point, happening)
            command = await self.give(outcome)
            if point in TAKE_OVER:
                await owner.kill()
            if point is Point.BEFORE_RELEASE:
                owner.signal(signal.SIGTERM)
            if await self.struck(victim, command, owns=victim is owner):
                break
            await self.ended(command)
            if point is Point.BEFORE_RELEASE:  # it stopped without the account
                await victim.gone()
                await victim.start()
        await (victim.gone() if happening is Happening.KILL else victim.stopped())
        if point in WHOLE_REQUEST_LEFT and (intent := self.intent_of(command)) is not None:
            self.left_before.add(intent.client_order_id)
        if owner.state == "":
            await owner.start()
        if victim is not owner and happening is Happening.KILL:
            await victim.start()
        await until(is_so(lambda: self.owner() not in former), GUARD_S)
        return victim, command

    async def struck(self, victim: Hand, command: str, *, owns: bool) -> bool:
        """Whether the victim got to its point. On a busy machine one that owns may miss the command, or lose the account."""

        def missed() -> bool:
            return owns and (command in self.told.missed or self.owner() != victim.owner)

        await until(is_so(lambda: victim.struck or missed()), GUARD_S)
        disarm(victim.directory)
        return victim.struck

    async def kill_round(self, point: Point, outcome: str) -> None:
        """Kill for real at a point; somebody else takes over, and the account goes on: what was under way ends as the venue
        has it, and what is given after that is accepted."""
        _, command = await self.strike(point, Happening.KILL, outcome)
        story = await self.ended(command)
        assert END_OF[outcome] in story or command in self.told.missed, f"{outcome}: {story}"
        await self.traded()

    async def pause_round(self, point: Point, turned: Mapping[str, int] | None = None, deaf: bool = False) -> None:
        """Stop a process at a point beyond lease, session and window; wake it when another one has taken over and traded.

        `turned` is how many milliseconds the sleeper's clocks have stepped when it wakes, or STOOD_STILL; `deaf` keeps the
        lease's row from it until more was traded.
        """
        began_ms = CLOCK.boot_ms()
        victim, command = await self.strike(point, Happening.STOP)
        await self.ended(command)
        await self.traded()
        losses = victim.losses
        if turned is not None:
            slept_ms = CLOCK.boot_ms() - began_ms
            wall, boot = (-slept_ms if turned[name] == STOOD_STILL else turned[name] for name in ("wall", "boot"))
            victim.turn_clocks(wall, boot)
        if deaf:
            victim.wires["database"].cut()
        victim.signal(signal.SIGCONT)
        following = [await self.give() for _ in range(3)]
        if deaf:
            following += await self.give_for(DEAF_S)
            victim.wires["database"].mend()
        if point is Point.BEFORE_RELEASE:
            await victim.gone()
            await victim.start()
        else:
            await until(is_so(lambda: victim.losses > losses), GUARD_S)
        for command in following:
            await self.ended(command)
        if turned is not None:
            victim.turn_clocks()

    def verdict(self) -> Verdict:
        """What became of everything so far."""
        return judge(
            self.name,
            self.commands,
            self.told,
            self.server.venue.market.journal.since(1),
            self.offset_ms,
            frozenset(self.left_before),
            books=not self._without,
        )

    def logs(self) -> str:
        """The ends of the logs of its hands, for a message."""
        return "\n".join(f"--- {hand.owner}\n{(hand.directory / 'log').read_text()[-1500:]}" for hand in self.hands)
