"""What every suite shares: one broker and one database for a session, a topic prefix for each test, and the rule for skips.

Servers start when the first test asks for them. `KAFKA=host:port` and `DATABASE_URL=...` bring servers of one's own; then
nothing is started. Tests that stop or kill a server take `own_broker` or `own_database`.
"""

import fnmatch
import os
import shutil
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from streams.local.broker import Broker
from streams.local.database import Database, create_database, drop_database
from streams.local.install import read_installed

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class GivenBroker:
    """A broker that somebody else runs."""

    bootstrap: str


@dataclass(frozen=True)
class GivenDatabase:
    """A database server that somebody else runs."""

    url: str

    def create_database(self, name: str, *, template: str = "template0") -> str:
        return create_database(self.url, name, template=template)

    def drop_database(self, name: str) -> None:
        drop_database(self.url, name)


@pytest.fixture(scope="session")
def stack_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory for the servers of this session, which PostgreSQL can enter; kept when a test failed."""
    directory = Path(read_installed().state_dir) / "tests" / uuid.uuid4().hex[:12]
    directory.mkdir(parents=True)
    yield directory
    if request.session.testsfailed:
        print(f"\nserver logs are kept in {directory}")  # noqa: T201 - the reader of a failure wants them
    else:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker | GivenBroker]:
    """The session's Kafka; use `.bootstrap`, never stop it."""
    if given := os.environ.get("KAFKA"):
        yield GivenBroker(given)
        return
    with Broker(request.getfixturevalue("stack_dir") / "kafka") as broker:
        yield broker


@pytest.fixture(scope="session")
def database(request: pytest.FixtureRequest) -> Iterator[Database | GivenDatabase]:
    """The session's PostgreSQL; never stop it."""
    if given := os.environ.get("DATABASE_URL"):
        yield GivenDatabase(given)
        return
    with Database(request.getfixturevalue("stack_dir") / "postgres", fsync=False) as database:
        yield database


@pytest.fixture
def empty_database_url(database: Database | GivenDatabase) -> Iterator[str]:
    """The address of a database of this test alone, without any table."""
    name = f"trimtab_test_{uuid.uuid4().hex[:12]}"
    yield database.create_database(name)
    database.drop_database(name)


@pytest.fixture
def own_broker(tmp_stack_dir: Path) -> Iterator[Broker]:
    """A Kafka of this test alone, to be stopped, killed and restarted."""
    with Broker(tmp_stack_dir / "kafka") as broker:
        yield broker


@pytest.fixture
def own_database(tmp_stack_dir: Path) -> Iterator[Database]:
    """A PostgreSQL of this test alone, to be stopped, killed and restarted."""
    with Database(tmp_stack_dir / "postgres") as database:
        yield database


@pytest.fixture
def tmp_stack_dir(stack_dir: Path) -> Path:
    """A directory of this test alone that PostgreSQL can enter."""
    directory = stack_dir / uuid.uuid4().hex[:12]
    directory.mkdir()
    return directory


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that keeps this test's topics and groups apart on the shared broker."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """The state directory of this test's roles."""
    directory = tmp_path / "state"
    directory.mkdir()
    return directory


def skips_listed() -> list[dict[str, str]]:
    """The tests that may skip, each with its reason."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["trimtab"]["skips"]


def _unlisted(reports: list[pytest.TestReport]) -> list[pytest.TestReport]:
    patterns = [skip["test"] for skip in skips_listed()]
    return [report for report in reports if not any(fnmatch.fnmatchcase(report.nodeid, pattern) for pattern in patterns)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skips that nobody wrote down."""
    for report in _unlisted(terminalreporter.stats.get("skipped", [])):
        terminalreporter.line(f"SKIP NOT LISTED in pyproject.toml [tool.trimtab] skips: {report.nodeid}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for a skip that is not on the list."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _unlisted(reporter.stats.get("skipped", [])) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
