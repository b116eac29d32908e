"""Waiting that ends early."""

import asyncio


async def pause(seconds: float, until: asyncio.Event) -> None:
    """Wait so long, or until `until` is set."""
    try:
        async with asyncio.timeout(seconds):
            await until.wait()
    except TimeoutError:
        return
