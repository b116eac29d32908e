"""A connection that is given up half way must not take somebody else's with it."""

import asyncio
import gc
import os
import socket
from pathlib import Path

from streams.gateways.loop import run_loop


async def give_up_half_way(address: tuple[str, int]) -> tuple[socket.socket, int]:
    """A socket whose take-over by the loop was cancelled, and the descriptor that it had."""
    running, given = asyncio.get_running_loop(), socket.socket()
    given.setblocking(False)
    await running.sock_connect(given, address)
    number = given.fileno()
    taking = running.create_task(running.create_connection(asyncio.Protocol, sock=given))
    await asyncio.sleep(0)
    taking.cancel()
    assert isinstance((await asyncio.gather(taking, return_exceptions=True))[0], asyncio.CancelledError)
    return given, number


def test_a_descriptor_of_a_connection_that_was_given_up_belongs_to_who_gets_it_next() -> None:
    async def story() -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            given, number = await give_up_half_way(server.getsockname())
            await asyncio.sleep(0)
            others = [socket.socket() for _ in range(8)]
            assert number in [other.fileno() for other in others]
            del given
            gc.collect()
            for other in others:
                os.fstat(other.fileno())  # raises when it was closed
                other.close()

    run_loop(story())


def what_is_open() -> list[str]:
    return [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]


def test_a_loop_watches_without_io_uring() -> None:
    async def story() -> list[str]:
        return what_is_open()

    opened = run_loop(story())
    assert any("eventpoll" in kind for kind in opened)
    assert not [kind for kind in opened if "io_uring" in kind]


def test_a_connection_that_comes_to_pass_carries_bytes() -> None:
    async def story() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            given = socket.socket()
            given.setblocking(False)
            await asyncio.get_running_loop().sock_connect(given, server.sockets[0].getsockname())
            reader, writer = await asyncio.open_connection(sock=given)
            writer.write(b"hello\n")
            told = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return told

    assert run_loop(story()) == b"HELLO\n"
