"""Keeping a socket of a ccxt.pro client: dialled again after every end, let go without waiting for a farewell.

A watcher of ours never returns by itself, because frames end in our own tap; it waits until its socket fails.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ccxt.base.errors import NetworkError

from streams.gateways.venue.client import facts_of
from streams.ports.process import Clock

log = logging.getLogger("trimtab.venue")

REDIAL_PAUSE_S = 0.2
REDIAL_PAUSE_S_MAX = 5.0
SOCKET_LIFE_S = 23 * 3600.0
"""No connection lives longer: the venue cuts at 24 hours, and we choose the moment."""
_STOOD_MS = 10_000


class Sockets:
    """The sockets of one client. `what` names them in log lines."""

    def __init__(self, client: Any, clock: Clock, what: str) -> None:
        self._client = client
        self._clock = clock
        self._what = what
        self._leaving: set[asyncio.Task[None]] = set()

    async def stay(self, url: str, watch: Callable[[int], Awaitable[object]]) -> None:
        """Watch again and again, until cancelled. `watch` gets the number of the dial and ends with its connection; its
        TimeoutError is a planned end."""
        pause_s, number = REDIAL_PAUSE_S, 0
        while True:
            number += 1
            dialled_ms = self._clock.boot_ms()
            try:
                await watch(number)
                why = "the watcher returned"
            except TimeoutError:
                why = "planned reconnect"
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                why = "closed by us"
            except Exception as error:  # noqa: BLE001  ccxt's tree and raw aiohttp errors; every one means: dial again
                why = facts_of(error).text
            self.hang_up(url, why)
            stood = self._clock.boot_ms() - dialled_ms > _STOOD_MS
            pause_s = REDIAL_PAUSE_S if stood else min(pause_s * 2, REDIAL_PAUSE_S_MAX)
            log.warning("%s socket %s ended (%s); dialling again in %.1f s", self._what, url, why, pause_s)
            await asyncio.sleep(pause_s)

    def hang_up(self, url: str, why: str) -> None:
        """Let go of a connection; whoever watches it is told."""
        socket = self._client.clients.pop(url, None)
        if socket is None:
            return
        if socket.error is None:
            # Without it the late close event of this socket would remove its successor from ccxt's table.
            socket.error = NetworkError(why)
        # In the background: a server that is gone answers no farewell, and the next dial shall not wait for it.
        leaving = asyncio.get_running_loop().create_task(_close(socket))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


async def _close(socket: Any) -> None:
    try:
        await socket.close()
    except Exception as error:  # noqa: BLE001  it is forgotten already; how it went down is for the log alone
        log.debug("a socket did not close cleanly: %s", facts_of(error).text)
