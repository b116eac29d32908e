"""What a client gets in place of a reply when a fault strikes: no reply, or bytes that prove nothing."""

import asyncio

import orjson
from aiohttp import web

from streams.simulator.binance.codec import Document
from streams.simulator.faults import Fault, FaultRule

_PAGE = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


async def spoilt(request: web.Request, rule: FaultRule, document: Document | None) -> web.StreamResponse:
    """The answer to a request whose honest reply would have been `document`; None when it never reached the core."""
    match rule.fault:
        case Fault.REPLY_HTML:
            return web.Response(text=_PAGE.format("Just a moment..."), content_type="text/html")
        case Fault.REPLY_EMPTY:
            return web.Response(content_type="application/json")
        case Fault.REPLY_5XX:
            return web.Response(status=502, text=_PAGE.format("502 Bad Gateway"), content_type="text/html")
        case Fault.REPLY_CUT:
            return await _cut(request, orjson.dumps(document))
        case _:
            await asyncio.sleep(rule.hang_ms / 1_000)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()


async def _cut(request: web.Request, body: bytes) -> web.StreamResponse:
    """Announce the whole body, send half of it, and end the connection."""
    response = web.StreamResponse(headers={"Content-Length": str(len(body)), "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
