"""A real PostgreSQL server on a free port of 127.0.0.1.

    with Database(directory) as database:
        psycopg.connect(database.url)

PostgreSQL refuses to run as root; then it runs as an unprivileged user, who owns the data directory. The password is
generated at the first start and lies in `<directory>/pgpass` (mode 600, the format `psql` reads).
"""

import logging
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from streams.local.child import Child
from streams.local.install import Installed, read_installed
from streams.local.server import HOST, LocalStackError, Server

log = logging.getLogger(__name__)

USER = "trimtab"
UNPRIVILEGED_UID = 65534  # "nobody" on every Linux
SOCKET_PATH_MAX = 90  # the kernel's limit is 107 bytes for the whole name

SETTINGS = {
    "listen_addresses": HOST,
    "max_connections": "200",
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Database(Server):
    """One PostgreSQL server with the user and database `trimtab`.

    `fsync` False trades safety against a crash of the machine (not of the process) for speed: for tests.
    """

    name = "postgres"

    def __init__(
        self, state_dir: Path, *, port: int | None = None, fsync: bool = True, installed: Installed | None = None
    ) -> None:
        super().__init__(state_dir, port=port)
        installed = installed or read_installed()
        if installed.pg_bin is None:
            raise LocalStackError("this machine was set up with DATABASE_URL: unset it and run `make setup`")
        self._bin = Path(installed.pg_bin)
        self._fsync = fsync
        self._uid = UNPRIVILEGED_UID if os.geteuid() == 0 else None
        self._password = ""

    @property
    def url(self) -> str:
        """Connection address with the password: never print it, print `psql_command`."""
        return self.url_of(USER)

    @property
    def psql_command(self) -> str:
        """What a person types to look into the database; the password stays in its file."""
        return f"PGPASSFILE={self._pgpass} psql -h {HOST} -p {self.port} -U {USER} {USER}"

    def url_of(self, database: str) -> str:
        """Connection address of another database of this server."""
        return f"postgresql://{USER}:{self._password}@{HOST}:{self.port}/{database}"

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Create a database, a copy of `template` (to which nobody may be connected). Returns its address."""
        return create_database(self.url, name, template=template)

    def drop_database(self, name: str) -> None:
        """Drop a database and end its connections; nothing happens if it does not exist."""
        drop_database(self.url, name)

    def prepare(self) -> None:
        """Make the cluster if there is none of this major version, and remove what a crash left."""
        data, version = self._data, self._major_version()
        if self._uid is not None:
            self._check_reachable()
        was = (data / "PG_VERSION").read_text().strip() if (data / "PG_VERSION").exists() else "an unfinished set-up"
        whole = was == version and (self.state_dir / "made").exists()
        if data.exists() and not whole:
            log.warning("cleared %s: it holds %s, this is PostgreSQL %s", data, was, version)
            shutil.rmtree(data)
        if not data.exists():
            self._init(data)
        if (data / "postmaster.pid").exists():
            # Nobody else can be on it: the directory is claimed, and a server left behind was ended at the claim.
            log.info("PostgreSQL was not stopped in order last time: it recovers from its log")
            (data / "postmaster.pid").unlink()
        self._password = (self.state_dir / "password").read_text().strip()
        self._write_secret(self._pgpass, f"*:*:*:{USER}:{self._password}\n")

    def child(self) -> Child:
        """The postmaster. SIGINT is its fast and clean end (SIGTERM would wait for every client to leave)."""
        settings = {**SETTINGS, "port": str(self.port), "unix_socket_directories": self._socket_directory()}
        if not self._fsync:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        return Child(
            self.name,
            [self._bin / "postgres", "-D", self._data]
            + [word for key, value in settings.items() for word in ("-c", f"{key}={value}")],
            log=self.log_path,
            env={key: value for key, value in os.environ.items() if not key.startswith("PG")},
            cwd=self._data,
            uid=self._uid,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
        )

    def probe(self) -> bool:
        """Whether a query is answered now."""
        return can_query(self.url_of("postgres"))

    @property
    def _data(self) -> Path:
        return self.state_dir / "data"

    @property
    def _pgpass(self) -> Path:
        return self.state_dir / "pgpass"

    def _socket_directory(self) -> str:
        """The data directory, or none where its name is too long for a socket."""
        return str(self._data) if len(str(self._data)) <= SOCKET_PATH_MAX else ""

    def _major_version(self) -> str:
        done = subprocess.run([self._bin / "postgres", "--version"], capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise LocalStackError(f"{self._bin / 'postgres'} does not run: {done.stderr.strip()}")
        return done.stdout.split()[2].split(".")[0]

    def _init(self, data: Path) -> None:
        (self.state_dir / "made").unlink(missing_ok=True)
        data.mkdir(mode=0o700)
        password = self.state_dir / "password"
        self._write_secret(password, secrets.token_urlsafe(24) + "\n")
        identity = {}
        if self._uid is not None:
            os.chown(data, self._uid, self._uid)
            os.chown(password, self._uid, self._uid)
            identity = {"user": self._uid, "group": self._uid, "extra_groups": []}
        command = [self._bin / "initdb", "-D", data, "-U", USER, "--auth=scram-sha-256", f"--pwfile={password}"]
        done = subprocess.run(
            [*command, "--encoding=UTF8", "--locale=C", "--no-sync"],
            capture_output=True,
            text=True,
            cwd=data,
            timeout=120,
            **identity,
        )
        if done.returncode != 0:
            raise LocalStackError(f"initdb failed in {data}: {done.stderr.strip()}")
        (self.state_dir / "made").touch()

    def _wait_ready(self) -> None:
        super()._wait_ready()
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (USER,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(USER)))

    def _check_reachable(self) -> None:
        for directory in (self.state_dir, *self.state_dir.parents):
            if not directory.stat().st_mode & 0o001:
                raise LocalStackError(
                    f"PostgreSQL may not run as root, and an unprivileged user cannot enter {directory}: "
                    f"use a directory under {read_installed().state_dir}"
                )

    @staticmethod
    def _write_secret(path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(text)


def can_query(url: str) -> bool:
    """Whether the database at `url` answers a query within 5 s; blocks."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def create_database(url: str, name: str, *, template: str = "template0") -> str:
    """Create a database beside the one `url` names, as a copy of `template`. Returns the address of the new one."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def drop_database(url: str, name: str) -> None:
    """Drop a database beside the one `url` names, with its connections; nothing happens if it does not exist."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
