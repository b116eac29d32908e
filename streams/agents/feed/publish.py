"""From messages to the log: at once while the broker answers, the newest of each kind while it does not."""

import asyncio
import logging
from collections import deque

from streams.domain.errors import UnreachableError
from streams.ports.log import Log, Output

log = logging.getLogger("trimtab.feed")


class Publisher:
    """Appends without waiting.

    At most `outstanding_max` records are unacknowledged; beyond that the newest record of each (topic, slot) waits, and the
    newest `dead_letters_max` refused frames. `check` ends the role when the log refuses a record or has not acknowledged one
    for `unacked_ms_max`.
    """

    def __init__(self, log_: Log, outstanding_max: int, dead_letters_max: int, unacked_ms_max: int) -> None:
        self._log = log_
        self._outstanding_max = outstanding_max
        self._unacked_ms_max = unacked_ms_max
        self._outstanding = 0
        self._newest: dict[tuple[str, bytes, str], Output] = {}
        self._dead: deque[Output] = deque(maxlen=dead_letters_max)
        self._failure: BaseException | None = None
        self.conflated = 0
        self.dead_letters_lost = 0

    def publish(self, output: Output, slot: str = "") -> None:
        """Append, or keep as the newest of its key (and `slot`, where one key carries several stories). Never waits."""
        if self._outstanding < self._outstanding_max and not self._newest:
            self._append(output)
            return
        place = output.topic, output.key, slot
        if self._newest.pop(place, None) is not None:
            self.conflated += 1
        self._newest[place] = output

    def dead_letter(self, output: Output) -> None:
        """Append a refused frame, or keep it; the oldest kept one is lost, and counted, when there are too many."""
        if self._outstanding < self._outstanding_max and not self._dead:
            self._append(output)
            return
        if len(self._dead) == self._dead.maxlen:
            self.dead_letters_lost += 1
            if self.dead_letters_lost.bit_count() == 1:  # at 1, 2, 4, 8, ...: one flood is one story
                log.warning("%d refused frames were lost: the log does not take them fast enough", self.dead_letters_lost)
        self._dead.append(output)

    def check(self) -> None:
        """Raises UnreachableError when going on would only pretend that records are written."""
        if self._failure is not None:
            raise UnreachableError(f"a record was not written: {self._failure!r}")
        age_ms = self._log.unacked_age_ms()
        if age_ms > self._unacked_ms_max:
            raise UnreachableError(f"the log has not acknowledged a record for {age_ms} ms")

    def _append(self, output: Output) -> None:
        done = asyncio.ensure_future(self._log.append_nowait(output))
        self._outstanding += 1
        done.add_done_callback(self._settled)

    def _settled(self, done: "asyncio.Future[int]") -> None:
        self._outstanding -= 1
        if not done.cancelled() and (error := done.exception()) is not None:
            self._failure = error
            return
        while self._outstanding < self._outstanding_max and (self._newest or self._dead):
            if self._newest:
                self._append(self._newest.pop(next(iter(self._newest))))
            else:
                self._append(self._dead.popleft())
