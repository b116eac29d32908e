"""I17: after removing byte-equal repeats the books of each account are gapless and their hash chain verifies."""

import hashlib
from collections.abc import Iterator
from itertools import pairwise

import orjson

from streams.proof.verify.facts import Facts, Raw
from streams.proof.verify.report import Row, Violation, row

_FIRST = "0" * 64


def i17(facts: Facts) -> Row:
    """The chain of every account, from the raw topic."""
    says = "ledger gapless, hash chain verifies, accounts keep their partition"
    return row("I17", says, len(facts.ledger), _violations(facts))


def _violations(facts: Facts) -> Iterator[Violation]:
    accounts: dict[str, dict[int, Raw]] = {}
    for raw in facts.ledger:
        account, sequence = raw.fields.get("account"), raw.fields.get("sequence")
        if not isinstance(account, str) or not isinstance(sequence, int):
            yield Violation(raw.where, "not a ledger entry")
            continue
        if raw.key != account.encode():
            yield Violation(raw.where, f"key {raw.key!r} is not its account {account!r}")
        chain = accounts.setdefault(account, {})
        first = next(iter(chain.values()), raw)
        if raw.partition != first.partition:
            yield Violation(raw.where, f"{account} was in partition {first.partition} before")
        known = chain.setdefault(sequence, raw)
        if known.value != raw.value:
            yield Violation(raw.where, f"{account} {sequence} repeats {known.where} with other bytes")
    for account, chain in accounts.items():
        yield from _chain(account, chain)


def _chain(account: str, chain: dict[int, Raw]) -> Iterator[Violation]:
    sequences = list(chain)
    if sequences[0] != 1:
        yield Violation(chain[sequences[0]].where, f"{account} begins with sequence {sequences[0]}")
    for before, after in pairwise(sequences):
        if after != before + 1:
            yield Violation(chain[after].where, f"{account} {after} follows {before}")
    previous = _FIRST
    for sequence, raw in chain.items():
        if raw.fields.get("previous_hash") != previous:
            yield Violation(raw.where, f"{account} {sequence} does not name the entry before it")
        previous = _hash(raw)
        if raw.fields.get("entry_hash") != previous:
            yield Violation(raw.where, f"{account} {sequence} does not have the hash it claims")


def _hash(raw: Raw) -> str:
    body = {name: value for name, value in raw.fields.items() if name not in ("previous_hash", "entry_hash")}
    previous = str(raw.fields.get("previous_hash", ""))
    return hashlib.sha256(previous.encode() + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
