"""One executor of a crash test: armed points, clocks that can be turned, and parts of the fence that can be left out."""

import asyncio
import contextlib
import json
import logging
import signal
from pathlib import Path
from typing import Any

from streams.gateways.clock import SystemClock
from streams.gateways.crash_points import ArmedCrashPoints
from streams.gateways.loop import run_loop
from streams.gateways.venue.trading import CcxtTrading
from streams.ports.process import Point
from tests.crash.executor.without import fitting
from tests.stack.executor.process import build


class TurnedClock(SystemClock):
    """The machine's clocks plus what a file says: `{"wall": ms, "boot": ms}`. A guest that was paused finds them so."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def wall_ms(self) -> int:
        return super().wall_ms() + self._turned("wall")

    def boot_ms(self) -> int:
        return super().boot_ms() + self._turned("boot")

    def _turned(self, name: str) -> int:
        try:
            return json.loads(self._file.read_text())[name]
        except FileNotFoundError:
            return 0


class Points(ArmedCrashPoints):
    """Armed points; a request that is to meet `in_connect` finds no warm connection."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._directory = directory
        self.venues: list[CcxtTrading] = []

    def reach(self, point: Point) -> None:
        if point is Point.BEFORE_REQUEST:
            with contextlib.suppress(FileNotFoundError):
                if (self._directory / "arm").read_text().startswith(Point.IN_CONNECT):
                    self._cool_down()
        super().reach(point)

    def _cool_down(self) -> None:
        for venue in self.venues:
            kept = venue._client.tcp_connector._conns
            for connections in kept.values():
                for protocol, _ in connections:
                    protocol.close()
            kept.clear()


async def run(settings: dict[str, Any]) -> None:
    directory = Path(settings["directory"])
    points = Points(directory)
    clock = TurnedClock(directory / "clock")
    fitted = fitting(settings["without"], clock, settings["owner"])
    executor, log, leases = await build(settings, clock=clock, points=points, fitting=fitted)
    points.venues = list(executor._venues.values())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, executor.stop)
    try:
        await executor.run()
    finally:
        await log.close()
        await leases.close()


def main(settings: dict[str, Any]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    run_loop(run(settings))
