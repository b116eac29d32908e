"""Runs role processes, restarts those that die, and stops them in reverse order.

    with Supervisor(directory) as roles:
        roles.add(Role("feed", [".venv/bin/trimtab", "run", "feed"], env))
        roles.start()

A role that died comes back at once if it had been well, then after 0.5, 1, 2, 4, 8 s. A role that reports a broken
invariant (exit status 70) three times within a minute stays down: the same input would break it again, and a person has to
look. Logs go to `<directory>/<role>.log`.
"""

import enum
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.local.child import Child

log = logging.getLogger(__name__)

EX_INVARIANT = 70
INVARIANT_FAILURES_MAX = 3
INVARIANT_WINDOW_S = 60.0
WELL_AFTER_S = 10.0
DELAYS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
POLL_S = 0.1
STOP_TIMEOUT_S = 15.0


class RoleState(enum.StrEnum):
    """Where a role stands."""

    STOPPED = "stopped"
    RUNNING = "running"
    WAITING = "waiting"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Role:
    """One process to keep running; `env` is added to this process's environment."""

    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """A role at one moment. `returncode` is its last exit status, negative for a signal; `restarts` counts comebacks."""

    name: str
    state: RoleState
    pid: int | None
    restarts: int
    returncode: int | None


class Supervisor:
    """Starts, watches and stops named roles. All methods may be called from any thread.

    `on_event` is told in one sentence what happened to a role (died, comes back, stays down), from the watching thread.
    `delays_s` are the waits before the first, second ... restart without a well run in between; the last one repeats.
    """

    def __init__(
        self,
        directory: Path,
        *,
        on_event: Callable[[str], None] | None = None,
        delays_s: Sequence[float] = DELAYS_S,
    ) -> None:
        self.directory = directory
        self._on_event = on_event or log.warning
        self._delays_s = tuple(delays_s)
        self._slots: dict[str, _Slot] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None

    def add(self, role: Role) -> None:
        """Take a role under care, not yet started. Roles stop in the reverse order of `add`."""
        with self._lock:
            if role.name in self._slots:
                raise ValueError(f"role {role.name} is there already")
            child = Child(
                role.name,
                role.argv,
                log=self.log_path(role.name),
                env={**os.environ, **role.env},
                cwd=role.cwd,
            )
            self._slots[role.name] = _Slot(child)

    def start(self, *names: str) -> None:
        """Start the named roles, or all; one that runs already is left alone."""
        with self._lock:
            for name in names or tuple(self._slots):
                slot = self._slots[name]
                if slot.state is not RoleState.RUNNING:
                    slot.forget_failures()
                    self._launch(slot)
            if self._watcher is None:
                self._closing.clear()
                self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
                self._watcher.start()

    def stop(self, *names: str) -> None:
        """Stop the named roles, or all and the watching too: SIGTERM, and SIGKILL after 15 s for each."""
        with self._lock:
            if not names:
                self._closing.set()
            for name in reversed(names or tuple(self._slots)):
                slot = self._slots[name]
                slot.state = RoleState.STOPPED
                slot.child.stop(STOP_TIMEOUT_S)
        if not names and self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    def kill(self, name: str) -> int:
        """SIGKILL a running role, which then comes back as after any death. Returns the killed process id."""
        with self._lock:
            child = self._slots[name].child
            pid = child.pid
            if pid is None or not child.running:
                raise ValueError(f"role {name} is not running")
            child.kill()
            return pid

    def pause(self, name: str) -> None:
        """Stop a running role from running (SIGSTOP): connections stay open and nothing answers."""
        self._slots[name].child.signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Undo `pause`."""
        self._slots[name].child.signal(signal.SIGCONT)

    def status(self, name: str) -> RoleStatus:
        """Where the role stands now."""
        with self._lock:
            slot = self._slots[name]
            return RoleStatus(
                name=name,
                state=slot.state,
                pid=slot.child.pid if slot.child.running else None,
                restarts=slot.restarts,
                returncode=slot.child.returncode,
            )

    def statuses(self) -> tuple[RoleStatus, ...]:
        """Where all roles stand, in the order of `add`."""
        with self._lock:
            return tuple(self.status(name) for name in self._slots)

    def log_path(self, name: str) -> Path:
        """Where the role writes."""
        return self.directory / f"{name}.log"

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The last lines the role wrote."""
        return self._slots[name].child.tail(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _launch(self, slot: "_Slot") -> None:
        slot.child.start()
        slot.state = RoleState.RUNNING
        slot.started_at = time.monotonic()

    def _watch(self) -> None:
        while not self._closing.wait(POLL_S):
            with self._lock:
                if self._closing.is_set():
                    return
                for slot in self._slots.values():
                    self._look_at(slot)

    def _look_at(self, slot: "_Slot") -> None:
        now = time.monotonic()
        if slot.state is RoleState.WAITING and now >= slot.due_at:
            slot.restarts += 1
            self._launch(slot)
        elif slot.state is RoleState.RUNNING and not slot.child.running:
            slot.note_death(now, self._delays_s)
            self._on_event(self._told(slot, slot.due_at - now))

    def _told(self, slot: "_Slot", delay_s: float) -> str:
        ended = f"{slot.child.name} ended with status {slot.child.returncode}"
        if slot.state is RoleState.GIVEN_UP:
            return (
                f"{ended} {INVARIANT_FAILURES_MAX} times within {INVARIANT_WINDOW_S:g} s: an invariant is broken "
                f"and it stays down, see {slot.child.log}"
            )
        return f"{ended}: it starts again {'now' if delay_s <= 0 else f'in {delay_s:g} s'}, its log is {slot.child.log}"


@dataclass(slots=True)
class _Slot:
    child: Child
    state: RoleState = RoleState.STOPPED
    started_at: float = 0.0
    due_at: float = 0.0
    restarts: int = 0
    failures: int = 0
    broken_at: deque[float] = field(default_factory=lambda: deque(maxlen=INVARIANT_FAILURES_MAX))

    def forget_failures(self) -> None:
        self.failures = 0
        self.broken_at.clear()

    def note_death(self, now: float, delays_s: Sequence[float]) -> None:
        if now - self.started_at >= WELL_AFTER_S:
            self.failures = 0
        if self.child.returncode == EX_INVARIANT:
            self.broken_at.append(now)
        if len(self.broken_at) == INVARIANT_FAILURES_MAX and now - self.broken_at[0] <= INVARIANT_WINDOW_S:
            self.state = RoleState.GIVEN_UP
            return
        self.due_at = now + delays_s[min(self.failures, len(delays_s) - 1)]
        self.failures += 1
        self.state = RoleState.WAITING
