"""Frozen values that differ in some fields: the step that every fold makes most often."""

from typing import Any, TypeVar

_T = TypeVar("_T")


def changed(value: _T, **fields: Any) -> _T:
    """A copy with these fields changed: `dataclasses.replace` for frozen dataclasses that keep their fields in `__dict__` and
    check nothing when they are made, at a tenth of its cost. Raises TypeError for a field that is not there."""
    state = value.__dict__ | fields
    if len(state) != len(value.__dict__):
        raise TypeError(f"{type(value).__name__} has no {', '.join(fields.keys() - value.__dict__.keys())}")
    copy = object.__new__(type(value))
    copy.__dict__.update(state)
    return copy
