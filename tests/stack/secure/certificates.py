"""A certificate authority for one test, and what it signs, as PEM files."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates; its own stands in `cafile`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        own = _begin(self._name, self._name, self._key.public_key()).add_extension(constraints, critical=True)
        self.cafile = directory / f"{name}.pem"
        self.cafile.write_bytes(_pem(own.sign(self._key, hashes.SHA256())))

    def issue(self, name: str, address: str = "127.0.0.1") -> tuple[Path, Path]:
        """A certificate for that address and its key, as two files."""
        key = ec.generate_private_key(ec.SECP256R1())
        place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        signed = _begin(_named(name), self._name, key.public_key()).add_extension(place, critical=False)
        certfile, keyfile = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        certfile.write_bytes(_pem(signed.sign(self._key, hashes.SHA256())))
        plain, pkcs8 = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
        keyfile.write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
        return certfile, keyfile


def _begin(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=12))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
