"""Keys on disk, and records that their holders sign."""

from pathlib import Path

from schemas.codec import encode
from schemas.control import KeyPurpose
from schemas.envelope import Envelope, Message
from streams.gateways.keys import TrustedFile, TrustedKey, make_pair, private_key_in
from streams.gateways.signing import PURPOSES, Ed25519Signer, Ed25519Verifier
from streams.ports.log import Output, Record

NOW_MS = 1_764_000_000_000
HOUR_MS = 3_600_000
ENVIRONMENT = "prod"


class Office:
    """One installation's keys: whoever signs there, and what its verifier makes of it."""

    def __init__(self, directory: Path, environment: str = ENVIRONMENT) -> None:
        self.directory = directory
        self.environment = environment
        self.trusted = directory / "trusted.toml"
        self.keys = {purpose: self.make(purpose) for purpose in KeyPurpose}
        self.signers = {
            purpose: Ed25519Signer(environment, purpose, private_key_in(self.private(purpose))) for purpose in KeyPurpose
        }
        self.verifier = Ed25519Verifier(environment, TrustedFile(self.trusted))

    def private(self, purpose: KeyPurpose) -> Path:
        return self.directory / f"{purpose}.pem"

    def make(self, purpose: KeyPurpose, now_ms: int = NOW_MS, overlap_ms: int = 0) -> TrustedKey:
        """A new key in the place of the old one, valid for an hour."""
        return make_pair(purpose, self.private(purpose), self.trusted, now_ms, HOUR_MS, overlap_ms)

    def signed(self, topic: str, key: str, message: Message) -> Record:
        """The message as it lies in its topic, signed by whoever signs there."""
        headers = Envelope("1", message.ce_type(), "test", NOW_MS).headers()
        output = self.signers[PURPOSES[topic]].sign(Output(topic, key.encode(), encode(message), headers))
        return Record(topic, 0, 0, output.key, output.value, output.headers)
