"""Parts of the fence that can be left out of a process of the tests: what then goes wrong shows what each is for."""

from collections.abc import Callable

PARTS: dict[str, Callable[[], None]] = {}


def leave_out(part: str) -> None:
    """Replace one part by nothing, in this process. Raises KeyError for a part that there is not."""
    PARTS[part]()
