"""Events kept on this machine because the log may be away: cancels under the HALT file do not wait for it.

All that a cancel of our own says is kept, so that what it says under the HALT file never follows on nothing. One file of JSON
lines for each tenure, in the state directory, under the HALT file on disk before the cancel leaves; it goes when the log has
acknowledged all of it. What a dead process left is published by the next owner on this machine, unless the log holds it
already or another owner came between.
"""

import base64
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from streams.ports.log import Output
from streams.topics import ORDERS_EVENTS

log = logging.getLogger("trimtab.executor")

SPOOL_DIR = "spool"


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that may not be in the log. If it is, it stands at `from_offset` of its partition or later."""

    ce_id: str
    account: str
    epoch: int
    from_offset: int
    output: Output


class Spool:
    """The files of this machine. Those of living tenures of this process are its own business alone."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / SPOOL_DIR
        self._waiting: dict[Path, set[str]] = {}

    def keep(self, kept: Kept, *, sync: bool = True) -> None:
        """Write the event down. With `sync` it is on disk when this returns, with all that its tenure had kept before."""
        path = self._path(kept.account, kept.epoch)
        self._waiting.setdefault(path, set()).add(kept.ce_id)
        self._directory.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, _line(kept))
            if sync:
                os.fsync(file)
        finally:
            os.close(file)

    def acknowledged(self, account: str, epoch: int, ce_id: str) -> None:
        """The log has this event."""
        path = self._path(account, epoch)
        waiting = self._waiting.get(path, set())
        waiting.discard(ce_id)
        if not waiting and path in self._waiting:
            path.unlink(missing_ok=True)

    def left(self, account: str) -> list[Kept]:
        """What processes that are gone have kept for this account, in order."""
        paths = (path for path in self._directory.glob(f"{account}.*") if path not in self._waiting)
        return [kept for path in sorted(paths, key=_epoch) for kept in _read(path)]

    def discard(self, account: str) -> None:
        """What `left` gave is settled."""
        for path in self._directory.glob(f"{account}.*"):
            if path not in self._waiting:
                path.unlink(missing_ok=True)

    def _path(self, account: str, epoch: int) -> Path:
        return self._directory / f"{account}.{epoch}"


def _epoch(path: Path) -> int:
    text = path.suffix.removeprefix(".")
    return int(text) if text.isdigit() else 0


def _read(path: Path) -> Iterable[Kept]:
    for line in path.read_bytes().splitlines():
        try:
            yield _kept(line)
        except (ValueError, KeyError, TypeError):
            # The last line of a machine that went down while it wrote: its cancel had not left.
            log.error("%s holds a line that cannot be read; it is left out", path)


def _line(kept: Kept) -> bytes:
    output = kept.output
    form = {
        "ce_id": kept.ce_id,
        "account": kept.account,
        "epoch": kept.epoch,
        "from_offset": kept.from_offset,
        "value": base64.b64encode(output.value).decode(),
        "headers": [[name, base64.b64encode(value).decode()] for name, value in output.headers],
        "timestamp_ms": output.timestamp_ms,
    }
    return json.dumps(form).encode() + b"\n"


def _kept(line: bytes) -> Kept:
    form = json.loads(line)
    output = Output(
        topic=ORDERS_EVENTS,
        key=str(form["account"]).encode(),
        value=base64.b64decode(form["value"]),
        headers=tuple((str(name), base64.b64decode(value)) for name, value in form["headers"]),
        timestamp_ms=form["timestamp_ms"],
    )
    return Kept(form["ce_id"], form["account"], int(form["epoch"]), int(form["from_offset"]), output)
