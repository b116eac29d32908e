"""The supervisor keeps roles running, tells a broken invariant from a crash, and ends what it started."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.local.child import Child
from streams.local.supervisor import EX_INVARIANT, Role, RoleState, Supervisor

FOREVER = "import time; time.sleep(600)"
DEADLINE_S = 20.0


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def roles(tmp_path: Path, told: list[str]) -> Iterator[Supervisor]:
    with Supervisor(tmp_path / "logs", on_event=told.append, delays_s=(0.0, 0.05)) as supervisor:
        yield supervisor


def python(name: str, code: str, **env: str) -> Role:
    return Role(name, [sys.executable, "-S", "-c", code], env)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def test_killed_role_comes_back_under_a_new_process(roles: Supervisor, told: list[str]) -> None:
    roles.add(python("feed", FOREVER))
    roles.start()
    first = roles.kill("feed")
    until(lambda: roles.status("feed").restarts == 1 and roles.status("feed").state is RoleState.RUNNING)
    assert roles.status("feed").pid not in (None, first)
    assert told[0].startswith("feed ended with status -9: it starts again now")


def test_paused_role_stands_still_and_is_no_dead_one(roles: Supervisor) -> None:
    roles.add(python("feed", "import time\nwhile True: print('here', flush=True); time.sleep(0.01)"))
    roles.start()
    log = roles.log_path("feed")
    until(lambda: log.stat().st_size > 0)
    pid = roles.status("feed").pid
    roles.pause("feed")
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    said = log.stat().st_size
    assert roles.status("feed").state is RoleState.RUNNING
    assert log.stat().st_size == said
    roles.resume("feed")
    until(lambda: log.stat().st_size > said)
    assert (roles.status("feed").pid, roles.status("feed").restarts) == (pid, 0)


def test_role_that_crashes_for_ever_is_started_for_ever(roles: Supervisor) -> None:
    roles.add(python("feed", "raise SystemExit(1)"))
    roles.start()
    until(lambda: roles.status("feed").restarts >= 4)
    assert roles.status("feed").state is not RoleState.GIVEN_UP


def test_role_that_breaks_an_invariant_three_times_stays_down(roles: Supervisor, told: list[str]) -> None:
    roles.add(python("fold", f"raise SystemExit({EX_INVARIANT})"))
    roles.add(python("feed", FOREVER))
    roles.start()
    until(lambda: roles.status("fold").state is RoleState.GIVEN_UP)
    assert roles.status("fold").restarts == 2
    assert "an invariant is broken and it stays down" in told[-1]
    assert roles.status("feed").state is RoleState.RUNNING


def test_role_given_up_can_be_started_by_hand(roles: Supervisor, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    code = f"import pathlib, time\nif not pathlib.Path({str(mended)!r}).exists(): raise SystemExit({EX_INVARIANT})\n"
    roles.add(python("fold", code + FOREVER))
    roles.start()
    until(lambda: roles.status("fold").state is RoleState.GIVEN_UP)
    mended.touch()
    roles.start("fold")
    assert roles.status("fold").state is RoleState.RUNNING
    assert roles.status("fold").pid is not None


def test_stopped_role_stays_down_until_it_is_started(roles: Supervisor) -> None:
    roles.add(python("feed", FOREVER))
    roles.start()
    roles.stop("feed")
    status = roles.status("feed")
    assert (status.state, status.pid, status.returncode) == (RoleState.STOPPED, None, -signal.SIGTERM)
    roles.start("feed")
    assert roles.status("feed").state is RoleState.RUNNING
    assert roles.status("feed").restarts == 0


def test_roles_stop_in_the_reverse_order_of_their_start(roles: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        "import os, signal, time\n"
        "def end(*_):\n"
        "    with open(os.environ['ORDER'], 'a') as out: out.write(os.environ['NAME'] + ' ')\n"
        "    raise SystemExit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(600)"
    )
    for name in ("first", "second", "third"):
        roles.add(python(name, code, ORDER=str(order), NAME=name))
    roles.start()
    until(lambda: all("ready" in roles.log_tail(name) for name in ("first", "second", "third")))
    roles.stop()
    assert order.read_text().split() == ["third", "second", "first"]


def test_child_that_ignores_the_polite_end_is_killed_after_the_bound(tmp_path: Path) -> None:
    code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n" + FOREVER
    child = Child("deaf", [sys.executable, "-S", "-c", code], log=tmp_path / "log")
    child.start()
    until(lambda: "deaf" in child.tail())
    pid = child.pid
    assert child.stop(timeout_s=0.2) == -signal.SIGKILL
    assert pid is not None
    assert gone(pid)


def test_child_gets_the_environment_it_was_given_and_writes_its_log(roles: Supervisor) -> None:
    roles.add(python("echo", "import os, time; print(os.environ['WORD'], flush=True); time.sleep(600)", WORD="hello"))
    roles.start()
    until(lambda: roles.log_tail("echo") == "hello")


def test_program_that_does_not_exist_is_told_in_the_log(tmp_path: Path) -> None:
    child = Child("nothing", ["/does/not/exist"], log=tmp_path / "log")
    child.start()
    assert child.wait(DEADLINE_S) == 127
    assert child.tail() == "cannot run /does/not/exist: No such file or directory"


def test_full_log_is_moved_aside_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as full:
        full.truncate(65 * 1024 * 1024)
    child = Child("short", ["true"], log=log)
    child.start()
    child.wait(DEADLINE_S)
    assert log.stat().st_size == 0
    assert (tmp_path / "log.1").stat().st_size == 65 * 1024 * 1024
