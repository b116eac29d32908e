"""The operator's word, read by the executor itself: the control topic up to its end, and the local HALT file."""

import asyncio
import fcntl
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.codec import decode
from schemas.control import ControlEvent, StopKind
from schemas.envelope import Envelope
from streams.agents.deadletter import Few, dead_letter_of
from streams.agents.executor.tail import Tail
from streams.domain.control import Hearing, dated
from streams.domain.orders.authority import Authority, fold
from streams.ports.log import Log, PositionLostError, Record, UntrustedError, Verifier
from streams.ports.process import Clock
from streams.topics import OPERATOR_CONTROL

log = logging.getLogger("trimtab.executor")

HALT_FILE = "HALT"
END_PATIENCE_S = 2.0
_FILE_CHARACTERS_MAX = 10_000
_WHY_CHARACTERS_MAX = 500
_NO_REASON = "no reason given"
_FREEZE = "freeze"
_SCOPE = re.compile(r"all|(account|venue|portfolio):[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class FileStop:
    """What one line of the HALT file says. A line in doubt halts `all`, and is its own reason."""

    kind: StopKind
    scope: str
    why: str


class HaltFile:
    """`$STATE_DIR/HALT`: each line halts (no new order, and open ones off the book), or freezes (no new order) where `freeze`
    is its first word. Then come the scope (`all`, `account:x`, `venue:y`, `portfolio:z`) and the reason.

    A file that cannot be read or is empty, and a line without a scope, halt everything: whoever is in doubt halts.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / HALT_FILE
        self._place = str(self._path)

    @property
    def path(self) -> Path:
        """Where it is, or would be."""
        return self._path.absolute()

    def stamp(self) -> tuple[int, int] | None:
        """What changes whenever the file does; None while there is none."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def stop(self, account: str, venue: str, portfolio: str | None) -> FileStop | None:
        """What keeps new orders of this account from being sent, or None; a halt before a freeze."""
        scopes = {"all", f"account:{account}", f"venue:{venue}", f"portfolio:{portfolio}"}
        ours = [stop for stop in self.stops() if stop.scope in scopes]
        return next((stop for stop in ours if stop.kind is StopKind.HALT), ours[0] if ours else None)

    def stops(self) -> Sequence[FileStop]:
        """What the file says now, line by line; nothing when there is none."""
        try:
            os.stat(self._place)  # asked at each step, mostly in vain: a stat that fails is cheaper than an open
            with self._path.open(encoding="utf-8", errors="replace") as file:
                text = file.read(_FILE_CHARACTERS_MAX + 1)
        except FileNotFoundError:
            return ()
        except OSError as error:
            return (_doubt(f"the HALT file cannot be read: {error.strerror}"),)
        if len(text) > _FILE_CHARACTERS_MAX:
            return (_doubt(f"the HALT file is longer than {_FILE_CHARACTERS_MAX} characters"),)
        return [_stop(line) for line in text.splitlines() if line.strip()] or (_doubt(_NO_REASON),)

    def add(self, kind: StopKind, scope: str, why: str) -> None:
        """Stop this scope, too: what the file says already stands, and nobody sees it half written. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        word = (_FREEZE,) if kind is StopKind.FREEZE else ()
        line = " ".join((*word, scope, *why[:_WHY_CHARACTERS_MAX].split()))
        with _in_turn(self._path.parent):
            known = self._path.read_text("utf-8", errors="replace").splitlines() if self._path.exists() else None
            if known is not None and not any(line.strip() for line in known):
                known = [f"all {_NO_REASON}"]  # an empty file halts everything: so it stays
            draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            draft.write_text("\n".join(dict.fromkeys([*(known or ()), line])) + "\n", "utf-8", errors="replace")
            draft.replace(self._path)


@contextmanager
def _in_turn(directory: Path) -> Iterator[None]:
    """Those who add to the file at the same time do so one after the other, or the last one would undo the others' lines.
    After a second nobody waits any more: a stop must not hang by a process that does."""
    place = os.open(directory, os.O_RDONLY)
    try:
        for _ in range(100):
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(0.01)
        yield
    finally:
        os.close(place)


def _stop(line: str) -> FileStop:
    """What a line says that is not blank."""
    words = line.split()
    kind = StopKind.FREEZE if words[0] == _FREEZE else StopKind.HALT
    scope, *why = (words[1:] if kind is StopKind.FREEZE else words) or [""]
    if not _SCOPE.fullmatch(scope):
        return _doubt(line.strip())
    return FileStop(kind, scope, " ".join(why) or _NO_REASON)


def _doubt(why: str) -> FileStop:
    return FileStop(StopKind.HALT, "all", why)


class ControlWatch:
    """Folds what operators signed in the control topic, and proves, again and again, that it was read up to its end."""

    def __init__(
        self, log_: Log, tail: Tail, clock: Clock, verifier: Verifier, every_ms: int, changed: Callable[[], None]
    ) -> None:
        self._log = log_
        self._tail = tail
        self._clock = clock
        self._verifier = verifier
        self._hearing = Hearing()
        self._refused = 0
        self._strangers = Few()
        self._every_s = every_ms / 1000
        self._changed = changed
        self._silent = False
        self.authority = Authority()
        self.current_at_boot_ms: int | None = None

    async def run(self) -> None:
        """Follow control from its beginning, for ever. Raises PositionLostError when its beginning is gone."""
        partitions = await self._log.partitions(OPERATOR_CONTROL)
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(error: PositionLostError) -> None:
            if not lost.done():
                lost.set_exception(error)

        for partition in range(partitions):
            begin = await self._log.begin_offset(OPERATOR_CONTROL, partition)
            self._tail.follow(str(partition), partition, begin, self._take, tell)
        while not lost.done():
            await self._prove(partitions)
            await asyncio.wait([lost], timeout=self._every_s if self.current_at_boot_ms is not None else 0.05)
        await lost

    async def _prove(self, partitions: int) -> None:
        """Control is current as of a moment whose end offsets have all been read."""
        asked_boot_ms = self._clock.boot_ms()
        try:
            async with asyncio.timeout(END_PATIENCE_S):
                ends = [await self._log.end_offset(OPERATOR_CONTROL, partition) for partition in range(partitions)]
        except Exception as error:  # noqa: BLE001  whatever the client raises, control is not proven read
            if not self._silent:
                log.error("control cannot be read on (%s): no new order is sent until it can", type(error).__name__)
            self._silent = True
            return
        if any(self._tail.next_offset(str(partition)) < end for partition, end in enumerate(ends)):
            return
        if self._silent:
            log.info("control is read to its end again")
        self._silent = False
        self.current_at_boot_ms = asked_boot_ms
        self._changed()

    async def _take(self, record: Record) -> None:
        try:
            event = decode(Envelope.read(record.headers).type, record.value)
            if not isinstance(event, ControlEvent):
                raise ValueError(f"a {type(event).__name__} is no control event")
            self._verifier.check(record, self._hearing.key_time_ms(event, record.timestamp_ms))
            self._hearing.hear(event, record.value or b"", record.timestamp_ms)
        except (ValueError, UntrustedError) as error:
            return await self._refuse(record, error)
        self.authority = fold(self.authority, dated(event, record.timestamp_ms))
        if self.current_at_boot_ms is not None:
            self._changed()
        return None

    async def _refuse(self, record: Record, error: Exception) -> None:
        """What no operator said changes nothing, and is set aside; of a stranger's flood only a part."""
        self._refused += 1
        if not self._strangers.another(self._clock.boot_ms()):
            return
        place = f"{record.topic}:{record.partition} offset {record.offset}"
        log.error("%s is not obeyed: %s (%d refused since the start)", place, error, self._refused)
        await self._log.append(dead_letter_of(record, "executor", error))
