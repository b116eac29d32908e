"""From `kill -9` of a role to its next new output, with one worker of each role and with two, while everything trades.

New output means a record with an id that the topic did not hold before: what a fold repeats after its checkpoint does not
count. Of roles whose work lies in parts (journals, ledger partitions), the last part to speak again counts; of the executor the
first new order that the venue accepted in an account of the killed process. With two workers the one that owns most is killed.
The supervisor starts every killed process again at once. Baseline: the bare relay of `bench.relay`, killed in the same rounds.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.relay import RELAY_IN, RELAY_OUT
from bench.report import Line, spread
from bench.stack import add_process, add_worker, connection, end_offsets, full_flow, open_log, pause, say
from schemas.codec import decode
from schemas.orders import OrderAbsent, OrderAccepted, OrderFound, OrderUnknown
from streams.domain.errors import TrimtabError
from streams.domain.ids import digest_id
from streams.gateways.kafka import KafkaReader
from streams.gateways.postgres import AsyncConnection
from streams.local.flow import ROLES, Flow
from streams.local.server import LocalStackError
from streams.ports.log import Output, Record
from streams.topics import MARKET_TICKERS, ORDERS_EVENTS, ORDERS_LEDGER, PORTFOLIO_JOURNAL, REBALANCE_SIGNALS

PORTFOLIOS, SHARDS = 8, 2
TOPICS = {
    "feed": MARKET_TICKERS,
    "sequencer": PORTFOLIO_JOURNAL,
    "portfolio": REBALANCE_SIGNALS,
    "executor": ORDERS_EVENTS,
    "ledger": ORDERS_LEDGER,
    "relay": RELAY_OUT,
}
KILLED = ("feed", "sequencer", "portfolio", "executor", "ledger", "projector", "relay")
KILLED_SHORT = ("executor", "relay")
ROUND_S, ROUNDS_MAX = 15, 3
SPEED = 100  # the tape lasts for all rounds
STILL_COMING_S = 0.3  # what a killed process had handed to the kernel may still arrive
LIVE_S = 3.0
BETWEEN_S = 3.0
STANDBY_S = 12.0
BACK_WITHIN_S = 120.0
RELAY_EVERY_S = 0.05
TARGET_S, TARGET_UNKNOWN_S = 10, 12

_OWNERS = "SELECT resource, owner FROM control.leases WHERE owner <> '' AND expires_at > clock_timestamp()"
_PROJECTED = "SELECT coalesce(sum(next_offset), 0)::bigint FROM ledger.projection_offsets"


def measure(seconds: int) -> list[Line]:
    """A round of kills with one worker and one with two for each 15 s of `seconds`, at most three; below, one of few."""
    killed = KILLED if seconds >= ROUND_S else KILLED_SHORT
    rounds = max(1, min(ROUNDS_MAX, seconds // ROUND_S))
    with full_flow("recovery", PORTFOLIOS, SHARDS, SPEED) as stack:
        add_process(stack, "relay", "bench.relay", stack.bootstrap, str(stack.directory / "relay-times.json"))
        stack.go()
        found = {1: asyncio.run(_kill_rounds(stack, killed, rounds, {}))}
        seconds_of = {role: add_worker(stack, role, "1") for role in ROLES if role in killed}
        say("second workers stand by")
        pause(STANDBY_S, stack)
        found[2] = asyncio.run(_kill_rounds(stack, killed, rounds, seconds_of))
    return [_line(found), _unknown_line(found)]


@dataclass(slots=True)
class _Found:
    """Seconds from each kill to the next new output by role, and of inherited orders of unknown fate to their proof."""

    outages: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    proofs: list[float] = field(default_factory=list)
    executors: int = 0


class _Watch:
    """Follows what the roles say; when each part last said something new."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, bytes | None]] = set()
        self._newest_at: dict[tuple[str, str], float] = {}
        self._accepted_at: dict[str, float] = {}
        self._unknown: dict[str, float] = {}
        self._proven: list[tuple[float, float]] = []
        self.caught_up = asyncio.Event()

    async def follow(self, stack: Flow) -> None:
        """Read everything from the beginning, for ever."""
        reader = KafkaReader(connection(stack))
        try:
            ends = await asyncio.to_thread(end_offsets, stack, [topic for topic in TOPICS.values() if topic != RELAY_OUT])
            places = {(topic, partition): 0 for topic, partitions in ends.items() for partition in partitions}
            await reader.assign({**places, (RELAY_OUT, 0): 0})
            old = sum(end for partitions in ends.values() for end in partitions.values())
            while True:
                records = await reader.poll(20)
                now = time.monotonic()
                for record in records:
                    self._take(record, now)
                old -= len(records)
                if old <= 0:
                    self.caught_up.set()
        finally:
            await reader.close()

    def live(self, topic: str) -> set[str]:
        """Which parts of the role behind a topic said something new within the last seconds."""
        since = time.monotonic() - LIVE_S
        return {part for (said, part), at in self._newest_at.items() if said == topic and at > since}

    def spoke(self, topic: str, parts: set[str], moment: float) -> float | None:
        """When the last of these parts said something new after a moment, once all of them have."""
        at = [self._newest_at[topic, part] for part in parts]
        return max(at) if at and min(at) > moment else None

    def ordered(self, accounts: set[str], moment: float) -> float | None:
        """When the venue first accepted a new order of one of these accounts after a moment."""
        return min((at for account in accounts if (at := self._accepted_at.get(account, 0.0)) > moment), default=None)

    def unproven(self) -> int:
        """How many orders of unknown fate were inherited and are not proven yet."""
        return len(self._unknown)

    def proofs(self) -> list[float]:
        """When inherited orders of unknown fate were proven, since the last call."""
        proven, self._proven = self._proven, []
        return [at for _, at in proven]

    def _take(self, record: Record, now: float) -> None:
        identity = (record.topic, record.header("ce_id"))
        if identity in self._seen:
            return
        self._seen.add(identity)
        part = (record.header("ce_source") or b"").decode()
        self._newest_at[record.topic, part] = now
        if record.topic == ORDERS_EVENTS:
            self._take_event(record, now)

    def _take_event(self, record: Record, now: float) -> None:
        ce_type = (record.header("ce_type") or b"").decode()
        if ce_type not in (OrderAccepted.ce_type(), OrderUnknown.ce_type(), OrderFound.ce_type(), OrderAbsent.ce_type()):
            return
        event = decode(ce_type, record.value)
        if isinstance(event, OrderAccepted):
            self._accepted_at[event.account] = now
        elif isinstance(event, OrderUnknown) and event.cause == "inherited":
            self._unknown[event.command_id] = now
        elif isinstance(event, OrderFound | OrderAbsent) and event.command_id in self._unknown:
            self._proven.append((self._unknown.pop(event.command_id), now))


async def _kill_rounds(stack: Flow, killed: tuple[str, ...], rounds: int, others: Mapping[str, str]) -> _Found:
    """Kill each role in turn, `rounds` times; `others` are the second workers of roles, by role."""
    watch, found = _Watch(), _Found()
    tasks = [asyncio.create_task(watch.follow(stack)), asyncio.create_task(_feed_relay(stack))]
    try:
        await watch.caught_up.wait()
        for number in range(rounds):
            for role in killed:
                await asyncio.sleep(BETWEEN_S)
                outage = await _kill(stack, watch, found, role, others.get(role), number)
                say(f"{role} of {1 + (role in others)}: {outage:.2f} s")
                found.outages[role].append(outage)
    except TimeoutError:
        raise LocalStackError(
            f"a killed role said nothing new within {BACK_WITHIN_S:g} s; logs: {stack.roles.directory}"
        ) from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def _kill(stack: Flow, watch: _Watch, found: _Found, role: str, other: str | None, number: int) -> float:
    """Kill a role's worker; the seconds to its next new output."""
    victim = (role, other)[number % 2] if other is not None else role
    owned, mine = Counter[str](), set[str]()
    if role in ("executor", "sequencer"):
        owners = await asyncio.to_thread(stack.read, _owners)
        owned = Counter(owner.partition(":")[0] for owner in owners.values() if owner.startswith(f"{role}-"))
        ((busiest, _),) = owned.most_common(1)
        victim = role if busiest == f"{role}-0" or other is None else other
        mine = {resource.partition("/")[2] for resource, owner in owners.items() if owner.startswith(f"{busiest}:")}
    assert victim is not None
    topic = TOPICS.get(role, "")
    parts = watch.live(topic)
    moment = time.monotonic()
    await asyncio.to_thread(stack.roles.kill, victim)
    since = moment + STILL_COMING_S
    if role == "projector":
        return await _projected_after(stack, since) - moment
    if role == "executor":
        watch.proofs()
        back = await _until(lambda: watch.ordered(mine, since)) - moment
        await _until(lambda: None if watch.unproven() else time.monotonic())
        found.executors += 1
        found.proofs += [at - moment for at in watch.proofs()]
        return back
    return await _until(lambda: watch.spoke(topic, parts, since)) - moment


async def _until(known: Callable[[], float | None]) -> float:
    async with asyncio.timeout(BACK_WITHIN_S):
        while (at := known()) is None:  # noqa: ASYNC110  a broker does not notify
            await asyncio.sleep(0.01)
    return at


async def _projected_after(stack: Flow, since: float) -> float:
    """When the tables stand further than at a moment after the kill."""
    await asyncio.sleep(max(0.0, since - time.monotonic()))
    before = await asyncio.to_thread(stack.read, _projected)
    async with asyncio.timeout(BACK_WITHIN_S):
        while True:
            try:
                if await asyncio.to_thread(stack.read, _projected) > before:
                    return time.monotonic()
            except TrimtabError:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)


async def _owners(database: AsyncConnection) -> dict[str, str]:
    return dict(await (await database.execute(_OWNERS)).fetchall())


async def _projected(database: AsyncConnection) -> int:
    row = await (await database.execute(_PROJECTED)).fetchone()
    assert row is not None
    return row[0]


async def _feed_relay(stack: Flow) -> None:
    """Something for the relay to do."""
    async with open_log(stack) as log:
        while True:
            identity = digest_id("bench", "relay", str(time.monotonic_ns()))
            headers = (("ce_id", identity.encode()), ("ce_source", b"bench"))
            log.append_nowait(Output(RELAY_IN, identity.encode(), b"{}", headers, 0))
            await asyncio.sleep(RELAY_EVERY_S)


def _line(found: dict[int, _Found]) -> Line:
    def listed(workers: int) -> str:
        return "; ".join(f"{role} {spread(values)}" for role, values in found[workers].outages.items() if role != "relay")

    return Line(
        name="kill -9 to the next new output",
        figure=f"with one worker: {listed(1)}",
        baseline="the bare relay under the same supervisor: "
        + spread([outage for one in found.values() for outage in one.outages["relay"]]),
        target=f"{TARGET_S} s for a first new order or output with two workers",
        details=(f"with two workers: {listed(2)}",),
        limit="the 5 s lease of the dead owner for executor and sequencer, which nobody may take earlier; interpreter start, "
        "imports, joining the group and reading the checkpoint for the two folds, whose partitions stay with the killed worker "
        "until it is back; all of it on shared cores, with the whole flow trading.",
        not_shown="several roles at once, long histories, a machine of its own for each worker. Of the executor: its first new "
        "order accepted by the venue, so the next decision of a portfolio is part of it; of the other roles the last of all "
        "journals, ledger partitions or shards to speak again.",
    )


def _unknown_line(found: dict[int, _Found]) -> Line:
    def said(workers: int) -> str:
        proofs, kills = found[workers].proofs, found[workers].executors
        return f"{spread(proofs)} in {kills} kills" if proofs else f"none was inherited in {kills} kills"

    return Line(
        name="kill -9 of the executor to the proof of inherited orders of unknown fate",
        figure=f"with one worker: {said(1)}; with two: {said(2)}",
        baseline="the lease (5 s) and the order's window (2 s), before which nothing can be proven",
        target=f"{TARGET_UNKNOWN_S} s: lease, window and 5 s",
        limit="the lease of the dead owner, and the window and margin in the venue's own time; then two questions that agree.",
        not_shown="a venue that shows orders late or does not answer. Only intents that were out when the process died become "
        "unknown: each kill leaves few, or none.",
    )
