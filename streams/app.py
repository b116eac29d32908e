"""The composition root: each role of the flow, from settings to exit code, in the order in which a tick meets them.

A role refuses to start on wrong topics, venue key rights or schema (exit 2), waits up to ten minutes for a broker that is away
(exit 75), drains on SIGTERM (exit 0), and ends at once on a broken invariant (exit 70). The supervisor restarts what can heal.
"""

import asyncio
import importlib.metadata
import logging
import secrets
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from schemas.control import KeyPurpose
from streams.domain.errors import RefusedError, TrimtabError
from streams.gateways.clock import SystemClock
from streams.gateways.kafka import KafkaLog, KafkaReader
from streams.gateways.kafka_admin import Floors, require_topics
from streams.gateways.loop import run_loop
from streams.gateways.signing import signer_of, verifier_of
from streams.ports.folds import FoldFactory, FoldSpec
from streams.ports.log import Signer
from streams.ports.process import NO_CRASH_POINTS, CrashPoints
from streams.ports.venue import ListeningVenue
from streams.settings import KeyPair, Settings, secret
from streams.topics import ORDERS_EVENTS, partitions_of, topics_of

if TYPE_CHECKING:
    from streams.gateways.venue.budget import RequestBudget
    from streams.gateways.venue.profile import VenueProfile

log = logging.getLogger("trimtab.app")
Client = TypeVar("Client", KafkaLog, KafkaReader)


class Agent(Protocol):
    """What the four roles are that are not Faust folds: feed, sequencer, executor, projector."""

    async def run(self) -> None:
        """Run until `stop`."""
        ...

    def stop(self) -> None:
        """Ask `run` to end in order."""
        ...


def run_role(role: str, settings: Settings, instance: str) -> int:
    """Run one role until SIGTERM or SIGINT; the process's exit code."""
    try:
        asyncio.run(_require_topics(role, settings))
        return ROLES[role](settings, instance)
    except TrimtabError as error:
        for line in str(error).splitlines():
            log.critical("%s", line)
        return error.exit_code


# --- The roles, in the order of the flow -----------------------------------------------------------------------------


def _feed(settings: Settings, _instance: str) -> int:
    """venue → market.*, venue.*, account.balances

    Refuses at start a missing or wrong key, a key that may withdraw, and unknown symbols or unusable rules. Later a frame that
    is no sane price is a dead letter, and a venue that is away is dialled again for ever.
    """
    from streams.agents.feed.agent import Feed
    from streams.agents.feed.config import FeedConfig
    from streams.agents.together import Together
    from streams.gateways.venue.profile import Credentials, VenueProfile
    from streams.gateways.venue.reads import CcxtReads
    from streams.gateways.venue.streams import CcxtStreams

    async def build(stack: AsyncExitStack) -> Agent:
        feeds: list[Agent] = []
        for name, venue in settings.venues.items():
            keys = {
                account: Credentials(*_key_pair(f"accounts.{account}.feed", chosen.feed))
                for account, chosen in settings.accounts.items()
                if chosen.venue == name
            }
            profile = VenueProfile(name, venue.dialect, venue.urls or None)
            budget = await _budget(settings, stack, profile, venue.weight_share.feed)
            reads = CcxtReads(profile, keys, SystemClock(), budget)
            config = FeedConfig(
                venue=name,
                symbols=venue.symbols,
                accounts=tuple(keys),
                probe_every_ms=venue.probe_every_ms,
                balances_every_ms=venue.balances_every_ms,
                books_every_ms=venue.books_every_ms,
            )
            feeds.append(Feed(config, reads, CcxtStreams(reads), await _log(settings, stack), SystemClock()))
        return Together(feeds)

    return _serve(build)


def _sequencer(settings: Settings, instance: str) -> int:
    """market.tickers, venue.status, venue.rules, account.balances, operator.control, orders.ledger → portfolio.journal

    Writes a journal only under a lease in PostgreSQL and its own epoch in the log. Dead-letters garbage, drops what is stale or
    repeated, and counts both. Journals only control events that a trusted operator signed. Refuses at start settings that trust
    nobody, and will not go on should a position of control or ledger, kept for ever, be gone all the same.
    """
    from streams.agents.sequencer.agent import Sequencer
    from streams.agents.sequencer.config import SequencerConfig
    from streams.gateways.lease import PostgresLeases

    verifier = verifier_of(settings, KeyPurpose.CONTROL)

    async def build(stack: AsyncExitStack) -> Agent:
        connection = settings.kafka.connection()
        leases = await stack.enter_async_context(PostgresLeases(settings.database.lease_dsn()))
        config = SequencerConfig(
            shards=settings.shards, conflation_step=settings.conflation_step(), heartbeat_ms=settings.heartbeat_ms
        )
        return Sequencer(
            config,
            open_log=lambda: _started(KafkaLog(connection)),
            open_reader=lambda: _started(KafkaReader(connection)),
            leases=leases,
            clock=SystemClock(),
            verifier=verifier,
            name=f"sequencer-{instance}",
        )

    return _serve(build)


def _portfolio(settings: Settings, instance: str) -> int:
    """portfolio.journal → rebalance.signals, orders.commands

    Refuses at start a missing signing key, a lost checkpoint, or one of another version that was not drained. Later it holds
    trades back (shard.py); an input that cannot belong into its journal stops it (exit 70).
    """
    spec, factory = portfolio_fold(settings, instance)
    return _fold(settings, spec, factory, signer_of(settings, KeyPurpose.COMMANDS))


def _executor(settings: Settings, instance: str) -> int:
    """orders.commands, operator.control, market.tickers, the file HALT in state_dir → venue → orders.events

    Refuses at start a key without the right to trade or with the right to withdraw, and settings that trust nobody. What no
    trusted key signed is no command (CommandsDistrusted). Answers a command that is late, on old inputs, halted or over a limit
    with CommandNotAdmitted on orders.events; sends nothing without lease (so soon after PostgreSQL is away), venue time,
    control read to its end, a fresh quote of its own, a durable intent read back, or while an order of unknown fate blocks the
    symbol: what waits longer than its admit_by ends as CommandExpiredUnsent.
    """
    from streams.agents.executor.agent import Executor
    from streams.agents.executor.config import AccountConfig, ExecutorConfig
    from streams.gateways.lease import PostgresLeases

    verifier = verifier_of(settings, KeyPurpose.COMMANDS, KeyPurpose.CONTROL)

    async def build(stack: AsyncExitStack) -> Agent:
        connection = settings.kafka.connection()
        points = _crash_points(settings)
        leases = await stack.enter_async_context(PostgresLeases(settings.database.lease_dsn()))
        budgets = {
            name: await _budget(settings, stack, _profile(settings, name), venue.weight_share.executor)
            for name, venue in settings.venues.items()
        }
        trading = {
            name: trading_venue(settings, name, budgets[account.venue], points) for name, account in settings.accounts.items()
        }
        config = ExecutorConfig(
            owner=f"executor-{instance}:{secrets.token_hex(8)}",
            accounts=tuple(
                AccountConfig(
                    name, account.venue, settings.venues[account.venue].symbols, account.orders_per_second, account.adopted
                )
                for name, account in settings.accounts.items()
            ),
            state_dir=settings.state_dir,
            opening_gap_ms=settings.opening_gap_ms,
            collar_window_ms=settings.collar_window_ms,
        )
        log_ = await _log(settings, stack)
        return Executor(config, log_, lambda: KafkaReader(connection), leases, trading, SystemClock(), verifier, points=points)

    return _serve(build)


def _ledger(settings: Settings, instance: str) -> int:
    """orders.events → orders.ledger

    Dead-letters what it cannot read; an event that contradicts the books, also for want of one that was set aside, stops the
    process (exit 70).
    """
    spec, factory = ledger_fold(settings, instance)
    return _fold(settings, spec, factory)


def _projector(settings: Settings, _instance: str) -> int:
    """orders.ledger, rebalance.signals, venue.latency → Postgres

    Refuses a database with another schema. Dead-letters what it cannot read; waits for a database that is away; stops at a gap
    or fork of the books, an entry that was set aside included (exit 70).
    """
    from streams.agents.projector import Projector
    from streams.gateways.postgres import require_schema
    from streams.gateways.projection import PostgresProjection

    async def build(stack: AsyncExitStack) -> Agent:
        await asyncio.to_thread(require_schema, settings.database.dsn())
        store = PostgresProjection(settings.database.dsn())
        await store.open()
        stack.push_async_callback(store.close)
        reader = await _started(KafkaReader(settings.kafka.connection()))
        stack.push_async_callback(reader.close)
        return Projector(store, await _log(settings, stack), reader, SystemClock())

    return _serve(build)


ROLES: dict[str, Callable[[Settings, str], int]] = {
    "feed": _feed,
    "sequencer": _sequencer,
    "portfolio": _portfolio,
    "executor": _executor,
    "ledger": _ledger,
    "projector": _projector,
}

# --- What they share -------------------------------------------------------------------------------------------------


def trading_venue(
    settings: Settings, account: str, budget: "RequestBudget | None" = None, points: CrashPoints = NO_CRASH_POINTS
) -> ListeningVenue:
    """An account's connection with its trading key. Without a budget it is an operator's, with his share of the weight.

    Raises RefusedError when the key is missing.
    """
    from streams.gateways.venue.budget import RequestBudget
    from streams.gateways.venue.profile import Credentials
    from streams.gateways.venue.trading import CcxtTrading

    chosen = settings.accounts[account]
    profile = _profile(settings, chosen.venue)
    if budget is None:
        share = settings.venues[chosen.venue].weight_share.operator
        budget = RequestBudget(profile.name, SystemClock(), profile.capabilities.weight_per_minute, share)
    credentials = Credentials(*_key_pair(f"accounts.{account}.trade", chosen.trade))
    return CcxtTrading(profile, credentials, SystemClock(), budget, points)


def portfolio_fold(settings: Settings, instance: str = "0") -> tuple[FoldSpec, FoldFactory]:
    """How the portfolio fold stands on its transport, and what makes its shards."""
    from streams.agents.portfolio import PortfolioFold, portfolio_spec

    return portfolio_spec(settings.shards, code_version(), instance), partial(PortfolioFold, settings.environment)


def ledger_fold(settings: Settings, instance: str = "0") -> tuple[FoldSpec, FoldFactory]:
    """How the ledger fold stands on its transport, and what makes its partitions."""
    from streams.agents.ledger import LedgerFold, ledger_spec

    return ledger_spec(partitions_of(ORDERS_EVENTS, settings.shards), code_version(), instance), LedgerFold


def code_version() -> str:
    """The version of the installed program: part of every checkpoint."""
    return importlib.metadata.version("trimtab")


def _fold(settings: Settings, spec: FoldSpec, factory: FoldFactory, signer: Signer | None = None) -> int:
    from streams.gateways.faust.process import run_fold

    return run_fold(spec, factory, settings.kafka.connection(), signer=signer)


def _serve(build: Callable[[AsyncExitStack], Awaitable[Agent]]) -> int:
    """Run an edge agent on its own loop until SIGTERM or SIGINT."""
    return run_loop(_run_agent(build))


async def _run_agent(build: Callable[[AsyncExitStack], Awaitable[Agent]]) -> int:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        building = asyncio.ensure_future(build(stack))
        asked = asyncio.create_task(stopping.wait())
        await asyncio.wait({building, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not building.done():
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)
            return 0
        agent = building.result()
        running = asyncio.create_task(agent.run())
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
        agent.stop()
        asked.cancel()
        await running
    return 0


async def _require_topics(role: str, settings: Settings) -> None:
    floors = Floors(settings.kafka.replication_floor, settings.kafka.min_insync_floor)
    if not settings.dev and (floors.replication < 3 or floors.min_insync < 2):
        raise RefusedError(
            "kafka.replication_floor and kafka.min_insync_floor: below 3 and 2 an acknowledged intent can be lost; "
            "raise them, or say dev = true where no real money is"
        )
    await require_topics(settings.kafka.connection(), topics_of(role, settings.shards), floors)


async def _log(settings: Settings, stack: AsyncExitStack) -> KafkaLog:
    started = await _started(KafkaLog(settings.kafka.connection()))
    stack.push_async_callback(started.close)
    return started


async def _started(client: Client) -> Client:
    await client.start()
    return client


def _profile(settings: Settings, venue: str) -> "VenueProfile":
    from streams.gateways.venue.profile import VenueProfile

    return VenueProfile(venue, settings.venues[venue].dialect, settings.venues[venue].urls or None)


async def _budget(settings: Settings, stack: AsyncExitStack, profile: "VenueProfile", share: Decimal) -> "RequestBudget":
    """A role's share of a venue's request weight, and the pause that all roles keep together."""
    from streams.gateways.pauses import PostgresPauses
    from streams.gateways.venue.budget import RequestBudget

    pauses = PostgresPauses(settings.database.lease_dsn())
    stack.push_async_callback(pauses.close)
    weight = settings.venues[profile.name].weight_per_minute or profile.capabilities.weight_per_minute
    return RequestBudget(profile.name, SystemClock(), weight, share, pauses)


def _crash_points(settings: Settings) -> CrashPoints:
    """What a test harness asked for; nothing in production (the settings refuse it there)."""
    if settings.crash_points is None:
        return NO_CRASH_POINTS
    from streams.gateways.crash_points import ArmedCrashPoints

    return ArmedCrashPoints(settings.crash_points)


def _key_pair(where: str, pair: KeyPair) -> tuple[str, str]:
    """Key and secret from environment or files. Raises RefusedError naming what is missing."""
    found = {
        "api_key": secret(pair.api_key, pair.api_key_file, f"{where}.api_key"),
        "api_secret": secret(pair.api_secret, pair.api_secret_file, f"{where}.api_secret"),
    }
    for name, value in found.items():
        if not value:
            variable = f"TRIMTAB_{where.replace('.', '__').upper()}__{name.upper()}"
            raise RefusedError(f"{where}.{name}: missing; set {variable} or name a file in {name}_file")
    return found["api_key"] or "", found["api_secret"] or ""
