"""Starts a venue on two loopback ports and stops it in order."""

import asyncio

from aiohttp import web

from streams.simulator.binance.dialect import Dialect
from streams.simulator.control import Control
from streams.simulator.settings import SimulatorSettings
from streams.simulator.venue import Venue

HOST = "127.0.0.1"
STOP_S = 2.0


class Server:
    """A venue that listens. Use as an async context manager; `port` and `control_port` are known inside."""

    def __init__(self, settings: SimulatorSettings):
        self.venue = Venue(settings)
        self._settings = settings
        self._dialect = Dialect(self.venue)
        self._runners: list[web.AppRunner] = []
        self.port = 0
        self.control_port = 0

    async def __aenter__(self) -> "Server":
        control = web.Application()
        control.add_routes(Control(self.venue, self._dialect).routes())
        self.port = await self._listen(self._dialect.application(), self._settings.port)
        self.control_port = await self._listen(control, self._settings.control_port)
        self._refreshing = asyncio.create_task(self.venue.run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._refreshing.cancel()
        await asyncio.wait([self._refreshing])
        self._dialect.announce_shutdown()
        for runner in self._runners:
            await runner.cleanup()
        self.venue.close()

    async def failure(self) -> None:
        """Return when the venue can no longer renew its books, raising what went wrong."""
        await asyncio.shield(self._refreshing)

    async def _listen(self, application: web.Application, port: int) -> int:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_S)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        return runner.addresses[0][1]
