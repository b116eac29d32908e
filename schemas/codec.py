"""Bytes to message and back, by CloudEvents type; and the small steps that lift an older version to the next.

Encoding is canonical: sorted keys, no spaces, absent optionals left out as written by the model; equal messages are equal
bytes. Decoding never trusts: every way in which bytes can be wrong ends in one named error.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
from pydantic import ValidationError

from schemas import account, control, executor, journal, ledger, market, orders, rebalance, venue
from schemas.envelope import TYPE_PREFIX, Message
from schemas.values import exact, plain

VALUE_BYTES_MAX = 900_000


class DecodeError(ValueError):
    """Bytes that are not a message we know. Subclasses say why; the text says where."""


class TooLarge(DecodeError):
    """More bytes than any message has."""


class NotJson(DecodeError):
    """Not a JSON document in UTF-8 (NaN and Infinity are not JSON)."""


class NotAnObject(DecodeError):
    """JSON, but not one flat object."""


class UnknownType(DecodeError):
    """A type nobody declared."""


class UnknownVersion(DecodeError):
    """A declared type in a version that this program does not know."""


class WrongShape(DecodeError):
    """A field is missing, of the wrong type, or out of bounds."""


def _messages() -> dict[str, type[Message]]:
    found: dict[str, type[Message]] = {}
    for module in (account, control, executor, journal, ledger, market, orders, rebalance, venue):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Message) and "TYPE" in vars(value):
                found[value.TYPE] = value
    return dict(sorted(found.items()))


MESSAGES: dict[str, type[Message]] = _messages()
"""Every message by its type without prefix and version."""


def _policy_set_1(fields: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had no inner edge: it was always half the threshold."""
    return fields | {"edge_inner": plain(exact(fields["threshold"]) * Decimal("0.5"))}


UPCASTS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    (control.PolicySet.TYPE, 1): _policy_set_1,
}
"""(type, n) to the function that lifts the fields of version n to version n + 1."""


def encode(message: Message) -> bytes:
    """The canonical bytes of a message."""
    return orjson.dumps(message.model_dump(mode="json", exclude_none=True), option=orjson.OPT_SORT_KEYS)


def decode(ce_type: str, value: bytes | None) -> Message:
    """The message of that CloudEvents type in `value`, lifted to the current version. Raises a DecodeError."""
    model, version = _model(ce_type)
    fields = _object(value)
    try:
        while version < model.VERSION:
            fields = UPCASTS[model.TYPE, version](fields)
            version += 1
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise WrongShape(f"{ce_type}: {where}: {first['msg']}") from None
    except (KeyError, ValueError, TypeError) as error:
        raise WrongShape(f"{ce_type}: cannot be lifted from version {version}: {error}") from None


def _model(ce_type: str) -> tuple[type[Message], int]:
    name, _, version = ce_type.removeprefix(TYPE_PREFIX).rpartition(".v")
    model = MESSAGES.get(name)
    if not ce_type.startswith(TYPE_PREFIX) or model is None:
        raise UnknownType(f"{ce_type[:80]!r} is not a type of this program")
    if not version.isdigit() or not 1 <= int(version) <= model.VERSION:
        raise UnknownVersion(f"{ce_type[:80]!r}: known versions are 1 to {model.VERSION}")
    return model, int(version)


def _object(value: bytes | None) -> dict[str, Any]:
    if not value:
        raise NotJson("the value is empty")
    if len(value) > VALUE_BYTES_MAX:
        raise TooLarge(f"{len(value)} bytes; a message has at most {VALUE_BYTES_MAX}")
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"not JSON: {error}"[:200]) from None
    if not isinstance(fields, dict):
        raise NotAnObject(f"a JSON {type(fields).__name__}, not an object")
    return fields
