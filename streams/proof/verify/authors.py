"""Who signed a record: Ed25519 over the bytes of `schemas/signing.py`, by the keys of a local file and of the control topic.

The file is the root: with one, a key in the control topic counts only if a control key of the file signed it there. Where
nobody is trusted by a file and the installation is for trials (`dev`), unsigned records are accepted, and counted.
"""

import base64
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.signing import signed_bytes
from streams.proof.verify.facts import Raw


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, what it may sign (`commands` or `control`), and from when until when (UTC ms)."""

    public: Ed25519PublicKey
    purpose: str
    valid_from_ms: int
    valid_until_ms: int


class Authors:
    """Whom records are believed to be from. `accepted` counts what was believed without proof."""

    def __init__(self, environment: str, dev: bool, trusted: Mapping[str, Key] | None) -> None:
        self._environment = environment
        self._strict = trusted is not None or not dev
        self._keys = dict(trusted or {})
        self.accepted = 0

    def learn(self, fields: Mapping[str, Any]) -> None:
        """A key that the control topic recorded; the newest word on a key counts."""
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(fields["public_key"], validate=True))
        self._keys[fields["key_id"]] = Key(public, fields["purpose"], fields["valid_from_ms"], fields["valid_until_ms"])

    def doubt(self, raw: Raw, purpose: str, at_ms: int) -> str | None:
        """Why nobody could believe the author of a record that was acted on at that time, or None."""
        key = self._keys.get(raw.key_id)
        if not self._strict and (not raw.signature or key is None):
            self.accepted += 1
            return None
        if not raw.signature:
            return "it carries no signature"
        if key is None:
            return f"key {raw.key_id!r} is not trusted"
        if key.purpose != purpose:
            return f"key {raw.key_id} is trusted for {key.purpose}, not for {purpose}"
        try:
            key.public.verify(raw.signature, signed_bytes(self._environment, raw.topic, raw.ce_type, raw.key, raw.value))
        except InvalidSignature:
            return f"key {raw.key_id} did not sign these bytes"
        if not key.valid_from_ms <= at_ms < key.valid_until_ms:
            return f"key {raw.key_id} was not valid at {at_ms}"
        return None


def trusted_keys(text: str) -> dict[str, Key]:
    """The keys of a file as `trimtab keys` writes it. Raises ValueError."""
    try:
        return {
            key_id: Key(
                Ed25519PublicKey.from_public_bytes(base64.b64decode(entry["public_key"], validate=True)),
                entry["purpose"],
                round(entry["valid_from"].timestamp() * 1000),
                round(entry["valid_until"].timestamp() * 1000),
            )
            for key_id, entry in tomllib.loads(text).items()
        }
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a file of trusted keys: {error}") from None
