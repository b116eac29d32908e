"""Becomes another program that dies with the process that started it.

Run as a script, in isolated mode, by `streams.local.child`:

    python -I -S leash.py PARENT_PID SIGNAL UID PROGRAM [ARGUMENT ...]

It gives up root if UID is not "-", asks the kernel to send SIGNAL when the parent ends (Linux; elsewhere the parent's own
exit handler is all there is), and replaces itself, so that the process id stays. A wrapper, and not `preexec_fn`: code
between fork and exec is unsafe once the parent has threads. The kernel clears the request when the user changes, so the
user is changed first. Standard library only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_NOT_FOUND = 127


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and become the program; ends with 127 if the program cannot be run."""
    parent, death_signal, user = int(arguments[0]), int(arguments[1]), arguments[2]
    argv = arguments[3:]
    if user != "-":
        uid = int(user)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        if prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent:  # it died before the request was in place
            os.kill(os.getpid(), signal.SIGKILL)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"cannot run {argv[0]}: {error.strerror}\n")
        sys.exit(EXIT_NOT_FOUND)


if __name__ == "__main__":
    main(sys.argv[1:])
