"""The keys of signatures: private ones in PEM files or variables, trusted public ones in a local TOML file.

A key's id is the beginning of its fingerprint, so that it cannot be given to another one. Both files are looked at again
while a process runs: a rotation needs no restart. A file that cannot be read changes nothing until it can; to trust nobody
any more, empty it.
"""

import base64
import binascii
import hashlib
import logging
import os
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from schemas.control import KeyPurpose
from streams.domain.errors import RefusedError

log = logging.getLogger("trimtab.keys")

LOOK_EVERY_S = 1.0
KEY_ID_DIGITS = 16
CLOCKS_DIFFER_MS = 60_000
"""How long before it is made a key is valid: a verifier's clock may be behind."""
Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key (32 bytes), what it may sign, and when: valid_from_ms <= time < valid_until_ms, UTC."""

    purpose: KeyPurpose
    public_key: bytes
    valid_from_ms: int
    valid_until_ms: int

    @property
    def key_id(self) -> str:
        """The first digits of the key's SHA-256."""
        return key_id_of(self.public_key)

    def valid(self, at_ms: int) -> bool:
        """Whether the key may sign at that time."""
        return self.valid_from_ms <= at_ms < self.valid_until_ms


class TrustedFile:
    """The public keys that this process trusts, as they stand in a local file now."""

    def __init__(self, path: Path) -> None:
        self._file = _Watched(path, trusted_of)

    def find(self, key_id: str) -> TrustedKey | None:
        """The key with this id, or None. One that is not known may have come a moment ago."""
        found = self._file.current().get(key_id)
        return found if found is not None else self._file.current(at_once=True).get(key_id)

    def keys(self) -> Mapping[str, TrustedKey]:
        """All of them, by id."""
        return self._file.current(at_once=True)


class _Watched(Generic[Content]):
    """What a small file holds, read again when it has changed. Raises RefusedError when the first reading fails."""

    def __init__(self, path: Path, parse: Callable[[Path, str], Content]) -> None:
        self._path = path
        self._parse = parse
        self._content = parse(path, _read(path))
        self._mark = self._stamp()
        self._looked_s = time.monotonic()

    def current(self, at_once: bool = False) -> Content:
        """The content, at most a second old, or as the file stands now."""
        now_s = time.monotonic()
        if at_once or now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            mark = self._stamp()
            if mark != self._mark:
                self._mark = mark
                self._renew()
        return self._content

    def _renew(self) -> None:
        try:
            self._content = self._parse(self._path, _read(self._path))
        except RefusedError as error:
            log.error("%s; what was read before stands", error)
        else:
            log.info("%s was read again", self._path)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_ino, seen.st_size


def private_key_in(path: Path) -> Callable[[], Ed25519PrivateKey]:
    """The private key of a PEM file, as it stands when asked. Raises RefusedError."""
    return _Watched(path, lambda where, text: private_key_of(str(where), text)).current


def private_key_of(where: str, text: str) -> Ed25519PrivateKey:
    """The private key in PEM text (PKCS 8, without password). Raises RefusedError, which never shows the text."""
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise RefusedError(f"{where}: this is no Ed25519 private key in PEM; make one with `trimtab keys make`")
    return key


def trusted_of(path: Path, text: str) -> dict[str, TrustedKey]:
    """The keys in the text of a trusted file, by id. Raises RefusedError with file, key id and remedy."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RefusedError(f"{path}: not TOML: {error}") from None
    found: dict[str, TrustedKey] = {}
    for key_id, fields in tables.items():
        where = f"{path}: key {key_id}"
        if not isinstance(fields, dict) or fields.keys() != {"purpose", "public_key", "valid_from", "valid_until"}:
            raise RefusedError(f"{where}: needs purpose, public_key, valid_from and valid_until, and nothing else")
        found[key_id] = _trusted_key(where, key_id, fields)
    return found


def _trusted_key(where: str, key_id: str, fields: Mapping[str, object]) -> TrustedKey:
    try:
        public_key = base64.b64decode(str(fields["public_key"]), validate=True)
        purpose = KeyPurpose(str(fields["purpose"]))
    except (binascii.Error, ValueError):
        raise RefusedError(f"{where}: purpose is commands or control, public_key 32 bytes in base64") from None
    key = TrustedKey(purpose, public_key, _time(where, fields["valid_from"]), _time(where, fields["valid_until"]))
    if len(public_key) != 32 or key.key_id != key_id:
        raise RefusedError(f"{where}: this is not the id of its public_key; `trimtab keys make` writes such an entry")
    if key.valid_from_ms >= key.valid_until_ms:
        raise RefusedError(f"{where}: valid_until is not after valid_from")
    return key


def _time(where: str, value: object) -> int:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise RefusedError(f"{where}: valid_from and valid_until are times with a zone, such as 2027-01-31T00:00:00Z")
    return round(value.timestamp() * 1000)


def key_id_of(public_key: bytes) -> str:
    """The id of a public key."""
    return hashlib.sha256(public_key).hexdigest()[:KEY_ID_DIGITS]


def make_pair(purpose: KeyPurpose, private: Path, trusted: Path, now_ms: int, life_ms: int, overlap_ms: int = 0) -> TrustedKey:
    """Make a key, trust it, and then put it where its signer reads it: both files change in one step each, in this order.

    Other keys of the purpose end after `overlap_ms`, when they would not before. Of those that ended, commands' keys are
    dropped; a control key stays on file with its end, since what it signed before is still read. Raises RefusedError.
    """
    known = trusted_of(trusted, _read(trusted)) if trusted.exists() else {}
    made = Ed25519PrivateKey.generate()
    text = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    key = TrustedKey(purpose, made.public_key().public_bytes_raw(), now_ms - CLOCKS_DIFFER_MS, now_ms + life_ms)
    kept = [_ended(old, now_ms + overlap_ms) if old.purpose is purpose else old for old in known.values()]
    dropped = [old for old in kept if old.purpose is KeyPurpose.COMMANDS and old.valid_until_ms <= now_ms]
    _write_trusted(trusted, [*(old for old in kept if old not in dropped), key])
    _replace(private, text, 0o600)
    return key


def _ended(key: TrustedKey, at_ms: int) -> TrustedKey:
    """The key with its end at `at_ms`, if it would not end before; one that has not begun by then was never valid."""
    return replace(key, valid_until_ms=max(key.valid_from_ms + 1, min(key.valid_until_ms, at_ms)))


def _write_trusted(path: Path, keys: Iterable[TrustedKey]) -> None:
    parts = ["# Public keys that this installation trusts. `trimtab keys` writes this file; it holds no secret.\n"]
    for key in sorted(keys, key=lambda key: (key.purpose, key.valid_from_ms, key.key_id)):
        parts.append(
            f"\n[{key.key_id}]\n"
            f'purpose = "{key.purpose}"\n'
            f'public_key = "{base64.b64encode(key.public_key).decode()}"\n'
            f"valid_from = {time_text(key.valid_from_ms)}\n"
            f"valid_until = {time_text(key.valid_until_ms)}\n"
        )
    _replace(path, "".join(parts), 0o644)


def _replace(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is no text"
        raise RefusedError(f"{path} cannot be read: {words}") from None


def time_text(at_ms: int) -> str:
    """UTC milliseconds as TOML and people write them."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
