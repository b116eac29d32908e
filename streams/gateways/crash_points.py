"""The port CrashPoints for a test harness: a directory says where a process ends, stops or tells. Never in production.

The harness writes `arm` (use `arm`): a point and what happens there. The process that gets there first takes it, moves it to
`reached`, and does it: `kill` ends the process by SIGKILL, `stop` pauses it by SIGSTOP until somebody sends SIGCONT, `tell`
does no more than that.
"""

import os
import signal
from enum import StrEnum
from pathlib import Path

from streams.ports.process import Point


class Happening(StrEnum):
    """What happens at an armed point."""

    KILL = "kill"
    STOP = "stop"
    TELL = "tell"


class ArmedCrashPoints:
    """Looks for an arm at every point. One harness, any number of processes."""

    def __init__(self, directory: Path) -> None:
        self._arm = directory / "arm"
        self._reached = directory / "reached"

    def reach(self, point: Point) -> None:
        """See the port."""
        try:
            armed, happening = self._arm.read_text().split()
            if armed != point:
                return
            self._arm.rename(self._reached)
        except FileNotFoundError:
            return
        match Happening(happening):
            case Happening.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Happening.STOP:
                os.kill(os.getpid(), signal.SIGSTOP)


def arm(directory: Path, point: Point, happening: Happening) -> None:
    """Arm a point; forgets an earlier arm and what was reached."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "reached").unlink(missing_ok=True)
    fresh = directory / "arm.new"
    fresh.write_text(f"{point} {happening}")
    fresh.rename(directory / "arm")


def disarm(directory: Path) -> None:
    """Forget an arm that nobody reached."""
    (directory / "arm").unlink(missing_ok=True)


def reached(directory: Path) -> bool:
    """Whether the armed point was reached since it was armed."""
    return (directory / "reached").exists()
