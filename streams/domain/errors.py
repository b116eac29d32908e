"""Every error of the program, as one tree.

TrimtabError
├── InvariantError        something that cannot be is: the process stops (exit 70) and is not restarted for ever
├── RefusedError          configuration, rights, schema or venue said no: nothing runs until a person acts (exit 2)
├── UnreachableError      provably nothing was sent: try again, bounded
└── UnknownOutcomeError   something may have happened: ask, never resend

Each message says what is wrong, where, and what to do.
"""


class TrimtabError(Exception):
    """Base of all errors that this program raises on purpose. `exit_code` is what its process ends with."""

    exit_code = 1


class InvariantError(TrimtabError):
    """A broken invariant: going on could cost money, so the process stops."""

    exit_code = 70


class RefusedError(TrimtabError):
    """Refused with a reason that only a person can remove."""

    exit_code = 2


class UnreachableError(TrimtabError):
    """Nothing was sent, provably: the other side could not be reached."""

    exit_code = 75


class UnknownOutcomeError(TrimtabError):
    """The request may or may not have had its effect."""

    exit_code = 75
