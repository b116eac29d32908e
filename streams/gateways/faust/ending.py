"""How a fold process ends, and how much its libraries may say meanwhile.

A fold never ends by an exception that travels through the stream framework: on its way out the framework would commit
and acknowledge. It ends at once, with one clear line and an exit code that tells the supervisor why.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import NoReturn

from streams.domain.errors import TrimtabError, UnreachableError

logger = logging.getLogger(__name__)

EXIT_FAILED = 71
"""The fold or a library raised. The supervisor restarts, and gives up after three failures at one offset."""
EXIT_WATCHDOG = UnreachableError.exit_code
"""The oldest output or checkpoint went unacknowledged for too long; a restart resumes at the checkpoint."""


def end_process(code: int, line: str) -> NoReturn:
    """Log one line, flush, and end the process now, from any thread: no commit, no acknowledgement, no clean-up."""
    logger.critical("%s (exit %d)", line, code)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def end_with(error: BaseException) -> NoReturn:
    """End the process with the code and the words that `error` deserves; an unexpected one leaves its traceback too."""
    if isinstance(error, TrimtabError):
        end_process(error.exit_code, str(error))
    logger.critical("the fold failed", exc_info=error)
    end_process(EXIT_FAILED, f"{type(error).__name__}: {error}")


class LineLimiter(logging.Handler):
    """Passes a bounded number of lines for each cause and window on to the root logger, then counts in silence.

    A cause is (logger, level, message template). During an outage of 20 s aiokafka alone writes thousands of lines.
    """

    def __init__(self, lines_max: int = 5, window_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._lines_max = lines_max
        self._window_seconds = window_seconds
        self._clock = clock
        self._windows: dict[tuple[str, int, str], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Forward the record unless its cause has used up its lines in this window."""
        cause = (record.name, record.levelno, str(record.msg)[:200])
        now = self._clock()
        started, count = self._windows.get(cause, (now, 0))
        if now - started >= self._window_seconds:
            if count > self._lines_max:
                self._forward(_summary(record, count - self._lines_max))
            started, count = now, 0
        self._windows[cause] = (started, count + 1)
        if len(self._windows) > 1000:
            self._windows.clear()
        if count < self._lines_max:
            self._forward(record)

    @staticmethod
    def _forward(record: logging.LogRecord) -> None:
        root = logging.getLogger()
        if record.levelno >= root.level:
            root.handle(record)


def _summary(record: logging.LogRecord, suppressed: int) -> logging.LogRecord:
    message = f"{suppressed} more lines like this were left out: {str(record.msg)[:120]}"
    return logging.LogRecord(record.name, record.levelno, record.pathname, record.lineno, message, (), None)


def limit_lines(names: Iterable[str] = ("aiokafka", "faust", "mode")) -> None:
    """Put one LineLimiter between these loggers, with all their children, and the root. Calling it twice is harmless."""
    for name in names:
        library = logging.getLogger(name)
        if not any(isinstance(handler, LineLimiter) for handler in library.handlers):
            library.addHandler(LineLimiter())
            library.propagate = False
            library.setLevel(logging.WARNING)
