"""One fold worker as a process: from connection settings to exit code."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from streams.domain.errors import TrimtabError
from streams.gateways.faust.ending import EXIT_FAILED, end_process, end_with, limit_lines
from streams.gateways.faust.history import History
from streams.gateways.faust.shard import FoldObserver
from streams.gateways.faust.shell import FoldShell
from streams.gateways.faust.transport import make_app
from streams.gateways.loop import run_loop
from streams.ports.folds import FoldFactory, FoldSpec
from streams.ports.log import KafkaConnection, Signer

logger = logging.getLogger(__name__)

# A supervisor should grant more than both together before it kills.
DRAIN_SECONDS = 30.0
STOP_SECONDS = 5.0


def run_fold(
    spec: FoldSpec,
    factory: FoldFactory,
    kafka: KafkaConnection,
    observer: FoldObserver | None = None,
    signer: Signer | None = None,
) -> int:
    """Run one fold worker until SIGTERM or SIGINT and return 0; checkpoints then stand exactly at the last record.

    Returns the error's exit code when the start is refused before any partition is owned. Everything later ends the
    process at once, with one line and the codes of `ending`. Logging must have been set up by the caller.
    """
    limit_lines()
    try:
        return run_loop(_serve(spec, factory, kafka, observer or FoldObserver(), signer))
    except TrimtabError as error:
        logger.critical("%s (exit %d)", error, error.exit_code)
        return error.exit_code


async def _serve(
    spec: FoldSpec, factory: FoldFactory, kafka: KafkaConnection, observer: FoldObserver, signer: Signer | None
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    if not await _before(stopping, History(kafka).check_topics(spec)):
        return 0
    app = make_app(spec, kafka)
    shell = FoldShell(app, spec, factory, kafka, observer, signer)
    watching = asyncio.create_task(shell.watch())
    try:
        await _before(stopping, app.start())
    except Exception as error:  # noqa: BLE001 - a framework that is half started cannot be unwound
        end_with(error)
    await stopping
    await _drain(shell)
    await _bounded(app.stop())
    watching.cancel()
    return 0


async def _before(stopping: "asyncio.Task[bool]", work: Coroutine[Any, Any, None]) -> bool:
    """Do `work` unless the process is asked to stop first. True iff it was done."""
    task = asyncio.create_task(work)
    await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


async def _drain(shell: FoldShell) -> None:
    try:
        await asyncio.wait_for(shell.drain(), DRAIN_SECONDS)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the last checkpoint is not durable
        end_process(EXIT_FAILED, f"not drained: {type(error).__name__}: {error}; the next start repeats a few records")


async def _bounded(work: Coroutine[Any, Any, None]) -> None:
    """All is durable by now: a framework that does not stop in time is left behind."""
    task = asyncio.create_task(work)
    await asyncio.wait([task], timeout=STOP_SECONDS)
    if not task.done():
        end_process(0, "drained; the framework did not stop in time")
