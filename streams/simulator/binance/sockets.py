"""One WebSocket connection of a client: frames in order, a bounded queue, a server ping, an orderly end."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from streams.simulator.binance.codec import Document

QUEUE_MAX = 5_000
PING_S = 20.0
FRAME_BYTES_MAX = 64 * 1024


class Socket:
    """Frames put into a socket go out in order; a client that does not read them is disconnected."""

    def __init__(self):
        self._websocket = web.WebSocketResponse(heartbeat=PING_S, max_msg_size=FRAME_BYTES_MAX)
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_MAX)
        self._transport: asyncio.BaseTransport | None = None

    def put(self, document: Document) -> None:
        """Queue one frame; a full queue cuts the connection."""
        self._put(orjson.dumps(document))

    def end(self) -> None:
        """Close the connection after what is queued, or cut it when the queue is full."""
        self._put(None)

    def _put(self, frame: bytes | None) -> None:
        try:
            self._queue.put_nowait(frame)
        except asyncio.QueueFull:
            if isinstance(self._transport, asyncio.WriteTransport):
                self._transport.abort()

    async def serve(self, request: web.Request, handle: Callable[[Document], None]) -> web.WebSocketResponse:
        """Run the connection until either side ends it; `handle` gets each frame that is a JSON object."""
        await self._websocket.prepare(request)
        self._transport = request.transport
        sender = asyncio.create_task(self._send())
        try:
            async for message in self._websocket:
                if message.type is WSMsgType.TEXT:
                    handle(_object(message.data))
        finally:
            sender.cancel()
            with suppress(asyncio.CancelledError):
                await sender
        return self._websocket

    async def _send(self) -> None:
        with suppress(ConnectionError):  # the client is gone: the receiving side sees it too and ends
            while (frame := await self._queue.get()) is not None:
                await self._websocket.send_str(frame.decode())
            await self._websocket.close(code=WSCloseCode.GOING_AWAY)


def _object(text: str) -> Document:
    """The frame as an object; anything else becomes an empty one, which no method matches."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
