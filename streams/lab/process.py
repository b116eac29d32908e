"""One executor process on its own machine: clocks that step or stand still, a HALT file, sleep, death, a new life."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from streams.agents.executor.spool import Kept
from streams.domain.orders.authority import Authority, fold
from streams.lab.history import History
from streams.ports.process import Point

BOOT_MS = 1_000_000
SYNCHRONIZED_MS = 6000
"""After so long a machine's wall clock that is off is set right."""
CONTROL_MS = 1500


class Killed(BaseException):
    """The process ended in the middle of what it did."""


class Resident(Protocol):
    """What runs in a process: it begins, sleeps, wakes and ends with it."""

    def begin(self) -> None:
        """The process started."""
        ...

    def wake(self) -> None:
        """The process goes on after a sleep."""
        ...

    def end(self) -> None:
        """The process died."""
        ...

    def look_again(self) -> None:
        """The HALT file was laid."""
        ...

    def authority_changed(self) -> None:
        """Control was read on."""
        ...


class Machine:
    """What outlives a process: clocks, and files. It is also the port Clock."""

    def __init__(self, history: History, number: int) -> None:
        self._history = history
        self.number = number
        self.wall_offset_ms = 0
        self.boot_lag_ms = 0
        self.halt_file: str | None = None
        self.freeze_file: str | None = None
        self.kept: dict[tuple[str, int], dict[str, Kept]] = {}

    def wall_ms(self) -> int:
        """UTC as this machine believes."""
        return self._history.wall_ms() + self.wall_offset_ms

    def boot_ms(self) -> int:
        """CLOCK_BOOTTIME."""
        return BOOT_MS + self._history.engine.now_ms - self.boot_lag_ms

    def remove_halt_file(self) -> None:
        """The HALT file is gone."""
        self.halt_file = self.freeze_file = None

    def step_wall(self, by_ms: int) -> None:
        """The wall clock is set."""
        self.wall_offset_ms += by_ms


class Process:
    """It runs code while it is up and awake. What reaches it asleep is handled when it wakes; when it is down, never."""

    def __init__(self, history: History, number: int) -> None:
        self._history = history
        self.number = number
        self.name = f"executor-{chr(ord('a') + number)}"
        self.machine = Machine(history, number)
        self.life = 0
        self.up = False
        self.down_until_ms = 0
        self.asleep = False
        self.asleep_from_ms = 0
        self.woke_ms = -1_000_000
        self.sleep_left_clocks = True
        self.residents: list[Resident] = []
        self.living: set[tuple[str, int]] = set()
        self.authority = Authority()
        self.control_read = 0
        self.control_at_boot_ms: int | None = None
        self._backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    # The port CrashPoints

    def reach(self, point: Point) -> None:
        """A step of the executor: here it may die, or fall asleep."""
        history, about = self._history, (self.number, self._history.engine.now_ms, _POINTS[point])
        mishap = history.chance.which(_AT_A_STEP, *about)
        if mishap == "killed at a step":
            history.tell(f"{self.name} is killed at {point.value}")
            history.seen[f"killed at: {point.value}"] += 1
            self.die(history.chance.between(200, 12_000, "away for", *about))
            raise Killed
        if mishap:
            history.seen[f"asleep at: {point.value}"] += 1
            self.sleep(history.chance.between(500, 15_000, "asleep for", *about), f"at {point.value}")

    # Life

    def hear(self, call: Callable[..., None], *args: Any) -> None:
        """Do this now, or once awake."""
        if self.asleep:
            self._backlog.append((call, args))
            return
        try:
            call(*args)
        except Killed:
            return

    def start(self) -> None:
        """A new life: whatever was in memory is gone."""
        if self.up or self._history.engine.now_ms < self.down_until_ms:
            return
        self.life += 1
        self.up = True
        self.asleep = False
        self._backlog.clear()
        self.authority, self.control_read, self.control_at_boot_ms = Authority(), 0, None
        for resident in self.residents:
            resident.begin()
        self._history.engine.at(self._history.engine.now_ms + 20, self._follow_control, self.life)

    def die(self, for_ms: int) -> None:
        """The process ends at once, and is started again after that time."""
        self.down_until_ms = max(self.down_until_ms, self._history.engine.now_ms + for_ms)
        self._history.engine.at(self.down_until_ms, self.start)
        if not self.up:
            return
        self._history.seen["executor killed"] += 1
        self.life += 1
        self.up = False
        self.asleep = False
        self._backlog.clear()
        self.living.clear()
        for resident in self.residents:
            resident.end()

    def sleep(self, for_ms: int, why: str, wall_stands: bool = False, boot_stands: bool = False) -> None:
        """The process stops where it is, and goes on later with its old state; its clocks may stand still meanwhile."""
        if not self.up or self.asleep:
            return
        history = self._history
        history.tell(f"{self.name} falls asleep for {for_ms} ms {why}")
        self.asleep, self.asleep_from_ms = True, history.engine.now_ms
        self.sleep_left_clocks = not boot_stands
        history.engine.at(
            history.engine.now_ms + for_ms, self._wake, self.life, for_ms if wall_stands else 0, for_ms if boot_stands else 0
        )

    def _wake(self, life: int, wall_ms: int, boot_ms: int) -> None:
        if life != self.life or not self.asleep:
            return
        history = self._history
        history.tell(f"{self.name} wakes")
        self.machine.wall_offset_ms -= wall_ms
        history.engine.at(history.engine.now_ms + SYNCHRONIZED_MS, self.machine.step_wall, wall_ms)
        self.machine.boot_lag_ms += boot_ms
        self.asleep, self.woke_ms = False, history.engine.now_ms
        for resident in self.residents:
            resident.wake()
        backlog, self._backlog = self._backlog, []
        for number, (call, args) in enumerate(backlog):
            # Timers, sockets and threads come back in no particular order; what one caller waits for stays one thing.
            delay_ms = history.chance.between(0, 3, "after waking", self.number, history.engine.now_ms, number)
            history.engine.at(history.engine.now_ms + delay_ms, self._late, life, call, args)

    def _late(self, life: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if life == self.life:
            self.hear(call, *args)

    # Control, the HALT file, the spool

    def _follow_control(self, life: int) -> None:
        if self.life != life:
            return
        if not self._history.log_is_away:
            self.hear(self._control_read)
        self._history.engine.at(self._history.engine.now_ms + CONTROL_MS, self._follow_control, life)

    def _control_read(self) -> None:
        self.read_control()
        for resident in self.residents:
            resident.authority_changed()

    def lay_halt_file(self, for_ms: int, *, freeze: bool = False) -> None:
        """An operator lays the HALT file on this machine, and takes it away again. One that freezes is no halt, and takes no
        halt away."""
        if freeze:
            self.machine.freeze_file = "an operator wonders"
        else:
            self.machine.halt_file = "an operator is worried"
        for resident in self.residents:
            resident.look_again()
        self._history.engine.at(self._history.engine.now_ms + for_ms, self.machine.remove_halt_file)

    def read_control(self) -> None:
        """Fold what operators said up to now."""
        events = self._history.control
        while self.control_read < len(events):
            self.authority = fold(self.authority, events[self.control_read])
            self.control_read += 1
        self.control_at_boot_ms = self.machine.boot_ms()

    def left(self, account: str) -> Sequence[Kept]:
        """What was kept for this account by lives that are over."""
        mine = [tenure for tenure in self.machine.kept if tenure[0] == account and tenure not in self.living]
        return [kept for tenure in sorted(mine) for kept in self.machine.kept[tenure].values()]

    def discard(self, account: str) -> None:
        """What `left` gave is settled."""
        for tenure in [tenure for tenure in self.machine.kept if tenure[0] == account and tenure not in self.living]:
            del self.machine.kept[tenure]

    def keep(self, kept: Kept) -> None:
        """On disk when this returns."""
        tenure = (kept.account, kept.epoch)
        self.living.add(tenure)
        self.machine.kept.setdefault(tenure, {})[kept.ce_id] = kept

    def acknowledged(self, account: str, epoch: int, ce_id: str) -> None:
        """The log has this event."""
        self.machine.kept.get((account, epoch), {}).pop(ce_id, None)


_AT_A_STEP = {"killed at a step": 90, "asleep at a step": 160}
_POINTS = {point: number for number, point in enumerate(Point)}
