"""What broker and database have in common: a directory that one owner claims, a child process, and readiness.

The directory is claimed with a file lock that the kernel drops when the owner dies, however it dies. Who gets the lock and
still finds the server of a dead owner running ends that server first, and says so.
"""

import fcntl
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from streams.local.child import Child, ChildFailed
from streams.local.install import running_owner

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
READY_TIMEOUT_S = 90.0
POLL_S = 0.05
START_ATTEMPTS = 3
# Below the range that the kernel gives to outgoing connections: a server that comes back finds its port free.
PORT_MIN, PORT_MAX = 20_000, 32_000


class LocalStackError(RuntimeError):
    """The local stack cannot do what was asked; the message says what to do."""


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens now."""
    for port in random.sample(range(PORT_MIN, PORT_MAX), 200):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise LocalStackError(f"no free port between {PORT_MIN} and {PORT_MAX} on {HOST}")


class Server(ABC):
    """A server process of the local stack; start, stop, kill and restart keep port and data.

    `state_dir` belongs to this server alone. All calls block (seconds): from a coroutine use `asyncio.to_thread`.
    """

    name = "server"
    stop_timeout_s = 20.0

    def __init__(self, state_dir: Path, *, port: int | None) -> None:
        self.state_dir = state_dir.resolve()
        self._port_given = port is not None
        self.port = port if port is not None else free_port()
        self._child: Child | None = None
        self._lock: IO[str] | None = None
        self._was_ready = False

    @property
    def pid(self) -> int | None:
        """Process id of the server, None before the first start."""
        return None if self._child is None else self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.running

    @property
    def log_path(self) -> Path:
        """Where the server writes its log."""
        return self.state_dir / f"{self.name}.log"

    def start(self) -> Self:
        """Start and wait until it is ready. Raises LocalStackError with the end of the server's log."""
        if self.running:
            return self
        self._claim()
        for attempt in range(1, START_ATTEMPTS + 1):
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            try:
                self.prepare()
                self._child = self.child()
                self._child.start()
                self._pid_path.write_text(str(self._child.pid))
                self._wait_ready()
            except (ChildFailed, TimeoutError) as error:
                taken = b"ddress already in use" in self.log_path.read_bytes()[log_start:]
                self._end()
                if taken and attempt < START_ATTEMPTS and not self._port_given and not self._was_ready:
                    self.choose_ports()
                    continue
                raise LocalStackError(f"{self.name} did not start: {error}\n{self._log_tail()}") from error
            except BaseException:
                self._end()
                raise
            self._was_ready = True
            return self
        raise AssertionError("the last attempt returns or raises")

    def stop(self) -> None:
        """End it in order, by force after a bound; the directory can then be claimed by another."""
        self._end()

    def kill(self) -> None:
        """SIGKILL, as a crash would; data stay, `start` brings it back."""
        if self._child is not None:
            self._child.kill()

    def pause(self) -> None:
        """Stop the process from running (SIGSTOP): connections stay open and nothing answers."""
        if self._child is not None:
            self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        if self._child is not None:
            self._child.signal(signal.SIGCONT)

    def restart(self) -> Self:
        """Stop if it runs, and start again on the same port and data."""
        if self._child is not None:
            self._child.stop(self.stop_timeout_s)
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @abstractmethod
    def prepare(self) -> None:
        """Make or mend the data directory, so that the server can start on it."""

    @abstractmethod
    def child(self) -> Child:
        """The process to run."""

    @abstractmethod
    def probe(self) -> bool:
        """Whether it serves now; False while it is still coming up."""

    def choose_ports(self) -> None:
        """Take other ports, after somebody else took the ones we had chosen."""
        self.port = free_port()

    @property
    def _pid_path(self) -> Path:
        return self.state_dir / "pid"

    def _claim(self) -> None:
        if self._lock is not None:
            return
        self.state_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.state_dir / "owner").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise LocalStackError(
                f"{self.state_dir} is in use by process {owner}: end that run first, or use another directory"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        self._end_left_behind()

    def _end_left_behind(self) -> None:
        """End the server of an owner that died without the kernel ending it for him (systems without a leash)."""
        try:
            pid = int(self._pid_path.read_text())
        except (FileNotFoundError, ValueError):
            return
        if str(self.state_dir) in _command_line(pid):
            log.warning("%s of an earlier run still runs as process %d: ending it", self.name, pid)
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + self.stop_timeout_s
            while _command_line(pid):
                if time.monotonic() > deadline:
                    raise LocalStackError(f"process {pid} ({self.name} of an earlier run) does not end: end it by hand")
                time.sleep(POLL_S)
        self._pid_path.unlink(missing_ok=True)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        assert self._child is not None
        while time.monotonic() < deadline:
            if not self._child.running:
                raise ChildFailed(f"it ended with status {self._child.returncode}")
            if self.probe():
                return
            time.sleep(POLL_S)
        raise TimeoutError(f"not ready after {READY_TIMEOUT_S:g} s")

    def _log_tail(self) -> str:
        return "" if self._child is None else self._child.tail()

    def _end(self) -> None:
        if self._child is not None:
            self._child.stop(self.stop_timeout_s)
        self._pid_path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def clear_directory(directory: Path) -> None:
    """Remove what an earlier run left there. Raises LocalStackError while a server of another run uses it."""
    if owner := running_owner(directory):
        raise LocalStackError(f"{directory} is in use by process {owner}: end that run first, or use another directory")
    shutil.rmtree(directory, ignore_errors=True)


def port_open(port: int) -> bool:
    """Whether something accepts connections on that port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def _command_line(pid: int) -> str:
    """The command of a living process, empty if there is none."""
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
