"""From the operator's word to the last order: how long orders still reach the venue after a halt, under load.

The whole flow as in `bench.throughput`, always full. By turns a signed halt of everything is appended to the control topic, and
the HALT file is written; each is lifted once nothing can come any more. The clock starts when the record is acknowledged, or
the file is there; the venue's own journal says when it accepted what (wall clock of the same machine, whole milliseconds).
"""

import asyncio
import itertools
import json
import secrets
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.report import Line, quantiles
from bench.stack import connection, full_flow, open_log, say
from schemas.codec import encode
from schemas.control import ControlEvent, KeyPurpose, StopKind, TradingResumed, TradingStopped
from schemas.envelope import Envelope
from streams.agents.executor.control import HALT_FILE
from streams.gateways.kafka import FETCH_WAIT_MS, KafkaLog
from streams.gateways.kafka_access import client_args
from streams.local.flow import Flow
from streams.local.server import LocalStackError
from streams.ports.log import Output, Signer
from streams.settings import PREFIX
from streams.topics import OPERATOR_CONTROL

PORTFOLIOS, SHARDS = 20, 2
TARGET_S = 1
QUIET_S = 1.2
"""How long a halt stands before it is lifted: longer than the target, so that a miss is seen."""
FLOWING_ORDERS = 20
FLOWING_WITHIN_S = 60.0


def measure(seconds: int) -> list[Line]:
    """Halts for twice `seconds`, by control and by file in turn; one of each at least."""
    with full_flow("halt", PORTFOLIOS, SHARDS) as stack:
        stack.go()
        say(f"halting for {2 * seconds} s")
        return [asyncio.run(_halts(stack, 2 * seconds))]


class _Accepted:
    """What the venue accepted, read from its journal on disk as it grows."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""

    def new_ms(self) -> list[int]:
        """When each order was accepted (UTC ms) since the last call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        entries = (json.loads(line) for line in lines if b'"order_accepted"' in line)
        return [entry["at_ms"] for entry in entries if entry["kind"] == "order_accepted"]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class _Control:
    """The operator at the control topic, with a bare reader beside the executor's."""

    def __init__(self, log: KafkaLog, signer: Signer, bare: AIOKafkaConsumer) -> None:
        self._log = log
        self._signer = signer
        self._bare = bare
        self._halt_id = ""
        self.hops_ms: list[float] = []

    async def stop(self) -> float:
        """Halt everything; when that was durable."""
        self._halt_id = secrets.token_hex(16)
        began = time.monotonic()
        await self._say(TradingStopped(**_head(), halt_id=self._halt_id, kind=StopKind.HALT))
        durable_ms = time.time() * 1000
        await self._bare.getone()
        self.hops_ms.append((time.monotonic() - began) * 1000)
        return durable_ms

    async def lift(self) -> None:
        """Resume, naming the halt."""
        await self._say(TradingResumed(**_head(), halt_ids=(self._halt_id,)))
        await self._bare.getone()

    async def _say(self, event: ControlEvent) -> None:
        envelope = Envelope(secrets.token_hex(16), event.ce_type(), "operator/bench", event.at_ms, event.scope)
        output = Output(OPERATOR_CONTROL, event.scope.encode(), encode(event), envelope.headers(), 0, event.at_ms)
        await self._log.append(self._signer.sign(output))


class _HaltFile:
    """The operator at the machine."""

    def __init__(self, state_dir: Path) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self._path = state_dir / HALT_FILE

    async def stop(self) -> float:
        """Write the file; when it was there."""
        self._path.write_text("all bench\n")
        return time.time() * 1000

    async def lift(self) -> None:
        """Remove it."""
        self._path.unlink()


async def _halts(stack: Flow, seconds: float) -> Line:
    bare = AIOKafkaConsumer(**client_args(connection(stack)), enable_auto_commit=False, fetch_max_wait_ms=FETCH_WAIT_MS)
    await bare.start()
    accepted = _Accepted(stack.journal_path)
    found: dict[str, list[float]] = {"control": [], "file": []}
    flowing: list[float] = []
    try:
        place = TopicPartition(OPERATOR_CONTROL, 0)
        bare.assign([place])
        await bare.seek_to_end(place)
        async with open_log(stack) as log:
            control = _Control(log, stack.signer(KeyPurpose.CONTROL), bare)
            ways = {"control": control, "file": _HaltFile(Path(stack.environment[f"{PREFIX}STATE_DIR"]))}
            until = time.monotonic() + seconds
            for name in itertools.cycle(ways):
                if time.monotonic() > until and all(found.values()):
                    break
                flowing.append(await _flowing(accepted))
                durable_ms = await ways[name].stop()
                await asyncio.sleep(QUIET_S)
                late = [at_ms - durable_ms for at_ms in accepted.new_ms() if at_ms > durable_ms]
                found[name].append(max(late, default=0.0))
                await ways[name].lift()
    finally:
        accepted.close()
        await bare.stop()
    return _line(found, control.hops_ms, flowing)


async def _flowing(accepted: _Accepted) -> float:
    """Wait until orders flow again; how many a second the venue then accepted."""
    accepted.new_ms()
    seen: list[int] = []
    try:
        async with asyncio.timeout(FLOWING_WITHIN_S):
            while len(seen) < FLOWING_ORDERS:
                await asyncio.sleep(0.02)
                seen += accepted.new_ms()
    except TimeoutError:
        raise LocalStackError(f"after a halt was lifted no order came for {FLOWING_WITHIN_S:g} s") from None
    return 1000 * (len(seen) - 1) / max(1, seen[-1] - seen[0])


def _head() -> dict[str, Any]:
    return {"scope": "all", "at_ms": time.time_ns() // 1_000_000, "who": "bench", "why": "bench"}


def _line(found: dict[str, list[float]], hops_ms: list[float], flowing: list[float]) -> Line:
    none = {name: sum(not late for late in values) for name, values in found.items()}
    return Line(
        name="halt to the last order",
        figure=f"by control {quantiles(found['control'])}; by the HALT file {quantiles(found['file'])}",
        baseline=f"a bare aiokafka reader has the control record, from its append: {quantiles(hops_ms)}",
        target=f"p99 under {TARGET_S} s under load",
        details=(
            f"halts after which nothing was accepted any more (counted as 0 ms): {none['control']} by control, "
            f"{none['file']} by file",
            f"orders flowed again before each halt, at {quantiles(flowing, 'a second')}; {PORTFOLIOS} portfolios",
        ),
        limit="a request that is out when the halt comes still arrives; control is one hop of Kafka and the check of a "
        "signature, and both then wait for a core.",
        not_shown="cancels of open orders (these are all immediate-or-cancel), a venue with latency (its own time adds to that "
        "of what was out), Kafka away.",
    )
