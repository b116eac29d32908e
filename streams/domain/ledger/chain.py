"""The hash chain over an account's entries: each names its predecessor, so nothing can be changed, dropped or put between.

`entry_hash` = SHA-256 over the previous hash (64 hexadecimal digits) followed by the canonical JSON of all other fields.
"""

import hashlib
from typing import Any

import orjson

from schemas.ledger import LedgerEntry

GENESIS = "0" * 64
"""What the first entry of an account names as its predecessor."""


def sealed(fields: dict[str, Any], previous_hash: str) -> LedgerEntry:
    """The entry of `fields` as the successor of `previous_hash`, with its own hash."""
    open_entry = LedgerEntry(**fields, previous_hash=previous_hash, entry_hash=GENESIS)
    return open_entry.model_copy(update={"entry_hash": digest(open_entry)})


def digest(entry: LedgerEntry) -> str:
    """The hash that belongs to an entry, whatever it claims."""
    body = entry.model_dump(mode="json", exclude_none=True, exclude={"previous_hash", "entry_hash"})
    return hashlib.sha256(entry.previous_hash.encode() + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
