"""A shard as canonical bytes and back: equal states give equal bytes, amounts are plain text, nothing is a float.

The shape of the state is its types: what a message may hold the state may hold, and reading checks both alike. A state of the
version before is read as well: a deployment goes on from what it left.
"""

from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from streams.domain.errors import InvariantError
from streams.domain.intake.acceptance import Acceptance
from streams.domain.portfolio.state import PortfolioState, Shard, World

STATE_VERSION = "2"
_BEFORE = "1"

_WORLD = TypeAdapter(World)
_PORTFOLIO = TypeAdapter(PortfolioState)


def dump(shard: Shard) -> bytes:
    """The whole shard as canonical JSON, without its watches."""
    form = {
        "state_version": STATE_VERSION,
        "number": shard.number,
        "acceptance": shard.acceptance.to_plain(),
        "world": _WORLD.dump_python(shard.world, mode="json"),
        "portfolios": {name: _plain(state) for name, state in shard.portfolios.items()},
    }
    return orjson.dumps(form, option=orjson.OPT_SORT_KEYS)


def load(snapshot: bytes) -> Shard:
    """The shard that `dump` gave these bytes. Raises ValueError on anything else."""
    try:
        form: dict[str, Any] = orjson.loads(snapshot)
        version = form["state_version"]
        if version not in (_BEFORE, STATE_VERSION):
            raise ValueError(f"a shard of state version {version}, this code reads {_BEFORE} and {STATE_VERSION}")
        portfolios = {
            name: _PORTFOLIO.validate_python(_upcast(plain, version)) for name, plain in sorted(form["portfolios"].items())
        }
        world = _WORLD.validate_python(form["world"])
        return Shard(form["number"], world, Acceptance.from_plain(form["acceptance"]), portfolios)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ValueError(f"not a shard's snapshot: {error}") from error


def release(state: PortfolioState) -> str:
    """One portfolio's whole state as text, to move it to another shard."""
    return orjson.dumps(_plain(state), option=orjson.OPT_SORT_KEYS).decode()


def adopt(text: str, state_version: str) -> PortfolioState:
    """The portfolio that `release` gave this text. Raises InvariantError: a move that cannot be read must not go on."""
    if state_version not in (_BEFORE, STATE_VERSION):
        words = f"this code reads {_BEFORE} and {STATE_VERSION}"
        raise InvariantError(f"a portfolio of state version {state_version} is adopted, {words}")
    try:
        return _PORTFOLIO.validate_python(_upcast(orjson.loads(text), state_version))
    except ValueError as error:
        raise InvariantError(f"an adopted portfolio cannot be read: {str(error)[:200]}") from None


def _upcast(plain: dict[str, Any], version: str) -> dict[str, Any]:
    """Version 1 had the account of each unclassified flow, but two accounts may number alike; now each has its flows."""
    if version != _BEFORE or not plain.get("flows_open"):
        return plain
    flows: dict[str, list[str]] = {}
    for flow_id, account in plain["flows_open"].items():
        flows.setdefault(account, []).append(flow_id)
    return plain | {"flows_open": flows}


def _plain(state: PortfolioState) -> dict[str, Any]:
    return _PORTFOLIO.dump_python(state, mode="json")
