"""A TCP connection's way that can be held up and cut: `async with Wire(host, port) as wire`, then connect to `wire.port`."""

import asyncio
import contextlib
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class Wire:
    """Passes bytes both ways. While `hold` is set, what clients say is kept, and goes on its way when it is cleared; while
    `cut` is set, nothing passes in either direction and nothing is ever said about it."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._target = port
        self._open = asyncio.Event()
        self._open.set()
        self._cut = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._until_held: int | None = None
        self.held = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def address(self, url: str) -> str:
        """The same address, by way of this wire."""
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{self.port}" if user else f"127.0.0.1:{self.port}"))

    def hold(self, after: int = 0) -> None:
        """Keep what clients say from now on, or from the piece on that comes after so many."""
        if after:
            self._until_held = after
        else:
            self._open.clear()

    def release(self) -> None:
        """Let everything that was kept go on its way."""
        self._until_held = None
        self._open.set()

    def cut(self) -> None:
        """Lose everything from now on, silently."""
        self._cut = True

    def mend(self) -> None:
        """New connections work again; those that were cut are closed."""
        self._cut = False
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            onward_reader, onward_writer = await asyncio.open_connection(self._host, self._target)
            self._writers.add(onward_writer)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass(reader, onward_writer, holds=True))
                    both.create_task(self._pass(onward_reader, writer, holds=False))
            finally:
                self._writers.discard(onward_writer)
                onward_writer.close()
        except (OSError, asyncio.CancelledError, BaseExceptionGroup):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, holds: bool) -> None:
        while data := await reader.read(65_536):
            if holds:
                await self._admit()
            if not self._cut:
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _admit(self) -> None:
        if not self._open.is_set():
            self.held += 1
            await self._open.wait()
        if self._until_held is not None:
            self._until_held -= 1
            if self._until_held == 0:
                self._open.clear()
