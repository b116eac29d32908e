"""CPU seconds and resident memory of processes and all their children, from Linux's /proc."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and its children used, those that have ended included; 0 when it is gone."""
    return sum(_used(one) for one in _tree(pid))


def resident_mib(pid: int) -> float:
    """Resident memory of a process and its living children, MiB. Shared pages count once for each process."""
    return sum(_resident(one) for one in _tree(pid)) / 2**20


def cpu_by_name(pids: Mapping[str, int]) -> dict[str, float]:
    """`cpu_seconds` of each named process."""
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each name used between two readings; a process that was replaced in between counts from its own start."""
    return {name: used - before.get(name, 0.0) if used >= before.get(name, 0.0) else used for name, used in after.items()}


def _tree(pid: int) -> Iterable[int]:
    yield pid
    try:
        children = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from _tree(int(child))


def _used(pid: int) -> float:
    try:
        # The command's name stands in brackets and may hold anything; the figures follow the last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
