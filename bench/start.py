"""How long it takes from nothing to the first decision, with the demo's settings and tape."""

import subprocess
import sys
import time

from bench.report import ROOT, Line, spread
from bench.stack import flow, start_roles, wait_ready
from streams.domain.errors import TrimtabError
from streams.gateways import views
from streams.local.flow import Flow

SPEED = 30
IMPORTS = "import ccxt.pro, faust, aiokafka, psycopg, pydantic"


def measure(_seconds: int) -> list[Line]:
    """One cold start."""
    imports = [_import_seconds() for _ in range(3)]
    with flow("start", ROOT / "trimtab.toml", SPEED) as stack:
        began, began_ms = time.monotonic(), time.time_ns() // 1_000_000
        reached: dict[str, float] = {}
        stack.start_servers()
        reached["broker, database and venue ready"] = time.monotonic() - began
        stack.prepare()
        reached["topics, tables and settings written"] = time.monotonic() - began
        start_roles(stack)
        wait_ready(stack)
        reached["every account open, every portfolio observed"] = time.monotonic() - began
        stack.go()
        moved_ms = time.time_ns() // 1_000_000
        stack.wait_until(lambda: _first_decision_ms(stack) is not None, "nothing was decided", 300.0)
        decided_ms = _first_decision_ms(stack) or 0
    return [_start_line(reached, (moved_ms - began_ms) / 1000, (decided_ms - moved_ms) / 1000, imports)]


def _start_line(reached: dict[str, float], moved_s: float, market_s: float, imports: list[float]) -> Line:
    steps = ", ".join(f"{what} {at_s:.1f} s" for what, at_s in reached.items())
    return Line(
        name="cold start to the first decision",
        figure=f"{moved_s + market_s:.1f} s: {moved_s:.1f} s until prices could move, then {market_s:.1f} s of the market "
        f"(the tape at {SPEED}x until a portfolio left its threshold)",
        baseline=f"a bare Python process that imports what the roles import: {spread(imports)}",
        details=(f"reached after: {steps}",),
        limit="CPU: a Java start, three commands one after the other, six Python processes importing at once; then two equal "
        "snapshots of each account, 5 s apart on purpose.",
        not_shown="the installation itself, a start with a long history; one run, since the market's part repeats and the rest "
        "moves with the load of the machine.",
    )


def _import_seconds() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.monotonic() - began


def _first_decision_ms(stack: Flow) -> int | None:
    try:
        first = stack.read(views.first_decision)
    except TrimtabError:
        return None
    return None if first is None else int(first.at.timestamp() * 1000)
