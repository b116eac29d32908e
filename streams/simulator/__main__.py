"""`python -m streams.simulator`: run the simulated venue until it is told to stop.

Prints one line of JSON with its ports when it takes orders. Ends on SIGTERM and SIGINT, and with `--die-with-parent`
when the process that started it is gone.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from pydantic import ValidationError

from streams.simulator.server import Server
from streams.simulator.settings import SimulatorSettings, load_settings

PARENT_POLL_S = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run; exit status 2 for a configuration that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m streams.simulator", description="simulated venue on 127.0.0.1")
    parser.add_argument("--config", type=Path, help="settings as .json or .toml")
    parser.add_argument("--port", type=int, help="port of the venue (0: a free one)")
    parser.add_argument("--control-port", type=int, help="port of the control interface (0: a free one)")
    parser.add_argument("--die-with-parent", action="store_true", help="stop when the starting process is gone")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.config) if options.config else SimulatorSettings()
        overrides = {"port": options.port, "control_port": options.control_port}
        chosen = {name: value for name, value in overrides.items() if value is not None}
        settings = SimulatorSettings.model_validate(settings.model_dump() | chosen)
    except (OSError, ValueError, ValidationError) as error:
        sys.stderr.write(f"simulator: {options.config}: {error}\n")
        return 2
    asyncio.run(_run(settings, os.getppid() if options.die_with_parent else None))
    return 0


async def _run(settings: SimulatorSettings, parent: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Server(settings) as server:
        ports = {"ready": True, "port": server.port, "control_port": server.control_port, "pid": os.getpid()}
        sys.stdout.write(json.dumps(ports) + "\n")
        sys.stdout.flush()
        endings = [asyncio.create_task(stop.wait()), asyncio.create_task(server.failure())]
        if parent is not None:
            endings.append(asyncio.create_task(_parent_gone(parent)))
        done, others = await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        for task in done:
            task.result()


async def _parent_gone(parent: int) -> None:
    """Return when the starting process is no longer our parent.

    Polled, because the kernel's parent-death signal is tied to the thread that started us, not to its process.
    """
    while os.getppid() == parent:  # noqa: ASYNC110  the kernel offers no event to wait for
        await asyncio.sleep(PARENT_POLL_S)


if __name__ == "__main__":
    sys.exit(main())
