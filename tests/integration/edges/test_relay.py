"""A relay between two addresses: every byte, both ends of a connection, and no more of them than it promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rolecall.edges import relay as relays
from rolecall.edges.relay import relay
from rolecall.edges.sockets import bind_tcp

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BODY = bytes(range(256)) * 4096  # 1 MiB


async def answering_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read until the other side has nothing more to say, then say all of it again."""
    writer.write(await reader.read(-1))
    await writer.drain()
    writer.close()


def through(serve: Serve, play: Callable[[str, int], Awaitable[None]]) -> None:
    """Play a scene at a relay in front of a server."""

    async def scene() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**21)
        with bind_tcp("127.0.0.1", 0) as listener:
            async with relay(listener, server.sockets[0].getsockname()):
                await play(*listener.getsockname())
        server.close()

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_what_goes_in_comes_out() -> None:
    """Large bodies, and an end of one direction while the other goes on."""

    async def play(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(BODY)
        writer.write_eof()
        assert await reader.read(-1) == BODY
        writer.close()

    through(answering_at_the_end, play)


def test_a_target_that_is_not_there_ends_the_connection() -> None:
    """Nobody waits for an answer that never comes."""

    async def scene() -> None:
        with bind_tcp("127.0.0.1", 0) as free:
            target = free.getsockname()
        with bind_tcp("127.0.0.1", 0) as listener:
            async with relay(listener, target):
                reader, writer = await asyncio.open_connection(*listener.getsockname())
                assert await reader.read(-1) == b""
                writer.close()

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_there_are_only_so_many_and_none_after_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the most is closed at once; when the relay ends, so do all."""
    monkeypatch.setattr(relays, "MOST", 2)
    open_ones: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1))
        await reader.read(-1)
        writer.close()

    async def play(host: str, port: int) -> None:
        for _ in range(2):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            open_ones.append((reader, writer))
        reader, writer = await asyncio.open_connection(host, port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()

    async def scene() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        with bind_tcp("127.0.0.1", 0) as listener:
            async with relay(listener, server.sockets[0].getsockname()):
                await play(*listener.getsockname())
            for reader, writer in open_ones:
                assert await reader.read(-1) == b""
                writer.close()
        server.close()

    asyncio.run(asyncio.wait_for(scene(), 30))
