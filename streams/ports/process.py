"""What a process is given of its machine: the time, and in tests the points at which it may end or hang."""

from enum import StrEnum
from typing import Protocol


class Clock(Protocol):
    """Time as an argument. `wall_ms` is UTC; `boot_ms` counts in CLOCK_BOOTTIME and never steps."""

    def wall_ms(self) -> int:
        """UTC milliseconds; may step."""
        ...

    def boot_ms(self) -> int:
        """Milliseconds since boot, sleep included; never steps."""
        ...


class Point(StrEnum):
    """The steps of an executor at which a process may end or hang; docs and tests take their names from here."""

    LEASE_TAKEN = "lease_taken"  # the lease row is raised, OwnerStarted is not written
    OWNER_STARTED = "owner_started"  # OwnerStarted is durable, the log is not read up to it
    PAST_READ = "past_read"  # the log is read up to OwnerStarted, nothing is followed yet
    COMMAND_READ = "command_read"  # a command is here, nothing is said about it
    BEFORE_INTENT = "before_intent"  # an INTENT is decided, not appended
    INTENT_APPENDED = "intent_appended"  # given to the broker's client, not acknowledged
    INTENT_DURABLE = "intent_durable"  # acknowledged, not read back
    INTENT_READ_BACK = "intent_read_back"  # read back, the request is not released
    BEFORE_REQUEST = "before_request"  # released, nothing is signed
    IN_CONNECT = "in_connect"  # signed; no warm connection was left, a new one is being made
    BEFORE_CHECK = "before_check"  # a connection is there, the last check is not made
    AFTER_CHECK = "after_check"  # the last check let it pass, no byte is written
    HALF_WRITTEN = "half_written"  # half of the request's bytes left
    REQUEST_WRITTEN = "request_written"  # all of them left, no reply
    REPLY_READ = "reply_read"  # the reply is here, nothing is said about it
    EVENT_APPENDED = "event_appended"  # what the reply proves is given to the broker's client, not acknowledged
    BEFORE_CHECKPOINT = "before_checkpoint"  # events are durable, the checkpoint is not written
    CHECKPOINT_DURABLE = "checkpoint_durable"  # the checkpoint is in the log, the lease row does not point at it
    BEFORE_RELEASE = "before_release"  # an orderly stop: all is written, the lease is still held


class CrashPoints(Protocol):
    """Where a test harness may end or pause a process. In production it does nothing."""

    def reach(self, point: Point) -> None:
        """This step was reached. May never return."""
        ...


class NoCrashPoints:
    """Nothing happens at any point."""

    def reach(self, point: Point) -> None:
        """Go on."""


NO_CRASH_POINTS: CrashPoints = NoCrashPoints()
