"""One child process: its own session, a log file, a leash to this process, and a bounded end.

Ctrl-C reaches only the parent (children have their own session), so the parent decides the order in which they stop.
If the parent is killed, the kernel ends the children (`leash.py`). The kernel watches the *thread* that started a child,
not the process; so one thread, which lives as long as the process, starts them all.
"""

import atexit
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")
LOG_BYTES_MAX = 64 * 1024 * 1024
STOP_TIMEOUT_S = 10.0


class ChildFailed(RuntimeError):
    """A child could not be started or ended when it should not; the message carries the end of its log."""


class Child:
    """A program run as a child of this process.

    `log` is appended to (and moved to `<log>.1` at a start that finds it above 64 MiB). `env` replaces the environment.
    `uid` makes it run as that user and group (root only). `stop_signal` is the polite end; `death_signal` is what the
    kernel sends when this process dies.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        uid: int | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.argv = [str(argument) for argument in argv]
        self.log = log
        self.env = None if env is None else dict(env)
        self.cwd = cwd
        self.uid = uid
        self.stop_signal = stop_signal
        self.death_signal = death_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while a process exists or its end has not been asked for yet, else None."""
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives now."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit status of the last run, negative for a signal; None before the first start and while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it; it must not be running."""
        if self.running:
            raise ChildFailed(f"{self.name} is already running (pid {self.pid})")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(self.death_signal))]
        user = "-" if self.uid is None else str(self.uid)
        with self.log.open("ab") as log:
            self._process = _spawn(
                lambda: subprocess.Popen(
                    [*leash, user, *self.argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.env,
                    cwd=self.cwd,
                    start_new_session=True,
                )
            )
        with _lock:
            _living.append(self)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if the process has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait(STOP_TIMEOUT_S)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """Ask it to end, wait at most `timeout_s`, then SIGKILL. Returns the exit status (None if never started)."""
        self.signal(self.stop_signal)
        try:
            return self.wait(timeout_s)
        except TimeoutError:
            self.kill()
            return self.returncode

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end; raises TimeoutError. Returns the exit status (None if never started)."""
        if self._process is None:
            return None
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} (pid {self.pid}) still runs after {timeout_s:g} s") from None
        with _lock, contextlib.suppress(ValueError):
            _living.remove(self)
        return status

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log, for a message."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 16_384))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


_living: list[Child] = []
_lock = threading.Lock()
_requests: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], queue.SimpleQueue]] = queue.SimpleQueue()
_starter: threading.Thread | None = None


def _spawn(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Run `start` on the one thread that outlives all others."""
    global _starter
    with _lock:
        if _starter is None:
            _starter = threading.Thread(target=_serve, name="child-starter", daemon=True)
            _starter.start()
            atexit.register(_stop_all)
    answer: queue.SimpleQueue[subprocess.Popen[bytes] | BaseException] = queue.SimpleQueue()
    _requests.put((start, answer))
    result = answer.get()
    if isinstance(result, BaseException):
        raise result
    return result


def _serve() -> None:
    while True:
        start, answer = _requests.get()
        try:
            answer.put(start())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            answer.put(error)


def _stop_all() -> None:
    """At the end of the interpreter: what is still running goes, the youngest first."""
    for child in reversed(list(_living)):
        child.stop()
