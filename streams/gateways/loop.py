"""The event loop of every role: uvloop, with two mends.

uvloop takes a connected socket over by its descriptor. When that is cancelled half way it closes the descriptor, but the socket
object still believes to own it: when the object is collected it closes whatever has got that number since, such as a connection
to the venue, the broker or the leases, whose bytes then go nowhere or to somebody else (MagicStack/uvloop, issue 738). aiohttp
makes its connections so, and cancels them at each timeout.

The libuv inside (1.48) hands changes of what it watches to io_uring, which may do them late and out of turn: a descriptor that
was closed and given out again meanwhile is then not watched, or the process aborts (libuv, pull request 4328, in 1.49). Without
io_uring it makes the changes at once.
"""

import os
from collections.abc import Coroutine
from socket import socket
from typing import Any, TypeVar

import uvloop

Result = TypeVar("Result")

os.environ["UV_USE_IO_URING"] = "0"  # read when a loop is made


class Loop(uvloop.Loop):
    """uvloop's loop. A socket that was handed to `create_connection` is not the caller's any more, whatever comes of it."""

    async def create_connection(self, *args: Any, **more: Any) -> Any:
        """See asyncio."""
        try:
            return await super().create_connection(*args, **more)
        except BaseException:
            if isinstance(given := more.get("sock"), socket):
                given.detach()
            raise


def run_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a role's main coroutine to its end."""
    return uvloop.run(main, loop_factory=Loop)
