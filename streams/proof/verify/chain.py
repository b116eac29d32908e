"""I17: after removing byte-equal repeats the books of each account are gapless and their hash chain verifies."""

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from streams.proof.verify.compact import digest
from streams.proof.verify.facts import Raw
from streams.proof.verify.report import Tally

_FIRST = "0" * 64
_FIELDS = {"account", "sequence", "kind", "at_ms", "event_id", "entry_hash"}


@dataclass(slots=True)
class _Chain:
    """An account's books so far. `digests` has eight bytes of each entry from sequence `begin` on."""

    partition: int
    begin: int
    sequence: int
    entry_hash: str = _FIRST
    digests: "array[int]" = field(default_factory=lambda: array("Q"))


class Chains:
    """The chains of all accounts."""

    def __init__(self) -> None:
        self.tally = Tally("I17", "ledger gapless, hash chain verifies, accounts keep their partition")
        self._chains: dict[str, _Chain] = {}

    def take(self, raw: Raw) -> bool:
        """Judge a record of the ledger; whether it is an entry that was not there before, for the other checks to look at."""
        self.tally.items += 1
        account, sequence = raw.fields.get("account"), raw.fields.get("sequence")
        if not isinstance(account, str) or not isinstance(sequence, int) or not raw.fields.keys() >= _FIELDS:
            self.tally.at(raw.place, "not a ledger entry")
            return False
        chain = self._chains.get(account)
        if chain is None:
            chain = self._chains[account] = _Chain(raw.partition, sequence, sequence - 1)
        for what in i17(chain, raw, account, sequence):
            self.tally.at(raw.place, what)
        if sequence <= chain.sequence:
            return False
        if sequence != chain.sequence + 1:
            chain.begin, chain.digests = sequence, array("Q")
        chain.digests.append(digest(raw.value))
        chain.sequence, chain.entry_hash = sequence, raw.fields["entry_hash"]
        return True


def i17(chain: _Chain, raw: Raw, account: str, sequence: int) -> Iterator[str]:
    """What is wrong with the next record of an account's books."""
    if raw.key != account.encode():
        yield f"key {raw.key!r} is not its account {account!r}"
    if raw.partition != chain.partition:
        yield f"{account} was in partition {chain.partition} before"
    if sequence <= chain.sequence:
        if sequence < chain.begin:
            yield f"{account} {sequence} comes after {chain.sequence}"
        elif chain.digests[sequence - chain.begin] != digest(raw.value):
            yield f"{account} {sequence} repeats an entry with other bytes"
        return
    if not chain.digests and sequence != 1:
        yield f"{account} begins with sequence {sequence}"
    elif sequence != chain.sequence + 1:
        yield f"{account} {sequence} follows {chain.sequence}"
    elif raw.fields.get("previous_hash") != chain.entry_hash:
        yield f"{account} {sequence} does not name the entry before it"
    if raw.fields["entry_hash"] != _hash(raw):
        yield f"{account} {sequence} does not have the hash it claims"


def _hash(raw: Raw) -> str:
    body = {name: value for name, value in raw.fields.items() if name not in ("previous_hash", "entry_hash")}
    previous = str(raw.fields.get("previous_hash", ""))
    return hashlib.sha256(previous.encode() + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
