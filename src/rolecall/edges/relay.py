"""Connections that are taken at one address and led on to another, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from rolecall.edges.sockets import Listener

MOST = 256
"""Connections at once; one more is closed."""
_CHUNK = 64 * 1024
_CONNECT = 5.0  # seconds


@asynccontextmanager
async def relay(listener: Listener, target: tuple[str, int]) -> AsyncIterator[None]:
    """Lead every connection to `listener` on to `target` while the context lasts; then all of them end."""
    under_way: set[asyncio.Task[None]] = set()

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(under_way) >= MOST:
            writer.transport.abort()
            return
        under_way.add(task)
        try:
            await _lead_on(reader, writer, target)
        finally:
            under_way.discard(task)
            writer.close()

    server = await asyncio.start_server(taken, sock=listener, limit=_CHUNK)
    try:
        yield
    finally:
        server.close()
        for task in list(under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _lead_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]) -> None:
    """Carry both directions until both have ended, or one side is gone."""
    with suppress(OSError):
        async with asyncio.timeout(_CONNECT):
            there, back = await asyncio.open_connection(*target, limit=_CHUNK)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_carry(reader, back))
                both.create_task(_carry(there, writer))
        except* OSError:
            pass
        finally:
            back.close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
