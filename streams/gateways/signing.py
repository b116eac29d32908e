"""Ed25519 signatures on commands and control events, by the library `cryptography`: the ports Signer and Verifier.

The portfolio role signs its commands, an operator his control events; whoever acts on one verifies it by public keys out of
a local file. Ed25519 is deterministic: the same key signs the same bytes alike.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.control import KeyPurpose
from schemas.envelope import SIGNATURE, SIGNATURE_KEY_ID
from schemas.signing import signed_bytes
from streams.domain.errors import RefusedError
from streams.gateways.keys import (
    KEY_ID_DIGITS,
    TrustedFile,
    key_id_of,
    private_key_in,
    private_key_of,
    time_text,
)
from streams.ports.log import Output, Record, Signer, UntrustedError, Verifier
from streams.settings import Settings
from streams.topics import OPERATOR_CONTROL, ORDERS_COMMANDS

log = logging.getLogger("trimtab.signing")

PURPOSES = {ORDERS_COMMANDS: KeyPurpose.COMMANDS, OPERATOR_CONTROL: KeyPurpose.CONTROL}
"""The signed topics, and what a key must be trusted for to sign there."""


class Doubt(StrEnum):
    """Why a record's author is not believed."""

    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown_key"
    WRONG_PURPOSE = "wrong_purpose"
    BAD_SIGNATURE = "bad_signature"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "key_expired"


class Ed25519Signer:
    """The port Signer for one purpose. `read` gives the private key as it stands now."""

    def __init__(self, environment: str, purpose: KeyPurpose, read: Callable[[], Ed25519PrivateKey]) -> None:
        self._environment = environment
        self._purpose = purpose
        self._read = read

    @property
    def key(self) -> bytes:
        """The public half, 32 bytes."""
        return self._read().public_key().public_bytes_raw()

    def sign(self, output: Output) -> Output:
        """See the port."""
        if PURPOSES.get(output.topic) is not self._purpose:
            return output
        private = self._read()
        ce_type = dict(output.headers)["ce_type"].decode()
        signature = private.sign(signed_bytes(self._environment, output.topic, ce_type, output.key, output.value))
        key_id = key_id_of(private.public_key().public_bytes_raw())
        return replace(output, headers=(*output.headers, (SIGNATURE, signature), (SIGNATURE_KEY_ID, key_id.encode())))


class Ed25519Verifier:
    """The port Verifier over a file of trusted keys."""

    def __init__(self, environment: str, trusted: "TrustedFile") -> None:
        self._environment = environment
        self._trusted = trusted

    def check(self, record: Record, at_ms: int) -> str:
        """See the port."""
        signature = record.header(SIGNATURE)
        if not signature:
            raise UntrustedError(Doubt.UNSIGNED, "it carries no signature")
        key_id = (record.header(SIGNATURE_KEY_ID) or b"").decode("ascii", errors="replace")
        key = self._trusted.find(key_id)
        if key is None:
            raise UntrustedError(Doubt.UNKNOWN_KEY, f"key {key_id[:KEY_ID_DIGITS]!r} is not trusted here")
        if PURPOSES.get(record.topic) is not key.purpose:
            raise UntrustedError(Doubt.WRONG_PURPOSE, f"key {key_id} is trusted for {key.purpose}, not for {record.topic}")
        ce_type = (record.header("ce_type") or b"").decode(errors="replace")
        covered = signed_bytes(self._environment, record.topic, ce_type, record.key or b"", record.value or b"")
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, covered)
        except InvalidSignature:
            words = f"key {key_id} did not sign these bytes for {self._environment}, this topic, type and key"
            raise UntrustedError(Doubt.BAD_SIGNATURE, words) from None
        if not key.valid(at_ms):
            early = at_ms < key.valid_from_ms
            limit = (
                f"is valid from {time_text(key.valid_from_ms)}" if early else f"was valid until {time_text(key.valid_until_ms)}"
            )
            raise UntrustedError(Doubt.NOT_YET_VALID if early else Doubt.EXPIRED, f"key {key_id} {limit}")
        return key_id


class AnyAuthor:
    """The port Verifier where nobody is named yet: everything is believed. For `dev = true` only."""

    def check(self, record: Record, at_ms: int) -> str:
        """See the port."""
        return ""


_SAID = {KeyPurpose.COMMANDS: "commands", KeyPurpose.CONTROL: "control events"}


def signer_of(settings: Settings, purpose: KeyPurpose) -> Signer | None:
    """Who signs for `purpose` by these settings; None where unsigned records are believed (`dev`, and nobody is trusted).

    Raises RefusedError for a key that is missing, unreadable, or not trusted by our own file.
    """
    keys = settings.keys
    given = {KeyPurpose.COMMANDS: keys.commands_key, KeyPurpose.CONTROL: keys.control_key}[purpose]
    file = {KeyPurpose.COMMANDS: keys.commands_key_file, KeyPurpose.CONTROL: keys.control_key_file}[purpose]
    name = f"keys.{purpose}_key"
    if given is not None:
        fixed = private_key_of(name, given.get_secret_value())
        signer = Ed25519Signer(settings.environment, purpose, lambda: fixed)
    elif file is not None:
        signer = Ed25519Signer(settings.environment, purpose, private_key_in(file))
    elif settings.dev and keys.trusted_file is None:
        return None
    else:
        raise RefusedError(
            f"{name}_file: missing, and unsigned {_SAID[purpose]} are refused; make a key with `trimtab keys make {purpose}`, "
            f"or set TRIMTAB_KEYS__{purpose.upper()}_KEY"
        )
    if keys.trusted_file is not None:
        key = TrustedFile(keys.trusted_file).find(key_id_of(signer.key))
        if key is None or key.purpose is not purpose or not key.valid(time.time_ns() // 1_000_000):
            raise RefusedError(
                f"{name}: {keys.trusted_file} does not trust key {key_id_of(signer.key)} for {purpose} now; "
                "see `trimtab keys show`"
            )
    return signer


def verifier_of(settings: Settings, *purposes: KeyPurpose) -> Verifier:
    """Whom these settings trust. Raises RefusedError when for one of `purposes` it is nobody, unless `dev` names no file."""
    path = settings.keys.trusted_file
    if path is None:
        if not settings.dev:
            raise RefusedError(
                "keys.trusted_file: missing, so nobody could be believed; `trimtab keys make` writes one; "
                "or say dev = true where no real money is"
            )
        log.warning(
            "unsigned %s are believed: dev = true, and keys.trusted_file names no file",
            " and ".join(_SAID[purpose] for purpose in purposes),
        )
        return AnyAuthor()
    trusted = TrustedFile(path)
    now_ms = time.time_ns() // 1_000_000
    for purpose in purposes:
        if not any(key.purpose is purpose and key.valid(now_ms) for key in trusted.keys().values()):
            raise RefusedError(
                f"keys.trusted_file: {path} trusts nobody for {purpose} now; `trimtab keys make {purpose}` adds a key"
            )
    return Ed25519Verifier(settings.environment, trusted)
