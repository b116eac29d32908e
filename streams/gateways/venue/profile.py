"""What we know of a venue before talking to it: its dialect, its addresses, and what it allows.

A certified dialect is one whose protocol we drove end to end; only these are accepted. Nothing here imports ccxt, so that
settings and the command line can read profiles without paying for it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from streams.domain.errors import RefusedError

ADDRESS_NAMES = ("rest", "stream", "ws_api")


@dataclass(frozen=True, slots=True)
class Credentials:
    """One API key. Neither part is ever shown."""

    api_key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class VenueCapabilities:
    """What a dialect allows, where venues differ.

    `weight_per_minute` is the request weight one address may use, `weight_of_cost` turns ccxt's cost of a request into that
    unit. `dead_mans_switch`: the venue can be told to cancel all orders unless it is told again in time.
    """

    client_id_alphabet: str
    client_id_length_max: int
    weight_per_minute: int
    weight_of_cost: Decimal
    dead_mans_switch: bool


CERTIFIED: dict[str, VenueCapabilities] = {
    "binance": VenueCapabilities(
        client_id_alphabet=r"[.A-Za-z0-9:/_-]",
        client_id_length_max=36,
        weight_per_minute=6000,
        weight_of_cost=Decimal(5),
        dead_mans_switch=False,
    )
}
"""The certified dialects, by ccxt id."""


@dataclass(frozen=True, slots=True)
class VenueProfile:
    """One venue as configured. `urls` None means the dialect's own addresses.

    Otherwise it names all of `rest` (scheme and host of the REST interface), `stream` (base of the market streams) and
    `ws_api` (address of the private socket); then nothing else of the dialect is reachable. Raises RefusedError on an unknown
    dialect or an incomplete set of addresses. A subscription that is not confirmed within `subscribed_within_ms` is asked for
    anew.
    """

    name: str
    dialect: str
    urls: Mapping[str, str] | None = None
    timeout_ms: int = 5000
    read_window_ms: int = 5000
    socket_ping_ms: int = 10_000
    subscribed_within_ms: int = 10_000

    def __post_init__(self) -> None:
        if self.dialect not in CERTIFIED:
            raise RefusedError(
                f"venues.{self.name}.dialect: {self.dialect!r} has no certified profile; certified are {', '.join(CERTIFIED)}"
            )
        if not self.urls:
            return
        for key, address in self.urls.items():
            schemes = ("http", "https") if key == "rest" else ("ws", "wss")
            if key not in ADDRESS_NAMES or address.partition("://")[0] not in schemes:
                raise RefusedError(
                    f"venues.{self.name}.urls.{key}: {address!r} is not understood; give rest as http(s)://host and "
                    "stream and ws_api as ws(s)://host/path"
                )
        missing = [key for key in ADDRESS_NAMES if key not in self.urls]
        if missing:
            raise RefusedError(f"venues.{self.name}.urls: {', '.join(missing)} missing; give all of {', '.join(ADDRESS_NAMES)}")

    @property
    def capabilities(self) -> VenueCapabilities:
        """What the dialect allows."""
        return CERTIFIED[self.dialect]

    def takes_client_id(self, client_id: str) -> bool:
        """Whether the venue accepts this text as a client order id."""
        allowed = self.capabilities
        return len(client_id) <= allowed.client_id_length_max and bool(
            re.fullmatch(f"{allowed.client_id_alphabet}+", client_id)
        )
