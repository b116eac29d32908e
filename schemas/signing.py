"""What a signature covers, to the byte: anybody can check one with this function and an Ed25519 library.

Signed are the environment, the topic (without the installation's prefix), the CloudEvents type, and key and value of the
record. The type belongs to it, since the same JSON may read well as another message. Each part is preceded by its length, so
that no two lists of parts have the same bytes.
"""

_DOMAIN = b"trimtab-signature-v1"


def signed_bytes(environment: str, topic: str, ce_type: str, key: bytes, value: bytes) -> bytes:
    """The bytes that the author of a record signs."""
    parts = (_DOMAIN, environment.encode(), topic.encode(), ce_type.encode(), key, value)
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
