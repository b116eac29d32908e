"""The rules of a venue's symbols, versioned: a version grows only when a rule changes, across restarts too."""

import logging
from collections.abc import Mapping

from schemas.codec import DecodeError, decode
from schemas.envelope import Envelope
from schemas.venue import TradingStatus, VenueRules
from streams import topics
from streams.agents.feed import messages
from streams.domain.errors import RefusedError
from streams.ports.log import Log, Record

READ_CHUNK = 5000

log = logging.getLogger("trimtab.feed")


class Rulebook:
    """The newest rules of each symbol, and when each was last published."""

    def __init__(self, venue: str, symbols: tuple[str, ...]) -> None:
        self._venue = venue
        self._symbols = symbols
        self._known: dict[str, VenueRules] = {}
        self._published_at_ms: dict[str, int] = {}

    async def restore(self, log_: Log) -> None:
        """Learn from the topic which versions were published before."""
        partitions = await log_.partitions(topics.VENUE_RULES)
        wanted = {topics.partition_of(f"{self._venue}:{symbol}".encode(), partitions) for symbol in self._symbols}
        for partition in sorted(wanted):
            start, end = (
                await log_.begin_offset(topics.VENUE_RULES, partition),
                await log_.end_offset(topics.VENUE_RULES, partition),
            )
            while start < end:
                upto = min(start + READ_CHUNK, end)
                for record in await log_.read(topics.VENUE_RULES, partition, start, upto):
                    self._learn(record)
                start = upto

    def begin(self, found: Mapping[str, Mapping[str, object]], now_ms: int) -> list[VenueRules]:
        """The rules to publish at start: all. Raises RefusedError naming symbols whose rules are missing or unusable."""
        problems: list[str] = []
        for symbol in self._symbols:
            try:
                messages.rules(self._venue, symbol, found.get(symbol, {}), 0, now_ms)
            except messages.Refused as error:
                problems.append(f"{symbol}: {error}")
        if problems:
            raise RefusedError(
                f"venue {self._venue}: rules that nobody can trade by: {'; '.join(problems)}; remove the symbols"
            )
        return self.update(found, now_ms, republish_after_ms=0)

    def update(self, found: Mapping[str, Mapping[str, object]], now_ms: int, republish_after_ms: int) -> list[VenueRules]:
        """The rules to publish now: changed ones, and unchanged ones last published `republish_after_ms` ago.

        A symbol that is gone or whose rules became unusable keeps its last rules and is closed. Raises Refused when it never
        had any, which `begin` excludes.
        """
        out: list[VenueRules] = []
        for symbol in self._symbols:
            known = self._known.get(symbol)
            seen = self._seen(symbol, found.get(symbol, {}), known, now_ms)
            changed = known is None or not messages.same_rules(seen, known)
            if changed or now_ms - self._published_at_ms.get(symbol, 0) >= republish_after_ms:
                version = 1 if known is None else known.rules_version + changed
                self._known[symbol] = seen.model_copy(update={"rules_version": version})
                self._published_at_ms[symbol] = now_ms
                out.append(self._known[symbol])
        return out

    def _seen(self, symbol: str, fields: Mapping[str, object], known: VenueRules | None, now_ms: int) -> VenueRules:
        try:
            return messages.rules(self._venue, symbol, fields, 0, now_ms)
        except messages.Refused as error:
            if known is None:
                raise
            if known.status is not TradingStatus.CLOSED:
                log.error("venue %s: %s is closed: its rules are gone or unusable (%s)", self._venue, symbol, error)
            return known.model_copy(update={"status": TradingStatus.CLOSED, "observed_at_ms": now_ms})

    def _learn(self, record: Record) -> None:
        try:
            found = decode(Envelope.read(record.headers).type, record.value)
        except (DecodeError, ValueError) as error:
            log.warning("%s/%d at %d cannot be read: %s", record.topic, record.partition, record.offset, error)
            return
        if isinstance(found, VenueRules) and found.venue == self._venue and found.symbol in self._symbols:
            self._known[found.symbol] = found
