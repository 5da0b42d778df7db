"""What never finishes arriving at the plane's port is given up: a head, a body, and a connection that says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rolecall.core.exchange import Reply, Request
from rolecall.edges import asgi, web_server
from rolecall.edges.sockets import bind_tcp

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
Work = Callable[[int], Awaitable[None]]


def served(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve with a patience of a third of a second, and run a test's coroutine with the port."""
    monkeypatch.setattr(web_server, "PATIENCE", 0.3)
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.3)

    async def answer(request: Request, too_long: bool) -> Reply:
        return Reply(200, b"read")

    async def run() -> None:
        listener = bind_tcp("127.0.0.1", 0)
        stop, started = asyncio.Event(), asyncio.Event()
        app = asgi.application(answer, longest_body=1000)
        serving = asyncio.create_task(web_server.serve(app, listener, stop, started))
        async with asyncio.timeout(20):
            await started.wait()
            await work(listener.getsockname()[1])
            stop.set()
            await serving

    asyncio.run(run())


async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Return all that comes until the connection is closed, and close our end."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [b"", GET[:20], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"],
    ids=["nothing", "half a head", "half a body"],
)
def test_what_never_ends_is_given_up(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed without an answer that anybody could take for one."""

    async def work(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert b" 200 " not in await said(reader, writer)

    served(work, monkeypatch)


def test_a_head_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not buy time."""

    async def work(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = asyncio.create_task(said(reader, writer))
        for byte in GET[:-4] + b"\r\nA: " + b"a" * 1000:
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert await answer == b""

    served(work, monkeypatch)


def test_a_connection_that_is_used_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer begins the wait anew."""

    async def work(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(6):
            writer.write(GET)
            assert (await reader.readuntil(b"read")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.1)
        assert await said(reader, writer) == b""

    served(work, monkeypatch)
