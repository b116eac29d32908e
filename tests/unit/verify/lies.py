"""How a lie is planted, and what the checker says of it."""

import hashlib
from typing import Any

import orjson

from schemas.control import AccountLimitsSet
from schemas.journal import MarketBatch
from schemas.orders import ClosedAs
from streams.domain.ids import digest_id
from streams.proof.verify.facts import Raw
from streams.proof.verify.verification import CONTROL, JOURNAL, LEDGER, SIGNALS
from tests.unit.verify.world import LIMITS, History, World, changed, said


def failed(history: History) -> dict[str, str]:
    """The checks that did not pass, with everything they said."""
    return {
        row.check: " | ".join(f"{found.where}: {found.what}" for found in row.violations)
        for row in history.report().rows
        if not row.passed
    }


def place_of(raw: Raw) -> str:
    return f"{raw.topic}:{raw.partition}:{raw.offset}"


def seen_before_events(journal: list[dict[str, Any]]) -> None:
    """As if the venue's clock were behind."""
    for line in journal:
        line["at_ms"] -= 5_000


def reseal(history: History, entry: Raw, **fields: Any) -> History:
    """Change an entry, and forge the chain from there on, so that it holds: only what the entry says is wrong."""
    ledger = history.topics[LEDGER]
    previous = str(entry.fields["previous_hash"])
    for place in range(ledger.index(entry), len(ledger)):
        new = dict(ledger[place].fields) | (fields if ledger[place] is entry else {})
        body = {name: value for name, value in new.items() if name not in ("previous_hash", "entry_hash")}
        hashed = sha256(previous, body)
        ledger[place] = changed(ledger[place], **(new | {"previous_hash": previous, "entry_hash": hashed}))
        previous = hashed
    return history.with_tables()


def sha256(previous: str, body: dict[str, Any]) -> str:
    return hashlib.sha256(previous.encode() + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def limits_set(at_ms: int, offset: int = 2, **limits: Any) -> Raw:
    message = AccountLimitsSet(scope="account:main", account="main", at_ms=at_ms, who="ada", **(LIMITS | limits))
    return said(CONTROL, offset, "account:main", message, at_ms)


def unhalted(history: History, until_ms: int) -> History:
    """Nothing has halted the portfolio, and its journal goes on until then."""
    history.drop(history.of(SIGNALS, "portfolio-halted"))
    mark = MarketBatch(epoch=2, writer=digest_id("two"), expected_offset=8, sequenced_at_ms=until_ms)
    history.topics[JOURNAL].append(said(JOURNAL, 8, "0", mark, until_ms))
    return history


def stand(world: World, name: str = "c") -> int:
    """An order is on the book; where its admission lies."""
    world.story.admitted(name)
    place = len(world.story.records) - 1
    world.story.intended(name)
    world.accepted(name)
    world.story.accepted(name)
    return place


def cancel(world: World, name: str, target: str) -> int:
    """The executor decides a cancel; where its admission lies."""
    nothing: dict[str, Any] = {"side": None, "quantity_base": None, "price_limit_quote": None, "price_mid_quote": None}
    about: dict[str, Any] = {"command_type": "orders.cancel", "target_command_id": digest_id(target), "own_cause": "expired"}
    world.story.admitted(name, **about, **nothing)
    return len(world.story.records) - 1


def close(world: World, name: str) -> None:
    """The order leaves the book, and its cancel is forgotten."""
    world.story.closed(name, ClosedAs.CANCELED, base="0", quote="0")
