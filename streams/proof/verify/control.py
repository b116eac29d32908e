"""What operators had allowed at a time: the control topic once more, with a tolerance for how fast a word is heard.

Who obeys a control event reads the topic a moment after the broker took it, by another clock. So for `HEARD_WITHIN_MS` around
an event both what was said before and what is said from then on may be obeyed; only what neither allows is a violation.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streams.proof.verify.authors import Authors
from streams.proof.verify.compact import Recent
from streams.proof.verify.facts import Raw

HEARD_WITHIN_MS = 10_000
DATED_BACK_MS_MAX = 600_000
_NEVER_MS = 1 << 62

Said = tuple[int, int, Mapping[str, Any]]
"""When, at which offset, and the event's fields."""


@dataclass(slots=True)
class _Stop:
    scope: str
    from_ms: int
    until_ms: int = _NEVER_MS


class Control:
    """The control topic, read whole before anything else."""

    def __init__(self, authors: Authors) -> None:
        self.symbols: dict[str, str] = {}
        self.owners: dict[str, tuple[str, str]] = {}
        self.shards: dict[str, int] = {}
        self._authors = authors
        self._limits: dict[str, list[Said]] = defaultdict(list)
        self._policies: dict[str, list[Said]] = defaultdict(list)
        self._stops: dict[str, _Stop] = {}
        self._newest_ms = 0
        self._heard = Recent(1 << 14)

    def take(self, raw: Raw) -> None:
        """Hear one event, as of when the broker took it; nobody obeys one that nobody signed, or by a key that had ended by
        then, that comes again, or that is dated back. A stop counts at any date."""
        fields, kind = raw.fields, raw.kind
        dated_ms = fields.get("at_ms")
        if not isinstance(dated_ms, int) or not raw.ce_type.startswith("trimtab.control."):
            return
        is_stop = kind == "trading-stopped"
        signed_ms = dated_ms if is_stop else max(dated_ms, raw.at_ms, self._newest_ms)
        if self._authors.doubt(raw, "control", signed_ms) or not self._heard.add(f"{raw.ce_type} {raw.value.hex()}"):
            return
        if is_stop:
            self._stops.setdefault(fields["halt_id"], _Stop(fields["scope"], raw.at_ms))
            return
        if dated_ms < self._newest_ms - DATED_BACK_MS_MAX:
            return
        self._newest_ms = max(self._newest_ms, raw.at_ms)
        self._obey(raw, fields, raw.at_ms)

    def _obey(self, raw: Raw, fields: Mapping[str, Any], at_ms: int) -> None:
        match raw.kind:
            case "portfolio-created":
                self.owners |= {account: (fields["portfolio"], venue) for account, venue in fields["accounts"].items()}
                self.shards[fields["portfolio"]] = fields["shard"]
            case "shard-assigned":
                self.shards[fields["portfolio"]] = fields["shard"]
            case "account-limits-set":
                insort(self._limits[fields["account"]], (at_ms, raw.offset, fields), key=lambda said: said[:2])
                self._learn_symbols(fields["symbols"])
            case "policy-set":
                insort(self._policies[fields["portfolio"]], (at_ms, raw.offset, fields), key=lambda said: said[:2])
            case "targets-set":
                self._learn_symbols(fields["symbols"].values())
            case "trading-resumed":
                for halt_id in fields["halt_ids"]:
                    if halt_id in self._stops:
                        self._stops[halt_id].until_ms = min(self._stops[halt_id].until_ms, at_ms)
            case "key-trusted":
                self._authors.learn(fields)
            case _:
                pass

    def _learn_symbols(self, symbols: Any) -> None:
        self.symbols |= {symbol.replace("/", ""): symbol for symbol in symbols}

    def limits(self, account: str, at_ms: int) -> list[Mapping[str, Any]]:
        """The limits that an executor may have known for the account at that time; none when none were set."""
        return _around(self._limits.get(account, []), at_ms, HEARD_WITHIN_MS)

    def input_age_ms_max(self, portfolio: str, at_ms: int) -> int | None:
        """How old an input of a decision may have been at that time, or None where no policy was set."""
        known = _around(self._policies.get(portfolio, []), at_ms, 6 * HEARD_WITHIN_MS)
        return max((fields["mark_age_ms_max"] for fields in known), default=None)

    def stopped(self, account: str, portfolio: str, at_ms: int) -> str | None:
        """The id of a halt or freeze that everybody had heard of, and nobody of its end, at that time; or None."""
        scopes = self._scopes(account, portfolio)
        for halt_id, stop in self._stops.items():
            if stop.from_ms + HEARD_WITHIN_MS < at_ms < stop.until_ms - HEARD_WITHIN_MS and stop.scope in scopes:
                return halt_id
        return None

    def stopped_until_ms(self, account: str, portfolio: str) -> int:
        """When operators lifted their last halt or freeze; far ahead while one is in force, 0 if there never was one."""
        scopes = self._scopes(account, portfolio)
        return max((stop.until_ms for stop in self._stops.values() if stop.scope in scopes), default=0)

    def _scopes(self, account: str, portfolio: str) -> tuple[str, ...]:
        venue = self.owners.get(account, ("", ""))[1]
        return "all", f"account:{account}", f"portfolio:{portfolio}", f"venue:{venue}"


def _around(said: list[Said], at_ms: int, tolerance_ms: int) -> list[Mapping[str, Any]]:
    """What was in force at any moment of `at_ms` +- `tolerance_ms`."""
    before = [fields for when, _, fields in said if when <= at_ms - tolerance_ms][-1:]
    return before + [fields for when, _, fields in said if at_ms - tolerance_ms < when <= at_ms + tolerance_ms]
