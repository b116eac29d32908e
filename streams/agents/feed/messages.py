"""From what a venue said to what the log carries: messages with their envelopes, or a refusal that names the reason.

Pure but for one thing: each tick begins a new trace, whose random id never reaches a value or an id of ours.
"""

import secrets
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TypeVar

from pydantic import ValidationError

from schemas.account import AccountBalances
from schemas.envelope import Message
from schemas.market import Book, Ticker
from schemas.venue import VenueRules
from streams import topics
from streams.agents.envelopes import enveloped
from streams.domain.ids import digest_id
from streams.ports.log import Output
from streams.ports.venue import Frame

RAW_BYTES_MAX = 256 * 1024
REASON_CHARACTERS_MAX = 500
SEEN = {"observed_at_ms", "rules_version"}

Fields = Mapping[str, object]
M = TypeVar("M", bound=Message)


class Refused(ValueError):
    """What the venue said makes no sense; the text says why in one line."""


def ticker(venue: str, frame: Frame) -> Ticker:
    """The best bid and ask in a frame. Raises Refused: not finite, not above zero, absurd, missing or crossed."""
    read = _read(Ticker, frame.fields, venue=venue, symbol=frame.symbol, received_at_ms=frame.received_at_ms)
    if read.bid_price_quote >= read.ask_price_quote:
        raise Refused(f"crossed: bid {read.bid_price_quote} is not below ask {read.ask_price_quote}")
    return read


def book(venue: str, frame: Frame) -> Book:
    """The book in a frame. Raises Refused, also when a side is empty, out of order or crossed."""
    read = _read(Book, frame.fields, venue=venue, symbol=frame.symbol, received_at_ms=frame.received_at_ms)
    bids, asks = ([level.price_quote for level in side] for side in (read.bids, read.asks))
    if not bids or not asks:
        raise Refused("a side of the book is empty")
    if bids[0] >= asks[0]:
        raise Refused(f"crossed: bid {bids[0]} is not below ask {asks[0]}")
    if any(near <= far for near, far in pairwise(bids)) or any(near >= far for near, far in pairwise(asks)):
        raise Refused("the levels are out of order")
    return read


def rules(venue: str, symbol: str, fields: Mapping[str, object], version: int, at_ms: int) -> VenueRules:
    """A symbol's rules. Raises Refused when tick, step or a minimum is missing or zero."""
    # A maximum of zero is how venues say that there is none.
    stated = {key: value for key, value in fields.items() if not (key == "notional_max_quote" and _is_zero(value))}
    return _read(VenueRules, stated, venue=venue, symbol=symbol, rules_version=version, observed_at_ms=at_ms)


def balances(venue: str, account: str, fields: Mapping[str, object]) -> AccountBalances:
    """A balance snapshot. Raises Refused: an incomplete snapshot is unknown, not empty."""
    return _read(AccountBalances, fields, venue=venue, account=account)


def output(topic: str, key: str, message: Message, time_ms: int, *cause: str) -> Output:
    """The record of a message: its id comes from its key and `cause`, its trace begins here."""
    return enveloped(
        topic,
        key,
        message,
        ce_id=digest_id(message.TYPE, key, *cause),
        source=f"feed/{getattr(message, 'venue', key)}",
        time_ms=time_ms,
        traceparent=f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
    )


def dead_letter(venue: str, raw: bytes, reason: str, time_ms: int, number: int) -> Output:
    """A refused frame with its original bytes, cut where they would not fit; the reason stands in headers viewers know."""
    headers = (
        ("ce_id", digest_id("dead-letter", venue, str(time_ms), str(number)).encode()),
        ("ce_source", f"feed/{venue}".encode()),
        ("__connect.errors.exception.class.name", Refused.__name__.encode()),
        ("__connect.errors.exception.message", reason[:REASON_CHARACTERS_MAX].encode()),
        ("trimtab-frame-bytes", str(len(raw)).encode()),
    )
    topic = topics.dead_letter(topics.MARKET_TICKERS, "feed")
    return Output(topic, venue.encode(), raw[:RAW_BYTES_MAX], headers, timestamp_ms=time_ms)


def same_rules(one: VenueRules, other: VenueRules) -> bool:
    """Whether two rules say the same, whenever they were seen."""
    return one.model_dump(exclude=SEEN) == other.model_dump(exclude=SEEN)


def _read(model: type[M], fields: Mapping[str, object], **known: Any) -> M:
    try:
        return model.model_validate({**fields, **known})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the frame"
        raise Refused(f"{where}: {first['msg']}") from None


def _is_zero(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not value.strip("0.")
