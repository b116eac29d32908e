"""The whole flow on this machine: broker, database, simulated venue and the six roles, from one settings file.

Demo, crash tests and benchmarks start it. Tape time stands still until every account is open and every portfolio has been
observed; `go` then lets prices move. Nothing outlives this process.
"""

import asyncio
import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from schemas.control import KeyPurpose
from schemas.values import plain
from streams.domain.errors import InvariantError, RefusedError, TrimtabError, UnreachableError
from streams.domain.numbers import DECISION, floor_to_step
from streams.gateways.keys import make_pair, private_key_in
from streams.gateways.postgres import AsyncConnection, reading
from streams.gateways.signing import Ed25519Signer
from streams.local.broker import Broker
from streams.local.child import Child
from streams.local.database import Database
from streams.local.server import HOST, LocalStackError, clear_directory, free_port
from streams.local.supervisor import Role, RoleState, Supervisor
from streams.ports.log import Signer
from streams.settings import FILE_VARIABLE, PREFIX, load
from streams.simulator.tapes.tape import price_at

Rows = TypeVar("Rows")
ROLES = ("projector", "ledger", "portfolio", "executor", "sequencer", "feed")
"""In the order of starting: who listens comes before who speaks; they stop in the reverse order."""

READY_TIMEOUT_S = 120.0
KEY_LIFE_MS = 7 * 86_400_000
ATOM = Decimal("0.00000001")  # the venue books eight places


@dataclass(frozen=True, slots=True)
class VenuePlan:
    """How the simulated venue runs: tape start (UTC ms), speed, each account's net asset value, and what goes wrong."""

    start_ms: int
    speed: int = 1
    nav_quote: Decimal = Decimal(100_000)
    latency_ms: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    rights: Mapping[str, bool] = field(default_factory=dict)


def failure(words: Sequence[str], exit_code: int, said: str) -> TrimtabError:
    """A command that failed, as the error that ends this process with the same exit code; 1 for one that is none of ours."""
    kinds = {kind.exit_code: kind for kind in (InvariantError, RefusedError, UnreachableError)}
    return kinds.get(exit_code, TrimtabError)(f"trimtab {' '.join(words)}: exit {exit_code}\n{said}")


class Flow:
    """One installation, started in steps: `start_servers`, `prepare`, `start_roles`, `wait_until`, `go`.

    `directory` must be one that an unprivileged PostgreSQL can enter. `settings_file` proposes portfolios; `environment` is
    added to every role's. `doors` are more ports of the broker (see Broker). `say` is told what happens.
    """

    def __init__(
        self,
        directory: Path,
        settings_file: Path,
        plan: VenuePlan,
        *,
        environment: Mapping[str, str] | None = None,
        fsync: bool = True,
        doors: Mapping[int, int] | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.directory = directory.resolve()
        self.keys = self.directory / "keys"
        self.settings_file = settings_file.resolve()
        self.settings = load(settings_file)
        self.plan = plan
        self.say = say
        self._extra = dict(environment or {})
        self._fsync = fsync
        self._doors = doors
        self.broker: Broker | None = None
        self.database: Database | None = None
        self.venue_port = free_port()
        self.control_port = free_port()
        self.ready = False
        self._venue: Child | None = None
        self.roles = Supervisor(self.directory / "logs", on_event=say)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start_servers(self) -> None:
        """Signing keys, broker and database (or those that KAFKA and DATABASE_URL name), then the venue.

        Clears an earlier run's state.
        """
        if self.directory.exists() and any(self.directory.iterdir()):
            self.say(f"clearing the state of an earlier run in {self.directory}")
            clear_directory(self.directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        now_ms = time.time_ns() // 1_000_000
        for purpose in KeyPurpose:
            make_pair(purpose, self.keys / f"{purpose}.pem", self.keys / "trusted.toml", now_ms, KEY_LIFE_MS)
        if "KAFKA" not in os.environ:
            self.say("starting Apache Kafka")
            self.broker = Broker(self.directory / "kafka", doors=self._doors).start()
        if "DATABASE_URL" not in os.environ:
            self.say("starting PostgreSQL")
            self.database = Database(self.directory / "postgres", fsync=self._fsync).start()
        self.say("starting the simulated venue")
        self._start_venue()

    def prepare(self) -> None:
        """Topics, tables, and the settings written to the control topic."""
        for words in (("topics", "create"), ("db", "migrate"), ("config", "apply", "--why", "first start")):
            self.say(f"trimtab {' '.join(words[:2])}")
            self.trimtab(*words)

    def start_roles(self) -> None:
        """All six roles under the supervisor, besides workers that were added before."""
        known = {status.name for status in self.roles.statuses()}
        for role in ROLES:
            if role not in known:
                self.add_worker(role)
        self.say(f"starting {', '.join(reversed(ROLES))}")
        self.roles.start(*ROLES)

    def add_worker(self, role: str, instance: str = "", environment: Mapping[str, str] | None = None) -> str:
        """Put a worker of a role under the supervisor, not yet started; its name there. `instance` tells it from others of the
        role; `environment` is added to what every process of this installation is told."""
        name = f"{role}-{instance}" if instance else role
        argv = [sys.executable, "-m", "streams", "run", role, *(["--instance", instance] if instance else [])]
        self.roles.add(Role(name, argv, {**self.environment, **(environment or {})}, self.settings_file.parent))
        return name

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Poll until `condition` holds. Raises LocalStackError with the ends of the logs, at once when a role gave up."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            given_up = [status.name for status in self.roles.statuses() if status.state is RoleState.GIVEN_UP]
            if given_up or time.monotonic() > deadline:
                tails = "\n".join(f"--- {name}\n{self.roles.log_tail(name, 5)}" for name in given_up or ROLES)
                raise LocalStackError(f"{what}: {'given up' if given_up else f'not within {timeout_s:g} s'}\n{tails}")
            time.sleep(0.1)

    def go(self) -> None:
        """Let tape time run."""
        self.control("start", {})

    def stop(self) -> None:
        """Roles, venue, database, broker; each in order, by force after a bound."""
        self.roles.stop()
        if self._venue is not None:
            self._venue.stop()
        if self.database is not None:
            self.database.stop()
        if self.broker is not None:
            self.broker.stop()

    @property
    def bootstrap(self) -> str:
        """The broker's address."""
        return self.broker.bootstrap if self.broker is not None else os.environ["KAFKA"]

    @property
    def database_url(self) -> str:
        """The database's address with its password: never print it."""
        return self.database.url if self.database is not None else os.environ["DATABASE_URL"]

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this installation must know: settings file, addresses, and the venue's fake keys."""
        rest, stream = f"http://{HOST}:{self.venue_port}", f"ws://{HOST}:{self.venue_port}"
        urls = {"rest": rest, "stream": f"{stream}/stream/ws", "ws_api": f"{stream}/ws-api/v3"}
        variables = {
            FILE_VARIABLE: str(self.settings_file),
            f"{PREFIX}KAFKA__BOOTSTRAP": self.bootstrap,
            f"{PREFIX}DATABASE__URL": self.database_url,
            f"{PREFIX}STATE_DIR": str(self.directory / "state"),
            f"{PREFIX}VENUE_JOURNAL": f"http://{HOST}:{self.control_port}",
            f"{PREFIX}KEYS__TRUSTED_FILE": str(self.keys / "trusted.toml"),
            f"{PREFIX}KEYS__COMMANDS_KEY_FILE": str(self.keys / "commands.pem"),
            f"{PREFIX}KEYS__CONTROL_KEY_FILE": str(self.keys / "control.pem"),
            # Windows that describe the price path go with the tape's speed.
            f"{PREFIX}COLLAR_WINDOW_MS": str(max(1, self.settings.collar_window_ms // self.plan.speed)),
            f"{PREFIX}VENUES": json.dumps({name: {"urls": urls} for name in self.settings.venues}),
        }
        for account in self.settings.accounts:
            for use in ("feed", "trade"):
                where = f"{PREFIX}ACCOUNTS__{account}__{use}__".upper()
                variables |= {f"{where}API_KEY": _key(account, use), f"{where}API_SECRET": f"{_key(account, use)}-secret"}
        return variables | self._extra

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each of its servers and roles that runs now, by name."""
        servers = {"broker": self.broker, "database": self.database, "venue": self._venue}
        found = {name: server.pid for name, server in servers.items() if server is not None and server.running}
        found |= {status.name: status.pid for status in self.roles.statuses()}
        return {name: pid for name, pid in found.items() if pid is not None}

    def signer(self, purpose: KeyPurpose) -> Signer:
        """Who signs here, for a program that writes in the place of a role or an operator."""
        return Ed25519Signer(self.settings.environment, purpose, private_key_in(self.keys / f"{purpose}.pem"))

    def write_environment(self) -> Path:
        """A file that another terminal sources to use `trimtab` in this installation; for this user's eyes only."""
        path = self.directory / "environment"
        path.touch(mode=0o600)
        commands = f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n'
        path.write_text(commands + "".join(f"export {name}={shlex.quote(value)}\n" for name, value in self.environment.items()))
        return path

    def trimtab(self, *words: str, timeout_s: float = 120.0) -> str:
        """Run one command of the command line in this installation; its output. Raises what `failure` makes of its errors."""
        done = subprocess.run(
            [sys.executable, "-m", "streams", *words],
            env={**os.environ, **self.environment},
            cwd=self.settings_file.parent,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if done.returncode:
            raise failure(words, done.returncode, done.stdout + done.stderr)
        return done.stdout

    def read(self, query: Callable[[AsyncConnection], Awaitable[Rows]]) -> Rows:
        """One question to the tables, for example `views.portfolios`. Raises UnreachableError and RefusedError."""

        async def run() -> Rows:
            async with reading(self.database_url) as connection:
                return await query(connection)

        return asyncio.run(run())

    def control(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the venue's control port; POST when there is a body. Raises LocalStackError with its words."""
        request = urllib.request.Request(
            f"http://{HOST}:{self.control_port}/control/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise LocalStackError(f"venue control {path}: {error.code} {error.read().decode()}") from None

    @property
    def journal_path(self) -> Path:
        """The venue's own journal of everything that it accepted: the truth that proofs compare with."""
        return self.directory / "venue-journal.jsonl"

    def _start_venue(self) -> None:
        config = self.directory / "venue.json"
        config.write_text(json.dumps(self._venue_settings(), indent=1))
        self._venue = Child(
            "venue",
            [sys.executable, "-m", "streams.simulator", "--config", config],
            log=self.directory / "logs" / "venue.log",
            env=dict(os.environ),
            cwd=Path(__file__).parents[2],
        )
        self._venue.start()
        deadline = time.monotonic() + 30
        while True:
            try:
                self.control("ready")
                return
            except (OSError, LocalStackError):
                if not self._venue.running or time.monotonic() > deadline:
                    raise LocalStackError(f"the simulated venue did not start:\n{self._venue.tail()}") from None
                time.sleep(0.05)

    def _venue_settings(self) -> dict[str, Any]:
        accounts = {
            account: {"balances": on_target(portfolio.weights, portfolio.quote, self.plan)}
            for portfolio in self.settings.portfolios.values()
            for account in portfolio.accounts
        }
        keys: dict[str, dict[str, Any]] = {}
        for account in accounts:
            secret = f"{_key(account, 'feed')}-secret"
            keys[_key(account, "feed")] = {"account": account, "secret": secret, "may_trade": False}
            secret = f"{_key(account, 'trade')}-secret"
            keys[_key(account, "trade")] = {"account": account, "secret": secret} | dict(self.plan.rights)
        return {
            "port": self.venue_port,
            "control_port": self.control_port,
            "accounts": accounts,
            "keys": keys,
            "latency": dict(self.plan.latency_ms),
            "limits": dict(self.plan.limits),
            "tape": {"start_ms": self.plan.start_ms, "speed": self.plan.speed},
            "journal_path": str(self.journal_path),
        }


def on_target(weights: Mapping[str, Decimal], quote: str, plan: VenuePlan) -> dict[str, str]:
    """Balances with these target weights at the tape's prices at START, rounded down to what the venue books."""
    balances: dict[str, str] = {}
    for asset, weight in weights.items():
        price = Decimal(1) if asset == quote else price_at(f"{asset}/{quote}", plan.start_ms)
        units = DECISION.divide(DECISION.multiply(plan.nav_quote, weight), price)
        balances[asset] = plain(floor_to_step(units, ATOM))
    return balances


def _key(account: str, use: str) -> str:
    return f"sim-{account}-{use}"
