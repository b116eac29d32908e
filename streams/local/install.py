"""Puts the local stack on this machine: placeholder head, see below."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
KAFKA_VERSION = "4.3.1"


@dataclass(frozen=True)
class Installed:
    """Where `make setup` found or put things; None: the user brings his own (KAFKA, DATABASE_URL)."""

    java: str | None
    kafka_libs: str | None
    pg_bin: str | None
    state_dir: str


def state_directory() -> Path:
    """Where servers keep their data: in the clone, or for root where an unprivileged user can reach it."""
    if os.geteuid() != 0:
        return LOCAL / "state"
    return Path("/var/tmp") / f"trimtab-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"


def read_installed() -> Installed:
    """What the last `make setup` wrote; raises FileNotFoundError with the remedy."""
    path = LOCAL / "stack.json"
    try:
        return Installed(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: run `make setup` first") from None


def write_installed(installed: Installed) -> None:
    """Keep it for the programs that start servers."""
    LOCAL.mkdir(exist_ok=True)
    (LOCAL / "stack.json").write_text(json.dumps(asdict(installed), indent=2) + "\n")
