"""What a journal is made of: each source topic, what its records become, and where reading it begins."""

from dataclasses import dataclass

from schemas.account import AccountBalances
from schemas.control import ControlEvent
from schemas.envelope import Message
from schemas.ledger import LedgerEntry
from schemas.market import Ticker
from schemas.venue import VenueRules, VenueStatus
from streams.domain.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Source:
    """One source topic of every journal.

    `model` is the one message it may carry. `from_beginning` says where an empty journal starts to read it; `lossless`
    that an offset lost to retention is never passed over; `holes` that its offsets may have holes (a compacted topic).
    """

    topic: str
    model: type[Message]
    from_beginning: bool
    lossless: bool = False
    holes: bool = False


CONTROL = Source("operator.control.v1", ControlEvent, from_beginning=True, lossless=True)
LEDGER = Source("orders.ledger.v1", LedgerEntry, from_beginning=True, lossless=True)
RULES = Source("venue.rules.v1", VenueRules, from_beginning=True, holes=True)
STATUS = Source("venue.status.v1", VenueStatus, from_beginning=True)
TICKERS = Source("market.tickers.v1", Ticker, from_beginning=False)
BALANCES = Source("account.balances.v1", AccountBalances, from_beginning=False)

SOURCES = {source.topic: source for source in (CONTROL, LEDGER, RULES, STATUS, TICKERS, BALANCES)}
"""Every source by its topic, control first: it says what a shard needs."""


def source_name(topic: str, partition: int) -> str:
    """A source partition as journal records name it."""
    return f"{topic}:{partition}"


def split_source(name: str) -> tuple[str, int]:
    """Topic and partition of a source's name."""
    topic, _, partition = name.rpartition(":")
    return topic, int(partition)


def start_of(source: Source, begin: int, end: int) -> int:
    """Where an empty journal starts to read a source that holds [begin, end). Raises RefusedError."""
    if source.lossless and begin > 0:
        raise RefusedError(
            f"{source.topic} no longer holds its beginning (first offset {begin}); set its retention to for ever"
        )
    return begin if source.from_beginning else end


def lost_until(source: Source, name: str, position: int, begin: int, end: int) -> int | None:
    """Up to where a source's retention overtook `position`, or None. Raises RefusedError where nothing may be lost."""
    if position > end:
        raise RefusedError(f"{name} ends at {end}, the journal has read up to {position}: the topic was deleted or cut")
    if position >= begin:
        return None
    if source.lossless:
        raise RefusedError(f"{name} begins at {begin}, the journal has read up to {position} only: entries are lost")
    return begin
