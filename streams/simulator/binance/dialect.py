"""The whole dialect as one application: REST, market streams, user data."""

from aiohttp import web

from streams.simulator.binance.rest import Rest
from streams.simulator.binance.streams import MarketStreams
from streams.simulator.binance.userdata import UserData
from streams.simulator.venue import Venue

BODY_BYTES_MAX = 64 * 1024


class Dialect:
    """Serves one venue to its clients."""

    def __init__(self, venue: Venue):
        self._rest = Rest(venue)
        self._streams = MarketStreams(venue)
        self._user_data = UserData(venue)

    def application(self) -> web.Application:
        """The application for the venue's port."""
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.add_routes(self._rest.routes())
        application.add_routes(
            [
                web.get("/ws", self._streams.raw),
                web.get("/ws/{streams:.*}", self._streams.raw),
                web.get("/stream/ws", self._streams.raw),
                web.get("/stream/ws/{streams:.*}", self._streams.raw),
                web.get("/stream", self._streams.combined),
                web.get("/ws-api/v3", self._user_data.serve),
            ]
        )
        return application

    def disconnect(self) -> None:
        """End all stream connections."""
        self._streams.disconnect()
        self._user_data.disconnect()

    def announce_shutdown(self) -> None:
        """Tell stream clients that the venue stops, and end their connections."""
        self._streams.announce_shutdown()
        self._user_data.announce_shutdown()
