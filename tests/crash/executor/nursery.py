"""Forks executors that are ready at once: `python -m tests.crash.executor.nursery`.

Reads paths of settings from its input, a line each, and answers with the process id. Everything is imported once, here; a
child is a process of its own from there on, and dies with this one.
"""

import ctypes
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from tests.crash.executor import process

PR_SET_PDEATHSIG = 1


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits: a killed child is gone at once
    for line in sys.stdin:
        settings = json.loads(Path(line.strip()).read_text())
        pid = os.fork()
        if pid == 0:
            become(settings)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def become(settings: dict) -> None:
    """Be this executor until it ends."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(Path(settings["directory"]) / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for old, new in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(old, new)
        process.main(settings)
        code = 0
    except BaseException:  # noqa: BLE001  the log is all that a child leaves
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
