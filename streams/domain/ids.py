"""Every id comes from its cause, so that a repeat meets itself. None contains a journal offset: a rebuilt topic has others.

An id is the first 128 bits of SHA-256 over its parts, each preceded by its length, so that no two lists of parts collide.
"""

import hashlib
from base64 import b32encode


def digest_id(*parts: str) -> str:
    """32 hexadecimal digits for a list of texts."""
    return _digest(parts).hex()


def signal_id(environment: str, portfolio: str, incarnation: str, decision_number: int) -> str:
    """The id of a portfolio's decision; the incarnation keeps a recreated portfolio apart from its namesake."""
    return digest_id(environment, portfolio, incarnation, str(decision_number))


def command_id(signal: str, ordinal: int) -> str:
    """The id of the n-th command of a decision, n from 0."""
    return digest_id("command", signal, str(ordinal))


def client_order_id(command: str, attempt: int) -> str:
    """The id we give the venue for attempt k of a command: 26 characters of [a-z2-7]."""
    return b32encode(_digest(("order", command, str(attempt)))).decode().rstrip("=").lower()


def _digest(parts: tuple[str, ...]) -> bytes:
    pieces = [part.encode() for part in parts]
    return hashlib.sha256(b"".join([len(piece).to_bytes(4, "big") + piece for piece in pieces])).digest()[:16]
