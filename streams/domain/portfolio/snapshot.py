"""A shard as canonical bytes and back: equal states give equal bytes, amounts are plain text, nothing is a float.

The shape of the state is its types: what a message may hold the state may hold, and reading checks both alike.
"""

from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from streams.domain.errors import InvariantError
from streams.domain.intake.acceptance import Acceptance
from streams.domain.portfolio.state import PortfolioState, Shard, World

STATE_VERSION = "1"

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
        if form["state_version"] != STATE_VERSION:
            raise ValueError(f"a shard of state version {form['state_version']}, this code reads {STATE_VERSION}")
        portfolios = {name: _PORTFOLIO.validate_python(plain) for name, plain in sorted(form["portfolios"].items())}
        world = _WORLD.validate_python(form["world"])
        return Shard(form["number"], world, Acceptance.from_plain(form["acceptance"]), portfolios)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ValueError(f"not a shard's snapshot: {error}") from error


def release(state: PortfolioState) -> str:
    """One portfolio's whole state as text, to move it to another shard."""
    return orjson.dumps(_plain(state), option=orjson.OPT_SORT_KEYS).decode()


def adopt(text: str, state_version: str) -> PortfolioState:
    """The portfolio that `release` gave this text. Raises InvariantError: a move that cannot be read must not go on."""
    if state_version != STATE_VERSION:
        raise InvariantError(f"a portfolio of state version {state_version} is adopted, this code reads {STATE_VERSION}")
    try:
        return _PORTFOLIO.validate_json(text)
    except ValidationError as error:
        raise InvariantError(f"an adopted portfolio cannot be read: {error.error_count()} errors") from None


def _plain(state: PortfolioState) -> dict[str, Any]:
    return _PORTFOLIO.dump_python(state, mode="json")
