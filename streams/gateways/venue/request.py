"""The one request of an order or a cancel: its last check stands where only the bytes are missing, and it leaves once.

aiohttp makes a request, waits for a connection, and then writes; it sends an idempotent request again when a kept connection
drops, and follows redirects. Here the permit is asked for when the connection is there, and a second write is refused.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import aiohttp

from streams.ports.process import NO_CRASH_POINTS, CrashPoints, Point


class NotPermittedError(Exception):
    """The last check before the bytes said no."""


class Sending:
    """One request under way. `permit` raises to keep it from leaving; `written` tells whether bytes may have left."""

    def __init__(self, permit: Callable[[], None], points: CrashPoints) -> None:
        self._permit = permit
        self._points = points
        self.written = False

    def check(self) -> None:
        """Ask for the permit, once. Raises NotPermittedError, and ServerDisconnectedError for a second sending."""
        if self.written:
            raise aiohttp.ServerDisconnectedError("an order or cancel is sent once; it is not repeated and not redirected")
        self._points.reach(Point.BEFORE_CHECK)
        try:
            self._permit()
        except Exception as error:
            raise NotPermittedError(str(error)) from error
        self.written = True
        self._points.reach(Point.AFTER_CHECK)

    def prepare(self, protocol: Any) -> None:
        """Show a harness the halves of the request; without one, do nothing."""
        if self._points is not NO_CRASH_POINTS:
            protocol.transport = _Halves(protocol, self._points)

    def connecting(self) -> None:
        """No warm connection was left."""
        self._points.reach(Point.IN_CONNECT)


_sending: ContextVar[Sending | None] = ContextVar("sending", default=None)


@contextmanager
def sending(permit: Callable[[], None], points: CrashPoints) -> Iterator[Sending]:
    """Within it, and in this task alone, the request that leaves is this one."""
    made = Sending(permit, points)
    token = _sending.set(made)
    try:
        yield made
    finally:
        _sending.reset(token)


class CheckedRequest(aiohttp.ClientRequest):
    """aiohttp's request, which asks before it writes."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Write the request to a connection."""
        request = _sending.get()
        if request is not None:
            request.check()
            request.prepare(conn.protocol)
        return await super().send(conn)


def connection_traces(points: CrashPoints) -> list[aiohttp.TraceConfig]:
    """What tells a harness that a connection is being made; nothing without one."""
    if points is NO_CRASH_POINTS:
        return []

    async def started(session: aiohttp.ClientSession, context: SimpleNamespace, params: Any) -> None:
        request = _sending.get()
        if request is not None:
            request.connecting()

    traces = aiohttp.TraceConfig()
    traces.on_connection_create_start.append(started)
    return [traces]


class _Halves:
    """A transport whose next write leaves in two halves, each at once (uvloop would keep both for the end of its turn)."""

    def __init__(self, protocol: Any, points: CrashPoints) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._points = points

    def write(self, data: bytes) -> None:
        self._protocol.transport = self._transport
        half = len(data) // 2
        self._leave(data[:half])
        self._points.reach(Point.HALF_WRITTEN)
        self._leave(data[half:])
        self._points.reach(Point.REQUEST_WRITTEN)

    def writelines(self, chunks: Any) -> None:
        self.write(b"".join(chunks))

    def _leave(self, data: bytes) -> None:
        if self._transport.get_extra_info("sslcontext") is None and not self._transport.get_write_buffer_size():
            data = data[os.write(self._transport.get_extra_info("socket").fileno(), data) :]
        if data:
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
